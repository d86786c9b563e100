//! From the outputs of a region proposal head to the boxes that the next stage looks at, as mmdetection's `RPNHead`.
//!
//! Per level the best anchors by score are decoded and clipped to the picture; NMS runs within each level; the best over all
//! levels stay. All in network pixels.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/dense_heads/rpn_head.py>

use crate::anchors::{AnchorGenerator, Grid};
use crate::box_coder::BoxCoder;
use crate::dense_loss::grids;
use crate::dense_select::{DenseSelect, grids_of, values};
use crate::retina_head::{BestScores, HeadOutputs};
use crate::select::{self, Candidate, SelectConfig, TopScores};
use crate::task::ImageInfo;
use care_nn::Result;
use care_types::BoxXyxy;
use serde::{Deserialize, Serialize};

/// How many boxes stay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProposalConfig {
    /// Boxes per level before NMS.
    pub nms_pre: usize,
    /// A box is dropped when its IoU with a better one of its level is above this (strictly).
    pub nms_iou: f32,
    /// Boxes per picture.
    pub max_per_image: usize,
    /// Width and height must be above this, in network pixels.
    pub min_box_size: f32,
}

impl ProposalConfig {
    /// For training: 2000 per level, NMS .7, 1000 per picture.
    pub const TRAIN: ProposalConfig =
        ProposalConfig { nms_pre: 2000, nms_iou: 0.7, max_per_image: 1000, min_box_size: 0.0 };
    /// For inference: 1000 per level, NMS .7, 1000 per picture.
    pub const INFER: ProposalConfig = ProposalConfig { nms_pre: 1000, ..Self::TRAIN };

    /// The same for [`crate::select`]: every anchor is a candidate, whatever its probability.
    pub(crate) fn select(&self) -> SelectConfig {
        let &Self { nms_pre, nms_iou, max_per_image, min_box_size } = self;
        SelectConfig { score_threshold: -1.0, nms_pre, nms_iou, max_per_image, min_box_size }
    }
}

/// A box that may hold an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// Network pixels.
    pub bbox: BoxXyxy,
    /// Probability of an object.
    pub score: f32,
}

/// Everything that turns outputs of the head into proposals.
#[derive(Clone, Debug)]
pub struct ProposalSelect(DenseSelect);

impl ProposalSelect {
    /// For anchors of these shapes.
    pub fn new(anchors: AnchorGenerator, coder: BoxCoder, config: ProposalConfig) -> Self {
        Self(DenseSelect { anchors, coder, config: config.select(), num_classes: 1 })
    }

    /// Proposals of each picture, best first.
    ///
    /// # Errors
    /// `Internal` when the outputs do not have one entry per level and picture.
    pub fn proposals(&self, outputs: &HeadOutputs, info: &[ImageInfo]) -> Result<Vec<Vec<Proposal>>> {
        let deltas = outputs.deltas.iter().map(values).collect::<Result<Vec<_>>>()?;
        let deltas: Vec<&[f32]> = deltas.iter().map(Vec::as_slice).collect();
        let scores = self.0.scan(&outputs.logits, info.len())?;
        Ok(self.finish(scores, &deltas, &grids(&outputs.logits)?, info))
    }

    /// The same from what a head built for inference kept.
    pub(crate) fn of_best(&self, best: BestScores, info: &[ImageInfo]) -> Vec<Vec<Proposal>> {
        self.finish(best.scores, &best.deltas.slices(), &grids_of(&best.deltas), info)
    }

    /// What collects the scores of one picture and level.
    pub(crate) fn empty(&self) -> TopScores {
        self.0.empty()
    }

    fn finish(
        &self,
        scores: Vec<Vec<TopScores>>,
        deltas: &[&[f32]],
        grids: &[Grid],
        info: &[ImageInfo],
    ) -> Vec<Vec<Proposal>> {
        let of_picture = |(picture, (levels, info)): (usize, (Vec<TopScores>, &ImageInfo))| {
            let levels = self.0.candidates(levels, (deltas, picture), grids, info).into_iter().enumerate();
            // the level takes the place of the class, so that levels do not suppress each other
            let of_level = |(class, boxes): (usize, Vec<Candidate>)| {
                boxes.into_iter().map(move |c| Candidate { class, ..c })
            };
            let candidates: Vec<Candidate> = levels.flat_map(of_level).collect();
            let unscaled = ImageInfo { scale: (1.0, 1.0), ..*info };
            let kept = select::detections(&candidates, &unscaled, &self.0.config);
            kept.into_iter().map(|d| Proposal { bbox: d.bbox, score: d.score }).collect()
        };
        scores.into_iter().zip(info).enumerate().map(of_picture).collect()
    }
}
