//! Random crops that keep objects: SSD's rule with a minimum overlap.

use super::{Placement, probability};
use crate::rng::Rng;
use crate::{Error, Result};
use care_types::{BoxXyxy, DetTarget, Size};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Attempts to find a crop with the overlap that was drawn, before the picture is left whole.
const ATTEMPTS: usize = 30;

/// Cuts a part whose overlap with at least one object is enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Probability of cutting at all.
    pub probability: f64,
    /// One of these is drawn: the smallest IoU that some object must have with the crop.
    pub min_overlap: Vec<f64>,
    /// Smallest side of the crop as a share of the picture's.
    pub min_size: f64,
}

impl Crop {
    pub(super) fn check(&self) -> Result<()> {
        probability("augment.crop.probability", self.probability)?;
        for &overlap in &self.min_overlap {
            probability("augment.crop.min_overlap", overlap)?;
        }
        if !(self.min_size > 0.0 && self.min_size <= 1.0) || self.min_overlap.is_empty() {
            return Err(Error::config(format!(
                "augment.crop: min_size is {}, expected above 0 and at most 1; min_overlap needs at least one entry",
                self.min_size
            )));
        }
        Ok(())
    }

    /// Objects whose centre is cut away are dropped, the others clipped. Without such objects the picture stays whole.
    pub(super) fn apply(&self, picture: RgbImage, target: DetTarget, rng: &mut Rng) -> (RgbImage, DetTarget) {
        if !rng.chance(self.probability) {
            return (picture, target);
        }
        let size = Size::new(picture.width(), picture.height());
        let least = self.min_overlap[rng.below(self.min_overlap.len())];
        let Some(area) = (0..ATTEMPTS).find_map(|_| self.attempt(size, &target, least, rng)) else {
            return (picture, target);
        };
        let (x, y, w, h) = area;
        let cut = image::imageops::crop_imm(&picture, x, y, w, h).to_image();
        let kept = keep(&target, |b| holds_centre(area, b));
        let moved = Placement::shifted(-f64::from(x), -f64::from(y)).target(&kept, size, Size::new(w, h));
        (cut, moved)
    }

    fn attempt(
        &self,
        size: Size,
        target: &DetTarget,
        least: f64,
        rng: &mut Rng,
    ) -> Option<(u32, u32, u32, u32)> {
        let side = |full: u32, rng: &mut Rng| {
            ((f64::from(full) * rng.between(self.min_size, 1.0)).round() as u32).clamp(1, full)
        };
        let (w, h) = (side(size.width, rng), side(size.height, rng));
        let long_enough = f64::from(w.max(h)) <= 2.0 * f64::from(w.min(h));
        let x = rng.below((size.width - w) as usize + 1) as u32;
        let y = rng.below((size.height - h) as usize + 1) as u32;
        let area = (x, y, w, h);
        let enough = |b: &BoxXyxy| holds_centre(area, b) && overlap(area, b) >= least;
        let empty = target.is_empty();
        (long_enough && (empty || target.boxes.iter().any(enough))).then_some(area)
    }
}

fn holds_centre((x, y, w, h): (u32, u32, u32, u32), b: &BoxXyxy) -> bool {
    let (cx, cy) = ((b.x0 + b.x1) / 2.0, (b.y0 + b.y1) / 2.0);
    let inside = |c: f32, low: u32, side: u32| c >= low as f32 && c < (low + side) as f32;
    inside(cx, x, w) && inside(cy, y, h)
}

/// IoU of an object with the crop.
fn overlap((x, y, w, h): (u32, u32, u32, u32), b: &BoxXyxy) -> f64 {
    let (x1, y1) = ((x + w) as f32, (y + h) as f32);
    let inter_w = (b.x1.min(x1) - b.x0.max(x as f32)).max(0.0);
    let inter_h = (b.y1.min(y1) - b.y0.max(y as f32)).max(0.0);
    let inter = f64::from(inter_w) * f64::from(inter_h);
    inter / (f64::from(b.area()) + f64::from(w) * f64::from(h) - inter)
}

/// The objects for which `keeps` answers true.
pub(super) fn keep(target: &DetTarget, keeps: impl Fn(&BoxXyxy) -> bool) -> DetTarget {
    let mut kept = DetTarget::default();
    for k in (0..target.len()).filter(|&k| keeps(&target.boxes[k])) {
        kept.push(target.boxes[k], target.classes[k], target.ignore[k], target.masks[k].clone());
    }
    kept
}
