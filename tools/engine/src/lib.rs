//! What stands between networks and people: weights files, the predictor, evaluation, optimisers, measuring.
//!
//! The only crate that sees facts (boxes, data sets, metrics), arithmetic and networks at once. It prints nothing:
//! progress and results go to whoever called.

#![forbid(unsafe_code)]

pub mod batching;
pub mod classes;
pub mod clock;
mod error;
pub mod machine;
pub mod measure;
pub mod optim;
mod stop;

pub use error::{Error, ErrorKind, Result};
pub use stop::Stop;
