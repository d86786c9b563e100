//! A training sample for segmentation: picture and label map go through the same resize, window and mirror.
//!
//! mmsegmentation's pipeline for ADE20K and the like: random resize, random crop, flip, photometric distortion, normalise, pad
//! to the crop. All randomness is drawn by name (seed, epoch, picture, purpose): see [`crate::rng`].

use care_types::{SegTarget, Size};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::crop::{RandomCrop, Window, rows};
use super::dataset::SegDataset;
use super::photometric::Photometric;
use crate::augment::{pixels_transposed, probability};
use crate::resize::nearest;
use crate::rng::{Rng, rng};
use crate::transforms::normalize;
use crate::{Error, Preprocess, Result, Scale};

/// Resizing by a random factor, ratio kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomResize {
    /// What the picture would have to fit at factor 1; the preprocessing's own size when it is not given.
    pub scale: Option<Scale>,
    /// Smallest and largest factor of both numbers of `scale`.
    pub ratio: [f64; 2],
}

impl Default for RandomResize {
    /// Half to double.
    fn default() -> Self {
        Self { scale: None, ratio: [0.5, 2.0] }
    }
}

/// What happens to a training picture.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SegAugment {
    /// Before everything else.
    pub resize: RandomResize,
    /// The size of all samples.
    pub crop: RandomCrop,
    /// Probability of being mirrored left to right.
    pub flip: f64,
    /// Probability of being mirrored top to bottom: for pictures without an up, as from above or through a microscope.
    pub flip_vertical: f64,
    /// Probability of exchanging rows and columns; with the flips, every quarter turn.
    pub transpose: f64,
    /// Colour changes.
    pub photometric: Option<Photometric>,
}

impl Default for SegAugment {
    /// mmsegmentation's for ADE20K at 512×512, without the colour changes.
    fn default() -> Self {
        Self {
            resize: RandomResize::default(),
            crop: RandomCrop::default(),
            flip: 0.5,
            flip_vertical: 0.0,
            transpose: 0.0,
            photometric: None,
        }
    }
}

/// A training picture as the network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct SegSample {
    /// `[H, W, 3]` row by row: normalised values, exactly 0 in the padding.
    pub pixels: Vec<f32>,
    /// `[H, W]` row by row: classes, [`SegTarget::IGNORE`] in the padding.
    pub label: Vec<u8>,
    /// The crop's width and height, the same for all samples.
    pub size: Size,
    /// Number of the picture in its data set.
    pub index: usize,
}

impl RandomResize {
    fn check(&self) -> Result<()> {
        let Self { scale, ratio: [low, high] } = *self;
        if let Some(scale) = scale {
            Preprocess { scale, ..Preprocess::default() }
                .check()
                .map_err(|e| e.context("augment.resize.scale"))?;
        }
        if low > 0.0 && low <= high && high <= 16.0 {
            return Ok(());
        }
        Err(Error::config(format!(
            "augment.resize.ratio is [{low}, {high}], expected [low, high] above 0 and at most 16"
        )))
    }

    /// `int(side * factor)` of both numbers, as mmcv's `RandomResize`.
    fn draw(&self, usual: Scale, rng: &mut Rng) -> Scale {
        let scale = self.scale.unwrap_or(usual);
        let factor = rng.between(self.ratio[0], self.ratio[1]);
        let side = |v: u32| ((f64::from(v) * factor) as u32).max(1);
        Scale { long: side(scale.long), short: side(scale.short) }
    }
}

impl SegAugment {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn check(&self) -> Result<()> {
        self.resize.check()?;
        self.crop.check()?;
        self.photometric.as_ref().map_or(Ok(()), Photometric::check)?;
        probability("augment.flip", self.flip)?;
        probability("augment.flip_vertical", self.flip_vertical)?;
        probability("augment.transpose", self.transpose)
    }

