//! The transforms of F(4×4, 3×3), for the interpolation points 0, ±1, ±2 and infinity (Lavin and Gray, arXiv 1509.09308).
//!
//! With 6×6 input pixels d, the kernel g and matrices B, G and A: `Y = Aᵀ [(G g Gᵀ) ⊙ (Bᵀ d B)] A` are 4×4 results.

#![allow(clippy::needless_range_loop)] // columns of arrays, and closures would not inherit the target feature

use crate::buffer::LINE;
use crate::gemm::PANEL;
use crate::simd::{Simd, per_isa};

/// Pixels of a tile and its border, in one direction.
pub(super) const SIDE: usize = 6;
/// Products per tile and pair of channels.
pub(super) const POINTS: usize = SIDE * SIDE;
/// Results of a tile, in one direction.
pub(super) const OUT: usize = 4;

/// G: from a kernel to its values at the points.
pub(super) const KERNEL: [[f64; 3]; SIDE] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Taps of a kernel.
pub(super) const TAPS: usize = 9;

/// The kernels of a panel of output channels.
pub(super) struct KernelPanel {
    /// `[ci][9][PANEL]`.
    pub(super) from: *const f32,
    /// Input channels.
    pub(super) ci: usize,
    /// The values at point `i`, `[ci][PANEL]`, go to `to + i · slab`.
    pub(super) to: *mut f32,
    pub(super) slab: usize,
}

per_isa! {
    /// `G g Gᵀ` of every kernel.
    ///
    /// # Safety
    /// `from` holds `ci · 9` rows of a panel, and each of the 36 slabs has room for `ci`.
    pub(super) fn kernels(panel: &KernelPanel) = kernels_body;
}

#[inline(always)]
unsafe fn kernels_body<S: Simd>(s: S, panel: &KernelPanel) {
    for i in 0..panel.ci {
        for c in (0..PANEL).step_by(S::LANES) {
            // SAFETY: the caller vouches for the rows of every input channel; LANES divides PANEL.
            unsafe {
                let (from, to) = (panel.from.add(i * TAPS * PANEL + c), panel.to.add(i * PANEL + c));
                kernel_lanes(s, from, to, panel.slab);
            }
        }
    }
}

#[inline(always)]
unsafe fn kernel_lanes<S: Simd>(s: S, from: *const f32, to: *mut f32, slab: usize) {
    let mut columns = [[s.zero(); SIDE]; 3];
    // SAFETY: as in `kernels_body`.
    unsafe {
        for (x, column) in columns.iter_mut().enumerate() {
            *column = kernel_line(s, [0, 1, 2].map(|y| s.load(from.add((y * 3 + x) * PANEL))));
        }
        for y in 0..SIDE {
            let row = kernel_line(s, [columns[0][y], columns[1][y], columns[2][y]]);
            for (x, value) in row.into_iter().enumerate() {
                s.store(to.add((y * SIDE + x) * slab), value);
            }
        }
    }
}

/// G times three values.
#[inline(always)]
fn kernel_line<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; SIDE] {
    let sixth = s.splat(-1.0 / 6.0);
    let (near, near_odd) = (s.mul(sixth, s.add(g[0], g[2])), s.mul(sixth, g[1]));
    let far = s.fma(s.splat(1.0 / 24.0), g[0], s.mul(s.splat(1.0 / 6.0), g[2]));
    let far_odd = s.mul(s.splat(1.0 / 12.0), g[1]);
    [
        s.mul(s.splat(0.25), g[0]),
        s.add(near, near_odd),
        s.sub(near, near_odd),
        s.add(far, far_odd),
        s.sub(far, far_odd),
        g[2],
    ]
}

/// One tile of input pixels. Pixels outside of the map point to zeros.
pub(super) struct InputTile {
    pub(super) pixels: [*const f32; POINTS],
    /// Channels of a pixel.
    pub(super) c: usize,
    /// The values at point `i` go to `to + i · slab`, filled up with zeros to a multiple of 16 channels.
    pub(super) to: *mut f32,
    pub(super) slab: usize,
}

per_isa! {
    /// `Bᵀ d B` of every channel.
    ///
    /// # Safety
    /// Every pixel points to `c` floats, and each of the 36 slabs has room for `c` rounded up to 16.
    pub(super) fn input(tile: &InputTile) = input_body;
}

#[inline(always)]
unsafe fn input_body<S: Simd>(s: S, tile: &InputTile) {
    let mut c = 0;
    // SAFETY: the caller vouches for `c` channels of every pixel and for whole vectors behind `to`.
    unsafe {
        while c + S::LANES <= tile.c {
            input_lanes::<S, true>(s, tile, c);
            c += S::LANES;
        }
        if c < tile.c {
            input_lanes::<S, false>(s, tile, c);
        }
    }
}

#[inline(always)]
unsafe fn input_lanes<S: Simd, const FULL: bool>(s: S, tile: &InputTile, c: usize) {
    let mut d = [[s.zero(); SIDE]; SIDE];
    // SAFETY: as in `input_body`; the last vector loads only the channels that exist.
    unsafe {
        for (row, pixels) in d.iter_mut().zip(tile.pixels.chunks_exact(SIDE)) {
            let mut values = [s.zero(); SIDE];
            for (value, pixel) in values.iter_mut().zip(pixels) {
                let p = pixel.add(c);
                *value = if FULL { s.load(p) } else { s.load_first(p, tile.c - c) };
            }
            *row = input_line(s, values);
        }
        for x in 0..SIDE {
            let column = input_line(s, [d[0][x], d[1][x], d[2][x], d[3][x], d[4][x], d[5][x]]);
            for (y, value) in column.into_iter().enumerate() {
                s.store(tile.to.add((y * SIDE + x) * tile.slab + c), value);
            }
        }
    }
}

