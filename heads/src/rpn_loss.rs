//! Losses of a region proposal head, as mmdetection's `RPNHead`.
//!
//! Of each picture's anchors a sample learns; binary cross-entropy and box loss are divided by the sum over pictures of
//! max(positives, 1) + max(negatives, 1).
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/dense_heads/rpn_head.py>

use crate::anchors::{AnchorGenerator, Grid};
use crate::box_coder::BoxCoder;
use crate::dense_loss::{LevelLoss, grids, level_box_loss, matches};
use crate::draw::Draw;
use crate::losses::{self, BoxLoss, Weighting};
use crate::matcher::{Match, Matcher};
use crate::objects::Objects;
use crate::retina_head::HeadOutputs;
use crate::sampler::Sampler;
use crate::task::ImageInfo;
use candle_core::Tensor;
use care_nn::{Result, ops};
use care_types::{BoxXyxy, DetTarget};

/// Everything that turns outputs of the head and objects into losses.
#[derive(Clone, Debug)]
pub struct RpnLoss {
    /// Shapes of the priors.
    pub anchors: AnchorGenerator,
    /// Deltas relative to a prior.
    pub coder: BoxCoder,
    /// Who learns what.
    pub matcher: Matcher,
    /// How many learn.
    pub sampler: Sampler,
    /// Loss of the four deltas.
    pub bbox: BoxLoss,
}

/// The sampled anchors of one picture, by index over all levels.
struct Sample {
    positives: Vec<(usize, [f32; 4])>,
    negatives: Vec<usize>,
}

/// Names the random choice.
const PURPOSE: u64 = 1;

impl RpnLoss {
    /// Losses of each level; `outputs` hold one entry per level. Classes of objects do not matter.
    ///
    /// # Errors
    /// `Input` when a target has a box that is not finite.
    pub fn by_level(
        &self,
        outputs: &HeadOutputs,
        targets: &[DetTarget],
        info: &[ImageInfo],
        draw: Draw,
    ) -> Result<Vec<LevelLoss>> {
        let grids = grids(&outputs.logits)?;
        let levels: Vec<Vec<BoxXyxy>> =
            grids.iter().enumerate().map(|(level, &g)| self.anchors.grid_anchors(level, g)).collect();
        let sizes: Vec<usize> = levels.iter().map(Vec::len).collect();
        let anchors = levels.concat();
        let sample = |(i, (target, info))| self.sample((&anchors, &grids), target, info, (draw, i));
        let samples = targets.iter().zip(info).enumerate().map(sample).collect::<Result<Vec<_>>>()?;
        let counts = samples.iter().map(|s| s.positives.len().max(1) + s.negatives.len().max(1));
        let normaliser = counts.sum::<usize>() as f64;
        let positives: Vec<_> = samples.iter().map(|s| s.positives.as_slice()).collect();
        let mut first = 0;
        let mut level_loss = |(level, &size): (usize, &usize)| {
            let range = first..first + size;
            first += size;
            let cls = class_loss(&outputs.logits[level], &samples, range.clone(), normaliser)?;
            let bbox = level_box_loss(&outputs.deltas[level], &positives, range, self.bbox, normaliser)?;
            Ok(LevelLoss { cls, bbox })
        };
        sizes.iter().enumerate().map(&mut level_loss).collect()
    }

    fn sample(
        &self,
        at: (&[BoxXyxy], &[Grid]),
        target: &DetTarget,
        info: &ImageInfo,
        (draw, picture): (Draw, usize),
    ) -> Result<Sample> {
        let objects = Objects::of(target, usize::MAX)?;
        let matches = matches(&self.anchors, &self.matcher, at, &objects, info);
        let chosen = self.sampler.sample(&matches, &mut draw.stream(PURPOSE, picture));
        let deltas = |i: usize| match matches[i] {
            Match::Object(object) => Some((i, self.coder.encode(&at.0[i], &objects.boxes[object]))),
            _ => None,
        };
        Ok(Sample {
            positives: chosen.positives.into_iter().filter_map(deltas).collect(),
            negatives: chosen.negatives,
        })
    }
}

/// Binary cross-entropy of the sampled anchors of one level.
fn class_loss(
    logits: &Tensor,
    samples: &[Sample],
    range: std::ops::Range<usize>,
    normaliser: f64,
) -> Result<Tensor> {
    let (mut rows, mut wanted) = (Vec::new(), Vec::new());
    for (n, sample) in samples.iter().enumerate() {
        let positives = sample.positives.iter().map(|(i, _)| (*i, 1f32));
        for (i, is_object) in positives.chain(sample.negatives.iter().map(|&i| (i, 0.0))) {
            if range.contains(&i) {
                rows.push((n * range.len() + i - range.start) as u32);
                wanted.push(is_object);
            }
        }
    }
    if rows.is_empty() {
        return losses::tracked_zero(logits);
    }
    let (count, device) = (rows.len(), logits.device());
    let got = logits.flatten_all()?.index_select(&Tensor::from_vec(rows, count, device)?, 0)?;
    let loss = ops::bce_with_logits(&got, &Tensor::from_vec(wanted, count, device)?)?;
    Weighting { weight: None, avg_factor: Some(normaliser) }.reduce(&loss)
}
