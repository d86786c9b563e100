//! Object keypoint similarity: how near predicted joints are to labelled ones, in units of what people differ by.
//!
//! Per labelled joint `exp(-d² / (2 · area · (2σ)²))`, averaged; an object without labelled joints is compared by how far joints lie
//! outside of its box, made three times as large.
//! Source: <https://cocodataset.org/#keypoints-eval>, pycocotools' `computeOks`.
use crate::shape::Shape;
use care_types::BoxXywh;

/// σ of COCO's 17 joints: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
pub const COCO_SIGMAS: [f64; 17] = [
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087,
    0.089, 0.089,
];

/// Joints of an object or a detection.
pub(crate) struct Pose<'a> {
    /// `x, y, visibility` of each; 0 is not labelled.
    pub(crate) joints: &'a [f64],
    /// Area of the object, square pixels.
    pub(crate) area: f64,
    /// Box of the object.
    pub(crate) bbox: BoxXywh,
    /// σ of each joint.
    pub(crate) sigmas: &'a [f64],
}

impl Pose<'_> {
    /// Whether any joint is labelled.
    pub(crate) fn has_labels(&self) -> bool {
        self.joints.chunks_exact(3).any(|joint| joint[2] > 0.0)
    }
}

impl Shape for Pose<'_> {
    /// The same for crowds: joints have no area of their own to be measured by.
    fn iou(&self, truth: &Self, _: bool) -> f64 {
        let any = truth.has_labels();
        let BoxXywh { x, y, w, h } = truth.bbox;
        let outside = |v: f64, start: f64, length: f64| {
            (start - length - v).max(0.0) + (v - (start + length * 2.0)).max(0.0)
        };
        let pairs = self.joints.chunks_exact(3).zip(truth.joints.chunks_exact(3)).zip(truth.sigmas);
        let near = pairs.filter(|((_, joint), _)| !any || joint[2] > 0.0).map(|((found, joint), sigma)| {
            let (dx, dy) = match any {
                true => (found[0] - joint[0], found[1] - joint[1]),
                false => (outside(found[0], x, w), outside(found[1], y, h)),
            };
            let variance = (sigma * 2.0) * (sigma * 2.0);
            (-((dx * dx + dy * dy) / variance / (truth.area + f64::EPSILON) / 2.0)).exp()
        });
        let near: Vec<f64> = near.collect();
        if near.is_empty() { 0.0 } else { numpy_sum(&near) / near.len() as f64 }
    }
}

