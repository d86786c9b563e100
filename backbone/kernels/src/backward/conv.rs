//! Weight gradient of a dense convolution, directly, and the data gradient of one with any stride; with exchanged roles also the transposed convolution.

use super::columns::sum_in_order;
use super::gemm::{Mat, matmul, outer_products};
use rayon::prelude::*;
use std::ops::Range;

/// Sizes of one convolution: `x [n, h, w, ci]`, weights `[co, ci, kh, kw]`, result `[n, ho, wo, co]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Pictures.
    pub n: usize,
    /// Input height.
    pub h: usize,
    /// Input width.
    pub w: usize,
    /// Input channels.
    pub ci: usize,
    /// Output channels.
    pub co: usize,
    /// Kernel height and width.
    pub kernel: (usize, usize),
    /// Step, the same along both axes, at least 1.
    pub stride: usize,
    /// Zero padding (height, width) on each side.
    pub pad: (usize, usize),
}

impl ConvGeometry {
    /// Output size (height, width): floor((in + 2·pad − kernel) / stride) + 1, or 0 where the kernel does not fit.
    pub fn out_size(&self) -> (usize, usize) {
        let along = |size: usize, k: usize, p: usize| match (size + 2 * p).checked_sub(k) {
            Some(room) => room / self.stride + 1,
            None => 0,
        };
        (along(self.h, self.kernel.0, self.pad.0), along(self.w, self.kernel.1, self.pad.1))
    }

    /// Whether this is a plain matrix product over pixels.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == (1, 1) && self.stride == 1 && self.pad == (0, 0)
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel.0 * self.kernel.1
    }

    pub(super) fn check(&self, x: &[f32], dy: &[f32]) {
        let (ho, wo) = self.out_size();
        assert!(self.stride > 0, "a convolution's stride is at least 1");
        assert_eq!(x.len(), self.n * self.h * self.w * self.ci, "input of {self:?}");
        assert_eq!(dy.len(), self.n * ho * wo * self.co, "output of {self:?}");
    }
}

/// Output pixels that one band of the weight gradient holds at least: the inner dimension of its matrix products.
const BAND_PIXELS: usize = 1024;
/// Partial weight gradients at most; more would only cost memory and the time to add them.
const GROUPS: usize = 8;

/// dw `[co, ci, kh, kw]` = Σ over output pixels of dy ⊗ x.
pub fn conv_weight_grad_direct(x: &[f32], dy: &[f32], g: &ConvGeometry) -> Vec<f32> {
    g.check(x, dy);
    let (ho, wo) = g.out_size();
    let band_rows =
        BAND_PIXELS.div_ceil(wo.max(1)).min(if g.is_pointwise() { usize::MAX } else { ho.max(1) });
    // Pointwise: bands may run across pictures, all pixels are one list.
    let bands: Vec<Band> = if g.is_pointwise() {
        let rows = g.n * ho;
        (0..rows).step_by(band_rows).map(|y| Band { image: 0, rows: y..(y + band_rows).min(rows) }).collect()
    } else {
        (0..g.n * usize::from(ho > 0))
            .flat_map(|image| {
                (0..ho).step_by(band_rows).map(move |y| Band { image, rows: y..(y + band_rows).min(ho) })
            })
            .collect()
    };
    let per_group = bands.len().div_ceil(GROUPS).max(1);
    let groups: Vec<&[Band]> = bands.chunks(per_group).collect();
    // Few bands: cut the output channels as well, so that small maps with many channels keep every thread busy.
    let block = if groups.len() >= 4 { g.co } else { 64.min(g.co) }.max(1);
    let depth = g.taps() * g.ci;
    let tasks: Vec<(usize, Range<usize>)> = (0..g.co)
        .step_by(block)
        .flat_map(|c| (0..groups.len()).map(move |i| (i, c..(c + block).min(g.co))))
        .collect();
    let parts: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|(group, channels)| {
            let mut acc = vec![0.0; channels.len() * depth];
            let mut copies = Copies::default();
            for (i, band) in groups[*group].iter().enumerate() {
                copies.add_band(x, dy, g, band, channels, i > 0, &mut acc);
            }
            acc
        })
        .collect();
    let mut dw = vec![0.0; g.co * depth];
    if !groups.is_empty() {
        for (parts, out) in parts.chunks(groups.len()).zip(dw.chunks_mut(block * depth)) {
            let sum = sum_in_order(parts, out.len());
            taps_last(&sum, g.ci, g.taps(), out);
        }
    }
    dw
}

