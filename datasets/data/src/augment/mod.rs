//! Training pictures: changed at random, targets moving with the pixels.
//!
//! A picture is cropped, resized (keeping its ratio), mirrored and its colours shifted; or four are put together. Where a pixel
//! of the original ends up is one [`Placement`] (scale and shift per axis), and boxes, polygons and masks go through the same
//! one. All randomness is drawn by name (seed, epoch, picture, purpose): see [`crate::rng`].

mod color;
mod crop;
mod mosaic;
mod placement;
#[cfg(test)]
mod tests;
mod transpose;

pub(crate) use transpose::pixels_transposed;

pub use color::Jitter;
pub use crop::Crop;
pub use mosaic::Mosaic;
pub use placement::{Axis, Placement};

use crate::rng::rng;
use crate::{Dataset, Error, Preprocess, Result, Sample, Scale};
use care_types::{DetTarget, Geometry, Size};
use image::RgbImage;
use serde::{Deserialize, Serialize};

/// What may happen to a training picture; by default nothing but the resize.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Probability of being mirrored left to right.
    pub flip: f64,
    /// Probability of being mirrored top to bottom, for pictures without an up (microscopes, satellites).
    pub flip_vertical: f64,
    /// Probability that rows become columns; with both flips at 0.5 this makes all eight ways to lay a picture down.
    pub transpose: f64,
    /// One of these sizes instead of the preprocessing's own.
    pub scales: Vec<Scale>,
    /// Cut to a part that keeps some objects.
    pub crop: Option<Crop>,
    /// Colour changes.
    pub jitter: Option<Jitter>,
    /// Four pictures in one.
    pub mosaic: Option<Mosaic>,
}

/// A training picture as the network sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSample {
    /// Pixels.
    pub sample: Sample,
    /// Objects, in pixels of `sample`, clipped to the picture.
    pub target: DetTarget,
    /// Number of the picture (the first of a mosaic) in its data set.
    pub index: usize,
}

impl Augment {
    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn check(&self) -> Result<()> {
        for (key, value) in
            [("flip", self.flip), ("flip_vertical", self.flip_vertical), ("transpose", self.transpose)]
        {
            probability(&format!("augment.{key}"), value)?;
        }
        for scale in &self.scales {
            Preprocess { scale: *scale, ..Preprocess::default() }
                .check()
                .map_err(|e| e.context("augment.scales"))?;
        }
        self.crop.as_ref().map_or(Ok(()), Crop::check)?;
        self.jitter.as_ref().map_or(Ok(()), Jitter::check)?;
        self.mosaic.as_ref().map_or(Ok(()), Mosaic::check)
    }
}

/// Whether a number is one.
pub(crate) fn probability(key: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::config(format!("{key} is {value}, expected a probability from 0 to 1")))
}

/// Picture `index` of `set` in epoch `epoch`, changed and prepared; mosaics take their other pictures from `others`.
///
/// # Errors
/// When the picture (or one of a mosaic's others) cannot be read; the message names the file.
pub fn train_sample(
    (set, others): (&dyn Dataset, &[usize]),
    index: usize,
    augment: &Augment,
    preprocess: &Preprocess,
    (seed, epoch): (u64, u64),
) -> Result<TrainSample> {
    let draw = |purpose: &str| rng(seed, epoch, index as u64, purpose);
    let scale = match augment.scales.as_slice() {
        [] => preprocess.scale,
        scales => scales[draw("scale").below(scales.len())],
    };
    let preprocess = Preprocess { scale, ..*preprocess };
    let tiled = augment.mosaic.as_ref().filter(|m| draw("mosaic").chance(m.probability));
    let (picture, target) = match tiled {
        Some(_) => mosaic::compose((set, others), index, &preprocess, &mut draw("tiles"))?,
        None => {
            let example = set.example(index)?;
            match &augment.crop {
                Some(crop) => crop.apply(example.picture, example.target, &mut draw("crop")),
                None => (example.picture, example.target),
            }
        }
    };
    let (picture, target) = match draw("turn").chance(augment.transpose) {
        true => transpose::transpose(&picture, target),
        false => (picture, target),
    };
    let flips = [draw("flip").chance(augment.flip), draw("flip-y").chance(augment.flip_vertical)];
    let (mut resized, geometry, target) = fit(picture, target, &preprocess, flips);
    if let Some(jitter) = &augment.jitter {
        jitter.apply(&mut resized, &mut draw("jitter"));
    }
    Ok(TrainSample { sample: preprocess.normalize(&resized, geometry), target, index })
}

/// Resizes and mirrors.
fn fit(
    picture: RgbImage,
    target: DetTarget,
    preprocess: &Preprocess,
    [flip_x, flip_y]: [bool; 2],
) -> (RgbImage, Geometry, DetTarget) {
    let geometry = preprocess.geometry(Size::new(picture.width(), picture.height()));
    let mut resized = preprocess.interpolation.resize(&picture, geometry.resized);
    let mut placement = Placement::scaled(geometry.scale_w, geometry.scale_h);
    if flip_x {
        image::imageops::flip_horizontal_in_place(&mut resized);
        placement.x = placement.x.then(Axis::mirrored(geometry.resized.width));
    }
    if flip_y {
        image::imageops::flip_vertical_in_place(&mut resized);
        placement.y = placement.y.then(Axis::mirrored(geometry.resized.height));
    }
    let target = placement.target(&target, geometry.original, geometry.resized);
    (resized, geometry, target)
}