/// Bᵀ times six values.
#[inline(always)]
fn input_line<S: Simd>(s: S, d: [S::V; SIDE]) -> [S::V; SIDE] {
    let (two, four) = (s.splat(2.0), s.splat(4.0));
    let (minus_four, minus_five) = (s.splat(-4.0), s.splat(-5.0));
    let even = s.fma(minus_four, d[2], d[4]);
    let odd = s.fma(minus_four, d[1], d[3]);
    let even_far = s.sub(d[4], d[2]);
    let odd_far = s.mul(two, s.sub(d[3], d[1]));
    [
        s.fma(four, d[0], s.fma(minus_five, d[2], d[4])),
        s.add(even, odd),
        s.sub(even, odd),
        s.add(even_far, odd_far),
        s.sub(even_far, odd_far),
        s.fma(four, d[1], s.fma(minus_five, d[3], d[5])),
    ]
}

/// One tile of results. Pixels outside of the map point to a row that nobody reads.
pub(super) struct OutputTile {
    /// The products at point `i` start at `from + i · slab`.
    pub(super) from: *const f32,
    pub(super) slab: usize,
    /// One per channel.
    pub(super) bias: *const f32,
    pub(super) relu: bool,
    pub(super) pixels: [*mut f32; OUT * OUT],
    /// Channels of a pixel.
    pub(super) c: usize,
}

per_isa! {
    /// `relu?(Aᵀ m A + bias)` of every channel.
    ///
    /// # Safety
    /// Every pixel points to `c` writable floats; `bias` and each of the 36 slabs hold `c`.
    pub(super) fn output(tile: &OutputTile) = output_body;
}

#[inline(always)]
unsafe fn output_body<S: Simd>(s: S, tile: &OutputTile) {
    let mut c = 0;
    // SAFETY: the caller vouches for `c` channels everywhere.
    unsafe {
        while c + S::LANES <= tile.c {
            output_lanes::<S, true>(s, tile, c);
            c += S::LANES;
        }
        if c < tile.c {
            output_lanes::<S, false>(s, tile, c);
        }
    }
}

#[inline(always)]
unsafe fn output_lanes<S: Simd, const FULL: bool>(s: S, tile: &OutputTile, c: usize) {
    let lanes = tile.c - c;
    let mut rows = [[s.zero(); OUT]; SIDE];
    // SAFETY: as in `output_body`; the last vector touches only the channels that exist.
    unsafe {
        for (y, row) in rows.iter_mut().enumerate() {
            let mut values = [s.zero(); SIDE];
            for (x, value) in values.iter_mut().enumerate() {
                let p = tile.from.add((y * SIDE + x) * tile.slab + c);
                s.prefetch(p.wrapping_add(LINE)); // 36 streams are more than the processor follows by itself
                *value = if FULL { s.load(p) } else { s.load_first(p, lanes) };
            }
            *row = output_line(s, values);
        }
        let bias = if FULL { s.load(tile.bias.add(c)) } else { s.load_first(tile.bias.add(c), lanes) };
        // Without ReLU the lower bound is one that no number is below.
        let least = s.splat(if tile.relu { 0.0 } else { f32::NEG_INFINITY });
        for x in 0..OUT {
            let column =
                output_line(s, [rows[0][x], rows[1][x], rows[2][x], rows[3][x], rows[4][x], rows[5][x]]);
            for (y, value) in column.into_iter().enumerate() {
                let value = s.max(least, s.add(value, bias)); // in this order a NaN stays one
                let p = tile.pixels[y * OUT + x].add(c);
                if FULL { s.store(p, value) } else { s.store_first(p, value, lanes) }
            }
        }
    }
}

/// Aᵀ times six values.
#[inline(always)]
fn output_line<S: Simd>(s: S, m: [S::V; SIDE]) -> [S::V; OUT] {
    let (near, near_odd) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
    let (far, far_odd) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
    [
        s.add(m[0], s.add(near, far)),
        s.fma(s.splat(2.0), far_odd, near_odd),
        s.fma(s.splat(4.0), far, near),
        s.add(m[5], s.fma(s.splat(8.0), far_odd, near_odd)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn kernels_are_transformed_as_their_definition_says() {
        const CI: usize = 3;
        const SLAB: usize = CI * PANEL + LINE;
        let g: Vec<f32> = (0..CI * TAPS * PANEL).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
        for isa in Isa::available() {
            let mut to = vec![0.0; POINTS * SLAB];
            // SAFETY: the buffers are as large as the panel says.
            unsafe {
                kernels(isa)(&KernelPanel { from: g.as_ptr(), ci: CI, to: to.as_mut_ptr(), slab: SLAB })
            };
            for (point, i, c) in
                (0..POINTS).flat_map(|p| (0..CI * PANEL).map(move |j| (p, j / PANEL, j % PANEL)))
            {
                let tap = |t: usize| f64::from(g[(i * TAPS + t) * PANEL + c]);
                let factor = |t: usize| KERNEL[point / SIDE][t / 3] * KERNEL[point % SIDE][t % 3];
                let want: f64 = (0..TAPS).map(|t| factor(t) * tap(t)).sum();
                let got = f64::from(to[point * SLAB + i * PANEL + c]);
                assert!((got - want).abs() < 3e-7, "{isa}: point {point}, {i}, {c}: {got}, expected {want}");
            }
        }
    }
}
