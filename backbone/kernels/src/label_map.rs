//! From class logits on a coarse grid to the best class of every pixel of a picture.
//!
//! What PyTorch does in three steps — bilinear to the network's input, crop to the picture, bilinear to the original size
//! (`align_corners` false), then argmax — is linear up to the argmax, so a pixel's logits are a weighted sum of a few cells. Weights
//! are found once per row and once per column, and logits of the picture's size never exist.

use crate::backward::{fma, vectorised};
use crate::isa::Isa;
use crate::map::Map;
use rayon::prelude::*;

/// The cells along one axis that a pixel is a sum of: the first one, and a weight for each from there.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    pub(crate) first: usize,
    pub(crate) weights: Vec<f32>,
}

impl Taps {
    /// Along an axis of `cells` that are resized to `padded` pixels, of which the first `valid` are resized to `out`.
    ///
    /// # Panics
    /// When a size is 0, or `valid` is above `padded`.
    pub fn axis(cells: usize, padded: usize, valid: usize, out: usize) -> Vec<Taps> {
        assert!(
            cells > 0 && valid > 0 && valid <= padded,
            "{cells} cells, {padded} pixels, {valid} of them used"
        );
        (0..out)
            .map(|pixel| {
                let mut sum: Vec<(usize, f32)> = Vec::new();
                for (middle, outer) in bilinear(pixel, valid, out) {
                    sum.extend(bilinear(middle, cells, padded).map(|(cell, inner)| (cell, outer * inner)));
                }
                Taps::of(&sum)
            })
            .collect()
    }

    /// Along an axis where `cells` are resized to a window of `length` pixels that begins at `start` in a picture of which the first
    /// `valid` pixels are resized to `out`; `shares[pixel]` is what the window counts for there. Pixels outside of the window have no
    /// cells.
    ///
    /// # Panics
    /// When a size is 0, or the window or `valid` is not within `shares`.
    pub fn window(
        cells: usize,
        [start, length]: [usize; 2],
        shares: &[f32],
        [valid, out]: [usize; 2],
    ) -> Vec<Taps> {
        assert!(
            cells > 0 && length > 0 && start + length <= shares.len(),
            "a window of {length} pixels at {start}"
        );
        assert!(valid > 0 && valid <= shares.len(), "{valid} of {} pixels", shares.len());
        let inside = start..start + length;
        (0..out)
            .map(|pixel| {
                let mut sum: Vec<(usize, f32)> = Vec::new();
                for (middle, outer) in
                    bilinear(pixel, valid, out).filter(|(middle, _)| inside.contains(middle))
                {
                    let outer = outer * shares[middle];
                    sum.extend(
                        bilinear(middle - start, cells, length).map(|(cell, inner)| (cell, outer * inner)),
                    );
                }
                Taps::of(&sum)
            })
            .collect()
    }

    /// Cells in any order, some of them several times.
    fn of(sum: &[(usize, f32)]) -> Taps {
        let used = || sum.iter().filter(|(_, weight)| *weight != 0.0);
        if used().next().is_none() {
            return Taps { first: 0, weights: Vec::new() };
        }
        let first = used().map(|t| t.0).min().unwrap_or(0);
        let last = used().map(|t| t.0).max().unwrap_or(0);
        let mut weights = vec![0.0; last + 1 - first];
        used().for_each(|&(cell, weight)| weights[cell - first] += weight);
        Taps { first, weights }
    }
}

/// The two inputs of an output position, by PyTorch's arithmetic.
fn bilinear(pixel: usize, from: usize, to: usize) -> impl Iterator<Item = (usize, f32)> {
    let scale = from as f32 / to as f32;
    let position = ((pixel as f32 + 0.5) * scale - 0.5).max(0.0);
    let low = (position as usize).min(from - 1);
    let share = (position - low as f32).clamp(0.0, 1.0);
    [(low, 1.0 - share), ((low + 1).min(from - 1), share)].into_iter()
}