/// Output rows of one picture.
struct Band {
    image: usize,
    rows: Range<usize>,
}

/// Reused copies of a band.
#[derive(Default)]
struct Copies {
    x: Vec<f32>,
    dy: Vec<f32>,
}

impl Copies {
    /// `acc [channels][tap][ci]` = or += the band's share.
    #[allow(clippy::too_many_arguments)]
    fn add_band(
        &mut self,
        x: &[f32],
        dy: &[f32],
        g: &ConvGeometry,
        band: &Band,
        channels: &Range<usize>,
        accumulate: bool,
        acc: &mut [f32],
    ) {
        let (ho, wo) = g.out_size();
        let pixels = band.rows.len() * wo;
        let first = (band.image * ho + band.rows.start) * wo;
        let dy_band = &dy[first * g.co..(first + pixels) * g.co];
        let dy_mat = Mat::rows(&dy_band[channels.start..], pixels, channels.len(), g.co);
        let depth = g.taps() * g.ci;
        if g.is_pointwise() {
            let x_mat = Mat::rows(&x[first * g.ci..(first + pixels) * g.ci], pixels, g.ci, g.ci);
            outer_products(dy_mat, x_mat, acc, depth, accumulate);
        } else if g.stride == 1 {
            self.add_taps(x, dy_band, g, band, channels, accumulate, acc);
        } else {
            unfold(x, g, band, &mut self.x);
            outer_products(dy_mat, Mat::rows(&self.x, pixels, depth, depth), acc, depth, accumulate);
        }
    }

    /// Stride 1: with zero-padded copies (dy padded to the same row length) every row of the kernel is one matrix product
    /// of shifted views, so nothing is copied `kh · kw` times.
    #[allow(clippy::too_many_arguments)]
    fn add_taps(
        &mut self,
        x: &[f32],
        dy_band: &[f32],
        g: &ConvGeometry,
        band: &Band,
        channels: &Range<usize>,
        accumulate: bool,
        acc: &mut [f32],
    ) {
        let (_, wo) = g.out_size();
        let (kh, kw) = g.kernel;
        let (rows, padded) = (band.rows.len(), g.w + 2 * g.pad.1);
        let (ci, co) = (g.ci, channels.len());
        self.x.clear();
        self.x.resize((rows + kh - 1) * padded * ci, 0.0);
        for (i, out) in self.x.chunks_exact_mut(padded * ci).enumerate() {
            let y = (band.rows.start + i).wrapping_sub(g.pad.0);
            if y < g.h {
                let row = &x[(band.image * g.h + y) * g.w * ci..][..g.w * ci];
                out[g.pad.1 * ci..][..g.w * ci].copy_from_slice(row);
            }
        }
        self.dy.clear();
        self.dy.resize(rows * padded * co, 0.0);
        for (out, row) in self.dy.chunks_exact_mut(padded * co).zip(dy_band.chunks_exact(wo * g.co)) {
            for (o, p) in out.chunks_exact_mut(co).zip(row.chunks_exact(g.co)) {
                o.copy_from_slice(&p[channels.clone()]);
            }
        }
        // The last pixels of the last row are padding of dy; leaving them out keeps the shifted view inside x.
        let pixels = (rows - 1) * padded + wo;
        let dy_mat = Mat::rows(&self.dy, pixels, co, co);
        let depth = g.taps() * ci;
        for ky in 0..kh {
            // A kernel row of taps lies side by side in x: one product of overlapping rows.
            let x_mat = Mat::rows(&self.x[ky * padded * ci..], pixels, kw * ci, ci);
            outer_products(dy_mat, x_mat, &mut acc[ky * kw * ci..], depth, accumulate);
        }
    }
}

