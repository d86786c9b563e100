//! The numeric contract: cases of the golden reference set, their inputs, weights and tolerances.
//!
//! A case is one entry of `manifest.json`. Inputs are stored or re-created by the weight recipe; outputs carry their own
//! tolerance, `|got - expected| <= atol + rtol * |expected|`. The set is data only and is not part of this repository:
//! it is found through `CARE_GOLDEN`, by default `shared/golden` beside the workspace root.
#![forbid(unsafe_code)]

mod array;
mod case;
mod checker;

pub use array::Array;
pub use case::{Case, Manifest, golden_root};
pub use checker::Checker;
