//! Targets and losses of an anchor head with sigmoid classes (RetinaNet), as mmdetection's `AnchorHead`.
//!
//! Focal loss over every anchor that is not ignored, box loss over positives, both divided by the sum over
//! pictures of max(positives, 1): a picture without objects counts 1. Anchors whose cell starts beyond the
//! picture's own padding neither learn nor compete for objects.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/dense_heads/anchor_head.py>

use crate::anchors::{AnchorGenerator, Grid};
use crate::box_coder::BoxCoder;
use crate::losses::{self, BoxLoss, Weighting};
use crate::matcher::{Match, Matcher};
use crate::objects::Objects;
use crate::retina_head::HeadOutputs;
use crate::task::ImageInfo;
use candle_core::{Device, Tensor};
use care_nn::{Error, Result};
use care_types::{BoxXyxy, DetTarget};
use serde::{Deserialize, Serialize};

/// What the two branches are charged for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenseLossConfig {
    /// Exponent by which easy examples lose weight.
    pub focal_gamma: f64,
    /// Weight of positives; negatives have 1 - alpha.
    pub focal_alpha: f64,
    /// Loss of the four deltas.
    pub bbox: BoxLoss,
    /// Factor of the box loss.
    pub bbox_weight: f64,
}

impl Default for DenseLossConfig {
    fn default() -> Self {
        Self { focal_gamma: 2.0, focal_alpha: 0.25, bbox: BoxLoss::L1, bbox_weight: 1.0 }
    }
}

/// Scalars of one pyramid level.
#[derive(Clone, Debug)]
pub struct LevelLoss {
    /// Focal loss.
    pub cls: Tensor,
    /// Box loss.
    pub bbox: Tensor,
}

impl LevelLoss {
    /// Sum of a part over all levels, finest first.
    pub(crate) fn sum(levels: &[LevelLoss], part: fn(&LevelLoss) -> &Tensor) -> Result<Tensor> {
        let add = |sum: Tensor, level: &LevelLoss| Ok((sum + part(level))?);
        levels.iter().skip(1).try_fold(part(&levels[0]).clone(), add)
    }
}

/// Everything that turns head outputs and objects into losses.
#[derive(Clone, Debug)]
pub struct DenseLoss {
    /// Shapes of the priors.
    pub anchors: AnchorGenerator,
    /// Deltas relative to a prior.
    pub coder: BoxCoder,
    /// Who learns what.
    pub matcher: Matcher,
    /// What it costs.
    pub config: DenseLossConfig,
    /// Classes of the head; also the label of background.
    pub num_classes: usize,
}

/// What the anchors of one picture are to predict, all levels one after the other.
struct PictureTargets {
    /// `num_classes` is background.
    labels: Vec<u32>,
    /// 0 for anchors that learn nothing.
    weights: Vec<f32>,
    /// Anchor index and deltas of each positive, ascending.
    positives: Vec<(usize, [f32; 4])>,
}

impl DenseLoss {
    /// Losses of each level; `outputs` hold one entry per level.
    ///
    /// # Errors
    /// `Input` when a target has a class that the head does not have, or a box that is not finite.
    pub fn by_level(
        &self,
        outputs: &HeadOutputs,
        targets: &[DetTarget],
        info: &[ImageInfo],
    ) -> Result<Vec<LevelLoss>> {
        let grids = grids(&outputs.logits)?;
        let anchors: Vec<Vec<BoxXyxy>> =
            grids.iter().enumerate().map(|(level, &g)| self.anchors.grid_anchors(level, g)).collect();
        let sizes: Vec<usize> = anchors.iter().map(Vec::len).collect();
        let anchors = anchors.concat();
        let pictures = targets
            .iter()
            .zip(info)
            .map(|(target, info)| self.picture_targets(&anchors, &grids, target, info))
            .collect::<Result<Vec<_>>>()?;
        let normaliser = pictures.iter().map(|p| p.positives.len().max(1)).sum::<usize>() as f64;
        let mut first = 0;
        let mut out = Vec::with_capacity(sizes.len());
        for (level, &size) in sizes.iter().enumerate() {
            let (logits, deltas) = (&outputs.logits[level], &outputs.deltas[level]);
            let range = first..first + size;
            let cls = self.class_loss(logits, &pictures, range.clone(), normaliser)?;
            out.push(LevelLoss { cls, bbox: self.box_loss(deltas, &pictures, range, normaliser)? });
            first += size;
        }
        Ok(out)
    }

