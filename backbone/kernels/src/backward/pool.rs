//! Pooling, forward and backward.

use super::columns::column_sums;
use rayon::prelude::*;

/// A max pooling over `[n, h, w, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// Input dimensions `[n, h, w, c]`.
    pub dims: [usize; 4],
    /// Window side.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// Padding with −∞ on each side, at most half the window.
    pub pad: usize,
}

impl PoolShape {
    /// Output size (height, width), floored as PyTorch's default does.
    pub fn out_size(&self) -> (usize, usize) {
        let along = |size: usize| match (size + 2 * self.pad).checked_sub(self.kernel) {
            Some(room) => room / self.stride + 1,
            None => 0,
        };
        (along(self.dims[1]), along(self.dims[2]))
    }

    /// Input rows (or columns) that output position `o` sees.
    fn window(&self, o: usize, size: usize) -> std::ops::Range<usize> {
        let start = o * self.stride;
        start.saturating_sub(self.pad)..(start + self.kernel).saturating_sub(self.pad).min(size)
    }

    fn check(&self, x: usize, y: usize) {
        let [n, h, w, c] = self.dims;
        let (ho, wo) = self.out_size();
        assert!(self.stride > 0 && self.kernel > 0 && 2 * self.pad <= self.kernel, "pooling {self:?}");
        assert!(x == n * h * w * c && y == n * ho * wo * c, "lengths {x} and {y} of pooling {self:?}");
    }
}

/// Later value wins only when strictly greater, or NaN: ties go to the first, NaN spreads (as in PyTorch).
#[inline(always)]
fn beats(new: f32, old: f32) -> bool {
    new > old || new.is_nan()
}

/// Largest value of each window.
pub fn max_pool(x: &[f32], shape: &PoolShape, y: &mut [f32]) {
    shape.check(x.len(), y.len());
    let [_, h, w, c] = shape.dims;
    let (ho, wo) = shape.out_size();
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(wo * c).enumerate().for_each(|(row, y)| {
        let (image, oy) = (row / ho, row % ho);
        for (ox, y) in y.chunks_exact_mut(c).enumerate() {
            y.fill(f32::NEG_INFINITY);
            for iy in shape.window(oy, h) {
                for ix in shape.window(ox, w) {
                    let pixel = &x[((image * h + iy) * w + ix) * c..][..c];
                    y.iter_mut().zip(pixel).for_each(|(o, &v)| *o = if beats(v, *o) { v } else { *o });
                }
            }
        }
    });
}

/// dx of [`max_pool`]: each output's gradient goes to the first largest value of its window.
pub fn max_pool_grad(x: &[f32], dy: &[f32], shape: &PoolShape, dx: &mut [f32]) {
    shape.check(x.len(), dy.len());
    assert_eq!(x.len(), dx.len(), "max_pool gradient on different lengths");
    let [_, h, w, c] = shape.dims;
    let (ho, wo) = shape.out_size();
    dx.fill(0.0);
    if dy.is_empty() {
        return;
    }
    // Windows overlap, so one picture is one task.
    dx.par_chunks_mut(h * w * c).enumerate().for_each(|(image, dx)| {
        let x = &x[image * h * w * c..][..h * w * c];
        let mut best = vec![(0usize, 0.0f32); c];
        for (p, dy) in dy[image * ho * wo * c..][..ho * wo * c].chunks_exact(c).enumerate() {
            best.fill((usize::MAX, f32::NEG_INFINITY));
            for iy in shape.window(p / wo, h) {
                for ix in shape.window(p % wo, w) {
                    let at = (iy * w + ix) * c;
                    for (ch, b) in best.iter_mut().enumerate() {
                        let v = x[at + ch];
                        if b.0 == usize::MAX || beats(v, b.1) {
                            *b = (at + ch, v);
                        }
                    }
                }
            }
            best.iter().zip(dy).for_each(|(b, g)| dx[b.0] += g);
        }
    });
}

/// Mean over the pixels of each picture: `[n, pixels, c]` → `[n, c]`.
pub fn global_avg_pool(x: &[f32], n: usize, c: usize, y: &mut [f32]) {
    assert!(
        n > 0 && x.len().is_multiple_of(n * c) && y.len() == n * c,
        "global_avg_pool of {} values",
        x.len()
    );
    let pixels = x.len() / (n * c);
    for (x, y) in x.chunks_exact(pixels * c).zip(y.chunks_exact_mut(c)) {
        y.iter_mut().zip(column_sums(x, c)).for_each(|(y, s)| *y = s / pixels as f32);
    }
}

/// dx of [`global_avg_pool`]: dy / pixels everywhere.
pub fn global_avg_pool_grad(dy: &[f32], n: usize, c: usize, dx: &mut [f32]) {
    assert!(n > 0 && dx.len().is_multiple_of(n * c) && dy.len() == n * c, "gradient of {} values", dx.len());
    let pixels = dx.len() / (n * c);
    dx.par_chunks_mut(pixels * c).zip(dy.par_chunks(c)).for_each(|(dx, dy)| {
        let row: Vec<f32> = dy.iter().map(|g| g / pixels as f32).collect();
        dx.chunks_exact_mut(c).for_each(|d| d.copy_from_slice(&row));
    });
}