/// A part of the picture as a network saw it.
pub struct Part<'a> {
    /// One picture `[1, h, w, classes]`, dense, at most 256 classes.
    pub logits: Map<'a>,
    /// For every row of the result the cells that it is a sum of.
    pub rows: &'a [Taps],
    /// For every column of the result.
    pub columns: &'a [Taps],
}

/// The class of the largest logit at every pixel; the first of several equal ones.
///
/// # Shapes
/// `out`: `rows × columns` of the part.
///
/// # Panics
/// When shapes do not fit.
pub fn label_map(part: &Part<'_>, out: &mut [u8]) {
    let (classes, width) = (part.logits.c, part.logits.w * part.logits.c);
    part.check();
    assert_eq!(out.len(), part.rows.len() * part.columns.len(), "pixels of a label map");
    if out.is_empty() {
        return;
    }
    let isa = Isa::current();
    out.par_chunks_mut(part.columns.len()).zip(part.rows).for_each_init(
        || (vec![0.0; width], vec![0.0; classes]),
        |(blended, pixel), (out, row)| {
            part.blend(isa, row, blended);
            best_of_row(isa, blended, part.columns, pixel, out);
        },
    );
}

/// The same for a picture that was looked at several times: logits of the parts of a view are added, views are averaged as
/// probabilities (a single view stays as it is).
///
/// # Shapes
/// `out`: `rows × columns`, the same for all parts; all parts have the same classes.
///
/// # Panics
/// When there is no part, or shapes do not fit.
pub fn label_map_of_views(views: &[Vec<Part<'_>>], out: &mut [u8]) {
    let first = views.iter().flatten().next().expect("a view with a part");
    let (classes, columns) = (first.logits.c, first.columns.len());
    for part in views.iter().flatten() {
        part.check();
        assert_eq!(
            (part.logits.c, part.columns.len()),
            (classes, columns),
            "classes and columns of all parts"
        );
        assert_eq!(out.len(), part.rows.len() * columns, "pixels of a label map");
    }
    if out.is_empty() {
        return;
    }
    let isa = Isa::current();
    out.par_chunks_mut(columns).enumerate().for_each(|(y, out)| {
        let mut total = vec![0.0; columns * classes];
        let mut own = vec![0.0; columns * classes];
        for view in views {
            own.fill(0.0);
            for part in view.iter().filter(|p| !p.rows[y].weights.is_empty()) {
                let mut blended = vec![0.0; part.logits.w * classes];
                part.blend(isa, &part.rows[y], &mut blended);
                for (pixel, taps) in own.chunks_exact_mut(classes).zip(part.columns) {
                    let cells = blended[taps.first * classes..].chunks_exact(classes);
                    taps.weights.iter().zip(cells).for_each(|(&w, cell)| add_scaled(isa, w, cell, pixel));
                }
            }
            if views.len() == 1 {
                std::mem::swap(&mut total, &mut own);
            } else {
                let pixels = own.chunks_exact(classes).zip(total.chunks_exact_mut(classes));
                pixels.for_each(|(own, total)| add_probabilities(own, total));
            }
        }
        for (out, pixel) in out.iter_mut().zip(total.chunks_exact(classes)) {
            *out = first_largest(pixel) as u8;
        }
    });
}

fn add_probabilities(logits: &[f32], total: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = logits.iter().map(|&v| (v - most).exp()).sum();
    total.iter_mut().zip(logits).for_each(|(t, &v)| *t += (v - most).exp() / sum);
}

impl Part<'_> {
    fn check(&self) {
        let logits = &self.logits;
        logits.check();
        assert!(logits.n == 1 && (1..=256).contains(&logits.c), "logits of shape {:?}", logits.shape());
        assert_eq!(logits.stride, logits.c, "dense logits");
        let fits = |taps: &[Taps], cells: usize| taps.iter().all(|t| t.first + t.weights.len() <= cells);
        assert!(fits(self.rows, logits.h) && fits(self.columns, logits.w), "cells beyond the grid");
    }

    /// The cells `[w][classes]` of a row of the result.
    fn blend(&self, isa: Isa, row: &Taps, out: &mut [f32]) {
        let width = out.len();
        out.fill(0.0);
        for (weight, line) in
            row.weights.iter().zip(self.logits.data[row.first * width..].chunks_exact(width))
        {
            add_scaled(isa, *weight, line, out);
        }
    }
}

