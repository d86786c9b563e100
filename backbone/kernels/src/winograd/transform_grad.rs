//! The transforms of the gradient by the weights: with `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A`, it is `dg = Gᵀ [Σ (A dY Aᵀ) ⊙ (Bᵀ d B)] G`, summed over tiles.

#![allow(clippy::needless_range_loop)] // columns of arrays, and closures would not inherit the target feature

use super::transform::{KERNEL, OUT, SIDE};
use crate::backward::{fma, vectorised};
use crate::simd::{Simd, per_isa};

/// The gradient of one tile of results. Pixels outside of the map point to zeros.
pub(super) struct GradTile {
    pub(super) pixels: [*const f32; OUT * OUT],
    /// Channels of a pixel.
    pub(super) c: usize,
    /// The values at point `i` go to `to + i · slab`, filled up with zeros to a multiple of 16 channels.
    pub(super) to: *mut f32,
    pub(super) slab: usize,
}

per_isa! {
    /// `A dY Aᵀ` of every channel.
    ///
    /// # Safety
    /// Every pixel points to `c` floats, and each of the 36 slabs has room for `c` rounded up to 16.
    pub(super) fn results(tile: &GradTile) = results_body;
}

#[inline(always)]
unsafe fn results_body<S: Simd>(s: S, tile: &GradTile) {
    let mut c = 0;
    // SAFETY: the caller vouches for `c` channels of every pixel and for whole vectors behind `to`.
    unsafe {
        while c + S::LANES <= tile.c {
            results_lanes::<S, true>(s, tile, c);
            c += S::LANES;
        }
        if c < tile.c {
            results_lanes::<S, false>(s, tile, c);
        }
    }
}

#[inline(always)]
unsafe fn results_lanes<S: Simd, const FULL: bool>(s: S, tile: &GradTile, c: usize) {
    let mut rows = [[s.zero(); SIDE]; OUT];
    // SAFETY: as in `results_body`; the last vector loads only the channels that exist.
    unsafe {
        for (row, pixels) in rows.iter_mut().zip(tile.pixels.chunks_exact(OUT)) {
            let mut values = [s.zero(); OUT];
            for (value, pixel) in values.iter_mut().zip(pixels) {
                let p = pixel.add(c);
                *value = if FULL { s.load(p) } else { s.load_first(p, tile.c - c) };
            }
            *row = result_line(s, values);
        }
        for x in 0..SIDE {
            let column = result_line(s, [rows[0][x], rows[1][x], rows[2][x], rows[3][x]]);
            for (y, value) in column.into_iter().enumerate() {
                s.store(tile.to.add((y * SIDE + x) * tile.slab + c), value);
            }
        }
    }
}

/// A times four values.
#[inline(always)]
fn result_line<S: Simd>(s: S, d: [S::V; OUT]) -> [S::V; SIDE] {
    let (even, odd) = (s.add(d[0], d[2]), s.add(d[1], d[3]));
    let far_even = s.fma(s.splat(4.0), d[2], d[0]);
    let far_odd = s.fma(s.splat(8.0), d[3], s.mul(s.splat(2.0), d[1]));
    [d[0], s.add(even, odd), s.sub(even, odd), s.add(far_even, far_odd), s.sub(far_even, far_odd), d[3]]
}

vectorised!(
    /// `Gᵀ u G`: one row of input channels of every point, `slab` apart, to a row of kernels `[ci][3][3]`.
    pub(super) fn kernel_row(points: &[f32], slab: usize, out: &mut [f32]) = kernel_row_body
);

/// Channels that are transformed together.
const LANES: usize = 16;

#[inline(always)]
fn kernel_row_body<const FMA: bool>(points: &[f32], slab: usize, out: &mut [f32]) {
    let ci = out.len() / 9;
    for first in (0..ci).step_by(LANES) {
        let lanes = LANES.min(ci - first);
        let mut half = [[[0.0f32; LANES]; SIDE]; 3];
        for x in 0..SIDE {
            let mut column = [[0.0f32; LANES]; SIDE];
            for (y, values) in column.iter_mut().enumerate() {
                values[..lanes].copy_from_slice(&points[(y * SIDE + x) * slab + first..][..lanes]);
            }
            let column = kernel_line::<FMA>(&column);
            (0..3).for_each(|y| half[y][x] = column[y]);
        }
        for (y, row) in half.iter().enumerate() {
            for (x, values) in kernel_line::<FMA>(row).iter().enumerate() {
                for l in 0..lanes {
                    out[(first + l) * 9 + y * 3 + x] = values[l];
                }
            }
        }
    }
}

/// Gᵀ times six values.
#[inline(always)]
fn kernel_line<const FMA: bool>(u: &[[f32; LANES]; SIDE]) -> [[f32; LANES]; 3] {
    let mut out = [[0.0; LANES]; 3];
    for (k, out) in out.iter_mut().enumerate() {
        for (u, factors) in u.iter().zip(&KERNEL) {
            for l in 0..LANES {
                out[l] = fma::<FMA>(factors[k] as f32, u[l], out[l]);
            }
        }
    }
    out
}
