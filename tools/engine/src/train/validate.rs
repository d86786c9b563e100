//! Scoring a network in training: losses, and COCO AP or mIoU of the averaged weights on the validation part.

use super::batch::{Batch, TaskSample};
use super::data::ValData;
use crate::ema::frozen_copy;
use crate::error::{Error, Result};
use crate::evaluate::{Detected, EvalData, Run, detect_all};
use crate::predict::{Predictor, RunOptions};
use crate::segment::{SegData, segment_all};
use crate::stop::Stop;
use crate::weights::{Provenance, Spec, Weights};
use care_data::semantic::SegSample;
use care_data::{Augment, Preprocess, augment, prefetch};
use care_map::{CocoMetrics, IouType, Params};
use care_miou::SegReport;
use care_nn::{Conv3x3, ParamStore, Purpose};
use care_types::coco_json::ResultRecord;
use care_types::{ImageId, SegTarget, Size};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Threads that read pictures for the losses.
const READERS: usize = 2;
/// Predicted label maps that are kept to be drawn.
const KEPT_MAPS: usize = 8;

/// What an evaluation found.
pub struct Validation {
    /// Mean over the pictures of each loss.
    pub losses: Vec<(&'static str, f64)>,
    /// How good it is.
    pub scores: Scores,
    /// Positions of the pictures in the validation part.
    pub positions: Vec<usize>,
    /// Pictures that could not be read, and why.
    pub failed: Vec<(usize, Error)>,
}

/// Figures of either task, and what they are of.
pub enum Scores {
    /// Objects.
    Objects {
        /// Of boxes, and of masks where the detector finds some.
        metrics: Vec<CocoMetrics>,
        /// Boxes that were found, pictures in the order of the data set.
        boxes: Vec<ResultRecord>,
        /// Masks that were found, in the same order.
        masks: Vec<ResultRecord>,
    },
    /// A class for every pixel.
    Labels {
        /// The figures.
        report: SegReport,
        /// Predicted maps of a few pictures, by position.
        maps: BTreeMap<usize, SegTarget>,
    },
}

impl Validation {
    /// The number that decides which weights are best: AP over all thresholds (of masks where there are some), or mIoU.
    pub fn score(&self) -> f64 {
        match &self.scores {
            Scores::Objects { metrics, .. } => metrics.last().map_or(-1.0, |m| m.stats[0]),
            Scores::Labels { report, .. } => report.m_iou,
        }
    }

    /// What [`Validation::score`] is called.
    pub fn score_name(&self) -> &'static str {
        match self.scores {
            Scores::Objects { .. } => "AP",
            Scores::Labels { .. } => "mIoU",
        }
    }

    /// Sum of the losses.
    pub fn loss(&self) -> f64 {
        self.losses.iter().map(|(_, v)| v).sum()
    }

    /// The figures by name; those of masks begin with `segm_`.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        match &self.scores {
            Scores::Objects { metrics, .. } => {
                let mut figures = BTreeMap::new();
                for m in metrics {
                    let prefix = if m.protocol.iou_type == IouType::Segm { "segm_" } else { "" };
                    figures.extend(m.named().map(|(name, v)| (format!("{prefix}{name}"), v)));
                }
                figures
            }
            Scores::Labels { report: r, .. } => {
                let means = [("mIoU", r.m_iou), ("aAcc", r.a_acc), ("mAcc", r.m_acc), ("mDice", r.m_dice)];
                let classes = r.per_class.iter().map(|c| (format!("IoU.{}", c.name), c.iou));
                means.into_iter().map(|(name, v)| (name.to_owned(), v)).chain(classes).collect()
            }
        }
    }

    /// The main figures for a line of text.
    pub fn in_words(&self) -> String {
        match &self.scores {
            Scores::Objects { metrics, .. } => {
                let of = |m: &CocoMetrics| {
                    let kind = if m.protocol.iou_type == IouType::Segm { "mask " } else { "" };
                    format!("{kind}AP {:.3}, AP50 {:.3}", m.stats[0], m.stats[1])
                };
                metrics.iter().map(of).collect::<Vec<_>>().join(", ")
            }
            Scores::Labels { report, .. } => format!("mIoU {:.3}, aAcc {:.3}", report.m_iou, report.a_acc),
        }
    }
}

/// Scores the weights of `store`; `None` when a stop was requested before the end. `tick` is told how many of how many
/// passes are done.
pub(super) fn validate(
    store: &ParamStore,
    spec: &Spec,
    (data, limit): (&ValData, usize),
    stop: &Stop,
    tick: &mut dyn FnMut(usize, usize),
) -> Result<Option<Validation>> {
    let positions = data.select(limit)?;
    let copy = frozen_copy(store)?;
    let of = 2 * positions.len();
    let mut done = 0;
    let mut count = || {
        done += 1;
        tick(done, of);
    };
    let Some(losses) = losses(&copy, spec, (data, &positions), stop, &mut count)? else { return Ok(None) };
    let weights = Weights { spec: spec.clone(), provenance: Provenance::default(), store: copy };
    let predictor = weights.into_predictor(Conv3x3::Winograd)?;
    let found = match data {
        ValData::Objects(data) => {
            objects(&predictor, spec.network.predicts_masks(), (data, &positions), stop, &mut count)?
        }
        ValData::Labels(data) => labels(&predictor, (data, &positions), stop, &mut count)?,
    };
    Ok(found.map(|(scores, failed)| Validation { losses, scores, positions, failed }))
}

