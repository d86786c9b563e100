//! GELU over floats that a matrix kernel has just written.
//!
//! A second pass over a block in cache is faster than GELU inside the matrix tile, where all registers are taken.

use crate::epilogue::RowBlock;
use crate::simd::{Simd, math, per_isa};

per_isa! {
    /// GELU of a block of rows.
    ///
    /// # Safety
    /// The block is readable and writable.
    pub(crate) fn gelu_rows(block: &RowBlock) = rows_body;
}

#[inline(always)]
unsafe fn rows_body<S: Simd>(s: S, block: &RowBlock) {
    // SAFETY: the caller vouches for the rows; where they follow each other without a gap they are one long row.
    unsafe {
        if block.stride == block.columns {
            return gelu_body(s, block.p, block.m * block.columns);
        }
        for row in 0..block.m {
            gelu_body(s, block.p.add(row * block.stride), block.columns);
        }
    }
}

/// Vectors in flight: enough to hide the latency of the polynomials.
const UNROLL: usize = 4;

#[inline(always)]
unsafe fn gelu_body<S: Simd>(s: S, p: *mut f32, n: usize) {
    let mut i = 0;
    // SAFETY: i + step ≤ n, and the caller vouches for n floats.
    unsafe {
        while i + UNROLL * S::LANES <= n {
            let at = p.add(i);
            let mut v = [s.zero(); UNROLL];
            for (j, v) in v.iter_mut().enumerate() {
                *v = math::gelu(s, s.load(at.add(j * S::LANES)));
            }
            for (j, v) in v.into_iter().enumerate() {
                s.store(at.add(j * S::LANES), v);
            }
            i += UNROLL * S::LANES;
        }
        while i + S::LANES <= n {
            s.store(p.add(i), math::gelu(s, s.load(p.add(i))));
            i += S::LANES;
        }
        if i < n {
            let v = math::gelu(s, s.load_first(p.add(i), n - i));
            s.store_first(p.add(i), v, n - i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn equals_the_definition_to_one_millionth() {
        let x: Vec<f32> = (-1200..=1200).map(|i| i as f32 * 0.01).chain([1e30, -1e30, 0.0]).collect();
        for isa in Isa::available() {
            for n in [0, 1, 3, 63, 64, 65, x.len()] {
                let mut y = x.clone();
                let block = RowBlock { p: y.as_mut_ptr(), stride: n, m: 1, columns: n };
                // SAFETY: n is at most the length of y.
                unsafe { gelu_rows(isa)(&block) };
                for (i, (&x, &y)) in x.iter().zip(&y).enumerate() {
                    let want = if i < n { crate::reference::act::gelu(f64::from(x)) as f32 } else { x };
                    let tolerance = 1e-6 * want.abs().max(1.0);
                    assert!((y - want).abs() <= tolerance, "{isa}: gelu({x}) = {y}, expected {want}");
                }
            }
        }
    }
}
