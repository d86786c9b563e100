//! Gradients of a depthwise convolution with "same" padding.

use super::{fma, vectorised};
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
    let [n, h, w, c] = dims;
    let (kh, kw) = kernel;
    assert!(kh % 2 == 1 && kw % 2 == 1, "same padding needs odd kernels, got {kh}x{kw}");
    assert!(x.len() == n * h * w * c && dy.len() == x.len(), "depthwise gradient of {dims:?}");
    let isa = Isa::current();
    let bands: Vec<(usize, usize)> =
        (0..n).flat_map(|i| (0..h).step_by(BAND_ROWS).map(move |y| (i * h * w * c, y))).collect();
    let per_group = bands.len().div_ceil(GROUPS).max(1);
    let parts: Vec<Vec<f32>> = bands
        .par_chunks(per_group)
        .map(|bands| {
            let mut acc = vec![0.0; kh * kw * c];
            for &(image, top) in bands {
                let picture = Picture { x: &x[image..][..h * w * c], dy: &dy[image..][..h * w * c], h, w, c };
                band_grad(isa, picture, top, kernel, &mut acc);
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

/// One picture and the gradient of its result.
#[derive(Clone, Copy)]
struct Picture<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    h: usize,
    w: usize,
    c: usize,
}

vectorised!(fn band_grad(p: Picture<'_>, top: usize, kernel: (usize, usize), acc: &mut [f32]) = band_body);

/// acc `[kh][kw][c]` += the share of rows `top..top + BAND_ROWS`; channels in blocks of 16, 8, 1.
#[inline(always)]
fn band_body<const FMA: bool>(p: Picture<'_>, top: usize, kernel: (usize, usize), acc: &mut [f32]) {
    let mut ch = 0;
    while ch + 16 <= p.c {
        block::<FMA, 16>(p, top, kernel, ch, acc);
        ch += 16;
    }
    while ch + 8 <= p.c {
        block::<FMA, 8>(p, top, kernel, ch, acc);
        ch += 8;
    }
    while ch < p.c {
        block::<FMA, 1>(p, top, kernel, ch, acc);
        ch += 1;
    }
}

#[inline(always)]
fn block<const FMA: bool, const L: usize>(
    p: Picture<'_>,
    top: usize,
    (kh, kw): (usize, usize),
    ch: usize,
    acc: &mut [f32],
) {
    let bottom = (top + BAND_ROWS).min(p.h);
    for ky in 0..kh {
        let acc = &mut acc[ky * kw * p.c..][..kw * p.c];
        for y in top..bottom {
            let yy = (y + ky).wrapping_sub(kh / 2);
            if yy >= p.h {
                continue;
            }
            let x = &p.x[yy * p.w * p.c..][..p.w * p.c];
            let dy = &p.dy[y * p.w * p.c..][..p.w * p.c];
            match kw {
                1 => taps::<FMA, L, 1>(x, dy, p.c, ch, acc),
                3 => taps::<FMA, L, 3>(x, dy, p.c, ch, acc),
                5 => taps::<FMA, L, 5>(x, dy, p.c, ch, acc),
                7 => taps::<FMA, L, 7>(x, dy, p.c, ch, acc),
                11 => taps::<FMA, L, 11>(x, dy, p.c, ch, acc),
                _ => any_taps::<FMA, L>(x, dy, p.c, kw, ch, acc),
            }
        }
    }
}

#[inline(always)]
fn lanes<const L: usize>(row: &[f32], at: usize) -> [f32; L] {
    let mut out = [0.0; L];
    out.copy_from_slice(&row[at..at + L]);
    out
}

/// One row pair: the sums of all `K` taps stay in registers while the row is walked.
#[inline(always)]
fn taps<const FMA: bool, const L: usize, const K: usize>(
    x: &[f32],
    dy: &[f32],
    c: usize,
    ch: usize,
    acc: &mut [f32],
) {
    let w = x.len() / c;
    let half = K / 2;
    let mut sums = [[0.0f32; L]; K];
    let inner = half..w.saturating_sub(half).max(half).min(w);
    for ox in (0..inner.start.min(w)).chain(inner.end..w) {
        let g = lanes::<L>(dy, ox * c + ch);
        for (k, sum) in sums.iter_mut().enumerate() {
            let at = (ox + k).wrapping_sub(half);
            if at < w {
                let v = lanes::<L>(x, at * c + ch);
                (0..L).for_each(|l| sum[l] = fma::<FMA>(g[l], v[l], sum[l]));
            }
        }
    }
    for ox in inner {
        let g = lanes::<L>(dy, ox * c + ch);
        for (k, sum) in sums.iter_mut().enumerate() {
            let v = lanes::<L>(x, (ox + k - half) * c + ch);
            (0..L).for_each(|l| sum[l] = fma::<FMA>(g[l], v[l], sum[l]));
        }
    }
    for (k, sum) in sums.iter().enumerate() {
        acc[k * c + ch..][..L].iter_mut().zip(sum).for_each(|(a, s)| *a += s);
    }
}

/// Like [`taps`] for kernel widths without a compiled case.
#[inline(always)]
fn any_taps<const FMA: bool, const L: usize>(
    x: &[f32],
    dy: &[f32],
    c: usize,
    kw: usize,
    ch: usize,
    acc: &mut [f32],
) {
    let (w, half) = (x.len() / c, kw / 2);
    for k in 0..kw {
        let mut sum = [0.0f32; L];
        for ox in half.saturating_sub(k)..(w + half).saturating_sub(k).min(w) {
            let (g, v) = (lanes::<L>(dy, ox * c + ch), lanes::<L>(x, (ox + k - half) * c + ch));
            (0..L).for_each(|l| sum[l] = fma::<FMA>(g[l], v[l], sum[l]));
        }
        acc[k * c + ch..][..L].iter_mut().zip(&sum).for_each(|(a, s)| *a += s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_gradient_equals_its_definition() {
        for (dims, kernel) in [
            ([2, 5, 3, 25], (3, 3)),
            ([1, 9, 13, 17], (7, 7)),
            ([1, 4, 6, 8], (11, 1)),
            ([1, 6, 4, 16], (1, 11)),
            ([1, 3, 3, 2], (9, 13)),
            ([1, 1, 1, 1], (3, 3)),
        ] {
            let [n, h, w, c] = dims;
            let value = |i: usize, m: usize| ((i * 31 % m) as f32 - m as f32 / 2.0) * 0.01;
            let x: Vec<f32> = (0..n * h * w * c).map(|i| value(i, 97)).collect();
            let dy: Vec<f32> = (0..x.len()).map(|i| value(i, 89)).collect();
            let got = depthwise_weight_grad(&x, &dy, dims, kernel);
            for (i, &got) in got.iter().enumerate() {
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
