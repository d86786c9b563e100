//! Looking at a picture more than once: sliding windows, several scales, mirrored (mmsegmentation's `slide` mode and test-time
//! augmentation).
//!
//! A window's logits count where it lies, divided by the number of windows there; scales and mirrors are averaged as
//! probabilities. Logits stay on the network's grid until a row of the result is made.
//! Source: <https://github.com/open-mmlab/mmsegmentation/blob/v1.2.2/mmseg/models/segmentors/encoder_decoder.py>

use crate::error::{Error, Result};
use crate::machine::{in_pool, in_team};
use crate::measure::Phases;
use crate::predict::collate;
use care_data::semantic::aligned;
use care_data::{Preprocess, Sample, Scale};
use care_heads::Segmenter;
use care_kernels::label_map::{Part, Taps, label_map_of_views};
use care_kernels::map::Map;
use care_types::{Geometry, RawSemantic, SegTarget, Size};
use image::RgbImage;
use std::str::FromStr;

/// How a segmenter looks at a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Views {
    /// Factors of the preprocessing's size.
    pub scales: Vec<f64>,
    /// Mirrored left to right, too.
    pub flip: bool,
    /// In windows instead of as a whole.
    pub slide: Option<Slide>,
}

/// Windows over a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slide {
    /// Side of a window, network pixels.
    pub crop: u32,
    /// From one window to the next.
    pub stride: u32,
}

impl Default for Views {
    /// Once, as a whole.
    fn default() -> Self {
        Self { scales: vec![1.0], flip: false, slide: None }
    }
}

impl Views {
    /// mmsegmentation's test-time augmentation: six scales, each mirrored, too.
    pub fn augmented() -> Self {
        Self { scales: vec![0.5, 0.75, 1.0, 1.25, 1.5, 1.75], flip: true, slide: None }
    }

    /// Whether it is one pass over the whole picture.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl FromStr for Slide {
    type Err = String;

    /// `512/341`: crop and stride.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let says =
            || "expected CROP/STRIDE in pixels, such as 512/341; the stride is at most the crop".to_owned();
        let (crop, stride) = text.split_once('/').ok_or_else(says)?;
        let slide =
            Self { crop: crop.parse().map_err(|_| says())?, stride: stride.parse().map_err(|_| says())? };
        match (32..=16_384).contains(&slide.crop) && (1..=slide.crop).contains(&slide.stride) {
            true => Ok(slide),
            false => Err(says()),
        }
    }
}

/// A window of a picture and what the network says about it.
struct Seen {
    x: [usize; 2],
    y: [usize; 2],
    raw: RawSemantic,
}

/// The class of every pixel of a picture.
///
/// # Errors
/// `Config` for a picture too small for the network, `Internal` when a computation fails.
pub(crate) fn look(
    net: &dyn Segmenter,
    picture: &RgbImage,
    (preprocess, views): (&Preprocess, &Views),
    phases: &mut Phases,
) -> Result<SegTarget> {
    let mut seen: Vec<(Geometry, bool, Vec<Seen>)> = Vec::new();
    for &scale in &views.scales {
        let sample = aligned(&scaled(preprocess, scale), picture);
        for mirrored in [false, true].into_iter().take(1 + usize::from(views.flip)) {
            let sample = if mirrored { flipped(&sample) } else { sample.clone() };
            let windows = windows(sample.geometry.padded, views.slide);
            let mut own = Vec::with_capacity(windows.len());
            for (x, y) in windows {
                let raw = pass(net, cut(&sample, x, y), phases)?;
                own.push(Seen { x, y, raw });
            }
            seen.push((sample.geometry, mirrored, own));
        }
    }
    phases.time("postprocess", || in_pool(|| together(&seen, Size::new(picture.width(), picture.height()))))
}

fn pass(net: &dyn Segmenter, sample: Sample, phases: &mut Phases) -> Result<RawSemantic> {
    let images = collate(vec![sample])?;
    phases.start_lap();
    let mut raw = in_team(|| net.segment_observed(&images, &mut |phase| phases.end_lap(phase)))?;
    raw.pop().ok_or_else(|| Error::internal("a pass without a result"))
}

/// The preprocessing at a factor of its size.
pub(crate) fn scaled(preprocess: &Preprocess, factor: f64) -> Preprocess {
    let side = |v: u32| ((f64::from(v) * factor) as u32).max(1);
    let Scale { long, short } = preprocess.scale;
    Preprocess { scale: Scale { long: side(long), short: side(short) }, ..*preprocess }
}

