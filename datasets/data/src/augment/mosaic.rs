//! Four pictures in one, meeting at a random point: small objects and many contexts in one pass.

use super::crop::keep;
use super::{Axis, Placement, probability};
use crate::rng::Rng;
use crate::{Dataset, Preprocess, Result, Scale};
use care_types::{BoxXyxy, DetTarget, Rle, Segmentation, Size};
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};

/// Where the pictures may meet, as shares of the canvas.
const MEET: (f64, f64) = (0.35, 0.65);
/// Size of each picture relative to the one it would have alone.
const SHRINK: (f64, f64) = (0.5, 1.0);
/// An object stays when at least this share of its box is left in its quarter.
const MIN_VISIBLE: f64 = 0.25;

/// Puts a picture together with three others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mosaic {
    /// How often.
    pub probability: f64,
}

impl Mosaic {
    pub(super) fn check(&self) -> Result<()> {
        probability("augment.mosaic.probability", self.probability)
    }
}

/// Picture `index` and three that are drawn from `others`, on a canvas of the preprocessing's size; what is not covered has the mean
/// colour.
pub(super) fn compose(
    (set, others): (&dyn Dataset, &[usize]),
    index: usize,
    preprocess: &Preprocess,
    rng: &mut Rng,
) -> Result<(RgbImage, DetTarget)> {
    let Scale { long, short } = preprocess.scale;
    let (w, h) = (long.max(short), long.min(short));
    let meet = (meeting_point(w, rng), meeting_point(h, rng));
    let mut canvas = RgbImage::from_pixel(w, h, Rgb(preprocess.mean.map(|v| (v + 0.5) as u8)));
    let mut all = DetTarget::default();
    for quarter in 0..4 {
        let number =
            if quarter == 0 { index } else { others.get(rng.below(others.len())).copied().unwrap_or(index) };
        let example = set.example(number)?;
        let original = Size::new(example.picture.width(), example.picture.height());
        let alone = preprocess.scale.fit(original);
        let shrink = rng.between(SHRINK.0, SHRINK.1);
        let side = |v: u32| ((f64::from(v) * shrink).round() as u32).max(1);
        let size = Size::new(side(alone.width), side(alone.height));
        let tile = preprocess.interpolation.resize(&example.picture, size);
        let (left, top) = (quarter % 2 == 0, quarter < 2);
        let (x, to_x) = span(left, meet.0, size.width, w);
        let (y, to_y) = span(top, meet.1, size.height, h);
        paste(&mut canvas, &tile, (x, y), (to_x, to_y));
        let scale = |to: u32, from: u32| Axis::scaled(f64::from(to) / f64::from(from));
        let placement = Placement {
            x: scale(size.width, original.width).then(Axis::shifted(x as f64)),
            y: scale(size.height, original.height).then(Axis::shifted(y as f64)),
        };
        let region = BoxXyxy::new(to_x.0 as f32, to_y.0 as f32, to_x.1 as f32, to_y.1 as f32);
        add(&mut all, &example.target, placement, original, (Size::new(w, h), region));
    }
    Ok((canvas, all))
}

fn meeting_point(side: u32, rng: &mut Rng) -> u32 {
    ((f64::from(side) * rng.between(MEET.0, MEET.1)) as u32).clamp(1, side.max(2) - 1)
}

/// Where a tile of `side` pixels begins (perhaps outside) when its inner end lies at the meeting point, and which pixels of
/// the canvas it covers.
fn span(before: bool, meet: u32, side: u32, canvas: u32) -> (i64, (u32, u32)) {
    let begin = if before { i64::from(meet) - i64::from(side) } else { i64::from(meet) };
    let covered = if before { (begin.max(0) as u32, meet) } else { (meet, (meet + side).min(canvas)) };
    (begin, covered)
}

fn paste(canvas: &mut RgbImage, tile: &RgbImage, (x, y): (i64, i64), (xs, ys): ((u32, u32), (u32, u32))) {
    for cy in ys.0..ys.1 {
        for cx in xs.0..xs.1 {
            let (tx, ty) = (i64::from(cx) - x, i64::from(cy) - y);
            canvas.put_pixel(cx, cy, *tile.get_pixel(tx as u32, ty as u32));
        }
    }
}

/// Objects of a tile, clipped to its region; those of which too little is left are dropped.
fn add(
    all: &mut DetTarget,
    target: &DetTarget,
    placement: Placement,
    original: Size,
    (canvas, region): (Size, BoxXyxy),
) {
    let within = |b: &BoxXyxy| {
        let b = placement.bbox(*b);
        let clipped = clip(b, &region);
        f64::from(clipped.area()) >= MIN_VISIBLE * f64::from(b.area())
            && clipped.width() >= 1.0
            && clipped.height() >= 1.0
    };
    let kept = keep(target, within);
    for k in 0..kept.len() {
        let bbox = clip(placement.bbox(kept.boxes[k]), &region);
        let mask = kept.masks[k].as_ref().and_then(|m| placement.mask(m, original, canvas));
        let mask = mask.and_then(|m| cut(&m, canvas, &region));
        all.push(bbox, kept.classes[k], kept.ignore[k], mask);
    }
}

/// The part of a mask that lies in the tile's region; the neighbours cover the rest.
fn cut(mask: &Segmentation, canvas: Size, region: &BoxXyxy) -> Option<Segmentation> {
    let mut pixels = mask.to_rle(canvas).ok()?.to_mask();
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = ((i as u32 % canvas.width) as f32, (i as u32 / canvas.width) as f32);
        let inside = x >= region.x0 && x < region.x1 && y >= region.y0 && y < region.y1;
        *pixel &= u8::from(inside);
    }
    Rle::from_mask(&pixels, canvas.height, canvas.width).ok().map(Segmentation::Rle)
}

fn clip(b: BoxXyxy, region: &BoxXyxy) -> BoxXyxy {
    BoxXyxy {
        x0: b.x0.clamp(region.x0, region.x1),
        y0: b.y0.clamp(region.y0, region.y1),
        x1: b.x1.clamp(region.x0, region.x1),
        y1: b.y1.clamp(region.y0, region.y1),
    }
}
