//! `Aᵀ · B` for matrices that lie as pixels do, one row after the other: the sum of outer products that weight gradients are.
//!
//! A register tile of `TILE_ROWS` columns of A × `TILE_VECTORS` vectors of B stays in registers over the rows of a block, so neither matrix is
//! transposed or packed. Every result is one chain of multiply-adds in the order of the rows: its bits do not depend on how the result is cut.

// Indices are constants once the loops are unrolled, and read like the formula.
#![allow(clippy::needless_range_loop)]

use crate::simd::{Simd, per_isa};

/// `c[i][j] = or += Σ a[k][i] · b[k][j]`.
#[derive(Clone, Copy)]
pub(crate) struct Outer {
    /// `k` rows of `m` floats, `lda` apart.
    pub(crate) a: *const f32,
    pub(crate) lda: usize,
    /// `k` rows of `n` floats, `ldb` apart.
    pub(crate) b: *const f32,
    pub(crate) ldb: usize,
    pub(crate) k: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    /// `m` rows of `n` floats, `ldc` apart.
    pub(crate) c: *mut f32,
    pub(crate) ldc: usize,
    /// Whether the sum goes on from what stands in `c`.
    pub(crate) add: bool,
}

per_isa! {
    /// Runs the product.
    ///
    /// # Safety
    /// The pointers are good for the sizes that [`Outer`] states, and `c` overlaps neither `a` nor `b`.
    pub(crate) fn outer(p: &Outer) = outer_body;
}

/// Rows of a block: 32 columns of B (24 KiB) stay in the first-level cache while the columns of A pass, and both blocks in the second.
pub(crate) const BLOCK: usize = 192;

#[inline(always)]
unsafe fn outer_body<S: Simd>(s: S, p: &Outer) {
    let mut k = 0;
    // SAFETY: blocks of rows and groups of columns lie within the caller's matrices.
    unsafe {
        if p.k == 0 && !p.add {
            for i in 0..p.m {
                std::slice::from_raw_parts_mut(p.c.add(i * p.ldc), p.n).fill(0.0);
            }
        }
        while k < p.k {
            let rows = (p.k - k).min(BLOCK);
            let (a, b, add) = (p.a.add(k * p.lda), p.b.add(k * p.ldb), p.add || k > 0);
            block(s, &Outer { a, b, k: rows, add, ..*p });
            k += rows;
        }
    }
}

#[inline(always)]
unsafe fn block<S: Simd>(s: S, p: &Outer) {
    let mut column = 0;
    while column < p.n {
        let columns = (p.n - column).min(S::TILE_VECTORS * S::LANES);
        // The narrowest tile that covers the columns; only whole vectors are loaded without a mask.
        // SAFETY: column + columns ≤ n.
        unsafe {
            let p = Outer { b: p.b.add(column), c: p.c.add(column), n: columns, ..*p };
            if columns == S::TILE_VECTORS * S::LANES {
                if S::TILE_VECTORS == 4 { rows::<S, 4, true>(s, &p) } else { rows::<S, 2, true>(s, &p) }
            } else if S::TILE_VECTORS == 4 && columns > 2 * S::LANES {
                rows::<S, 4, false>(s, &p);
            } else if columns > S::LANES {
                rows::<S, 2, false>(s, &p);
            } else {
                rows::<S, 1, false>(s, &p);
            }
        }
        column += columns;
    }
}

/// All columns of A, in tiles of nearly equal height.
#[inline(always)]
unsafe fn rows<S: Simd, const NV: usize, const FULL: bool>(s: S, p: &Outer) {
    let tiles = p.m.div_ceil(S::TILE_ROWS);
    let mut row = 0;
    for left in (1..=tiles).rev() {
        let height = (p.m - row).div_ceil(left);
        macro_rules! tiles_of {
            ($($height:literal)+) => {
                match height {
                    // The comparison with the constant keeps heights that never occur out of the binary.
                    // SAFETY: row + height ≤ m, as the heights of `tiles` tiles add up to m.
                    $($height if $height <= S::TILE_ROWS => unsafe { tile::<S, $height, NV, FULL>(s, p, row) },)+
                    _ => unreachable!("tiles are at most TILE_ROWS high"),
                }
            };
        }
        tiles_of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        row += height;
    }
}

