//! From an 8-bit picture to what a network sees. Preprocessing is data: it is stored with the weights, and training,
//! evaluation, inference and benchmarks all go through these two functions.

use std::str::FromStr;

use care_types::{Geometry, Size};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::resize::{cv2, pil};
use crate::{Error, Result};

/// ImageNet mean of 8-bit RGB.
pub const IMAGENET_MEAN: [f32; 3] = [123.675, 116.28, 103.53];
/// ImageNet standard deviation of 8-bit RGB.
pub const IMAGENET_STD: [f32; 3] = [58.395, 57.12, 57.375];

/// The largest side that a picture may be resized to: 16384² RGB floats are 3 GiB.
const MAX_SIDE: u32 = 16_384;

/// How pixels between pixels are computed. They differ by more than rounding: use what the weights were trained with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// OpenCV's `INTER_LINEAR`, no antialiasing (mmdetection, detectron-like tools built on cv2).
    #[default]
    Cv2Bilinear,
    /// Pillow's antialiased bilinear (torchvision on PIL pictures, detectron2).
    PilBilinear,
    /// Pillow's antialiased bicubic (timm).
    PilBicubic,
}

impl Interpolation {
    /// Resizes, bit-equal to the named library.
    ///
    /// # Panics
    /// When a side of the picture or of the result is 0.
    pub fn resize(self, picture: &RgbImage, size: Size) -> RgbImage {
        let Size { width, height } = size;
        match self {
            Interpolation::Cv2Bilinear => cv2::resize_bilinear(picture, width, height),
            Interpolation::PilBilinear => pil::resize(picture, width, height, pil::Filter::Bilinear),
            Interpolation::PilBicubic => pil::resize(picture, width, height, pil::Filter::Bicubic),
        }
    }
}

/// The box that a resized picture has to fit, whichever way it lies: mmdetection's `scale=(1333, 800)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// The longer side is at most this many pixels, …
    pub long: u32,
    /// … and the shorter one at most this many.
    pub short: u32,
}

impl Scale {
    /// The size of a picture after resizing, aspect ratio kept: `int(side * f + 0.5)` per side with the largest factor
    /// `f` that fits. Never 0, however thin the picture.
    pub fn fit(self, original: Size) -> Size {
        let (long, short) = (self.long.max(self.short), self.long.min(self.short));
        let (w, h) = (f64::from(original.width), f64::from(original.height));
        let factor = (f64::from(long) / w.max(h)).min(f64::from(short) / w.min(h));
        let side = |v: f64| ((v * factor + 0.5) as u32).max(1);
        Size::new(side(w), side(h))
    }
}

/// `N` (both sides at most N) or `LONGxSHORT`.
impl FromStr for Scale {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::config(format!("image size {text:?}: expected N or LONGxSHORT, such as 640 or 1333x800"))
        };
        let (a, b) = text.split_once('x').unwrap_or((text, text));
        let side = |s: &str| s.trim().parse::<u32>().map_err(|_| wrong());
        let (a, b) = (side(a)?, side(b)?);
        if a.min(b) == 0 || a.max(b) > MAX_SIDE {
            return Err(Error::config(format!("image size {text:?}: sides are 1 to {MAX_SIDE} pixels")));
        }
        Ok(Scale { long: a.max(b), short: a.min(b) })
    }
}

/// The preprocessing of detectors and segmenters: resize keeping the ratio, normalise, pad right and below with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Per channel (RGB), in 8-bit levels.
    pub mean: [f32; 3],
    /// Per channel (RGB), in 8-bit levels.
    pub std: [f32; 3],
    /// What the resized picture has to fit.
    pub scale: Scale,
    /// Both sides are padded to a multiple of this.
    pub pad_divisor: u32,
    /// How pixels are interpolated.
    pub interpolation: Interpolation,
}

impl Default for Preprocess {
    /// mmdetection's COCO setting: 1333×800, ImageNet mean and deviation, multiples of 32.
    fn default() -> Self {
        Self {
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            scale: Scale { long: 1333, short: 800 },
            pad_divisor: 32,
            interpolation: Interpolation::Cv2Bilinear,
        }
    }
}

/// A picture as the network sees it.
///
/// # Shapes
/// `pixels` is `[H, W, 3]` row-major, with H and W those of `geometry.padded`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Normalised values; exactly 0 in the padding.
    pub pixels: Vec<f32>,
    /// How the picture was resized and padded.
    pub geometry: Geometry,
}