    fn picture_targets(
        &self,
        anchors: &[BoxXyxy],
        grids: &[Grid],
        target: &DetTarget,
        info: &ImageInfo,
    ) -> Result<PictureTargets> {
        let objects = Objects::of(target, self.num_classes)?;
        let matches = matches(&self.anchors, &self.matcher, (anchors, grids), &objects, info);
        let mut labels = vec![self.num_classes as u32; anchors.len()];
        let mut weights = vec![0.0; anchors.len()];
        let mut positives = Vec::new();
        for (i, found) in matches.iter().enumerate() {
            if let Match::Object(object) = *found {
                labels[i] = objects.classes[object] as u32;
                positives.push((i, self.coder.encode(&anchors[i], &objects.boxes[object])));
            }
            if *found != Match::Ignore {
                weights[i] = 1.0;
            }
        }
        Ok(PictureTargets { labels, weights, positives })
    }

    fn class_loss(
        &self,
        logits: &Tensor,
        pictures: &[PictureTargets],
        range: std::ops::Range<usize>,
        normaliser: f64,
    ) -> Result<Tensor> {
        let rows = range.len() * pictures.len();
        let labels: Vec<u32> = pictures.iter().flat_map(|p| &p.labels[range.clone()]).copied().collect();
        let weights: Vec<f32> = pictures.iter().flat_map(|p| &p.weights[range.clone()]).copied().collect();
        let device = logits.device();
        let labels = Tensor::from_vec(labels, rows, device)?;
        let weights = Tensor::from_vec(weights, rows, device)?;
        let logits = logits.reshape((rows, self.num_classes))?;
        let weighting = Weighting { weight: Some(&weights), avg_factor: Some(normaliser) };
        losses::sigmoid_focal(&logits, &labels, self.config.focal_gamma, self.config.focal_alpha, weighting)
    }

    fn box_loss(
        &self,
        deltas: &Tensor,
        pictures: &[PictureTargets],
        range: std::ops::Range<usize>,
        normaliser: f64,
    ) -> Result<Tensor> {
        let positives: Vec<_> = pictures.iter().map(|p| p.positives.as_slice()).collect();
        let loss = level_box_loss(deltas, &positives, range, self.config.bbox, normaliser)?;
        Ok((loss * self.config.bbox_weight)?)
    }
}

/// What each anchor is to learn; those whose cell starts beyond the picture's own padding learn nothing.
pub(crate) fn matches(
    generator: &AnchorGenerator,
    matcher: &Matcher,
    (anchors, grids): (&[BoxXyxy], &[Grid]),
    objects: &Objects<'_>,
    info: &ImageInfo,
) -> Vec<Match> {
    let flags = |(level, &grid): (usize, &Grid)| generator.valid_flags(level, grid, info.padded);
    let valid: Vec<bool> = grids.iter().enumerate().flat_map(flags).collect();
    let inside: Vec<usize> = (0..anchors.len()).filter(|&i| valid[i]).collect();
    let priors: Vec<BoxXyxy> = inside.iter().map(|&i| anchors[i]).collect();
    let found = matcher.assign(&priors, &objects.boxes, &objects.ignore).matches;
    let mut matches = vec![Match::Ignore; anchors.len()];
    inside.into_iter().zip(found).for_each(|(i, found)| matches[i] = found);
    matches
}

/// Box loss of one level: its positives (index over all levels, and deltas) of each picture, divided by `normaliser`.
pub(crate) fn level_box_loss(
    deltas: &Tensor,
    positives: &[&[(usize, [f32; 4])]],
    range: std::ops::Range<usize>,
    loss: BoxLoss,
    normaliser: f64,
) -> Result<Tensor> {
    let (mut rows, mut wanted) = (Vec::new(), Vec::new());
    for (n, positives) in positives.iter().enumerate() {
        for (i, delta) in positives.iter().filter(|(i, _)| range.contains(i)) {
            rows.push((n * range.len() + i - range.start) as u32);
            wanted.extend_from_slice(delta);
        }
    }
    if rows.is_empty() {
        return losses::tracked_zero(deltas);
    }
    let (count, device) = (rows.len(), deltas.device());
    let all = deltas.reshape((range.len() * positives.len(), 4))?;
    let got = all.index_select(&Tensor::from_vec(rows, count, device)?, 0)?;
    let wanted = Tensor::from_vec(wanted, (count, 4), &Device::Cpu)?.to_device(device)?;
    loss.of(&got, &wanted, Weighting { weight: None, avg_factor: Some(normaliser) })
}

/// Grid of each `[N, H, W, C]` map.
pub(crate) fn grids(maps: &[Tensor]) -> Result<Vec<Grid>> {
    maps.iter()
        .map(|m| m.dims4().map(|(_, height, width, _)| Grid { height, width }).map_err(Error::from))
        .collect()
}
