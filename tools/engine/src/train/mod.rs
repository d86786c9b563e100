//! The training engine: a resolved configuration and a data set in, a run folder out.
//!
//! Everything that a step does follows from (configuration, step number, state), never from time, threads or what was
//! interrupted. A run that is killed at any moment goes on from its last snapshot and ends with the same bits: lines of
//! `metrics.jsonl` after the snapshot are cut off and written again.

mod batch;
mod data;
mod feed;
mod learner;
mod metrics;
mod probe;
mod run;
mod snapshot;
mod start;
mod validate;

pub use data::{TrainData, ValData};
pub use learner::StepReport;
pub use metrics::MetricsLine;
pub use probe::{Probe, probe};
pub use run::{Ending, Observer, Run, RunSummary};
pub use snapshot::Progress;
pub use start::Plan;
pub use validate::{Scores, Validation};