impl Sample {
    /// The pixels in the upper left of a larger field of zeros, `[slot.height, slot.width, 3]`: training batches hold
    /// pictures of several sizes.
    ///
    /// # Panics
    /// When the slot is smaller than the sample.
    pub fn padded_to(self, slot: Size) -> Vec<f32> {
        let Size { width, height } = self.geometry.padded;
        if (width, height) == (slot.width, slot.height) {
            return self.pixels;
        }
        assert!(width <= slot.width && height <= slot.height, "a sample of {width}x{height} in {slot:?}");
        let row = 3 * width as usize;
        let mut out = vec![0.0; 3 * slot.area() as usize];
        for (to, from) in out.chunks_exact_mut(3 * slot.width as usize).zip(self.pixels.chunks_exact(row)) {
            to[..row].copy_from_slice(from);
        }
        out
    }
}

impl Preprocess {
    /// Whether the numbers make sense; to be asked once when they come from a file.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        check_moments(&self.mean, &self.std)?;
        let Scale { long, short } = self.scale;
        if long.min(short) == 0 || long.max(short) > MAX_SIDE {
            return Err(Error::config(format!(
                "preprocessing: scale {long}x{short}: sides are 1 to {MAX_SIDE} pixels"
            )));
        }
        if !(1..=1024).contains(&self.pad_divisor) {
            return Err(Error::config(format!(
                "preprocessing: pad_divisor is {}, expected 1 to 1024",
                self.pad_divisor
            )));
        }
        Ok(())
    }

    /// What will happen to a picture of this size.
    pub fn geometry(&self, original: Size) -> Geometry {
        let resized = self.scale.fit(original);
        let up = |side: u32| side.next_multiple_of(self.pad_divisor.max(1));
        Geometry::new(original, resized, Size::new(up(resized.width), up(resized.height)))
    }

    /// Resizes, normalises and pads one picture.
    ///
    /// # Panics
    /// When the picture has a side of 0, which no decoder of this crate returns.
    pub fn apply(&self, picture: &RgbImage) -> Sample {
        let geometry = self.geometry(Size::new(picture.width(), picture.height()));
        self.normalize(&self.interpolation.resize(picture, geometry.resized), geometry)
    }

    /// Normalises and pads a picture that has been resized.
    pub(crate) fn normalize(&self, resized: &RgbImage, geometry: Geometry) -> Sample {
        Sample { pixels: normalize(resized, geometry.padded, self.mean, self.std), geometry }
    }
}

/// `(v − mean) / std` per channel in f32, in the upper left of a `padded` field of zeros: `[H, W, 3]`.
///
/// # Panics
/// When the picture is larger than `padded`.
pub fn normalize(picture: &RgbImage, padded: Size, mean: [f32; 3], std: [f32; 3]) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    assert!(
        width <= padded.width && height <= padded.height,
        "{width}x{height} does not fit {}x{}",
        padded.width,
        padded.height
    );
    // 256 possible values per channel: a table gives the very bits of the formula.
    let table: Vec<[f32; 3]> =
        (0..=255u8).map(|v| std::array::from_fn(|c| (f32::from(v) - mean[c]) / std[c])).collect();
    let mut out = vec![0f32; padded.width as usize * padded.height as usize * 3];
    let (from, to) = (width as usize * 3, padded.width as usize * 3);
    for (row, source) in out.chunks_exact_mut(to).zip(picture.as_raw().chunks_exact(from)) {
        for (pixel, source) in row.chunks_exact_mut(3).zip(source.chunks_exact(3)) {
            for c in 0..3 {
                pixel[c] = table[usize::from(source[c])][c];
            }
        }
    }
    out
}

/// The evaluation transform of ImageNet classifiers (timm): short side to `size / crop_pct`, centre crop, normalise.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifyPreprocess {
    /// Per channel (RGB), in 8-bit levels.
    pub mean: [f32; 3],
    /// Per channel (RGB), in 8-bit levels.
    pub std: [f32; 3],
    /// Side of the square crop, in pixels.
    pub size: u32,
    /// Share of the short side that the crop keeps.
    pub crop_pct: f64,
    /// How pixels are interpolated.
    pub interpolation: Interpolation,
}

impl Default for ClassifyPreprocess {
    /// CARE's: 224 of 256 pixels, Pillow's bicubic.
    fn default() -> Self {
        Self {
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
            size: 224,
            crop_pct: 0.875,
            interpolation: Interpolation::PilBicubic,
        }
    }
}