/// The sum in numpy's order: eight sums side by side, then the rest; more than 128 numbers are halved first.
fn numpy_sum(values: &[f64]) -> f64 {
    if values.len() > 128 {
        let half = values.len() / 2;
        let (front, back) = values.split_at(half - half % 8);
        return numpy_sum(front) + numpy_sum(back);
    }
    if values.len() < 8 {
        return values.iter().fold(0.0, |sum, v| sum + v);
    }
    let (mut rows, mut sums) = (values.chunks_exact(8), [0.0; 8]);
    for row in &mut rows {
        sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
    }
    let [a, b, c, d, e, f, g, h] = sums;
    rows.remainder().iter().fold(((a + b) + (c + d)) + ((e + f) + (g + h)), |sum, v| sum + v)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joints of an object (box 12.5, 20, 60, 55, area 2345.5) and of a detection, and pycocotools' similarity: most joints
    /// labelled, other ones, none, two.
    const CASES: [(&[f64], &[f64], f64); 4] = [
        (
            &[
                16.85, 28.94, 2.0, 0.0, 0.0, 0.0, 17.53, 44.65, 1.0, 48.32, 22.78, 1.0, 0.0, 0.0, 0.0, 0.0,
                0.0, 0.0, 44.45, 56.94, 1.0, 69.03, 86.5, 2.0, 0.0, 0.0, 0.0, 65.7, 33.42, 2.0, 10.12, 87.88,
                1.0, 0.0, 0.0, 0.0, 81.34, 56.81, 1.0, 47.7, 71.86, 2.0, 12.43, 66.56, 2.0, 39.94, 17.27,
                1.0, 0.0, 0.0, 0.0,
            ],
            &[
                14.18, 22.49, 1.0, 74.26, 56.26, 1.0, 25.96, 49.13, 1.0, 49.49, 29.45, 1.0, 67.53, 13.54,
                1.0, 44.8, 54.83, 1.0, 43.16, 52.25, 1.0, 70.4, 71.54, 1.0, 36.88, 64.83, 1.0, 55.86, 33.79,
                1.0, 4.33, 92.42, 1.0, 21.67, 29.63, 1.0, 85.59, 63.75, 1.0, 34.76, 68.87, 1.0, 14.4, 62.9,
                1.0, 49.48, 10.12, 1.0, 64.97, 78.23, 1.0,
            ],
            0.37266969419351403,
        ),
        (
            &[
                78.69, 20.14, 2.0, 33.74, 49.43, 2.0, 77.96, 87.22, 1.0, 66.65, 27.09, 1.0, 53.6, 66.48, 1.0,
                0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 51.84, 54.38, 1.0, 0.0, 0.0, 0.0, 20.03, 48.46,
                2.0, 52.9, 71.93, 2.0, 41.49, 11.57, 1.0, 52.22, 26.42, 2.0, 69.3, 41.1, 2.0, 0.0, 0.0, 0.0,
                41.44, 37.91, 2.0,
            ],
            &[
                85.09, 12.33, 1.0, 27.87, 44.62, 1.0, 78.22, 91.06, 1.0, 78.94, 25.91, 1.0, 58.2, 67.41, 1.0,
                24.71, 68.84, 1.0, 47.67, 50.71, 1.0, 62.41, 58.65, 1.0, 60.87, 58.32, 1.0, 24.02, 46.9, 1.0,
                22.94, 44.25, 1.0, 47.32, 74.82, 1.0, 56.27, 10.09, 1.0, 48.88, 19.39, 1.0, 61.29, 44.25,
                1.0, 45.54, 82.81, 1.0, 43.43, 38.6, 1.0,
            ],
            0.4288842255391226,
        ),
        (
            &[
                0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
            ],
            &[
                76.52, 82.84, 1.0, 22.37, 59.17, 1.0, 81.48, 17.99, 1.0, 66.86, 25.53, 1.0, 72.6, 83.36, 1.0,
                43.41, 15.28, 1.0, 4.6, 47.17, 1.0, 77.7, 35.7, 1.0, 63.12, 37.49, 1.0, 33.36, 62.95, 1.0,
                33.57, 40.0, 1.0, 70.42, 48.48, 1.0, 67.72, 50.17, 1.0, 9.97, 44.55, 1.0, 72.63, 61.92, 1.0,
                94.8, -1.61, 1.0, 38.1, 70.77, 1.0,
            ],
            1.0,
        ),
        (
            &[
                0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 20.77, 59.99, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 56.19, 65.79, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
                0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
            ],
            &[
                24.08, 60.67, 1.0, 27.73, 59.46, 1.0, 87.17, 84.17, 1.0, 20.17, 64.35, 1.0, 89.12, 27.43,
                1.0, 41.04, 71.36, 1.0, 80.45, 44.83, 1.0, 60.54, 62.7, 1.0, 45.59, 51.14, 1.0, 58.39, 72.94,
                1.0, 46.05, 45.85, 1.0, 47.96, 80.5, 1.0, 26.23, 12.66, 1.0, 7.58, 89.13, 1.0, 83.73, 39.98,
                1.0, 30.8, 31.84, 1.0, 58.28, 35.36, 1.0,
            ],
            0.4454308668978119,
        ),
    ];

    #[test]
    fn the_similarity_is_pycocotools() {
        for (truth, found, want) in CASES {
            let bbox = BoxXywh::new(12.5, 20.0, 60.0, 55.0);
            let pose = |joints| Pose { joints, area: 2345.5, bbox, sigmas: &COCO_SIGMAS };
            let got = pose(found).iou(&pose(truth), false);
            assert!((got - want).abs() < 1e-12, "{got} instead of {want}");
        }
    }
}
