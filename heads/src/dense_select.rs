//! Detections of an anchor head: the glue between scores, anchors, the box coder and NMS.

use crate::anchors::{AnchorGenerator, Grid};
use crate::box_coder::BoxCoder;
use crate::dense_loss::grids;
use crate::pyramid::Pyramid;
use crate::retina_head::{BestScores, HeadOutputs};
use crate::select::{self, Candidate, ChannelRange, SelectConfig, TopScores};
use crate::task::ImageInfo;
use candle_core::Tensor;
use care_nn::Result;
use care_types::RawDetection;

/// Everything that turns head outputs into detections.
#[derive(Clone, Debug)]
pub struct DenseSelect {
    /// Shapes of the priors.
    pub anchors: AnchorGenerator,
    /// Deltas relative to a prior.
    pub coder: BoxCoder,
    /// Thresholds.
    pub config: SelectConfig,
    /// Classes of the head.
    pub num_classes: usize,
}

impl DenseSelect {
    /// Detections of each picture, best first, network pixels.
    ///
    /// # Errors
    /// `Internal` when the outputs do not have one entry per level and picture.
    pub fn detections(&self, outputs: &HeadOutputs, info: &[ImageInfo]) -> Result<Vec<Vec<RawDetection>>> {
        let grids = grids(&outputs.logits)?;
        let deltas = outputs.deltas.iter().map(values).collect::<Result<Vec<_>>>()?;
        let deltas: Vec<&[f32]> = deltas.iter().map(Vec::as_slice).collect();
        Ok(self.finish(self.scan(&outputs.logits, info.len())?, &deltas, &grids, info))
    }

    /// The same from what a head built for inference kept.
    pub(crate) fn of_best(&self, best: BestScores, info: &[ImageInfo]) -> Vec<Vec<RawDetection>> {
        let grids = grids_of(&best.deltas);
        self.finish(best.scores, &best.deltas.slices(), &grids, info)
    }

    /// What collects the scores of one picture and level.
    pub(crate) fn empty(&self) -> TopScores {
        TopScores::new(self.config.score_threshold, self.config.nms_pre)
    }

    /// The scores of every level of every picture.
    pub(crate) fn scan(&self, logits: &[Tensor], pictures: usize) -> Result<Vec<Vec<TopScores>>> {
        let mut scores = vec![vec![self.empty(); logits.len()]; pictures];
        let channels = self.anchors.per_cell() * self.num_classes;
        for (level, (logits, grid)) in logits.iter().zip(grids(logits)?).enumerate() {
            let size = grid.cells() * channels;
            for (picture, block) in values(logits)?.chunks_exact(size.max(1)).enumerate() {
                scores[picture][level].scan(block, ChannelRange::all(channels));
            }
        }
        Ok(scores)
    }

    fn finish(
        &self,
        scores: Vec<Vec<TopScores>>,
        deltas: &[&[f32]],
        grids: &[Grid],
        info: &[ImageInfo],
    ) -> Vec<Vec<RawDetection>> {
        let of_picture = |(picture, (levels, info)): (usize, (Vec<TopScores>, &ImageInfo))| {
            let candidates = self.candidates(levels, (deltas, picture), grids, info);
            select::detections(&candidates.concat(), info, &self.config)
        };
        scores.into_iter().zip(info).enumerate().map(of_picture).collect()
    }

    /// The best boxes of each level of a picture, before any suppression.
    pub(crate) fn candidates(
        &self,
        levels: Vec<TopScores>,
        (deltas, picture): (&[&[f32]], usize),
        grids: &[Grid],
        info: &ImageInfo,
    ) -> Vec<Vec<Candidate>> {
        let level = |(level, top): (usize, TopScores)| {
            let size = grids[level].cells() * self.anchors.per_cell() * 4;
            let deltas = &deltas[level][picture * size..(picture + 1) * size];
            self.decode(top, level, grids[level].width, deltas, info).collect()
        };
        levels.into_iter().enumerate().map(level).collect()
    }

    fn decode<'a>(
        &'a self,
        top: TopScores,
        level: usize,
        grid_width: usize,
        deltas: &'a [f32],
        info: &'a ImageInfo,
    ) -> impl Iterator<Item = Candidate> + 'a {
        top.into_sorted().into_iter().map(move |s| {
            let (anchor, class) = (s.index / self.num_classes, s.index % self.num_classes);
            let d = &deltas[anchor * 4..anchor * 4 + 4];
            let prior = self.anchors.anchor(level, grid_width, anchor);
            let bbox = self.coder.decode(&prior, [d[0], d[1], d[2], d[3]]).clipped(info.valid);
            Candidate { bbox, score: s.score, class }
        })
    }
}

pub(crate) fn values(t: &Tensor) -> Result<Vec<f32>> {
    Ok(t.flatten_all()?.to_vec1::<f32>()?)
}

pub(crate) fn grids_of(maps: &Pyramid) -> Vec<Grid> {
    maps.shapes().iter().map(|&[_, height, width, _]| Grid { height, width }).collect()
}
