//! From head outputs to detections: score threshold, best candidates per level, class-wise NMS.
//!
//! As mmdetection's `predict_by_feat`: per level keep scores strictly above the threshold, the `nms_pre` best
//! (anchor, class) pairs of those, decode, clip to the picture, then one class-wise NMS over all levels on
//! boxes in original pixels, and the `max_per_image` best. Equal scores keep the order y, x, anchor, class.
//!
//! A head makes millions of scores of which a handful survive, so logits are compared with the logit of the
//! threshold and only survivors pass through the sigmoid; the kept set is exactly that of the plain
//! definition.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/dense_heads/base_dense_head.py>

use crate::task::ImageInfo;
use care_kernels::nms::batched_nms;
use care_nn::{Error, Result};
use care_types::{BoxXyxy, ClassIndex, RawDetection};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// What becomes of a dense head's scores.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectConfig {
    /// Scores must be above this (strictly).
    pub score_threshold: f32,
    /// (anchor, class) pairs kept per level before NMS.
    pub nms_pre: usize,
    /// A box is dropped when its IoU with a better one of its class is above this (strictly).
    pub nms_iou: f32,
    /// Detections kept per picture.
    pub max_per_image: usize,
    /// Width and height must be above this, in original pixels.
    pub min_box_size: f32,
}

impl SelectConfig {
    /// COCO protocol of RetinaNet: .05, 1000 per level, NMS .5, 100 per picture.
    pub const COCO: SelectConfig = SelectConfig {
        score_threshold: 0.05,
        nms_pre: 1000,
        nms_iou: 0.5,
        max_per_image: 100,
        min_box_size: 0.0,
    };

    /// Whether anything can be found; `key` is what the configuration calls it.
    ///
    /// # Errors
    /// `Config`, naming the value.
    pub fn check(&self, key: &str) -> Result<()> {
        let wrong = |name: &str, got: String, expected: &str| {
            Err(Error::config(format!("{key}.{name} is {got}, expected {expected}")))
        };
        for (name, count) in [("nms_pre", self.nms_pre), ("max_per_image", self.max_per_image)] {
            if count == 0 {
                return wrong(name, "0".to_owned(), "at least 1");
            }
        }
        if !self.nms_iou.is_finite() || self.nms_iou < 0.0 {
            return wrong("nms_iou", self.nms_iou.to_string(), "an IoU, 0 or more");
        }
        match self.score_threshold.is_finite() {
            true => Ok(()),
            false => wrong("score_threshold", self.score_threshold.to_string(), "a probability"),
        }
    }
}

/// Position and probability of one score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Flat index in the level's `[H, W, anchors, classes]`.
    pub index: usize,
    /// Sigmoid of the logit.
    pub score: f32,
}

impl Scored {
    /// Best first; equal scores by index.
    fn order(a: &Scored, b: &Scored) -> Ordering {
        b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
    }
}

/// Which channels of all a block of logits holds.
#[derive(Clone, Copy, Debug)]
pub struct ChannelRange {
    /// First channel of the block.
    pub first: usize,
    /// Channels in the block.
    pub count: usize,
    /// Channels of the whole output.
    pub total: usize,
}

impl ChannelRange {
    /// A block that holds every channel.
    pub fn all(total: usize) -> Self {
        Self { first: 0, count: total, total }
    }
}

/// The `limit` best scores above a threshold, gathered from blocks of logits in any order.
#[derive(Clone, Debug)]
pub struct TopScores {
    threshold: f32,
    limit: usize,
    /// Logits at or below this cannot be kept.
    cut: f32,
    kept: Vec<Scored>,
}

/// Pixels per parallel task: few, so that the cut rises within a task, yet enough tasks for all threads. The
/// result does not depend on it: (score, index) is a total order.
const PIXELS_PER_TASK: usize = 1024;