/// im2col of one band: a row `[kh][kw][ci]` per output pixel.
fn unfold(x: &[f32], g: &ConvGeometry, band: &Band, out: &mut Vec<f32>) {
    let (_, wo) = g.out_size();
    let (kh, kw) = g.kernel;
    out.clear();
    out.resize(band.rows.len() * wo * g.taps() * g.ci, 0.0);
    let run = kw * g.ci;
    for (i, oy) in band.rows.clone().enumerate() {
        for ky in 0..kh {
            let y = (oy * g.stride + ky).wrapping_sub(g.pad.0);
            if y >= g.h {
                continue;
            }
            let row = &x[(band.image * g.h + y) * g.w * g.ci..][..g.w * g.ci];
            for ox in 0..wo {
                // Columns kx with 0 <= ox * stride + kx - pad < w are one contiguous run.
                let left = ox * g.stride;
                let kx0 = g.pad.1.saturating_sub(left).min(kw);
                let kx1 = (g.w + g.pad.1).saturating_sub(left).clamp(kx0, kw);
                let dst = ((i * wo + ox) * kh + ky) * run;
                if kx1 > kx0 {
                    let src = (left + kx0 - g.pad.1) * g.ci;
                    let len = (kx1 - kx0) * g.ci;
                    out[dst + kx0 * g.ci..][..len].copy_from_slice(&row[src..][..len]);
                }
            }
        }
    }
}

/// `[co][tap][ci]` → `[co][ci][tap]`.
fn taps_last(from: &[f32], ci: usize, taps: usize, to: &mut [f32]) {
    if taps == 1 {
        return to.copy_from_slice(from);
    }
    for (from, to) in from.chunks_exact(taps * ci).zip(to.chunks_exact_mut(taps * ci)) {
        for (c, to) in to.chunks_exact_mut(taps).enumerate() {
            to.iter_mut().enumerate().for_each(|(t, o)| *o = from[t * ci + c]);
        }
    }
}

