//! Unions, intersections and IoU, by walking the runs of two masks side by side.
use super::{Rle, Runs};
use crate::{Error, Result};

impl Rle {
    /// The union of masks of one size.
    ///
    /// # Errors
    /// `Input` when there are none or their sizes differ.
    pub fn merge(masks: &[Rle]) -> Result<Rle> {
        Self::combine(masks, |a, b| a || b)
    }

    /// The pixels that all masks (of one size) have in common.
    ///
    /// # Errors
    /// `Input` when there are none or their sizes differ.
    pub fn intersect(masks: &[Rle]) -> Result<Rle> {
        Self::combine(masks, |a, b| a && b)
    }

    fn combine(masks: &[Rle], rule: fn(bool, bool) -> bool) -> Result<Rle> {
        let Some((first, rest)) = masks.split_first() else {
            return Err(Error::input("no masks to combine"));
        };
        let mut merged = first.clone();
        for mask in rest {
            if mask.size() != merged.size() {
                return Err(Error::input(format!(
                    "masks of different sizes: {}x{} and {}x{} (height x width)",
                    merged.height, merged.width, mask.height, mask.width
                )));
            }
            let mut runs = Runs::default();
            walk(&merged.counts, &mask.counts, |a, b, length| runs.push(rule(a, b), length));
            merged.counts = runs.finish();
        }
        Ok(merged)
    }

    /// Intersection over union with `truth`; with `crowd`, over this mask's own area instead. Masks that do not meet
    /// have 0, also when both are empty.
    ///
    /// # Errors
    /// `Input` when the sizes differ.
    pub fn iou(&self, truth: &Rle, crowd: bool) -> Result<f64> {
        if self.size() != truth.size() {
            return Err(Error::input(format!(
                "IoU of masks of different sizes: {}x{} and {}x{} (height x width)",
                self.height, self.width, truth.height, truth.width
            )));
        }
        let (intersection, union) = self.intersection_union(truth);
        if intersection == 0 {
            return Ok(0.0);
        }
        let over = if crowd { self.area() } else { union };
        Ok(f64::from(intersection) / f64::from(over))
    }

    /// Pixels in both masks, and pixels in either; the masks must have one size.
    fn intersection_union(&self, other: &Rle) -> (u32, u32) {
        let (mut both, mut either) = (0, 0);
        walk(&self.counts, &other.counts, |a, b, length| {
            both += length * u32::from(a && b);
            either += length * u32::from(a || b);
        });
        (both, either)
    }
}

/// Calls `visit(inside a, inside b, length)` for every stretch on which neither mask changes.
fn walk(a: &[u32], b: &[u32], mut visit: impl FnMut(bool, bool, u32)) {
    let (mut i, mut j) = (0, 0);
    let (mut left_a, mut left_b) = (a[0], b[0]);
    // Both sum to the same number of pixels, so both end together.
    loop {
        while left_a == 0 && i + 1 < a.len() {
            i += 1;
            left_a = a[i];
        }
        while left_b == 0 && j + 1 < b.len() {
            j += 1;
            left_b = b[j];
        }
        let length = left_a.min(left_b);
        if length == 0 {
            return;
        }
        visit(i % 2 == 1, j % 2 == 1, length);
        left_a -= length;
        left_b -= length;
    }
}
