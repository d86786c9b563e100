//! Sums over all pixels, per channel: bias gradients, batch-norm and layer-scale reductions.

use super::{fma, vectorised};
use crate::isa::Isa;
use rayon::prelude::*;
use std::ops::Range;

/// Rows of `c` values that one partial sum covers (a function of the shape alone).
pub(super) fn rows_per_chunk(c: usize) -> usize {
    (super::CHUNK / c.max(1)).clamp(16, 4096)
}

/// Adds up what `partial` makes of fixed chunks of rows, in chunk order and in f64.
///
/// `partial(range, acc)` receives zeroed accumulators of length `width`.
pub(super) fn fold_rows<F>(rows: usize, c: usize, width: usize, partial: F) -> Vec<f32>
where
    F: Fn(Range<usize>, &mut [f32]) + Sync,
{
    let step = rows_per_chunk(c);
    let parts: Vec<Vec<f32>> = (0..rows.div_ceil(step))
        .into_par_iter()
        .map(|i| {
            let mut acc = vec![0.0; width];
            partial(i * step..((i + 1) * step).min(rows), &mut acc);
            acc
        })
        .collect();
    sum_in_order(&parts, width)
}

/// Elementwise sum of equally long vectors, first to last, in f64.
pub(super) fn sum_in_order(parts: &[Vec<f32>], width: usize) -> Vec<f32> {
    if let [only] = parts {
        return only.clone();
    }
    let mut total = vec![0.0f64; width];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, &p)| *t += f64::from(p));
    }
    total.iter().map(|&t| t as f32).collect()
}

/// Σ over rows of `x`, which holds rows of `c` values: the gradient of a bias.
pub fn column_sums(x: &[f32], c: usize) -> Vec<f32> {
    assert!(c > 0 && x.len().is_multiple_of(c), "{} values are not rows of {c}", x.len());
    let isa = Isa::current();
    fold_rows(x.len() / c, c, c, |r, acc| add_rows(isa, &x[r.start * c..r.end * c], acc))
}

/// Σ over rows of `a * b`, both rows of `c` values: the gradient of a per-channel factor.
pub fn column_dots(a: &[f32], b: &[f32], c: usize) -> Vec<f32> {
    assert!(c > 0 && a.len().is_multiple_of(c), "{} values are not rows of {c}", a.len());
    assert_eq!(a.len(), b.len(), "column_dots needs equal lengths");
    let isa = Isa::current();
    fold_rows(a.len() / c, c, c, |r, acc| {
        let r = r.start * c..r.end * c;
        dot_rows(isa, &a[r.clone()], &b[r], acc);
    })
}

/// Adds `bias` to every row of `bias.len()` values.
pub fn add_to_rows(bias: &[f32], rows: &mut [f32]) {
    let c = bias.len();
    assert!(c > 0 && rows.len().is_multiple_of(c), "{} values are not rows of {c}", rows.len());
    rows.par_chunks_mut(rows_per_chunk(c) * c).for_each(|rows| {
        for row in rows.chunks_exact_mut(c) {
            row.iter_mut().zip(bias).for_each(|(r, b)| *r += b);
        }
    });
}

/// Adds rows of `len` values, (values, len), to columns of the rows of `to`, (values, row length, first column).
pub fn add_columns(from: (&[f32], usize), to: (&mut [f32], usize, usize)) {
    let ((from, len), (to, to_c, to_at)) = (from, to);
    assert!(len > 0 && to_at + len <= to_c, "columns outside of their rows");
    assert!(
        from.len().is_multiple_of(len) && from.len() / len * to_c == to.len(),
        "different numbers of rows"
    );
    let step = rows_per_chunk(to_c);
    to.par_chunks_mut(step * to_c).zip(from.par_chunks(step * len)).for_each(|(to, from)| {
        for (to, from) in to.chunks_exact_mut(to_c).zip(from.chunks_exact(len)) {
            to[to_at..to_at + len].iter_mut().zip(from).for_each(|(t, f)| *t += f);
        }
    });
}

/// Copies `len` columns of the rows of `from` into the rows of `to`; both are (values, row length, first column).
pub fn copy_columns(from: (&[f32], usize, usize), to: (&mut [f32], usize, usize), len: usize) {
    let ((from, from_c, from_at), (to, to_c, to_at)) = (from, to);
    assert!(from_at + len <= from_c && to_at + len <= to_c, "columns outside of their rows");
    if len == 0 {
        return;
    }
    assert!(
        from.len().is_multiple_of(from_c) && from.len() / from_c * to_c == to.len(),
        "different numbers of rows"
    );
    let step = rows_per_chunk(from_c.max(to_c));
    to.par_chunks_mut(step * to_c).zip(from.par_chunks(step * from_c)).for_each(|(to, from)| {
        for (to, from) in to.chunks_exact_mut(to_c).zip(from.chunks_exact(from_c)) {
            to[to_at..to_at + len].copy_from_slice(&from[from_at..from_at + len]);
        }
    });
}

vectorised!(fn add_rows(x: &[f32], acc: &mut [f32]) = add_rows_body);
vectorised!(fn dot_rows(a: &[f32], b: &[f32], acc: &mut [f32]) = dot_rows_body);

#[inline(always)]
fn add_rows_body<const FMA: bool>(x: &[f32], acc: &mut [f32]) {
    for row in x.chunks_exact(acc.len()) {
        acc.iter_mut().zip(row).for_each(|(s, &v)| *s += v);
    }
}

#[inline(always)]
fn dot_rows_body<const FMA: bool>(a: &[f32], b: &[f32], acc: &mut [f32]) {
    let c = acc.len();
    for (ra, rb) in a.chunks_exact(c).zip(b.chunks_exact(c)) {
        for ((s, &x), &y) in acc.iter_mut().zip(ra).zip(rb) {
            *s = fma::<FMA>(x, y, *s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_dots_equal_f64_loops() {
        for (rows, c) in [(1, 1), (3, 5), (7000, 3), (5000, 40)] {
            let a: Vec<f32> = (0..rows * c).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.02).collect();
            let b: Vec<f32> = (0..rows * c).map(|i| ((i * 53 % 97) as f32 - 48.0) * 0.02).collect();
            let (sums, dots) = (column_sums(&a, c), column_dots(&a, &b, c));
            for i in 0..c {
                let s: f64 = (0..rows).map(|r| f64::from(a[r * c + i])).sum();
                let d: f64 = (0..rows).map(|r| f64::from(a[r * c + i]) * f64::from(b[r * c + i])).sum();
                let tol = 1e-6 * rows as f64 + 1e-6;
                assert!(
                    (f64::from(sums[i]) - s).abs() < tol && (f64::from(dots[i]) - d).abs() < tol,
                    "{rows}x{c}"
                );
            }
        }
        assert_eq!(column_sums(&[], 3), [0.0; 3]);
    }
}