impl TopScores {
    /// Empty collection.
    pub fn new(threshold: f32, limit: usize) -> Self {
        Self { threshold, limit, cut: safe_cut(logit(threshold)), kept: Vec::new() }
    }

    /// Adds the logits `[pixels, channels.count]` of one picture and level. NaN is never kept.
    pub fn scan(&mut self, logits: &[f32], channels: ChannelRange) {
        if self.limit == 0 || channels.count == 0 {
            return;
        }
        let empty = TopScores { kept: Vec::new(), ..self.clone() };
        let parts: Vec<Vec<Scored>> = logits
            .par_chunks(PIXELS_PER_TASK * channels.count)
            .enumerate()
            .map(|(task, block)| {
                let mut part = empty.clone();
                part.scan_block(block, task * PIXELS_PER_TASK, channels);
                part.kept
            })
            .collect();
        for part in parts {
            self.kept.extend(part);
        }
        self.compact();
    }

    /// Best first; equal scores by index.
    pub fn into_sorted(mut self) -> Vec<Scored> {
        self.kept.sort_unstable_by(Scored::order);
        self.kept
    }

    fn scan_block(&mut self, block: &[f32], first_pixel: usize, channels: ChannelRange) {
        for (i, pixel) in block.chunks_exact(channels.count).enumerate() {
            // A maximum over the row is vectorised; few rows have a survivor.
            if !pixel.iter().fold(false, |any, &x| any | (x > self.cut)) {
                continue;
            }
            let base = (first_pixel + i) * channels.total + channels.first;
            for (c, &x) in pixel.iter().enumerate().filter(|&(_, &x)| x > self.cut) {
                let score = sigmoid(x);
                if score > self.threshold {
                    self.kept.push(Scored { index: base + c, score });
                }
            }
            if self.kept.len() > 4 * self.limit {
                self.compact();
            }
        }
        self.compact();
    }

    /// Keeps the best `limit` and raises the cut to the worst of them.
    fn compact(&mut self) {
        if self.kept.len() <= self.limit {
            return;
        }
        let (_, worst, _) = self.kept.select_nth_unstable_by(self.limit - 1, Scored::order);
        self.cut = self.cut.max(safe_cut(logit(worst.score)));
        self.kept.truncate(self.limit);
    }
}

/// Inverse of the sigmoid; -inf at 0 and below, +inf at 1 and above.
fn logit(p: f32) -> f32 {
    if p <= 0.0 {
        return f32::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f32::INFINITY;
    }
    let p = f64::from(p);
    (p / (1.0 - p)).ln() as f32
}

/// A logit below which the f32 sigmoid is certainly smaller than at `x`: 1e-3 is thousands of times the
/// rounding of the sigmoid below 8, and above 8 neighbouring logits begin to share a probability.
fn safe_cut(x: f32) -> f32 {
    x.min(8.0) - 1e-3
}

/// Logistic function in f32.
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// A decoded box with its class, in network pixels, clipped to the picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Network pixels.
    pub bbox: BoxXyxy,
    /// Probability.
    pub score: f32,
    /// What it is.
    pub class: usize,
}

/// The detections of one picture among its candidates, best first.
///
/// Overlaps are those of the boxes in original pixels (the scale factors of width and height differ
/// slightly); what is returned is in network pixels.
pub fn detections(candidates: &[Candidate], image: &ImageInfo, config: &SelectConfig) -> Vec<RawDetection> {
    let large = |b: &[f32; 4]| b[2] - b[0] > config.min_box_size && b[3] - b[1] > config.min_box_size;
    let (kept, boxes): (Vec<&Candidate>, Vec<[f32; 4]>) =
        candidates.iter().map(|c| (c, image.rescaled(&c.bbox))).filter(|(_, b)| large(b)).unzip();
    let scores: Vec<f32> = kept.iter().map(|c| c.score).collect();
    let classes: Vec<u32> = kept.iter().map(|c| c.class as u32).collect();
    let mut keep = batched_nms(&boxes, &scores, &classes, config.nms_iou);
    keep.truncate(config.max_per_image);
    keep.into_iter().map(|i| raw_detection(kept[i])).collect()
}

