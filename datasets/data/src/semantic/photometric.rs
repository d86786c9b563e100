//! mmsegmentation's `PhotoMetricDistortion`: brightness, contrast, saturation and hue, each with probability one half.
//!
//! Contrast comes before or after saturation and hue, by another coin. Every step ends in 8 bits by truncation, as the
//! reference's `astype(uint8)` does; saturation and hue go through OpenCV's 8-bit HSV.
//! Source: `mmseg/datasets/transforms/transforms.py` (mmdetection's also swaps channels; this
//! one does not).

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::hsv::{TURN, hsv_from_rgb, rgb_from_hsv};
use crate::rng::Rng;
use crate::{Error, Result};

/// How far colours may move.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Photometric {
    /// Brightness changes by up to this many levels, either way.
    pub brightness: f64,
    /// Smallest and largest factor of all levels.
    pub contrast: [f64; 2],
    /// Smallest and largest factor of the saturation.
    pub saturation: [f64; 2],
    /// The hue turns by `-hue` to `hue - 1` steps of two degrees.
    pub hue: u8,
}

impl Default for Photometric {
    /// mmsegmentation's: 32 levels, factors 0.5 to 1.5, 36 degrees.
    fn default() -> Self {
        Self { brightness: 32.0, contrast: [0.5, 1.5], saturation: [0.5, 1.5], hue: 18 }
    }
}

/// What was drawn for one picture; `None` for a step that is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Drawn {
    brightness: Option<f32>,
    contrast: Option<f32>,
    contrast_first: bool,
    saturation: Option<f32>,
    hue: Option<i32>,
}

impl Photometric {
    pub(super) fn check(&self) -> Result<()> {
        let factors = |[low, high]: [f64; 2]| low >= 0.0 && low <= high && high.is_finite();
        let fits = (0.0..=255.0).contains(&self.brightness)
            && factors(self.contrast)
            && factors(self.saturation)
            && i32::from(self.hue) <= TURN / 2;
        if fits {
            return Ok(());
        }
        Err(Error::config(format!(
            "augment.photometric: {self:?}: expected brightness 0 to 255, contrast and saturation [low, high] from 0, hue \
             0 to 90"
        )))
    }

    pub(super) fn apply(&self, picture: &mut RgbImage, rng: &mut Rng) {
        self.draw(rng).apply(picture);
    }

    fn draw(&self, rng: &mut Rng) -> Drawn {
        let mut coin = |low: f64, high: f64| {
            let (heads, drawn) = (rng.chance(0.5), rng.between(low, high));
            heads.then_some(drawn as f32)
        };
        let brightness = coin(-self.brightness, self.brightness);
        let contrast = coin(self.contrast[0], self.contrast[1]);
        let saturation = coin(self.saturation[0], self.saturation[1]);
        let (contrast_first, turn) = (rng.chance(0.5), rng.chance(0.5));
        let hue = rng.below(2 * usize::from(self.hue)) as i32 - i32::from(self.hue);
        Drawn { brightness, contrast, contrast_first, saturation, hue: turn.then_some(hue) }
    }
}

impl Drawn {
    fn apply(&self, picture: &mut RgbImage) {
        if let Some(levels) = self.brightness {
            each_level(picture, &table(1.0, levels));
        }
        let contrast = self.contrast.map(|factor| table(factor, 0.0));
        if let Some(table) = contrast.as_ref().filter(|_| self.contrast_first) {
            each_level(picture, table);
        }
        if let Some(factor) = self.saturation {
            let table = table(factor, 0.0);
            each_hsv(picture, |[h, s, v]| [h, table[usize::from(s)], v]);
        }
        if let Some(turn) = self.hue {
            each_hsv(picture, |[h, s, v]| [(i32::from(h) + turn).rem_euclid(TURN) as u8, s, v]);
        }
        if let Some(table) = contrast.as_ref().filter(|_| !self.contrast_first) {
            each_level(picture, table);
        }
    }
}