vectorised! {
    /// `y += weight · x`.
    pub(crate) fn add_scaled(weight: f32, x: &[f32], y: &mut [f32]) = add_scaled_body
}

#[inline(always)]
fn add_scaled_body<const FMA: bool>(weight: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(weight, x, *y);
    }
}

vectorised! {
    /// The best class of every pixel of a row, from the row's cells `[w][classes]`; `pixel` is working space for one.
    fn best_of_row(cells: &[f32], columns: &[Taps], pixel: &mut [f32], out: &mut [u8]) = best_of_row_body
}

#[inline(always)]
fn best_of_row_body<const FMA: bool>(cells: &[f32], columns: &[Taps], pixel: &mut [f32], out: &mut [u8]) {
    let classes = pixel.len();
    for (out, taps) in out.iter_mut().zip(columns) {
        let cells = &cells[taps.first * classes..];
        match taps.weights[..] {
            [a, b] => {
                let (left, right) = (&cells[..classes], &cells[classes..2 * classes]);
                for ((p, &l), &r) in pixel.iter_mut().zip(left).zip(right) {
                    *p = fma::<FMA>(b, r, a * l);
                }
            }
            _ => {
                pixel.fill(0.0);
                for (&weight, cell) in taps.weights.iter().zip(cells.chunks_exact(classes)) {
                    add_scaled_body::<FMA>(weight, cell, pixel);
                }
            }
        }
        *out = first_largest(pixel) as u8;
    }
}