fn raw_detection(c: &Candidate) -> RawDetection {
    RawDetection { class: ClassIndex(c.class), score: c.score, bbox: c.bbox, mask_logits: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain definition: sigmoid everything, keep, stable sort, cut.
    fn plain(logits: &[f32], threshold: f32, limit: usize) -> Vec<Scored> {
        let all = logits.iter().enumerate().map(|(index, &x)| Scored { index, score: sigmoid(x) });
        let mut kept: Vec<Scored> = all.filter(|s| s.score > threshold).collect();
        kept.sort_by(|a, b| b.score.total_cmp(&a.score));
        kept.truncate(limit);
        kept
    }

    fn noise(n: usize, scale: f32, shift: f32) -> Vec<f32> {
        let value = |i: usize| {
            let h = (i as u32).wrapping_mul(0x9E37_79B9) ^ 0x85EB_CA6B;
            let h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
            // few distinct values, so that ties occur
            (((h >> 20) as f32) / 2048.0 - 1.0) * scale + shift
        };
        (0..n).map(value).collect()
    }

    #[test]
    fn the_kept_set_is_that_of_the_plain_definition() {
        // (scale, shift): sparse, dense, saturated at 1, tiny, and threshold 0
        let rows = [
            (4., -5., 0.05, 100),
            (4., 0., 0.05, 50),
            (30., 0., 0.5, 37),
            (3., -90., 0.0, 1000),
            (4., -4., 0.05, 1),
        ];
        for (scale, shift, threshold, limit) in rows {
            let mut logits = noise(700 * 18, scale, shift);
            logits[5] = f32::NAN;
            logits[6] = f32::INFINITY;
            let mut top = TopScores::new(threshold, limit);
            top.scan(&logits, ChannelRange::all(18));
            assert_eq!(
                top.into_sorted(),
                plain(&logits, threshold, limit),
                "{scale} {shift} {threshold} {limit}"
            );
        }
    }

    #[test]
    fn channels_may_come_in_blocks() {
        let logits = noise(700 * 18, 4., -3.);
        let mut top = TopScores::new(0.05, 60);
        for first in [12, 0, 6] {
            let block: Vec<f32> = logits.chunks(18).flat_map(|p| p[first..first + 6].to_vec()).collect();
            top.scan(&block, ChannelRange { first, count: 6, total: 18 });
        }
        assert_eq!(top.into_sorted(), plain(&logits, 0.05, 60));
    }

    fn candidate(x0: f32, x1: f32, score: f32, class: usize) -> Candidate {
        Candidate { bbox: BoxXyxy { x0, y0: 0., x1, y1: 10. }, score, class }
    }

    #[test]
    fn nms_is_per_class_and_boxes_without_area_go() {
        let c = [
            candidate(0., 10., 0.6, 0),
            candidate(0., 10., 0.9, 0),
            candidate(0., 10., 0.7, 1),
            candidate(3., 3., 0.99, 2),
        ];
        let got = detections(&c, &ImageInfo::whole(100, 100), &SelectConfig::COCO);
        let got: Vec<(usize, f32)> = got.iter().map(|d| (d.class.0, d.score)).collect();
        assert_eq!(got, [(0, 0.9), (1, 0.7)]);
    }

    #[test]
    fn the_picture_keeps_its_best() {
        let c: Vec<Candidate> =
            (0..5).map(|i| candidate(20. * i as f32, 20. * i as f32 + 9., 0.1 * (i + 1) as f32, 0)).collect();
        let config = SelectConfig { max_per_image: 2, ..SelectConfig::COCO };
        let got = detections(&c, &ImageInfo::whole(100, 100), &config);
        assert_eq!(got.iter().map(|d| d.score).collect::<Vec<_>>(), [0.5, 0.4]);
    }
}