impl ClassifyPreprocess {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// `Config`, naming the field.
    pub fn check(&self) -> Result<()> {
        check_moments(&self.mean, &self.std)?;
        let fits = (1..=MAX_SIDE).contains(&self.size) && self.crop_pct > 0.0 && self.crop_pct <= 1.0;
        if !fits {
            return Err(Error::config(format!(
                "preprocessing: size {} and crop_pct {}: expected 1 to {MAX_SIDE} and more than 0, at most 1",
                self.size, self.crop_pct
            )));
        }
        Ok(())
    }

    /// The 8-bit crop that is normalised.
    pub fn crop(&self, picture: &RgbImage) -> RgbImage {
        let short = ((f64::from(self.size) / self.crop_pct) as u32).max(self.size);
        let (w, h) = picture.dimensions();
        // torchvision: the long side is int(short * long / short_before).
        let long =
            |long: u32, before: u32| (u64::from(short) * u64::from(long) / u64::from(before.max(1))) as u32;
        let size = if w <= h { Size::new(short, long(h, w)) } else { Size::new(long(w, h), short) };
        let resized = self.interpolation.resize(picture, size);
        // int(round((n - crop) / 2)) with Python's rounding of halves to even.
        let offset = |n: u32| (f64::from(n - self.size) / 2.0).round_ties_even() as u32;
        let (x, y) = (offset(size.width), offset(size.height));
        image::imageops::crop_imm(&resized, x, y, self.size, self.size).to_image()
    }

    /// The network input, `[size, size, 3]` row-major.
    pub fn apply(&self, picture: &RgbImage) -> Vec<f32> {
        normalize(&self.crop(picture), Size::new(self.size, self.size), self.mean, self.std)
    }
}

fn check_moments(mean: &[f32; 3], std: &[f32; 3]) -> Result<()> {
    if mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_finite() && *s > 0.0) {
        return Ok(());
    }
    Err(Error::config(format!(
        "preprocessing: mean {mean:?}, std {std:?}: expected finite numbers, std above 0"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_mmdetection() {
        let coco = Scale { long: 1333, short: 800 };
        for (original, want) in [
            ((640, 480), (1067, 800)),
            ((480, 640), (800, 1067)),
            ((640, 427), (1199, 800)),
            ((500, 500), (800, 800)),
            ((2000, 100), (1333, 67)),
            ((3000, 1), (1333, 1)), // mmdetection would ask OpenCV for a height of 0 here
        ] {
            assert_eq!(
                coco.fit(Size::new(original.0, original.1)),
                Size::new(want.0, want.1),
                "{original:?}"
            );
        }
    }

    #[test]
    fn image_size_parses_and_refuses() {
        assert_eq!("640".parse::<Scale>().unwrap(), Scale { long: 640, short: 640 });
        assert_eq!("800x1333".parse::<Scale>().unwrap(), Scale { long: 1333, short: 800 });
        for bad in ["", "0", "x", "640x", "-1", "640x0", "99999", "1.5"] {
            assert!(bad.parse::<Scale>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn padding_is_zero_and_pixels_are_normalised() {
        let picture = RgbImage::from_fn(50, 30, |x, y| image::Rgb([x as u8, y as u8, 200]));
        let preprocess = Preprocess { scale: Scale { long: 50, short: 50 }, ..Preprocess::default() };
        let sample = preprocess.apply(&picture);
        assert_eq!(sample.geometry.resized, Size::new(50, 30));
        assert_eq!(sample.geometry.padded, Size::new(64, 32));
        assert_eq!(sample.pixels.len(), 64 * 32 * 3);
        for (i, pixel) in sample.pixels.chunks_exact(3).enumerate() {
            let (x, y) = (i % 64, i / 64);
            let want = if x < 50 && y < 30 {
                [(x as f32 - 123.675) / 58.395, (y as f32 - 116.28) / 57.12, (200.0 - 103.53) / 57.375]
            } else {
                [0.0; 3]
            };
            assert_eq!(pixel, want, "{x},{y}");
        }
    }

    #[test]
    fn preprocessing_survives_its_json_and_bad_numbers_are_named() {
        let preprocess = Preprocess { interpolation: Interpolation::PilBicubic, ..Preprocess::default() };
        let json = serde_json::to_string(&preprocess).unwrap();
        assert_eq!(serde_json::from_str::<Preprocess>(&json).unwrap(), preprocess);
        assert!(serde_json::from_str::<Preprocess>(&json.replace("mean", "maen")).is_err());
        assert!(preprocess.check().is_ok());
        let zero = Preprocess { std: [1.0, 0.0, 1.0], ..preprocess };
        assert!(zero.check().unwrap_err().to_string().contains("std"));
        let pad = Preprocess { pad_divisor: 0, ..preprocess };
        assert!(pad.check().unwrap_err().to_string().contains("pad_divisor"));
    }
}
