//! Polygon to run lengths, with the result of pycocotools' `rleFrPoly` but not its cost.
//!
//! The reference walks the outline in steps of 1/5 pixel and then keeps only the steps that cross the middle of a
//! pixel column. Here only those crossings are computed, so the work grows with the columns an edge spans, not with
//! its length, and coordinates far outside the picture cost nothing.
//!
//! Rule of the reference, per edge, in units of 1/5 pixel with integer vertices: along the longer axis the
//! position is exact, along the other it is rounded; the column `c` is crossed between 5c+2 and 5c+3; the crossing's row
//! is the smaller of the two steps' rows, rounded up to pixels. A pixel is inside between an odd and an even crossing.
use super::extent::Extent;
use super::{MaskFacts, Rle, Segmentation, Span, canonical, pixels};
use crate::{Error, Result, Size};

/// Steps per pixel of the reference.
const SCALE: f64 = 5.0;

impl Rle {
    /// The union of closed rings of `x, y` pairs, in pixels.
    ///
    /// # Errors
    /// `Input` when a ring has an odd number of coordinates.
    pub fn from_polygons(rings: &[Vec<f64>], height: u32, width: u32) -> Result<Self> {
        let mut merged = Rle::empty(height, width)?;
        for (i, ring) in rings.iter().enumerate() {
            let mask =
                Self::from_polygon(ring, height, width).map_err(|e| e.context(format!("polygon {i}")))?;
            merged = if i == 0 { mask } else { Rle::merge(&[merged, mask])? };
        }
        Ok(merged)
    }

    /// One closed ring of `x, y` pairs, in pixels; fewer than three points enclose nothing.
    ///
    /// # Errors
    /// `Input` when the number of coordinates is odd.
    pub fn from_polygon(ring: &[f64], height: u32, width: u32) -> Result<Self> {
        let mut pen = Pen::default();
        let area = pen.outline(ring, Size { width, height })?;
        pen.positions.push(area);
        let mut before = 0;
        for position in &mut pen.positions {
            (*position, before) = (*position - before, *position);
        }
        Ok(Rle { height, width, counts: canonical(&pen.positions) })
    }
}

/// Draws masks as stretches of foreground; keeps its memory from one to the next.
#[derive(Default)]
pub struct Pen {
    points: Vec<(i64, i64)>,
    /// Column-major positions at which the outline crosses the middle of a column, ascending.
    positions: Vec<u32>,
}

impl Pen {
    /// Appends the stretches of a mask in a picture of this size; what is known of it.
    ///
    /// # Errors
    /// Those of [`Segmentation::to_rle`], whose pixels these are.
    pub fn draw(&mut self, mask: &Segmentation, size: Size, to: &mut Vec<Span>) -> Result<MaskFacts> {
        let Segmentation::Polygons(rings) = mask else {
            return Self::draw_rle(&mask.to_rle(size)?, to);
        };
        let [ring] = &rings[..] else { return Self::draw_rle(&mask.to_rle(size)?, to) };
        self.outline(ring, size).map_err(|e| e.context("polygon 0"))?;
        let mut extent = Extent::new(size);
        // Crossings turn the mask on and off; two at one place cancel. The end of the picture turns it off at last.
        for pair in self.positions.chunks_exact(2) {
            let (start, end) = (pair[0], pair[1]);
            if start < end {
                extent.add(start.into(), end.into());
                to.push((start, end));
            }
        }
        if let [last] = self.positions.chunks_exact(2).remainder() {
            let area = pixels(size.height, size.width)?;
            if *last < area {
                extent.add((*last).into(), area.into());
                to.push((*last, area));
            }
        }
        Ok(extent.facts())
    }

    fn draw_rle(rle: &Rle, to: &mut Vec<Span>) -> Result<MaskFacts> {
        rle.append_spans(to);
        Ok(MaskFacts::of(rle))
    }

