//! Training pictures in the order in which steps use them, prepared ahead on other threads.
//!
//! Which pictures a step sees, and how they are changed, follows from (seed, step) alone: a resumed run asks for the same.

use super::batch::TaskSample;
use crate::error::Result;
use care_data::loader::Prefetch;
use care_data::semantic::{self, SegAugment, SegDataset};
use care_data::{Augment, Dataset, Preprocess, augment, prefetch, sampling};
use std::sync::Arc;

/// Threads that decode and augment; the network takes longer than one picture per thread.
const WORKERS: usize = 2;

/// What decides the pictures of a step.
#[derive(Clone)]
pub(crate) struct FeedPlan {
    /// The pictures and their changes.
    pub(crate) pictures: Changed,
    /// Those of them that are trained on.
    pub(crate) indices: Arc<Vec<usize>>,
    /// From pictures to network input.
    pub(crate) preprocess: Preprocess,
    /// Seed of order and changes.
    pub(crate) seed: u64,
    /// Pictures per step.
    pub(crate) per_step: usize,
}

/// Pictures of either task, with what may happen to them.
#[derive(Clone)]
pub(crate) enum Changed {
    Objects(Arc<dyn Dataset>, Augment),
    Labels(Arc<dyn SegDataset>, SegAugment),
}

impl Changed {
    fn sample(
        &self,
        (index, others): (usize, &[usize]),
        preprocess: &Preprocess,
        name: (u64, u64),
    ) -> Result<TaskSample> {
        Ok(match self {
            Self::Objects(set, augment) => TaskSample::Objects(augment::train_sample(
                (set.as_ref(), others),
                index,
                augment,
                preprocess,
                name,
            )?),
            Self::Labels(set, augment) => {
                TaskSample::Labels(semantic::train_sample(set.as_ref(), index, augment, preprocess, name)?)
            }
        })
    }

    fn file(&self, index: usize) -> String {
        let name = match self {
            Self::Objects(set, _) => set.example(index).map(|e| e.file_name),
            Self::Labels(set, _) => set.example(index).map(|e| e.file_name),
        };
        name.unwrap_or_else(|e| e.to_string())
    }
}

impl FeedPlan {
    /// Steps of an epoch: every picture is seen at least once, the last step is filled up from the epoch's beginning.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.indices.len().div_ceil(self.per_step).max(1) as u64
    }

    /// Epoch and picture numbers of a step.
    fn of_step(&self, step: u64) -> (u64, Vec<usize>) {
        let (epoch, within) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        let order = sampling::epoch_order(self.indices.len(), self.seed, epoch);
        let first = within as usize * self.per_step;
        let picked = (first..first + self.per_step).map(|k| self.indices[order[k % order.len()]]);
        (epoch, picked.collect())
    }

    /// Samples of the steps `from..to`, in order.
    pub(crate) fn start(&self, from: u64, to: u64) -> Prefetch<Result<TaskSample>> {
        let plan = self.clone();
        let items = (from..to).flat_map(move |step| {
            let (epoch, pictures) = plan.of_step(step);
            pictures.into_iter().map(move |index| (epoch, index))
        });
        let plan = self.clone();
        let threads = WORKERS.min(rayon::current_num_threads());
        prefetch(items, threads, self.per_step + threads, move |(epoch, index)| {
            plan.pictures.sample((index, &plan.indices), &plan.preprocess, (plan.seed, epoch))
        })
    }

    /// Names of the files of a step, for messages.
    pub(crate) fn files(&self, step: u64) -> Vec<String> {
        self.of_step(step).1.into_iter().map(|i| self.pictures.file(i)).collect()
    }
}
