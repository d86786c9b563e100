//! What stands between networks and people: weights files, the predictor, evaluation, optimisers, measuring.
//!
//! The only crate that sees facts (boxes, data sets, metrics), arithmetic and networks at once. It prints nothing:
//! progress and results go to whoever called.

#![forbid(unsafe_code)]

pub mod batching;
pub mod bench;
pub mod classes;
pub mod clock;
pub mod config;
pub mod ema;
mod error;
pub mod evaluate;
pub mod grads;
pub mod inspect;
pub mod journal;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod optim;
pub mod predict;
pub mod run_dir;
pub mod schedule;
pub mod segment;
pub mod shipped;
mod stop;
pub mod train;
pub mod views;
pub mod weights;

pub use care_heads::{NetworkConfig, Task};
pub use care_nn::Conv3x3;
pub use error::{Error, ErrorKind, Result};
pub use predict::{Outcome, Prediction, Predictor, RunOptions, Source};
pub use stop::Stop;

/// The program whose commands are for a task, for messages.
pub fn program(task: Task) -> &'static str {
    match task {
        Task::Detection => "care-det",
        Task::Segmentation => "care-seg",
    }
}