    /// Finds the crossings of a ring; the number of pixels of the picture.
    fn outline(&mut self, ring: &[f64], size: Size) -> Result<u32> {
        let area = pixels(size.height, size.width)?;
        if ring.len() % 2 == 1 {
            return Err(Error::input(format!("{} coordinates: an even number is needed", ring.len())));
        }
        if let Some(at) = ring.iter().position(|v| !v.is_finite()) {
            return Err(Error::input(format!("coordinate {at} is {}", ring[at])));
        }
        self.points.clear();
        self.points.extend(ring.chunks_exact(2).map(|p| (fifths(p[0]), fifths(p[1]))));
        self.positions.clear();
        let (height, width) = (size.height.into(), size.width.into());
        let mut crossings = Crossings { height, width, positions: &mut self.positions };
        let mut from = self.points.last().copied().unwrap_or_default();
        for &to in &self.points {
            crossings.edge(from, to);
            from = to;
        }
        self.positions.sort_unstable();
        Ok(area)
    }
}

/// A coordinate in fifths of a pixel, rounded as a C cast does (towards zero after adding a half).
fn fifths(v: f64) -> i64 {
    i64::from((SCALE * v + 0.5) as i32)
}

/// Column-major positions at which the outline crosses the middle of a column.
struct Crossings<'a> {
    height: i64,
    width: i64,
    positions: &'a mut Vec<u32>,
}

impl Crossings<'_> {
    fn edge(&mut self, from: (i64, i64), to: (i64, i64)) {
        let (dx, dy) = ((to.0 - from.0).abs(), (to.1 - from.1).abs());
        if dx == 0 {
            return;
        }
        // Always walked in the direction of the longer axis: rounding depends on where the walk starts.
        let backwards = if dx >= dy { from.0 > to.0 } else { from.1 > to.1 };
        let (start, end) = if backwards { (to, from) } else { (from, to) };
        if dx >= dy { self.flat(start, end, dx) } else { self.steep(start, end, dy) }
    }

    /// An edge at least as wide as high: x is exact, y is rounded.
    fn flat(&mut self, (xs, ys): (i64, i64), (xe, ye): (i64, i64), dx: i64) {
        let slope = (ye - ys) as f64 / dx as f64;
        let y = |t: i64| (ys as f64 + slope * t as f64 + 0.5) as i64;
        for column in self.columns(xs, xe) {
            let t = 5 * column + 2 - xs;
            self.push(column, y(t).min(y(t + 1)));
        }
    }

    /// An edge higher than wide: y is exact, x is rounded; finds the step at which x passes each column.
    fn steep(&mut self, (xs, ys): (i64, i64), (xe, _): (i64, i64), dy: i64) {
        let slope = (xe - xs) as f64 / dy as f64;
        let x = |t: i64| (xs as f64 + slope * t as f64 + 0.5) as i64;
        for column in self.columns(xs.min(xe), xs.max(xe)) {
            let limit = 5 * column + 3;
            let beyond = |t: i64| if slope > 0.0 { x(t) >= limit } else { x(t) < limit };
            // A first guess from the straight line, then the exact first step by the rounded rule.
            let guess = ((limit as f64 - 0.5 - xs as f64) / slope).ceil();
            let mut t = (guess as i64).clamp(1, dy);
            while t > 1 && beyond(t - 1) {
                t -= 1;
            }
            while t < dy && !beyond(t) {
                t += 1;
            }
            self.push(column, ys + t - 1);
        }
    }

    /// The columns whose middle lies between two x positions, inside the picture.
    fn columns(&self, low: i64, high: i64) -> std::ops::Range<i64> {
        let first = (low + 2).max(0) / 5; // the smallest c with 5c + 2 >= low
        let past = (high + 2).div_euclid(5); // one past the largest c with 5c + 3 <= high
        first..past.min(self.width)
    }

    fn push(&mut self, column: i64, y: i64) {
        let row = if y <= 2 { 0 } else { ((y + 2) / 5).min(self.height) }; // ceil((y - 2) / 5)
        self.positions.push((column * self.height + row) as u32);
    }
}