    /// Changes a picture and its label map; `draw` gives the stream of random numbers of a purpose.
    ///
    /// Of `preprocess` the mean, the deviation, the interpolation and the scale at factor 1 count; the size is the crop's.
    ///
    /// # Panics
    /// When picture and label map differ in size, or have a side of 0.
    pub fn apply(
        &self,
        picture: &RgbImage,
        target: &SegTarget,
        preprocess: &Preprocess,
        draw: impl Fn(&str) -> Rng,
    ) -> SegSample {
        let size = target.size();
        assert_eq!(picture.dimensions(), (size.width, size.height), "picture and label map differ in size");
        let turned =
            draw("turn").chance(self.transpose).then(|| (pixels_transposed(picture), transposed(target)));
        let (picture, target) = turned.as_ref().map_or((picture, target), |(p, t)| (p, t));
        let resized = self.resize.draw(preprocess.scale, &mut draw("scale")).fit(target.size());
        let target = resize_target(target, resized);
        let window = self.crop.window(&target, &mut draw("crop"));
        let Window { x, y, size: part } = window;
        let picture = preprocess.interpolation.resize(picture, resized);
        let mut picture = image::imageops::crop_imm(&picture, x, y, part.width, part.height).to_image();
        let flips = [draw("flip").chance(self.flip), draw("flip-y").chance(self.flip_vertical)];
        if flips[0] {
            image::imageops::flip_horizontal_in_place(&mut picture);
        }
        if flips[1] {
            image::imageops::flip_vertical_in_place(&mut picture);
        }
        if let Some(photometric) = &self.photometric {
            photometric.apply(&mut picture, &mut draw("photo"));
        }
        let size = self.crop.size();
        let pixels = normalize(&picture, size, preprocess.mean, preprocess.std);
        SegSample { pixels, label: padded(&target, window, size, flips), size, index: 0 }
    }
}

/// Picture `index` of `set` in epoch `epoch`, changed and prepared.
///
/// # Errors
/// When the picture or its label map cannot be read; the message names the file.
pub fn train_sample(
    set: &dyn SegDataset,
    index: usize,
    augment: &SegAugment,
    preprocess: &Preprocess,
    (seed, epoch): (u64, u64),
) -> Result<SegSample> {
    let example = set.example(index)?;
    let draw = |purpose: &str| rng(seed, epoch, index as u64, purpose);
    let sample = augment.apply(&example.picture, &example.target, preprocess, draw);
    Ok(SegSample { index, ..sample })
}

/// Nearest by OpenCV's rule.
fn resize_target(target: &SegTarget, to: Size) -> SegTarget {
    let from = target.size();
    if from == to {
        return target.clone();
    }
    let classes = nearest::resize_cv2(target.classes(), [from.width, from.height], [to.width, to.height]);
    SegTarget::new(to, classes).expect("a resized map has one value per pixel")
}

/// A window of a label map in the upper left of a field of ignored pixels.
fn padded(target: &SegTarget, window: Window, size: Size, [flip_x, flip_y]: [bool; 2]) -> Vec<u8> {
    let mut out = vec![SegTarget::IGNORE; size.area() as usize];
    let [width, height, stride] = [window.size.width, window.size.height, size.width].map(|v| v as usize);
    for (y, from) in rows(target, window).enumerate() {
        let y = if flip_y { height - 1 - y } else { y };
        let to = &mut out[y * stride..][..width];
        to.copy_from_slice(from);
        if flip_x {
            to.reverse();
        }
    }
    out
}

/// The label map with x and y exchanged.
fn transposed(target: &SegTarget) -> SegTarget {
    let Size { width, height } = target.size();
    let columns = (0..width as usize).flat_map(|x| target.classes().iter().skip(x).step_by(width as usize));
    SegTarget::new(Size::new(height, width), columns.copied().collect()).expect("as many pixels as before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_taken_by_opencv_s_rule() {
        let map = SegTarget::new(Size::new(3, 1), vec![7, 8, 9]).unwrap();
        // Pillow would take the first and the last.
        assert_eq!(resize_target(&map, Size::new(2, 2)).classes(), [7, 8, 7, 8]);
    }

    #[test]
    fn the_scale_is_cut_to_whole_numbers() {
        let resize = RandomResize { scale: Some(Scale { long: 2048, short: 512 }), ratio: [0.7, 0.7] };
        assert_eq!(
            resize.draw(Scale { long: 9, short: 9 }, &mut rng(0, 0, 0, "scale")),
            Scale { long: 1433, short: 358 }
        );
    }
}