fn flipped(sample: &Sample) -> Sample {
    let width = sample.geometry.padded.width as usize;
    let row = |row: &[f32]| row.chunks_exact(3).rev().flatten().copied().collect::<Vec<f32>>();
    let pixels = sample.pixels.chunks_exact(width * 3).flat_map(row).collect();
    Sample { pixels, ..sample.clone() }
}

/// Start and length along x and y of every window; the last one of a row or column ends at the border.
fn windows(size: Size, slide: Option<Slide>) -> Vec<([usize; 2], [usize; 2])> {
    let axis = |side: u32| -> Vec<[usize; 2]> {
        let Some(Slide { crop, stride }) = slide else { return vec![[0, side as usize]] };
        let count = side.saturating_sub(crop).div_ceil(stride) + 1;
        let start = |i: u32| (i * stride).min(side.saturating_sub(crop));
        (0..count).map(|i| [start(i) as usize, crop.min(side) as usize]).collect()
    };
    let columns = axis(size.width);
    axis(size.height).into_iter().flat_map(|y| columns.iter().map(move |&x| (x, y))).collect()
}

fn cut(sample: &Sample, [x0, w]: [usize; 2], [y0, h]: [usize; 2]) -> Sample {
    let width = sample.geometry.padded.width as usize;
    let row = |y: usize| &sample.pixels[((y0 + y) * width + x0) * 3..][..w * 3];
    let size = Size::new(w as u32, h as u32);
    Sample { pixels: (0..h).flat_map(row).copied().collect(), geometry: Geometry::new(size, size, size) }
}

/// For every pixel of an axis, one divided by the number of windows there.
fn shares(side: usize, windows: impl Iterator<Item = [usize; 2]>) -> Vec<f32> {
    let mut distinct: Vec<[usize; 2]> = windows.collect();
    distinct.sort_unstable();
    distinct.dedup();
    let count = |pixel: usize| {
        distinct.iter().filter(|[start, length]| (*start..start + length).contains(&pixel)).count()
    };
    (0..side).map(|pixel| 1.0 / count(pixel).max(1) as f32).collect()
}

fn together(views: &[(Geometry, bool, Vec<Seen>)], original: Size) -> Result<SegTarget> {
    let mut taps = Vec::new();
    for (geometry, mirrored, seen) in views {
        let Size { width, height } = geometry.padded;
        let across = shares(width as usize, seen.iter().map(|s| s.x));
        let down = shares(height as usize, seen.iter().map(|s| s.y));
        for s in seen {
            let valid = geometry.resized;
            let rows =
                Taps::window(s.raw.height, s.y, &down, [valid.height as usize, original.height as usize]);
            let mut columns =
                Taps::window(s.raw.width, s.x, &across, [valid.width as usize, original.width as usize]);
            if *mirrored {
                columns.reverse();
            }
            taps.push((rows, columns));
        }
    }
    let mut taps = taps.iter();
    let mut parts: Vec<Vec<Part<'_>>> = Vec::new();
    for (_, _, seen) in views {
        let mut own = Vec::with_capacity(seen.len());
        for s in seen {
            let (rows, columns) = taps.next().ok_or_else(|| Error::internal("a window without its place"))?;
            let shape = [1, s.raw.height, s.raw.width, s.raw.classes];
            own.push(Part { logits: Map::dense(&s.raw.logits, shape), rows, columns });
        }
        parts.push(own);
    }
    let mut classes = vec![0; (original.width * original.height) as usize];
    label_map_of_views(&parts, &mut classes);
    Ok(SegTarget::new(original, classes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_picture_and_end_at_its_border() {
        let slide = Some(Slide { crop: 512, stride: 341 });
        let found = windows(Size::new(1000, 512), slide);
        assert_eq!(found.iter().map(|w| w.0).collect::<Vec<_>>(), [[0, 512], [341, 512], [488, 512]]);
        assert!(found.iter().all(|w| w.1 == [0, 512]));
        assert_eq!(windows(Size::new(300, 400), slide), [([0, 300], [0, 400])]);
        assert_eq!(windows(Size::new(512, 853), slide).len(), 2);
        let parts = shares(1000, found.iter().map(|w| w.0));
        assert_eq!([parts[0], parts[400], parts[500], parts[999]], [1.0, 0.5, 1.0 / 3.0, 1.0]);
    }

    #[test]
    fn slides_read_as_documented() {
        assert_eq!("512/341".parse(), Ok(Slide { crop: 512, stride: 341 }));
        for bad in ["512", "0/0", "512/0", "100/200", "a/b", "8/8"] {
            assert!(bad.parse::<Slide>().is_err(), "{bad}");
        }
    }
}
