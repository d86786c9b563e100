//! The inner loop of every dense kernel: some rows of pixels times one packed panel of weights.
//!
//! A register tile of `TILE_ROWS` pixels × `TILE_VECTORS` vectors of output channels stays in registers over the whole sum. The input is
//! read where it lies (channels last: a pixel is a row of the matrix), one broadcast float at a time; the weights are read front to back.
//! A convolution is the same sum over several [`Tap`]s. Every result is one chain of multiply-adds in the order of the weights, starting
//! from the bias: its bits depend neither on the tile it falls in nor on the thread.

// Indices are constants once the loops are unrolled, and read like the formula.
#![allow(clippy::needless_range_loop)]

use crate::buffer::LINE;
use crate::gemm::PANEL;
use crate::simd::{Simd, per_isa};

/// A run of consecutive input floats and the panel rows that they multiply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    /// From [`Rows::a`] to the first float, for the first pixel.
    pub(crate) offset: usize,
    /// First panel row.
    pub(crate) k0: usize,
    /// Floats, and panel rows.
    pub(crate) len: usize,
}

/// Something to add to the results: its first channel for the first pixel of the rows.
#[derive(Clone, Copy)]
pub(crate) struct TileResidual {
    pub(crate) data: *const f32,
    /// Floats from one pixel to the next.
    pub(crate) stride: usize,
    /// One factor per column, or null.
    pub(crate) scale: *const f32,
}

/// What the sums start from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// A bias per column; `PANEL` floats.
    Bias(*const f32),
    /// What already stands in the output: a sum over an earlier part of `k`.
    Output,
}

/// `m` rows of pixels times one panel.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// The input floats of pixel `i` of a tap start at `a + i · lda + tap.offset`.
    pub(crate) a: *const f32,
    pub(crate) lda: usize,
    pub(crate) m: usize,
    pub(crate) taps: &'a [Tap],
    /// Rows of [`PANEL`] floats.
    pub(crate) panel: &'a [f32],
    pub(crate) start: Start,
    /// Results of pixel `i` go to `c + i · ldc`.
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
    /// Columns to write, `1..=PANEL`.
    pub(crate) columns: usize,
    pub(crate) relu: bool,
    /// Added last.
    pub(crate) residuals: &'a [TileResidual],
    /// What will be needed after this product, and does not lie in the second-level cache yet.
    pub(crate) ahead: Ahead,
}

/// Floats that are asked for while a product runs, evenly over its steps: whoever reads or writes them next does not wait for the third-level
/// cache. Waiting for weights cost a tenth of a Winograd convolution, waiting for pixels a tenth of an inverted residual.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    from: *const f32,
    floats: usize,
}

impl Ahead {
    pub(crate) const NONE: Ahead = Ahead { from: std::ptr::null(), floats: 0 };

    /// Weights of a later product.
    pub(crate) fn of(data: &[f32]) -> Ahead {
        Ahead { from: data.as_ptr(), floats: data.len() }
    }

    /// Part `part` of `parts` of a range. (Asking does no harm where nothing is, but takes long.)
    pub(crate) fn part(from: *const f32, floats: usize, part: usize, parts: usize) -> Ahead {
        let floats = floats / parts;
        Ahead { from: from.wrapping_add(part * floats), floats }
    }
}

