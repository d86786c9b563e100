//! The inner loop of a depthwise weight gradient: one row of results with the rows of inputs that they were made of.
//!
//! The sums of all taps of some kernel rows stay in registers while the row is walked, and so does the window of inputs that moves over it: a step
//! loads one input per kernel row and one gradient.

// Indices are constants once the loops are unrolled, and read like the formula.
#![allow(clippy::needless_range_loop)]

use crate::simd::{Simd, per_isa};

/// A row of gradients, and the inputs that each kernel row saw.
pub(super) struct RowPair<'a> {
    /// Per kernel row: `w` pixels of `c` floats (zeros for rows outside of the map).
    pub(super) x: &'a [*const f32],
    /// `w` pixels of `c` floats.
    pub(super) dy: *const f32,
    pub(super) w: usize,
    pub(super) c: usize,
    /// Width of the kernel, odd.
    pub(super) kw: usize,
    /// Rows that the next call will read first, asked for while this one runs: channels of a pixel lie apart from those of the next, which the
    /// processor does not foresee.
    pub(super) ahead: [*const f32; 2],
    /// `[kernel rows][kw][c]`, added to.
    pub(super) sums: *mut f32,
}

per_isa! {
    /// `sums[ky][kx][i] += Σ dy[p][i] · x[ky][p + kx − kw/2][i]`, zeros outside.
    ///
    /// # Safety
    /// The pointers are good for the sizes that [`RowPair`] states; `sums` overlaps nothing.
    pub(super) fn taps(rows: &RowPair<'_>) = taps_body;
}

#[inline(always)]
unsafe fn taps_body<S: Simd>(s: S, rows: &RowPair<'_>) {
    let mut c = 0;
    while c < rows.c {
        let lanes = (rows.c - c).min(S::LANES);
        // SAFETY: `lanes` channels remain at c.
        unsafe {
            if lanes == S::LANES {
                kernel_rows::<S, true>(s, rows, c, lanes);
            } else {
                kernel_rows::<S, false>(s, rows, c, lanes);
            }
        }
        c += lanes;
    }
}

/// As many kernel rows at a time as registers hold the sums and windows of.
#[inline(always)]
unsafe fn kernel_rows<S: Simd, const FULL: bool>(s: S, rows: &RowPair<'_>, c: usize, lanes: usize) {
    let mut ky = 0;
    while ky < rows.x.len() {
        let left = rows.x.len() - ky;
        let at = At { ky, c, lanes };
        // SAFETY: kernel rows ky.. exist, as many as the second number says.
        ky += unsafe {
            match (rows.kw, left) {
                (1, 4..) => walk::<S, 1, 4, FULL>(s, rows, at),
                (1, _) => walk::<S, 1, 1, FULL>(s, rows, at),
                (3, 3..) => walk::<S, 3, 3, FULL>(s, rows, at),
                (3, _) => walk::<S, 3, 1, FULL>(s, rows, at),
                (5, 2..) => walk::<S, 5, 2, FULL>(s, rows, at),
                (5, _) => walk::<S, 5, 1, FULL>(s, rows, at),
                (7, 2..) => walk::<S, 7, 2, FULL>(s, rows, at),
                (7, _) => walk::<S, 7, 1, FULL>(s, rows, at),
                (11, _) => walk::<S, 11, 1, FULL>(s, rows, at),
                _ => any_width::<S, FULL>(s, rows, at),
            }
        };
    }
}

/// First kernel row, first channel, channels.
#[derive(Clone, Copy)]
struct At {
    ky: usize,
    c: usize,
    lanes: usize,
}

/// `R` kernel rows of width `K`. Returns `R`.
#[inline(always)]
unsafe fn walk<S: Simd, const K: usize, const R: usize, const FULL: bool>(
    s: S,
    rows: &RowPair<'_>,
    At { ky, c, lanes }: At,
) -> usize {
    let (half, w) = (K / 2, rows.w);
    let mut sums = [[s.zero(); K]; R];
    let mut window = [[s.zero(); K]; R];
    // SAFETY: pixels below w of R rows, and the sums of R · K taps, as the caller promises.
    unsafe {
        for r in 0..R {
            for j in 0..half.min(w) {
                window[r][K - half + j] = load::<S, FULL>(s, rows.x[ky + r].add(j * rows.c + c), lanes);
            }
        }
        for p in 0..w {
            let g = load::<S, FULL>(s, rows.dy.add(p * rows.c + c), lanes);
            if ky == 0 {
                s.prefetch(rows.ahead[0].wrapping_add(p * rows.c + c));
                s.prefetch(rows.ahead[1].wrapping_add(p * rows.c + c));
            }
            for r in 0..R {
                for k in 1..K {
                    window[r][k - 1] = window[r][k];
                }
                window[r][K - 1] = s.zero();
                if p + half < w {
                    window[r][K - 1] = load::<S, FULL>(s, rows.x[ky + r].add((p + half) * rows.c + c), lanes);
                }
            }
            for r in 0..R {
                for k in 0..K {
                    sums[r][k] = s.fma(g, window[r][k], sums[r][k]);
                }
            }
        }
        for r in 0..R {
            for k in 0..K {
                add::<S, FULL>(s, rows.sums.add(((ky + r) * K + k) * rows.c + c), sums[r][k], lanes);
            }
        }
    }
    R
}

/// One kernel row of a width without a compiled case. Returns 1.
#[inline(always)]
unsafe fn any_width<S: Simd, const FULL: bool>(s: S, rows: &RowPair<'_>, At { ky, c, lanes }: At) -> usize {
    let (half, w) = (rows.kw / 2, rows.w);
    for k in 0..rows.kw {
        let mut sum = s.zero();
        // SAFETY: pixels p and p + k − half are below w, the tap is below kw.
        unsafe {
            for p in half.saturating_sub(k)..(w + half).saturating_sub(k).min(w) {
                let g = load::<S, FULL>(s, rows.dy.add(p * rows.c + c), lanes);
                let v = load::<S, FULL>(s, rows.x[ky].add((p + k - half) * rows.c + c), lanes);
                sum = s.fma(g, v, sum);
            }
            add::<S, FULL>(s, rows.sums.add((ky * rows.kw + k) * rows.c + c), sum, lanes);
        }
    }
    1
}

#[inline(always)]
unsafe fn load<S: Simd, const FULL: bool>(s: S, p: *const f32, lanes: usize) -> S::V {
    // SAFETY: the caller vouches for `lanes` floats, which is all lanes when FULL.
    unsafe { if FULL { s.load(p) } else { s.load_first(p, lanes) } }
}

#[inline(always)]
unsafe fn add<S: Simd, const FULL: bool>(s: S, p: *mut f32, v: S::V, lanes: usize) {
    // SAFETY: as in `load`.
    unsafe {
        let sum = s.add(load::<S, FULL>(s, p, lanes), v);
        if FULL { s.store(p, sum) } else { s.store_first(p, sum, lanes) }
    }
}
