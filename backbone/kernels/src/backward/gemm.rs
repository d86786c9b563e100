//! Matrix products of strided views, one thread each: the callers cut the work into tasks.

use crate::gemm::outer::{Outer, outer};
use crate::isa::Isa;

/// A read-only matrix over a slice: element `(r, c)` is `data[r * row_stride + c * col_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// Rows of `cols` contiguous values, `row_stride` apart.
    ///
    /// Panics when the last element would lie outside `data`.
    pub(super) fn rows(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * row_stride + cols - 1;
            assert!(
                last < data.len(),
                "matrix of {rows} rows {row_stride} apart does not fit in {}",
                data.len()
            );
        }
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The same values with rows and columns exchanged.
    pub(super) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a · b`, or `out += a · b`; rows of `out` are `b.cols` contiguous values, `out_stride` apart.
///
/// Panics when the shapes do not fit together or `out` is too short.
pub(super) fn matmul(a: Mat<'_>, b: Mat<'_>, out: &mut [f32], out_stride: usize, accumulate: bool) {
    let (m, k, n) = (a.rows, a.cols, b.cols);
    assert_eq!(k, b.rows, "matrix product of {m}x{k} and {}x{n}", b.rows);
    if m == 0 || n == 0 {
        return;
    }
    assert!(out_stride >= n && (m - 1) * out_stride + n <= out.len(), "result of {m}x{n} does not fit");
    if k == 0 {
        if !accumulate {
            out.chunks_mut(out_stride).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    // SAFETY: `Mat::rows` checked that every element of `a` and `b` lies in its slice (strides are swapped in pairs by
    // `t`), the assertion above does so for `out`, and `out` is borrowed mutably, so it aliases neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `out = aᵀ · b`, or `out += aᵀ · b`, for matrices of contiguous rows: a sum of outer products, for which nothing is transposed or packed.
///
/// Panics when the shapes do not fit together or `out` is too short.
pub(super) fn outer_products(a: Mat<'_>, b: Mat<'_>, out: &mut [f32], out_stride: usize, accumulate: bool) {
    let (k, m, n) = (a.rows, a.cols, b.cols);
    assert_eq!(k, b.rows, "outer products of {k} and {} rows", b.rows);
    assert!(a.col_stride == 1 && b.col_stride == 1, "rows of outer products are contiguous");
    if m == 0 || n == 0 {
        return;
    }
    assert!(out_stride >= n && (m - 1) * out_stride + n <= out.len(), "result of {m}x{n} does not fit");
    let product = Outer {
        a: a.data.as_ptr(),
        lda: a.row_stride,
        b: b.data.as_ptr(),
        ldb: b.row_stride,
        k,
        m,
        n,
        c: out.as_mut_ptr(),
        ldc: out_stride,
        add: accumulate,
    };
    // SAFETY: `Mat::rows` checked that every row of `a` and `b` lies in its slice, the assertion above does so for `out`, and `out` is borrowed
    // mutably, so it aliases neither.
    unsafe { outer(Isa::current())(&product) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposed_and_strided_views() {
        let a: Vec<f32> = (0..12).map(|v| v as f32).collect(); // 3 rows of 3 used values, 4 apart
        let b: Vec<f32> = (0..6).map(|v| v as f32 - 2.0).collect(); // 3x2
        let mut out = vec![1.0f32; 3 * 5];
        matmul(Mat::rows(&a, 3, 3, 4).t(), Mat::rows(&b, 3, 2, 2), &mut out, 5, true);
        for r in 0..3 {
            for c in 0..2 {
                let want: f32 = 1.0 + (0..3).map(|k| a[k * 4 + r] * b[k * 2 + c]).sum::<f32>();
                assert_eq!(out[r * 5 + c], want, "({r}, {c})");
            }
            assert_eq!(out[r * 5 + 2], 1.0, "columns beyond the result stay");
        }
    }

    #[test]
    fn an_empty_inner_dimension_gives_zeros() {
        let mut out = vec![3.0f32; 4];
        matmul(Mat::rows(&[], 2, 0, 0), Mat::rows(&[], 0, 2, 2), &mut out, 2, false);
        assert_eq!(out, [0.0; 4]);
    }
}