/// Any stride: per band of input rows, dy · w gives what each output sends to its window, which is added in place.
/// Rows that two bands need are computed twice, so that every band is written by one task.
pub(super) fn fold_data_grad(w: &[f32], dy: &[f32], g: &ConvGeometry, dx: &mut [f32]) {
    let (ho, wo) = g.out_size();
    let (kh, kw) = g.kernel;
    let (taps, depth) = (g.taps(), g.taps() * g.ci);
    let mut by_tap = vec![0.0; w.len()]; // [co][tap][ci]
    for (from, to) in w.chunks_exact(depth).zip(by_tap.chunks_exact_mut(depth)) {
        for t in 0..taps {
            (0..g.ci).for_each(|c| to[t * g.ci + c] = from[c * taps + t]);
        }
    }
    let weights = Mat::rows(&by_tap, g.co, depth, depth);
    let rows = (256usize.div_ceil(wo) * g.stride).min(g.h);
    let bands: Vec<(usize, usize, &mut [f32])> = dx
        .chunks_exact_mut(g.h * g.w * g.ci)
        .enumerate()
        .flat_map(|(image, dx)| {
            dx.chunks_mut(rows * g.w * g.ci).enumerate().map(move |(b, d)| (image, b * rows, d))
        })
        .collect();
    bands.into_par_iter().for_each(|(image, top, dx)| {
        dx.fill(0.0);
        let bottom = top + dx.len() / (g.w * g.ci);
        // Output row oy reads input rows oy * stride - pad .. + kh.
        let first = (top + g.pad.0 + 1).saturating_sub(kh).div_ceil(g.stride);
        let last = ((bottom - 1 + g.pad.0) / g.stride).min(ho - 1);
        let mut sent = vec![0.0; wo * depth];
        for oy in first..=last {
            let row = &dy[(image * ho + oy) * wo * g.co..][..wo * g.co];
            matmul(Mat::rows(row, wo, g.co, g.co), weights, &mut sent, depth, false);
            for ky in 0..kh {
                let y = (oy * g.stride + ky).wrapping_sub(g.pad.0);
                if y < top || y >= bottom {
                    continue;
                }
                let out = &mut dx[(y - top) * g.w * g.ci..][..g.w * g.ci];
                for ox in 0..wo {
                    let left = ox * g.stride;
                    let kx0 = g.pad.1.saturating_sub(left).min(kw);
                    let kx1 = (g.w + g.pad.1).saturating_sub(left).clamp(kx0, kw);
                    if kx1 > kx0 {
                        let len = (kx1 - kx0) * g.ci;
                        let from = &sent[((ox * kh + ky) * kw + kx0) * g.ci..][..len];
                        let to = &mut out[(left + kx0 - g.pad.1) * g.ci..][..len];
                        to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
                    }
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backward::{conv_data_grad, conv_weight_grad};

    fn values(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_769) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            (state % 2047) as f32 / 1023.5 - 1.0
        };
        std::iter::repeat_with(next).take(n).collect()
    }

    /// The definition, in f64: every output sends its gradient back along the weights.
    fn definition(w: &[f32], dy: &[f32], g: &ConvGeometry) -> Vec<f64> {
        let ((ho, wo), (kh, kw)) = (g.out_size(), g.kernel);
        let mut dx = vec![0.0f64; g.n * g.h * g.w * g.ci];
        for (p, dy) in dy.chunks_exact(g.co).enumerate() {
            let (image, oy, ox) = (p / (ho * wo), p / wo % ho, p % wo);
            for tap in 0..kh * kw {
                let y = (oy * g.stride + tap / kw).wrapping_sub(g.pad.0);
                let x = (ox * g.stride + tap % kw).wrapping_sub(g.pad.1);
                if y >= g.h || x >= g.w {
                    continue;
                }
                let dx = &mut dx[((image * g.h + y) * g.w + x) * g.ci..][..g.ci];
                for (i, dx) in dx.iter_mut().enumerate() {
                    let send =
                        |(o, d): (usize, &f32)| f64::from(*d) * f64::from(w[(o * g.ci + i) * kh * kw + tap]);
                    *dx += dy.iter().enumerate().map(send).sum::<f64>();
                }
            }
        }
        dx
    }

    #[test]
    fn data_gradients_follow_the_definition_directly_and_by_winograd() {
        for (ci, co, h, w, stride) in
            [(5, 7, 6, 9, 1), (32, 35, 45, 46, 1), (96, 33, 1, 1, 1), (33, 32, 9, 6, 2)]
        {
            let g = ConvGeometry { n: 2, h, w, ci, co, kernel: (3, 3), stride, pad: (1, 1) };
            let (ho, wo) = g.out_size();
            let (weights, dy) = (values(co * ci * 9, 3), values(2 * ho * wo * co, 5));
            let want = definition(&weights, &dy, &g);
            let most = want.iter().fold(0f64, |m, v| m.max(v.abs()));
            let run = |threads: usize| {
                let mut dx = vec![f32::NAN; want.len()];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| conv_data_grad(&weights, &dy, &g, &mut dx));
                dx
            };
            let dx = run(1);
            for (got, want) in dx.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() <= 3e-5 * most, "{g:?}: {got}, want {want}");
            }
            for threads in [2, 4] {
                assert!(run(threads) == dx, "{g:?}: {threads} threads");
            }
            let x = values(2 * h * w * ci, 7);
            let pool = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let dw = |threads: usize| pool(threads).install(|| conv_weight_grad(&x, &dy, &g));
            assert!(dw(2) == dw(1) && dw(4) == dw(1), "{g:?}: weight gradient");
        }
    }
}