/// `v * factor + levels` in single floats, clipped, truncated.
fn table(factor: f32, levels: f32) -> [u8; 256] {
    std::array::from_fn(|v| (v as f32 * factor + levels).clamp(0.0, 255.0) as u8)
}

fn each_level(picture: &mut RgbImage, table: &[u8; 256]) {
    picture.iter_mut().for_each(|v| *v = table[usize::from(*v)]);
}

fn each_hsv(picture: &mut RgbImage, change: impl Fn([u8; 3]) -> [u8; 3]) {
    picture.pixels_mut().for_each(|pixel| pixel.0 = rgb_from_hsv(change(hsv_from_rgb(pixel.0))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::rng;

    /// Brightness, contrast, contrast first, saturation, hue; CRC-32 of the result.
    type Row = (Option<f32>, Option<f32>, bool, Option<f32>, Option<i32>, u32);

    /// Made with numpy 2 and OpenCV 5.0.0 by the reference's steps on `((37 x + 91 y + 53 c) ^ (x y)) & 255`, 64×31.
    const TABLE: [Row; 10] = [
        (None, None, true, None, None, 0x3fe3_200e),
        (Some(12.3), None, true, None, None, 0x60d4_e24e),
        (Some(-31.9), Some(1.37), true, None, None, 0x68c7_776e),
        (Some(-31.9), Some(1.37), false, None, None, 0x68c7_776e),
        (None, None, true, Some(1.49), None, 0xde47_a190),
        (None, None, true, Some(0.51), None, 0xd4e2_df20),
        (None, None, true, None, Some(-18), 0x0915_d6a0),
        (None, None, true, None, Some(17), 0x29a1_a741),
        (Some(7.7), Some(0.63), true, Some(0.8), Some(-5), 0xd331_8f49),
        (Some(7.7), Some(0.63), false, Some(1.2), Some(9), 0xf906_7ff9),
    ];

    fn picture() -> RgbImage {
        let value = |x: u32, y: u32, c: u32| ((x * 37 + y * 91 + c * 53) ^ (x * y)) as u8;
        RgbImage::from_fn(64, 31, |x, y| image::Rgb([0, 1, 2].map(|c| value(x, y, c))))
    }

    #[test]
    fn every_step_gives_the_bytes_of_the_reference() {
        let mut wrong = Vec::new();
        for (brightness, contrast, contrast_first, saturation, hue, want) in TABLE {
            let drawn = Drawn { brightness, contrast, contrast_first, saturation, hue };
            let mut changed = picture();
            drawn.apply(&mut changed);
            if crc32fast::hash(changed.as_raw()) != want {
                wrong.push(format!("{drawn:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} rows differ:\n{}", wrong.len(), wrong.join("\n"));
    }

    #[test]
    fn each_step_is_taken_half_the_time_within_its_range() {
        let drawn: Vec<Drawn> =
            (0..4000).map(|i| Photometric::default().draw(&mut rng(1, 0, i, "photo"))).collect();
        let share = |taken: fn(&Drawn) -> bool| drawn.iter().filter(|d| taken(d)).count();
        let counts = [
            share(|d| d.brightness.is_some()),
            share(|d| d.contrast.is_some()),
            share(|d| d.saturation.is_some()),
            share(|d| d.hue.is_some()),
            share(|d| d.contrast_first),
        ];
        assert!(counts.iter().all(|c| (1850..2150).contains(c)), "{counts:?}");
        assert!(drawn.iter().filter_map(|d| d.hue).all(|h| (-18..18).contains(&h)));
        assert!(drawn.iter().filter_map(|d| d.contrast).all(|c| (0.5..=1.5).contains(&c)));
        let still = Photometric { hue: 0, ..Photometric::default() };
        assert!((0..50).all(|i| still.draw(&mut rng(1, 0, i, "photo")).hue.is_none_or(|h| h == 0)));
    }
}
