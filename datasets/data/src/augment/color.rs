//! Colour jitter: brightness, contrast, saturation and hue by random factors, in that order.

use super::probability;
use crate::Result;
use crate::rng::Rng;
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Shares of luma in red, green and blue (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Largest changes: a factor is uniform in `1 - v ..= 1 + v`, the hue turns by up to `hue` of the circle either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Jitter {
    /// Of all channels alike.
    pub brightness: f64,
    /// About the picture's mean luma.
    pub contrast: f64,
    /// About each pixel's luma.
    pub saturation: f64,
    /// Share of a full turn.
    pub hue: f64,
}

impl Jitter {
    pub(super) fn check(&self) -> Result<()> {
        probability("augment.jitter.brightness", self.brightness)?;
        probability("augment.jitter.contrast", self.contrast)?;
        probability("augment.jitter.saturation", self.saturation)?;
        probability("augment.jitter.hue", self.hue)
    }

    pub(super) fn apply(&self, picture: &mut RgbImage, rng: &mut Rng) {
        let mut factor = |spread: f64| rng.between(1.0 - spread, 1.0 + spread) as f32;
        let (brightness, contrast) = (factor(self.brightness), factor(self.contrast));
        let saturation = factor(self.saturation);
        let turn = rng.between(-self.hue, self.hue) as f32;
        let mean = mean_luma(picture) * brightness;
        let matrix = color_matrix(saturation, turn);
        for pixel in picture.pixels_mut() {
            let bright = pixel.0.map(|v| (f32::from(v) * brightness - mean) * contrast + mean);
            pixel.0 = matrix.map(|row| {
                let v = row[0] * bright[0] + row[1] * bright[1] + row[2] * bright[2];
                (v + 0.5).clamp(0.0, 255.0) as u8
            });
        }
    }
}

/// In integers, so that the sum does not depend on its order.
fn mean_luma(picture: &RgbImage) -> f32 {
    let mut sums = [0u64; 3];
    for pixel in picture.pixels() {
        sums.iter_mut().zip(pixel.0).for_each(|(sum, v)| *sum += u64::from(v));
    }
    let count = (picture.width() as u64 * picture.height() as u64).max(1) as f64;
    sums.iter().zip(LUMA).map(|(&sum, w)| (sum as f64 / count) as f32 * w).sum()
}

/// Saturation, then a turn of the hue about the grey axis (in YIQ, where it is a rotation), as one matrix on RGB.
fn color_matrix(saturation: f32, turn: f32) -> [[f32; 3]; 3] {
    const TO_YIQ: [[f32; 3]; 3] = [LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]];
    const FROM_YIQ: [[f32; 3]; 3] = [[1.0, 0.956, 0.621], [1.0, -0.272, -0.647], [1.0, -1.106, 1.703]];
    let angle = turn * std::f32::consts::TAU;
    let (sin, cos) = (angle.sin() * saturation, angle.cos() * saturation);
    let rotate = [[1.0, 0.0, 0.0], [0.0, cos, -sin], [0.0, sin, cos]];
    product(FROM_YIQ, product(rotate, TO_YIQ))
}

fn product(a: [[f32; 3]; 3], b: [[f32; 3]; 3]) -> [[f32; 3]; 3] {
    let cell = |i: usize, j: usize| (0..3).map(|k| a[i][k] * b[k][j]).sum();
    std::array::from_fn(|i| std::array::from_fn(|j| cell(i, j)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::rng;

    fn picture() -> RgbImage {
        RgbImage::from_fn(16, 8, |x, y| image::Rgb([(x * 13) as u8, (y * 29) as u8, (x * y) as u8]))
    }

    #[test]
    fn no_jitter_changes_nothing_beyond_rounding() {
        let mut same = picture();
        Jitter::default().apply(&mut same, &mut rng(0, 0, 0, "jitter"));
        let worst = same.iter().zip(picture().iter()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst <= Some(1), "{worst:?}"); // the YIQ matrices are rounded to three digits
    }

    #[test]
    fn grey_stays_grey_whatever_hue_and_saturation_do() {
        let mut grey = RgbImage::from_pixel(4, 4, image::Rgb([90, 90, 90]));
        let jitter = Jitter { saturation: 0.9, hue: 0.5, ..Jitter::default() };
        jitter.apply(&mut grey, &mut rng(3, 0, 0, "jitter"));
        assert!(grey.iter().all(|v| v.abs_diff(90) <= 1), "{:?}", grey.get_pixel(0, 0));
    }

    #[test]
    fn brightness_moves_the_mean_and_draws_follow_from_the_name() {
        let jitter = Jitter { brightness: 0.5, contrast: 0.3, saturation: 0.3, hue: 0.1 };
        let run = |seed| {
            let mut p = picture();
            jitter.apply(&mut p, &mut rng(seed, 0, 0, "jitter"));
            p
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