per_isa! {
    /// `c[i] = relu?(start + Σ taps a[i] · panel) + Σ residuals` for every row `i`.
    ///
    /// # Safety
    /// All pointers are good for the sizes that [`Rows`] states (`m` pixels, the floats and panel rows of every tap, `columns` outputs,
    /// scales and residuals per pixel), and nothing that is read overlaps `c`, except through [`Start::Output`].
    pub(crate) fn rows(r: &Rows<'_>) = rows_body;
}

#[inline(always)]
unsafe fn rows_body<S: Simd>(s: S, r: &Rows<'_>) {
    let mut column = 0;
    while column < r.columns {
        let columns = (r.columns - column).min(S::TILE_VECTORS * S::LANES);
        // The narrowest tile that covers the columns: the last panel of a matrix is often half empty.
        // SAFETY: the caller's contract; column + columns ≤ r.columns.
        unsafe {
            if S::TILE_VECTORS == 4 && columns > 2 * S::LANES {
                column_group::<S, 4>(s, r, column, columns);
            } else if columns > S::LANES {
                column_group::<S, 2>(s, r, column, columns);
            } else {
                column_group::<S, 1>(s, r, column, columns);
            }
        }
        column += columns;
    }
}

/// All rows of one group of columns, in tiles of nearly equal height: 15 rows are 8 + 7 and not 14 + 1, which would wait for the
/// latency of two lonely chains.
#[inline(always)]
unsafe fn column_group<S: Simd, const NV: usize>(s: S, r: &Rows<'_>, column: usize, columns: usize) {
    let tiles = r.m.div_ceil(S::TILE_ROWS);
    let k: usize = r.taps.iter().map(|tap| tap.len).sum();
    let groups = r.columns.div_ceil(S::TILE_VECTORS * S::LANES);
    // What is asked for ahead: a few floats per step; a line is asked for several times, which is cheaper than to count.
    let step = r.ahead.floats.div_ceil((groups * tiles * k).max(1)).min(LINE);
    // Nothing to ask for: the weights, which are there. Asking for an address that is not mapped costs a walk through the page table.
    let ahead = if step == 0 { r.panel.as_ptr() } else { r.ahead.from };
    let mut done = column / (S::TILE_VECTORS * S::LANES) * tiles * k;
    let mut row = 0;
    for left in (1..=tiles).rev() {
        let height = (r.m - row).div_ceil(left);
        let at = At { row, column, columns, ahead: ahead.wrapping_add(done * step), step };
        done += k;
        macro_rules! tiles_of {
            ($($height:literal)+) => {
                match height {
                    // The comparison with the constant keeps heights that never occur out of the binary.
                    // SAFETY: row + height ≤ m, as the heights of `tiles` tiles add up to m.
                    $($height if $height <= S::TILE_ROWS => unsafe { tile::<S, $height, NV>(s, r, at) },)+
                    _ => unreachable!("tiles are at most TILE_ROWS high"),
                }
            };
        }
        tiles_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        row += height;
    }
}

/// Where a tile lies in its [`Rows`].
#[derive(Clone, Copy)]
struct At {
    row: usize,
    column: usize,
    columns: usize,
    /// What is asked for during the tile, and floats per step.
    ahead: *const f32,
    step: usize,
}

/// `MR` pixels × `NV` vectors.
///
/// `acc` must stay in registers, so it is only touched by loops that the compiler unrolls completely. A tile at the right end of the
/// matrix, whose vectors are cut, is finished on a copy on the stack.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(s: S, r: &Rows<'_>, at: At) {
    // SAFETY: the caller's contract: rows at.row..at.row + MR and columns at.column..at.column + at.columns exist.
    unsafe {
        let c = r.c.add(at.row * r.ldc + at.column);
        let mut acc = start::<S, MR, NV>(s, r, at);
        let mut ahead = at.ahead;
        for tap in r.taps {
            let a = r.a.add(at.row * r.lda + tap.offset);
            let mut b = r.panel.as_ptr().add(tap.k0 * PANEL + at.column);
            for k in 0..tap.len {
                let mut weights = [s.zero(); NV];
                for j in 0..NV {
                    weights[j] = s.load(b.add(j * S::LANES));
                }
                b = b.add(PANEL);
                s.prefetch(ahead);
                ahead = ahead.wrapping_add(at.step);
                for i in 0..MR {
                    let x = s.splat(*a.add(i * r.lda + k));
                    for j in 0..NV {
                        acc[i][j] = s.fma(x, weights[j], acc[i][j]);
                    }
                }
            }
        }
        if r.relu {
            for i in 0..MR {
                for j in 0..NV {
                    acc[i][j] = s.max(s.zero(), acc[i][j]); // in this order NaN stays NaN
                }
            }
        }
        if at.columns == NV * S::LANES {
            for residual in r.residuals {
                let value = residual.data.add(at.row * residual.stride + at.column);
                if residual.scale.is_null() {
                    for i in 0..MR {
                        for j in 0..NV {
                            let v = s.load(value.add(i * residual.stride + j * S::LANES));
                            acc[i][j] = s.add(acc[i][j], v);
                        }
                    }
                } else {
                    let mut scale = [s.zero(); NV];
                    for j in 0..NV {
                        scale[j] = s.load(residual.scale.add(at.column + j * S::LANES));
                    }
                    for i in 0..MR {
                        for j in 0..NV {
                            let v = s.load(value.add(i * residual.stride + j * S::LANES));
                            acc[i][j] = s.fma(v, scale[j], acc[i][j]);
                        }
                    }
                }
            }
            for i in 0..MR {
                for j in 0..NV {
                    s.store(c.add(i * r.ldc + j * S::LANES), acc[i][j]);
                }
            }
        } else {
            finish(s, r, at, acc);
        }
    }
}

