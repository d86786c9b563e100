//! Batch statistics of a training step, on their way from the batch-norm layers to the trainer.
//!
//! `forward` changes no state: a layer in `Train { norm: Batch }` pushes what it measured, and the trainer commits it
//! with [`ParamStore::commit_batch_stats`](crate::params::ParamStore::commit_batch_stats) after the step.

use std::sync::{Arc, Mutex};

use candle_core::Tensor;

/// What one batch-norm layer measured in one forward pass.
#[derive(Clone, Debug)]
pub struct BatchStat {
    /// Name of the layer, `running_mean` and `running_var` are below it.
    pub layer: String,
    /// Mean per channel `[C]`.
    pub mean: Tensor,
    /// Unbiased variance per channel `[C]`.
    pub var: Tensor,
}

/// A recorder shared by all layers of a network. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct BatchStats(Arc<Mutex<Vec<BatchStat>>>);

impl BatchStats {
    /// Records one pass of `layer`: mean and unbiased variance `[C]`, detached here.
    pub fn push(&self, layer: &str, mean: Tensor, var: Tensor) {
        self.lock().push(BatchStat { layer: layer.to_string(), mean: mean.detach(), var: var.detach() });
    }

    /// Everything recorded since the last call, in forward order. Discard it to leave the running statistics alone.
    pub fn take(&self) -> Vec<BatchStat> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<BatchStat>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
