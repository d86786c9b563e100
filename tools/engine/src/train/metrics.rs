//! The lines of `metrics.jsonl` and `timings.jsonl`.

use super::learner::StepReport;
use super::validate::Validation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetricsLine {
    /// An evaluation.
    Validation {
        /// Steps taken before it.
        step: u64,
        /// Epochs begun before it, from 1.
        epoch: u64,
        /// Sum of the losses on the validation part.
        val_loss: f64,
        /// Each loss.
        val_losses: BTreeMap<String, f64>,
        /// Figures by their usual names (those of COCO masks with `segm_` before); undefined is -1.
        val: BTreeMap<String, f64>,
        /// Whether no evaluation before was as good.
        best: bool,
    },
    /// A step.
    Step {
        /// Steps taken, this one included.
        step: u64,
        /// Epoch of the step, from 1.
        epoch: u64,
        /// Learning rate.
        lr: f64,
        /// Sum of the losses.
        loss: f64,
        /// Each loss.
        losses: BTreeMap<String, f64>,
        /// Global gradient norm before clipping.
        grad_norm: f64,
    },
}

impl MetricsLine {
    pub(super) fn of_step(report: &StepReport) -> Self {
        let StepReport { step, epoch, lr, loss, ref losses, grad_norm } = *report;
        Self::Step { step, epoch, lr, loss, losses: named(losses), grad_norm }
    }

    pub(super) fn of_validation(validation: &Validation, step: u64, epoch: u64, best: bool) -> Self {
        Self::Validation {
            step,
            epoch,
            val_loss: validation.loss(),
            val_losses: named(&validation.losses),
            val: validation.figures(),
            best,
        }
    }
}

fn named(parts: &[(&'static str, f64)]) -> BTreeMap<String, f64> {
    parts.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// A line of `timings.jsonl`: what the steps since the line before cost.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TimingLine {
    pub(super) step: u64,
    pub(super) epoch: u64,
    pub(super) steps: u64,
    pub(super) seconds: f64,
    pub(super) images_per_s: f64,
    /// Milliseconds by phase; `data` is the time that the network waited for pictures.
    pub(super) ms: BTreeMap<&'static str, f64>,
    pub(super) peak_mb: Option<f64>,
}
