//! Batch norm (batch or frozen statistics) and layer norm, forward and backward.

use super::columns::{fold_rows, rows_per_chunk, sum_in_order};
use super::{fma, vectorised};
use crate::isa::Isa;
use rayon::prelude::*;

/// Statistics of one batch, per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchStats {
    /// Mean over all pixels of all pictures.
    pub mean: Vec<f32>,
    /// Biased variance (divided by the count): what the batch is normalised with.
    pub var: Vec<f32>,
    /// Pixels that were averaged.
    pub count: usize,
}

impl BatchStats {
    /// Variance divided by count − 1: what running statistics take (NaN for a single pixel, as in PyTorch).
    pub fn unbiased_var(&self) -> Vec<f32> {
        let factor = self.count as f64 / (self.count as f64 - 1.0);
        self.var.iter().map(|&v| (f64::from(v) * factor) as f32).collect()
    }
}

/// Mean and biased variance of every channel of rows of `c` values, in one pass over memory.
///
/// Chunks keep their own mean, and are merged in order and in f64 (Chan et al.), so a large offset costs no digits.
pub fn batch_stats(x: &[f32], c: usize) -> BatchStats {
    assert!(c > 0 && x.len().is_multiple_of(c), "{} values are not rows of {c}", x.len());
    let (isa, rows, step) = (Isa::current(), x.len() / c, rows_per_chunk(c));
    let parts: Vec<Vec<f32>> = x.par_chunks(step * c).map(|x| moments(isa, x, c)).collect();
    let (mut mean, mut m2, mut count) = (vec![0.0f64; c], vec![0.0f64; c], 0.0f64);
    for (i, part) in parts.iter().enumerate() {
        let n = (step.min(rows - i * step)) as f64;
        let total = count + n;
        for ch in 0..c {
            let delta = f64::from(part[ch]) - mean[ch];
            mean[ch] += delta * n / total;
            m2[ch] += f64::from(part[c + ch]) + delta * delta * count * n / total;
        }
        count = total;
    }
    let var = m2.iter().map(|&v| (v / count.max(1.0)) as f32).collect();
    BatchStats { mean: mean.iter().map(|&m| m as f32).collect(), var, count: rows }
}

/// 1 / √(var + eps).
fn inverse_std(var: &[f32], eps: f32) -> Vec<f32> {
    var.iter().map(|&v| 1.0 / (v + eps).sqrt()).collect()
}

fn product(a: &[f32], b: &[f32]) -> Vec<f32> {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}

/// y = (x − mean) / √(var + eps) · weight + bias.
pub fn batch_norm(x: &[f32], stats: (&[f32], &[f32]), affine: (&[f32], &[f32]), eps: f32, y: &mut [f32]) {
    let ((mean, var), (weight, bias)) = (stats, affine);
    let c = mean.len();
    assert!(var.len() == c && weight.len() == c && bias.len() == c, "batch norm over {c} channels");
    assert_eq!(x.len(), y.len(), "batch norm on different lengths");
    let scale = product(&inverse_std(var, eps), weight);
    let (isa, step) = (Isa::current(), rows_per_chunk(c) * c);
    y.par_chunks_mut(step)
        .zip(x.par_chunks(step))
        .for_each(|(y, x)| norm_rows(isa, x, mean, &scale, bias, y));
}

/// Σ dy and Σ dy · (x − mean), one after the other.
fn grad_sums(x: &[f32], dy: &[f32], mean: &[f32]) -> Vec<f32> {
    let c = mean.len();
    assert_eq!(x.len(), dy.len(), "batch norm gradient on different lengths");
    let isa = Isa::current();
    fold_rows(x.len() / c, c, 2 * c, |r, acc| {
        let r = r.start * c..r.end * c;
        grad_sum_rows(isa, &x[r.clone()], &dy[r], mean, acc);
    })
}