/// `MR` columns of A × `NV` vectors of B; `acc` must stay in registers, so it is only touched by loops that unroll completely.
#[inline(always)]
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const FULL: bool>(s: S, p: &Outer, row: usize) {
    let mut acc = [[s.zero(); NV]; MR];
    // SAFETY: the caller's contract; with FULL all NV vectors exist, otherwise the first `n` floats of them.
    unsafe {
        let c = p.c.add(row * p.ldc);
        if p.add {
            for i in 0..MR {
                acc[i] = load::<S, NV, FULL>(s, c.add(i * p.ldc), p.n);
            }
        }
        let (mut a, mut b) = (p.a.add(row), p.b);
        for _ in 0..p.k {
            let values = load::<S, NV, FULL>(s, b, p.n);
            for i in 0..MR {
                let x = s.splat(*a.add(i));
                for j in 0..NV {
                    acc[i][j] = s.fma(x, values[j], acc[i][j]);
                }
            }
            (a, b) = (a.wrapping_add(p.lda), b.wrapping_add(p.ldb));
        }
        for i in 0..MR {
            for j in 0..NV {
                let at = c.add(i * p.ldc).wrapping_add(j * S::LANES);
                if FULL {
                    s.store(at, acc[i][j]);
                } else {
                    s.store_first(at, acc[i][j], p.n.saturating_sub(j * S::LANES).min(S::LANES));
                }
            }
        }
    }
}

/// `NV` vectors; unless `FULL` only the first `n` floats exist, the others are zero.
#[inline(always)]
unsafe fn load<S: Simd, const NV: usize, const FULL: bool>(s: S, p: *const f32, n: usize) -> [S::V; NV] {
    let mut row = [s.zero(); NV];
    for j in 0..NV {
        let at = p.wrapping_add(j * S::LANES);
        // SAFETY: the caller vouches for the floats that are loaded; an empty vector touches nothing.
        unsafe {
            row[j] = if FULL {
                s.load(at)
            } else {
                s.load_first(at, n.saturating_sub(j * S::LANES).min(S::LANES))
            };
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn equals_its_definition_for_every_instruction_set_and_keeps_what_is_beside() {
        let value = |i: usize, m: usize| ((i * 31 % m) as f32 - m as f32 / 2.0) * 0.01;
        for isa in Isa::available() {
            for (k, m, n) in [(0, 2, 3), (1, 1, 1), (3, 29, 8), (200, 15, 33), (385, 14, 32), (7, 5, 70)] {
                let (lda, ldb, ldc) = (m + 3, n + 1, n + 2);
                let a: Vec<f32> = (0..k * lda).map(|i| value(i, 97)).collect();
                let b: Vec<f32> = (0..k * ldb).map(|i| value(i, 89)).collect();
                for add in [false, true] {
                    let mut c = vec![0.5f32; m * ldc];
                    let (a_p, b_p) = (a.as_ptr(), b.as_ptr());
                    let p = Outer { a: a_p, lda, b: b_p, ldb, k, m, n, c: c.as_mut_ptr(), ldc, add };
                    // SAFETY: the vectors hold k, k and m rows.
                    unsafe { outer(isa)(&p) };
                    for (at, &got) in c.iter().enumerate() {
                        let (i, j) = (at / ldc, at % ldc);
                        let sum = |k: usize| f64::from(a[k * lda + i]) * f64::from(b[k * ldb + j]);
                        let start = if add { 0.5 } else { 0.0 };
                        let want = if j < n { start + (0..k).map(sum).sum::<f64>() } else { 0.5 };
                        assert!(
                            (f64::from(got) - want).abs() < 1e-4,
                            "{isa} {k} {m}x{n} at {at}: {got} {want}"
                        );
                    }
                }
            }
        }
    }
}