/// The first value of a tile's sums.
#[inline(always)]
unsafe fn start<S: Simd, const MR: usize, const NV: usize>(s: S, r: &Rows<'_>, at: At) -> [[S::V; NV]; MR] {
    let mut first = [[s.zero(); NV]; MR];
    // SAFETY: as in `tile`; a bias has PANEL floats.
    unsafe {
        match r.start {
            Start::Bias(bias) => {
                let mut row = [s.zero(); NV];
                for j in 0..NV {
                    row[j] = s.load(bias.add(at.column + j * S::LANES));
                }
                first = [row; MR];
            }
            Start::Output => {
                let c = r.c.add(at.row * r.ldc + at.column);
                for (i, row) in first.iter_mut().enumerate() {
                    *row = load_row(s, c.add(i * r.ldc), at.columns);
                }
            }
        }
    }
    first
}

/// Adds the residuals and stores the columns that exist.
#[inline(always)]
unsafe fn finish<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    r: &Rows<'_>,
    at: At,
    acc: [[S::V; NV]; MR],
) {
    // SAFETY: as in `tile`: the output, the residuals and their scales have the rows and columns of the tile.
    unsafe {
        let c = r.c.add(at.row * r.ldc + at.column);
        for (i, mut row) in acc.into_iter().enumerate() {
            for residual in r.residuals {
                let value = residual.data.add((at.row + i) * residual.stride + at.column);
                let value: [S::V; NV] = load_row(s, value, at.columns);
                let mut scale = [s.splat(1.0); NV];
                if !residual.scale.is_null() {
                    scale = load_row(s, residual.scale.add(at.column), at.columns);
                }
                for j in 0..NV {
                    row[j] = s.fma(value[j], scale[j], row[j]); // exact for a scale of one
                }
            }
            for (j, v) in row.into_iter().enumerate() {
                let lanes = at.columns.saturating_sub(j * S::LANES).min(S::LANES);
                s.store_first(c.add(i * r.ldc + j * S::LANES), v, lanes);
            }
        }
    }
}

/// `NV` vectors of which the first `columns` floats exist; the others are zero.
#[inline(always)]
unsafe fn load_row<S: Simd, const NV: usize>(s: S, p: *const f32, columns: usize) -> [S::V; NV] {
    let mut row = [s.zero(); NV];
    for (j, v) in row.iter_mut().enumerate() {
        let lanes = columns.saturating_sub(j * S::LANES).min(S::LANES);
        // SAFETY: the caller vouches for `columns` floats; an empty vector touches nothing.
        unsafe { *v = s.load_first(p.add(j * S::LANES), lanes) };
    }
    row
}