/// Pictures are looked at one by one.
const ONE: RunOptions = RunOptions { batch: 1, keep_pictures: false };

/// Scores, and the pictures that failed; `None` when it was interrupted.
type Scored = Option<(Scores, Vec<(usize, Error)>)>;

fn objects(
    predictor: &Predictor,
    with_masks: bool,
    (data, positions): (&EvalData, &[usize]),
    stop: &Stop,
    count: &mut dyn FnMut(),
) -> Result<Scored> {
    let Detected { boxes, masks, failed, done, .. } =
        detect_all(predictor, data, positions, Run { options: ONE, stop, journal: None, tick: count })?;
    if done.len() < positions.len() {
        return Ok(None);
    }
    let score = |kind: IouType, records: &[ResultRecord]| {
        let mut params = Params::new(kind);
        if positions.len() < data.ground_truth().images.len() {
            let ids: Vec<ImageId> = positions.iter().map(|&p| data.image(p).0).collect();
            params.img_ids = Some(ids);
        }
        care_map::evaluate(data.ground_truth(), records, &params)
    };
    let mut metrics = vec![score(IouType::Bbox, &boxes)?];
    if with_masks {
        metrics.push(score(IouType::Segm, &masks)?);
    }
    Ok(Some((Scores::Objects { metrics, boxes, masks }, failed)))
}

fn labels(
    predictor: &Predictor,
    (data, positions): (&SegData, &[usize]),
    stop: &Stop,
    count: &mut dyn FnMut(),
) -> Result<Scored> {
    let every = positions.len().div_ceil(KEPT_MAPS).max(1);
    let mut maps = BTreeMap::new();
    let found = segment_all(predictor, (data, positions), data.evaluator()?, (ONE, stop), &mut |seen| {
        count();
        let wanted = positions.iter().position(|&p| p == seen.position).is_some_and(|k| k % every == 0);
        maps.extend(seen.map.filter(|_| wanted).map(|map| (seen.position, map.clone())));
        Ok(())
    })?;
    if found.done.len() < positions.len() {
        return Ok(None);
    }
    let report = found.report(data.labels())?;
    Ok(Some((Scores::Labels { report, maps }, found.failed)))
}

/// Mean losses, one picture at a time so that no picture depends on its neighbours. Pictures that cannot be read are left
/// out; the scores' part of the evaluation reports them.
fn losses(
    store: &ParamStore,
    spec: &Spec,
    (data, positions): (&ValData, &[usize]),
    stop: &Stop,
    tick: &mut dyn FnMut(),
) -> Result<Option<Vec<(&'static str, f64)>>> {
    let network = spec.network.build(&store.root(Purpose::TRAIN_FROZEN))?;
    let read = reader(data, spec.preprocess);
    let (mut sums, mut count): (Vec<(&'static str, f64)>, usize) = (Vec::new(), 0);
    for sample in prefetch(positions.to_vec(), READERS, READERS + 1, read) {
        if stop.requested() {
            return Ok(None);
        }
        tick();
        let Ok(sample) = sample else { continue };
        let parts = Batch::of(vec![sample])?.losses(&network)?;
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

/// Reads the picture at a position as the network sees it, without changes.
fn reader(
    data: &ValData,
    preprocess: Preprocess,
) -> Box<dyn Fn(usize) -> care_types::Result<TaskSample> + Send + Sync> {
    match data {
        ValData::Objects(data) => {
            let pictures = Arc::clone(data.pictures());
            let plain = Augment::default();
            Box::new(move |position| {
                let sample =
                    augment::train_sample((pictures.as_ref(), &[]), position, &plain, &preprocess, (0, 0))?;
                Ok(TaskSample::Objects(sample))
            })
        }
        ValData::Labels(data) => {
            let pictures = Arc::clone(data.pictures());
            Box::new(move |position| {
                let example = pictures.example(position)?;
                let sample = care_data::semantic::aligned(&preprocess, &example.picture);
                // logits are resized to the label map, which keeps its size; the slot of the batch is the picture's
                let Size { width, height } = sample.geometry.padded;
                let label = resized(&example.target, Size { width, height })?;
                let (pixels, size) = (sample.pixels, Size { width, height });
                Ok(TaskSample::Labels(SegSample { pixels, label, size, index: position }))
            })
        }
    }
}

/// The nearest class at every pixel of another size.
fn resized(target: &SegTarget, to: Size) -> care_types::Result<Vec<u8>> {
    let from = target.size();
    let at =
        |dst: u32, from: u32, to: u32| (u64::from(dst) * u64::from(from) / u64::from(to.max(1))) as usize;
    let columns: Vec<usize> = (0..to.width).map(|x| at(x, from.width, to.width)).collect();
    let row = |y: u32| {
        let line = &target.classes()[at(y, from.height, to.height) * from.width as usize..];
        columns.iter().map(|&x| line[x]).collect::<Vec<u8>>()
    };
    Ok((0..to.height).flat_map(row).collect())
}
