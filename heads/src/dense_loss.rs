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

/// The objects of one picture, and the regions to look away from.
#[derive(Default)]
struct Objects {
    boxes: Vec<BoxXyxy>,
    classes: Vec<u32>,
    ignore: Vec<BoxXyxy>,
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
        let objects = self.objects(target)?;
        let flags = |(level, &grid): (usize, &Grid)| self.anchors.valid_flags(level, grid, info.padded);
        let valid: Vec<bool> = grids.iter().enumerate().flat_map(flags).collect();
        let inside: Vec<usize> = (0..anchors.len()).filter(|&i| valid[i]).collect();
        let priors: Vec<BoxXyxy> = inside.iter().map(|&i| anchors[i]).collect();
        let assignment = self.matcher.assign(&priors, &objects.boxes, &objects.ignore);
        let mut labels = vec![self.num_classes as u32; anchors.len()];
        let mut weights = vec![0.0; anchors.len()];
        let mut positives = Vec::new();
        for (&i, found) in inside.iter().zip(&assignment.matches) {
            if let Match::Object(object) = *found {
                labels[i] = objects.classes[object];
                positives.push((i, self.coder.encode(&anchors[i], &objects.boxes[object])));
            }
            if *found != Match::Ignore {
                weights[i] = 1.0;
            }
        }
        Ok(PictureTargets { labels, weights, positives })
    }

    fn objects(&self, target: &DetTarget) -> Result<Objects> {
        let mut objects = Objects::default();
        for ((b, class), &ignored) in target.boxes.iter().zip(&target.classes).zip(&target.ignore) {
            if !b.to_array().iter().all(|v| v.is_finite()) {
                return Err(Error::input(format!("a target box is not finite: {b:?}")));
            }
            if ignored {
                objects.ignore.push(*b);
                continue;
            }
            if class.0 >= self.num_classes {
                let n = self.num_classes;
                return Err(Error::input(format!(
                    "a target has class index {}, the network has {n} classes",
                    class.0
                )));
            }
            objects.boxes.push(*b);
            objects.classes.push(class.0 as u32);
        }
        Ok(objects)
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
        let (mut rows, mut wanted) = (Vec::new(), Vec::new());
        for (n, picture) in pictures.iter().enumerate() {
            for (i, delta) in picture.positives.iter().filter(|(i, _)| range.contains(i)) {
                rows.push((n * range.len() + i - range.start) as u32);
                wanted.extend_from_slice(delta);
            }
        }
        if rows.is_empty() {
            return losses::tracked_zero(deltas);
        }
        let (count, device) = (rows.len(), deltas.device());
        let all = deltas.reshape((range.len() * pictures.len(), 4))?;
        let got = all.index_select(&Tensor::from_vec(rows, count, device)?, 0)?;
        let wanted = Tensor::from_vec(wanted, (count, 4), &Device::Cpu)?.to_device(device)?;
        let weighting = Weighting { weight: None, avg_factor: Some(normaliser) };
        Ok((self.config.bbox.of(&got, &wanted, weighting)? * self.config.bbox_weight)?)
    }
}

/// Grid of each `[N, H, W, C]` map.
pub(crate) fn grids(maps: &[Tensor]) -> Result<Vec<Grid>> {
    maps.iter()
        .map(|m| m.dims4().map(|(_, height, width, _)| Grid { height, width }).map_err(Error::from))
        .collect()
}