/// Gradients (dweight, dbias) of [`batch_norm`] when the statistics are those of `x` itself; that of `x` goes to `dx`.
pub fn batch_norm_train_grad(
    (x, dy): (&[f32], &[f32]),
    stats: &BatchStats,
    weight: &[f32],
    eps: f32,
    dx: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let c = weight.len();
    assert_eq!(x.len(), dx.len(), "batch norm gradient on different lengths");
    let inv = inverse_std(&stats.var, eps);
    let sums = grad_sums(x, dy, &stats.mean);
    let (db, dw) = (sums[..c].to_vec(), product(&sums[c..], &inv));
    let scale = product(&inv, weight);
    let count = stats.count.max(1) as f32;
    let shift: Vec<f32> = scale.iter().zip(&db).map(|(s, d)| -s * d / count).collect();
    let slope: Vec<f32> = (0..c).map(|i| -scale[i] * inv[i] * dw[i] / count).collect();
    let (isa, step) = (Isa::current(), rows_per_chunk(c) * c);
    let inputs = x.par_chunks(step).zip(dy.par_chunks(step));
    dx.par_chunks_mut(step).zip(inputs).for_each(|(dx, (x, dy))| {
        train_grad_rows(isa, x, dy, &stats.mean, &scale, &shift, &slope, dx);
    });
    (dw, db)
}

/// Gradients (dweight, dbias) of [`batch_norm`] with statistics that are constants; that of `x` goes to `dx`.
pub fn batch_norm_frozen_grad(
    (x, dy): (&[f32], &[f32]),
    stats: (&[f32], &[f32]),
    weight: &[f32],
    eps: f32,
    dx: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let c = weight.len();
    let inv = inverse_std(stats.1, eps);
    let sums = grad_sums(x, dy, stats.0);
    super::scale_channels(dy, &product(&inv, weight), dx);
    (product(&sums[c..], &inv), sums[..c].to_vec())
}

/// Rows of `weight.len()` values, each normalised by its own mean and biased variance, then · weight + bias.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let c = weight.len();
    assert!(
        c > 0 && x.len().is_multiple_of(c) && x.len() == y.len() && bias.len() == c,
        "layer norm over {c} channels"
    );
    let (isa, step) = (Isa::current(), rows_per_chunk(c) * c);
    y.par_chunks_mut(step)
        .zip(x.par_chunks(step))
        .for_each(|(y, x)| layer_rows(isa, x, weight, bias, eps, y));
}

/// Gradients of [`layer_norm`].
#[derive(Debug, Clone)]
pub struct LayerNormGrad {
    /// Of the input, as long as it.
    pub dx: Vec<f32>,
    /// Of the factor per channel.
    pub dweight: Vec<f32>,
    /// Of the offset per channel.
    pub dbias: Vec<f32>,
}

/// Gradients of [`layer_norm`]; statistics are computed again from `x`.
pub fn layer_norm_grad(x: &[f32], dy: &[f32], weight: &[f32], eps: f32) -> LayerNormGrad {
    let c = weight.len();
    assert!(
        c > 0 && x.len().is_multiple_of(c) && x.len() == dy.len(),
        "layer norm gradient over {c} channels"
    );
    let (isa, step) = (Isa::current(), rows_per_chunk(c) * c);
    let mut dx = vec![0.0; x.len()];
    let inputs = x.par_chunks(step).zip(dy.par_chunks(step));
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(step)
        .zip(inputs)
        .map(|(dx, (x, dy))| {
            let mut acc = vec![0.0; 2 * c];
            layer_grad_rows(isa, x, dy, weight, eps, dx, &mut acc);
            acc
        })
        .collect();
    let sums = sum_in_order(&parts, 2 * c);
    LayerNormGrad { dx, dweight: sums[..c].to_vec(), dbias: sums[c..].to_vec() }
}

vectorised!(fn moments(x: &[f32], c: usize) -> Vec<f32> = moments_body);
vectorised!(fn norm_rows(x: &[f32], mean: &[f32], scale: &[f32], bias: &[f32], y: &mut [f32]) = norm_body);
vectorised!(fn grad_sum_rows(x: &[f32], dy: &[f32], mean: &[f32], acc: &mut [f32]) = grad_sum_body);
vectorised!(
    fn train_grad_rows(x: &[f32], dy: &[f32], mean: &[f32], scale: &[f32], shift: &[f32], slope: &[f32], dx: &mut [f32])
        = train_grad_body
);
vectorised!(fn layer_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) = layer_body);
vectorised!(
    fn layer_grad_rows(x: &[f32], dy: &[f32], weight: &[f32], eps: f32, dx: &mut [f32], acc: &mut [f32])
        = layer_grad_body
);

