//! Training pictures in the order in which steps use them, prepared ahead on other threads.
//!
//! Which pictures a step sees, and how they are changed, follows from (seed, step) alone: a resumed run asks for the same.

use crate::error::{Error, Result};
use candle_core::{Device, Tensor};
use care_data::loader::Prefetch;
use care_data::{Augment, Dataset, Preprocess, TrainSample, augment, prefetch, sampling};
use care_heads::{ImageInfo, Images};
use care_types::{DetTarget, Size};
use std::sync::Arc;

/// Threads that decode and augment; the network takes longer than one picture per thread.
const WORKERS: usize = 2;

/// What decides the pictures of a step.
#[derive(Clone)]
pub(crate) struct FeedPlan {
    /// The pictures.
    pub(crate) set: Arc<dyn Dataset>,
    /// Those of them that are trained on.
    pub(crate) indices: Arc<Vec<usize>>,
    /// Their changes.
    pub(crate) augment: Augment,
    /// From pictures to network input.
    pub(crate) preprocess: Preprocess,
    /// Seed of order and changes.
    pub(crate) seed: u64,
    /// Pictures per step.
    pub(crate) per_step: usize,
}

impl FeedPlan {
    /// Steps of an epoch: every picture is seen at least once, the last step is filled up from the epoch's beginning.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.indices.len().div_ceil(self.per_step).max(1) as u64
    }

    /// Epoch and picture numbers of a step.
    fn pictures(&self, step: u64) -> (u64, Vec<usize>) {
        let (epoch, within) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let order = sampling::epoch_order(self.indices.len(), self.seed, epoch);
        let first = within as usize * self.per_step;
        let picked = (first..first + self.per_step).map(|k| self.indices[order[k % order.len()]]);
        (epoch, picked.collect())
    }

    /// Samples of the steps `from..to`, in order.
    pub(crate) fn start(&self, from: u64, to: u64) -> Prefetch<Result<TrainSample>> {
        let plan = self.clone();
        let items = (from..to).flat_map(move |step| {
            let (epoch, pictures) = plan.pictures(step);
            pictures.into_iter().map(move |index| (epoch, index))
        });
        let plan = self.clone();
        let threads = WORKERS.min(rayon::current_num_threads());
        prefetch(items, threads, self.per_step + threads, move |(epoch, index)| {
            let FeedPlan { set, augment, preprocess, seed, .. } = &plan;
            Ok(augment::train_sample(set.as_ref(), index, augment, preprocess, (*seed, epoch))?)
        })
    }

    /// Names of the files of a step, for messages.
    pub(crate) fn files(&self, step: u64) -> Vec<String> {
        let name = |i| self.set.example(i).map_or_else(|e| e.to_string(), |e| e.file_name);
        self.pictures(step).1.into_iter().map(name).collect()
    }
}

/// Samples of any sizes become one batch, padded to the largest.
///
/// # Errors
/// `Internal` without samples.
pub(crate) fn collate(samples: Vec<TrainSample>) -> Result<(Images, Vec<DetTarget>)> {
    let side = |f: fn(Size) -> u32| samples.iter().map(|s| f(s.sample.geometry.padded)).max().unwrap_or(0);
    let slot = Size::new(side(|s| s.width), side(|s| s.height));
    if samples.is_empty() {
        return Err(Error::internal("a batch without pictures"));
    }
    let count = samples.len();
    let (mut pixels, mut info, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for TrainSample { sample, target, .. } in samples {
        info.push(ImageInfo::from(&sample.geometry));
        pixels.extend_from_slice(&sample.padded_to(slot));
        targets.push(target);
    }
    let pixels =
        Tensor::from_vec(pixels, (count, slot.height as usize, slot.width as usize, 3), &Device::Cpu)?;
    Ok((Images::new(pixels, info)?, targets))
}
