//! Gradients of a depthwise convolution with "same" padding.

use super::depthwise_taps::{RowPair, taps};
use crate::depthwise::{PackedDepthwise, depthwise};
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use rayon::prelude::*;

/// dx: a depthwise convolution of dy with the kernel turned by 180°. `w` is `[c, kh, kw]`, both sizes odd.
pub fn depthwise_data_grad(w: &[f32], kernel: (usize, usize), dy: Map<'_>, dx: MapMut<'_>) {
    let (kh, kw) = kernel;
    assert!(kh % 2 == 1 && kw % 2 == 1, "same padding needs odd kernels, got {kh}x{kw}");
    let turned: Vec<f32> = w.chunks_exact(kh * kw).flat_map(|k| k.iter().rev().copied()).collect();
    depthwise(dy, &PackedDepthwise::pack(&turned, dy.c, kh, kw, None), dx);
}

/// Output rows that one partial sum covers.
const BAND_ROWS: usize = 8;
/// Partial sums at most.
const GROUPS: usize = 32;

/// dw `[c, kh, kw]` = Σ over pixels of dy · (x shifted), for `x` and `dy` `[n, h, w, c]`.
pub fn depthwise_weight_grad(x: &[f32], dy: &[f32], dims: [usize; 4], kernel: (usize, usize)) -> Vec<f32> {
    depthwise_weight_grad_with(Isa::current(), x, dy, dims, kernel)
}

/// [`depthwise_weight_grad`] with a given instruction set.
///
/// # Panics
/// When a length does not fit, or the processor lacks the instruction set.
pub fn depthwise_weight_grad_with(
    isa: Isa,
    x: &[f32],
    dy: &[f32],
    dims: [usize; 4],
    kernel: (usize, usize),
) -> Vec<f32> {
    let [n, h, w, c] = dims;
    let (kh, kw) = kernel;
    assert!(kh % 2 == 1 && kw % 2 == 1, "same padding needs odd kernels, got {kh}x{kw}");
    assert!(x.len() == n * h * w * c && dy.len() == x.len(), "depthwise gradient of {dims:?}");
    let taps = taps(isa);
    let bands: Vec<(usize, usize)> =
        (0..n).flat_map(|i| (0..h).step_by(BAND_ROWS).map(move |y| (i * h * w * c, y))).collect();
    let zeros = vec![0.0; w * c];
    let per_group = bands.len().div_ceil(GROUPS).max(1);
    let parts: Vec<Vec<f32>> = bands
        .par_chunks(per_group)
        .map(|bands| {
            let mut acc = vec![0.0; kh * kw * c];
            for &(image, top) in bands {
                let row = |data: &[f32], y: usize| data[image + y * w * c..][..w * c].as_ptr();
                for y in top..(top + BAND_ROWS).min(h) {
                    let x_rows: Vec<*const f32> = (0..kh)
                        .map(|ky| (y + ky).wrapping_sub(kh / 2))
                        .map(|y| if y < h { row(x, y) } else { zeros.as_ptr() })
                        .collect();
                    let (below, next) = ((y + kh / 2 + 1).min(h - 1), (y + 1).min(h - 1));
                    let (ahead, sums) = ([row(x, below), row(dy, next)], acc.as_mut_ptr());
                    let pair = RowPair { x: &x_rows, dy: row(dy, y), w, c, kw, ahead, sums };
                    // SAFETY: every row holds w · c floats, and `acc` kh · kw · c.
                    unsafe { taps(&pair) };
                }
            }
            acc
        })
        .collect();
    let by_tap = super::columns::sum_in_order(&parts, kh * kw * c);
    let mut dw = vec![0.0; by_tap.len()];
    for (i, o) in dw.iter_mut().enumerate() {
        *o = by_tap[(i % (kh * kw)) * c + i / (kh * kw)];
    }
    dw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_gradient_equals_its_definition() {
        for (dims, kernel) in [
            ([2, 5, 3, 25], (3, 3)),
            ([1, 9, 13, 17], (7, 7)),
            ([2, 7, 2, 33], (7, 7)),
            ([1, 5, 9, 20], (5, 5)),
            ([1, 4, 6, 8], (11, 1)),
            ([1, 6, 4, 16], (1, 11)),
            ([1, 3, 3, 2], (9, 13)),
            ([1, 1, 1, 1], (3, 3)),
        ] {
            let [n, h, w, c] = dims;
            let value = |i: usize, m: usize| ((i * 31 % m) as f32 - m as f32 / 2.0) * 0.01;
            let x: Vec<f32> = (0..n * h * w * c).map(|i| value(i, 97)).collect();
            let dy: Vec<f32> = (0..x.len()).map(|i| value(i, 89)).collect();
            let all: Vec<Vec<f32>> = Isa::available()
                .into_iter()
                .map(|isa| depthwise_weight_grad_with(isa, &x, &dy, dims, kernel))
                .collect();
            for (i, &got) in all.iter().flat_map(|got| got.iter().enumerate()) {
                let (ch, ky, kx) = (i / (kernel.0 * kernel.1), i / kernel.1 % kernel.0, i % kernel.1);
                let mut want = 0.0f64;
                for (p, &g) in dy.iter().enumerate().filter(|(p, _)| p % c == ch) {
                    let (b, y, xx) = (p / c / w / h, p / c / w % h, p / c % w);
                    let (sy, sx) =
                        ((y + ky).wrapping_sub(kernel.0 / 2), (xx + kx).wrapping_sub(kernel.1 / 2));
                    if sy < h && sx < w {
                        want += f64::from(g) * f64::from(x[((b * h + sy) * w + sx) * c + ch]);
                    }
                }
                assert!((f64::from(got) - want).abs() < 1e-5, "{dims:?} {kernel:?} at {i}: {got} {want}");
            }
        }
    }
}
