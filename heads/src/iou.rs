//! Pairwise overlap of boxes in f32, as mmdetection's `bbox_overlaps`.
//!
//! The matcher compares overlaps for equality, so the float expression and its order are part of the
//! contract: `inter / max(area_a + area_b - inter, 1e-6)`.
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/structures/bbox/bbox_overlaps.py>

use care_types::BoxXyxy;

/// Smallest denominator, so that two degenerate boxes overlap by 0 and not by NaN.
pub const EPS: f32 = 1e-6;

/// What is divided by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// Intersection over union.
    Iou,
    /// Intersection over the area of the first box.
    Iof,
    /// IoU minus the share of the enclosing box that neither covers; in [-1, 1].
    Giou,
}

impl Overlap {
    /// Overlap of one pair.
    #[inline]
    pub fn of(self, a: &BoxXyxy, b: &BoxXyxy) -> f32 {
        let inter = intersection(a, b);
        match self {
            Overlap::Iou => inter / (area(a) + area(b) - inter).max(EPS),
            Overlap::Iof => inter / area(a).max(EPS),
            Overlap::Giou => {
                let union = (area(a) + area(b) - inter).max(EPS);
                let enclosing = enclosing_area(a, b).max(EPS);
                inter / union - (enclosing - union) / enclosing
            }
        }
    }

    /// All pairs, row-major `[a.len(), b.len()]`.
    pub fn matrix(self, a: &[BoxXyxy], b: &[BoxXyxy]) -> Vec<f32> {
        a.iter().flat_map(|p| b.iter().map(move |q| self.of(p, q))).collect()
    }
}

#[inline]
fn area(b: &BoxXyxy) -> f32 {
    (b.x1 - b.x0) * (b.y1 - b.y0)
}

#[inline]
fn intersection(a: &BoxXyxy, b: &BoxXyxy) -> f32 {
    let w = (a.x1.min(b.x1) - a.x0.max(b.x0)).max(0.0);
    let h = (a.y1.min(b.y1) - a.y0.max(b.y0)).max(0.0);
    w * h
}

#[inline]
fn enclosing_area(a: &BoxXyxy, b: &BoxXyxy) -> f32 {
    let w = (a.x1.max(b.x1) - a.x0.min(b.x0)).max(0.0);
    let h = (a.y1.max(b.y1) - a.y0.min(b.y0)).max(0.0);
    w * h
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bx(x0: f32, y0: f32, x1: f32, y1: f32) -> BoxXyxy {
        BoxXyxy { x0, y0, x1, y1 }
    }

    #[test]
    fn overlaps_of_hand_computed_pairs() {
        let (a, b) = (bx(0., 0., 4., 4.), bx(2., 2., 6., 6.));
        assert_eq!(Overlap::Iou.of(&a, &b), 4.0 / 28.0);
        assert_eq!(Overlap::Iof.of(&a, &b), 4.0 / 16.0);
        assert_eq!(Overlap::Giou.of(&a, &b), 4.0 / 28.0 - 8.0 / 36.0);
        let far = bx(10., 0., 12., 2.);
        assert_eq!(Overlap::Iou.of(&a, &far), 0.0);
        assert!(Overlap::Giou.of(&a, &far) < 0.0);
    }

    #[test]
    fn degenerate_boxes_overlap_by_zero() {
        let p = bx(3., 3., 3., 3.);
        for kind in [Overlap::Iou, Overlap::Iof] {
            assert_eq!(kind.of(&p, &p), 0.0);
        }
    }

    #[test]
    fn matrix_is_row_major_in_the_first_set() {
        let a = [bx(0., 0., 2., 2.), bx(0., 0., 1., 1.)];
        let b = [bx(0., 0., 2., 2.), bx(1., 1., 2., 2.), bx(0., 0., 1., 1.)];
        assert_eq!(Overlap::Iof.matrix(&a, &b), [1.0, 0.25, 0.25, 1.0, 0.0, 1.0]);
    }
}
