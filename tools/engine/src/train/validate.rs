//! Scoring a detector in training: losses and COCO AP of the averaged weights on the validation part.

use super::feed::collate;
use crate::ema::frozen_copy;
use crate::error::{Error, Result};
use crate::evaluate::{EvalData, detect_all};
use crate::predict::RunOptions;
use crate::stop::Stop;
use crate::weights::{Provenance, Spec, Weights};
use care_data::{Augment, augment, prefetch};
use care_map::{CocoMetrics, IouType, Params};
use care_nn::{Conv3x3, ParamStore, Purpose};
use care_types::ImageId;
use care_types::coco_json::ResultRecord;
use std::sync::Arc;

/// Threads that read pictures for the losses.
const READERS: usize = 2;

/// What an evaluation found.
pub struct Validation {
    /// Mean over the pictures of each loss.
    pub losses: Vec<(&'static str, f64)>,
    /// The scores.
    pub metrics: CocoMetrics,
    /// What was found, pictures in the order of the data set.
    pub boxes: Vec<ResultRecord>,
    /// Positions of the pictures in the validation part.
    pub positions: Vec<usize>,
    /// Pictures that could not be read, and why.
    pub failed: Vec<(usize, Error)>,
}

impl Validation {
    /// AP over all thresholds, the number that decides which weights are best.
    pub fn ap(&self) -> f64 {
        self.metrics.stats[0]
    }

    /// Sum of the losses.
    pub fn loss(&self) -> f64 {
        self.losses.iter().map(|(_, v)| v).sum()
    }
}

/// Scores the weights of `store`; `None` when a stop was requested before the end. `tick` is told how many of how many
/// passes are done.
pub(super) fn validate(
    store: &ParamStore,
    spec: &Spec,
    (data, limit): (&EvalData, usize),
    stop: &Stop,
    tick: &mut dyn FnMut(usize, usize),
) -> Result<Option<Validation>> {
    let positions = data.select(None, Some(limit).filter(|&n| n > 0))?;
    let copy = frozen_copy(store)?;
    let of = 2 * positions.len();
    let mut done = 0;
    let mut count = || {
        done += 1;
        tick(done, of);
    };
    let Some(losses) = losses(&copy, spec, data, &positions, stop, &mut count)? else { return Ok(None) };
    let weights = Weights { spec: spec.clone(), provenance: Provenance::default(), store: copy };
    let predictor = weights.into_predictor(Conv3x3::Winograd)?;
    let options = RunOptions { batch: 1, keep_pictures: false };
    let found = detect_all(&predictor, data, &positions, (options, stop), &mut count)?;
    if found.done.len() < positions.len() {
        return Ok(None);
    }
    let mut params = Params::new(IouType::Bbox);
    if positions.len() < data.ground_truth().images.len() {
        let ids: Vec<ImageId> = positions.iter().map(|&p| data.image(p).0).collect();
        params.img_ids = Some(ids);
    }
    let metrics = care_map::evaluate(data.ground_truth(), &found.boxes, &params)?;
    Ok(Some(Validation { losses, metrics, boxes: found.boxes, positions, failed: found.failed }))
}

/// Mean losses, one picture at a time so that no picture depends on its neighbours. Pictures that cannot be read are left
/// out; the detections' part of the evaluation reports them.
fn losses(
    store: &ParamStore,
    spec: &Spec,
    data: &EvalData,
    positions: &[usize],
    stop: &Stop,
    tick: &mut dyn FnMut(),
) -> Result<Option<Vec<(&'static str, f64)>>> {
    let network = spec.detector.build(&store.root(Purpose::TRAIN_FROZEN))?;
    let (pictures, preprocess) = (Arc::clone(data.pictures()), spec.preprocess);
    let read = move |position: usize| {
        augment::train_sample(pictures.as_ref(), position, &Augment::default(), &preprocess, (0, 0))
    };
    let (mut sums, mut count): (Vec<(&'static str, f64)>, usize) = (Vec::new(), 0);
    for sample in prefetch(positions.to_vec(), READERS, READERS + 1, read) {
        if stop.requested() {
            return Ok(None);
        }
        tick();
        let Ok(sample) = sample else { continue };
        let (images, targets) = collate(vec![sample])?;
        let parts = network.losses(&images, &targets)?;
        for (k, (name, value)) in parts.iter().enumerate() {
            let value = f64::from(value.to_scalar::<f32>()?);
            match sums.get_mut(k) {
                Some((_, sum)) => *sum += value,
                None => sums.push((name, value)),
            }
        }
        count += 1;
    }
    for (_, sum) in &mut sums {
        *sum /= count.max(1) as f64;
    }
    Ok(Some(sums))
}