#[inline(always)]
fn first_largest(values: &[f32]) -> usize {
    const LANES: usize = 16;
    let mut most = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (m, &v) in most.iter_mut().zip(chunk) {
            *m = if v > *m { v } else { *m };
        }
    }
    let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |m, &v| if v > m { v } else { m });
    values.iter().position(|&v| v == most).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::MapMut;
    use crate::resample::bilinear as resize;

    #[test]
    fn it_is_two_resizes_a_crop_and_an_argmax() {
        let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_769) >> 8) as f32 / (1 << 24) as f32;
        for (classes, [h, w], [ph, pw], [vh, vw], [oh, ow]) in [
            (5, [4, 6], [16, 24], [13, 21], [26, 40]),
            (19, [3, 3], [12, 12], [12, 12], [12, 12]),
            (40, [7, 5], [28, 20], [27, 20], [9, 7]),
        ] {
            let logits: Vec<f32> = (0..h * w * classes).map(noise).collect();
            let map = Map::dense(&logits, [1, h, w, classes]);
            let mut padded = vec![0.0; ph * pw * classes];
            resize(map, MapMut::dense(&mut padded, [1, ph, pw, classes]), false);
            let rows = padded.chunks_exact(pw * classes).take(vh);
            let cropped: Vec<f32> = rows.flat_map(|r| &r[..vw * classes]).copied().collect();
            let mut full = vec![0.0; oh * ow * classes];
            resize(
                Map::dense(&cropped, [1, vh, vw, classes]),
                MapMut::dense(&mut full, [1, oh, ow, classes]),
                false,
            );
            let want: Vec<u8> = full.chunks_exact(classes).map(|p| first_largest(p) as u8).collect();
            let mut got = vec![0; oh * ow];
            let (rows, columns) = (Taps::axis(h, ph, vh, oh), Taps::axis(w, pw, vw, ow));
            label_map(&Part { logits: map, rows: &rows, columns: &columns }, &mut got);
            let differ = got.iter().zip(&want).filter(|(a, b)| a != b).count();
            assert!(differ * 1000 <= want.len(), "{differ} of {} pixels", want.len());
        }
    }

    #[test]
    fn the_first_of_equal_classes_wins() {
        let mut out = [9; 1];
        let taps = Taps::axis(1, 1, 1, 1);
        let logits = Map::dense(&[0.0, 2.0, 2.0], [1, 1, 1, 3]);
        label_map(&Part { logits, rows: &taps, columns: &taps }, &mut out);
        assert_eq!(out, [1]);
        let values: Vec<f32> = (0..40).map(|i| if i % 20 == 7 { 3.0 } else { 0.0 }).collect();
        assert_eq!(first_largest(&values), 7);
    }

    #[test]
    fn windows_are_averaged_where_they_overlap_and_views_as_probabilities() {
        const CLASSES: usize = 3;
        let noise = |i: usize| ((i as u32).wrapping_mul(2_654_435_769) >> 8) as f32 / (1 << 22) as f32;
        // two windows of 8 × 8 pixels in a picture of 8 × 12, from 4 × 4 cells each
        let logits: Vec<Vec<f32>> =
            (0..2).map(|w| (0..4 * 4 * CLASSES).map(|i| noise(i + 100 * w)).collect()).collect();
        let counts: Vec<f32> = (0..12).map(|x| if (4..8).contains(&x) { 0.5 } else { 1.0 }).collect();
        let (rows, ones) = (Taps::axis(4, 8, 8, 16), [1.0; 8]);
        assert_eq!(rows, Taps::window(4, [0, 8], &ones, [8, 16]));
        let columns: Vec<Vec<Taps>> = [0, 4].map(|x| Taps::window(4, [x, 8], &counts, [12, 24])).into();
        let mut mean = vec![0.0; 8 * 12 * CLASSES];
        for (w, x0) in [0, 4].into_iter().enumerate() {
            let mut up = vec![0.0; 8 * 8 * CLASSES];
            resize(
                Map::dense(&logits[w], [1, 4, 4, CLASSES]),
                MapMut::dense(&mut up, [1, 8, 8, CLASSES]),
                false,
            );
            for (i, v) in up.iter().enumerate() {
                let (y, x, c) = (i / CLASSES / 8, i / CLASSES % 8, i % CLASSES);
                mean[(y * 12 + x + x0) * CLASSES + c] += v * counts[x + x0];
            }
        }
        let mut full = vec![0.0; 16 * 24 * CLASSES];
        resize(Map::dense(&mean, [1, 8, 12, CLASSES]), MapMut::dense(&mut full, [1, 16, 24, CLASSES]), false);
        let view = || -> Vec<Part<'_>> {
            let part = |w: usize| Part {
                logits: Map::dense(&logits[w], [1, 4, 4, CLASSES]),
                rows: &rows,
                columns: &columns[w],
            };
            (0..2).map(part).collect()
        };
        let best = |values: &[f32]| {
            values.chunks_exact(CLASSES).map(|p| first_largest(p) as u8).collect::<Vec<u8>>()
        };
        let mut got = vec![0; 16 * 24];
        label_map_of_views(&[view()], &mut got);
        assert_eq!(got, best(&full));
        // the same view again changes nothing; a mirrored one makes the result symmetric
        label_map_of_views(&[view(), view()], &mut got);
        assert_eq!(got, best(&full));
        let turned: Vec<Vec<Taps>> = columns.iter().map(|c| c.iter().rev().cloned().collect()).collect();
        let mirrored: Vec<Part<'_>> =
            view().into_iter().zip(&turned).map(|(part, columns)| Part { columns, ..part }).collect();
        label_map_of_views(&[view(), mirrored], &mut got);
        assert!(got.chunks_exact(24).all(|row| row.iter().eq(row.iter().rev())));
    }
}