/// Mean and Σ (x − mean)² of each channel of one chunk (which is in cache for the second look).
#[inline(always)]
fn moments_body<const FMA: bool>(x: &[f32], c: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; 2 * c];
    let (mean, m2) = out.split_at_mut(c);
    for row in x.chunks_exact(c) {
        mean.iter_mut().zip(row).for_each(|(s, &v)| *s += v);
    }
    let inv = 1.0 / (x.len() / c).max(1) as f32;
    mean.iter_mut().for_each(|m| *m *= inv);
    for row in x.chunks_exact(c) {
        for ((s, &v), &m) in m2.iter_mut().zip(row).zip(mean.iter()) {
            *s = fma::<FMA>(v - m, v - m, *s);
        }
    }
    out
}

#[inline(always)]
fn norm_body<const FMA: bool>(x: &[f32], mean: &[f32], scale: &[f32], bias: &[f32], y: &mut [f32]) {
    let c = mean.len();
    let (mean, scale, bias) = (&mean[..c], &scale[..c], &bias[..c]);
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        for i in 0..c {
            y[i] = fma::<FMA>(x[i] - mean[i], scale[i], bias[i]);
        }
    }
}

#[inline(always)]
fn grad_sum_body<const FMA: bool>(x: &[f32], dy: &[f32], mean: &[f32], acc: &mut [f32]) {
    let c = mean.len();
    let (sum, dot) = acc.split_at_mut(c);
    let dot = &mut dot[..c];
    for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
        for i in 0..c {
            sum[i] += dy[i];
            dot[i] = fma::<FMA>(dy[i], x[i] - mean[i], dot[i]);
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn train_grad_body<const FMA: bool>(
    x: &[f32],
    dy: &[f32],
    mean: &[f32],
    scale: &[f32],
    shift: &[f32],
    slope: &[f32],
    dx: &mut [f32],
) {
    let c = mean.len();
    let (scale, shift, slope) = (&scale[..c], &shift[..c], &slope[..c]);
    for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
        for i in 0..c {
            dx[i] = fma::<FMA>(dy[i], scale[i], fma::<FMA>(x[i] - mean[i], slope[i], shift[i]));
        }
    }
}

/// Sum of `f(i)` in 16 lanes, so that it vectorises.
#[inline(always)]
fn lane_sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let whole = n / 16 * 16;
    for base in (0..whole).step_by(16) {
        for (l, s) in lanes.iter_mut().enumerate() {
            *s += f(base + l);
        }
    }
    let tail: f32 = (whole..n).map(&f).sum();
    lanes.iter().sum::<f32>() + tail
}

/// Mean and 1 / √(var + eps) of one row.
#[inline(always)]
fn row_stats(x: &[f32], eps: f32) -> (f32, f32) {
    let inv = 1.0 / x.len() as f32;
    let mean = lane_sum(x.len(), |i| x[i]) * inv;
    // The mean of what is left removes the rounding of the first one; it matters where the variance is tiny.
    let mean = mean + lane_sum(x.len(), |i| x[i] - mean) * inv;
    let var = lane_sum(x.len(), |i| (x[i] - mean) * (x[i] - mean)) * inv;
    (mean, 1.0 / (var + eps).sqrt())
}

#[inline(always)]
fn layer_body<const FMA: bool>(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let c = weight.len();
    let bias = &bias[..c];
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let (mean, inv) = row_stats(x, eps);
        for i in 0..c {
            y[i] = fma::<FMA>((x[i] - mean) * inv, weight[i], bias[i]);
        }
    }
}

#[inline(always)]
fn layer_grad_body<const FMA: bool>(
    x: &[f32],
    dy: &[f32],
    weight: &[f32],
    eps: f32,
    dx: &mut [f32],
    acc: &mut [f32],
) {
    let c = weight.len();
    let (dw, db) = acc.split_at_mut(c);
    let db = &mut db[..c];
    for ((x, dy), dx) in x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
        let (mean, inv) = row_stats(x, eps);
        let g_mean = lane_sum(c, |i| dy[i] * weight[i]) / c as f32;
        let gx_mean = lane_sum(c, |i| dy[i] * weight[i] * ((x[i] - mean) * inv)) / c as f32;
        for i in 0..c {
            let hat = (x[i] - mean) * inv;
            dx[i] = inv * (fma::<FMA>(dy[i], weight[i], -g_mean) - hat * gx_mean);
            dw[i] = fma::<FMA>(dy[i], hat, dw[i]);
            db[i] += dy[i];
        }
    }
}
