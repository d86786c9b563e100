//! Gradient of CARE's linear attention.

use super::gemm::{Mat, matmul};
use super::{fma, math, vectorised};
use crate::isa::Isa;
use rayon::prelude::*;

/// Guard of the denominator, as in the forward kernel (REFERENCE of CARE: 1e-6).
const GUARD: f32 = 1e-6;

/// Gradients (dqk, dv) of linear attention over the tokens of each picture.
///
/// # Shapes
/// `qk [n, tokens, 2g]` (q then k, before elu + 1), `v` and `dy` `[n, tokens, g]`; heads are runs of `head_dim` channels.
///
/// With q, k = elu + 1, s = q · mean(k) + 1e-6, kv = kᵀv / tokens and y = (q · kv) / s, per head.
pub fn linear_attention_grad(
    qk: &[f32],
    v: &[f32],
    dy: &[f32],
    (n, tokens, g): (usize, usize, usize),
    head_dim: usize,
) -> (Vec<f32>, Vec<f32>) {
    assert!(head_dim > 0 && g.is_multiple_of(head_dim), "{g} channels are not heads of {head_dim}");
    assert!(
        qk.len() == n * tokens * 2 * g && v.len() == n * tokens * g && dy.len() == v.len(),
        "attention shapes"
    );
    let (isa, heads) = (Isa::current(), g / head_dim);
    let parts: Vec<HeadGrad> = (0..n * heads)
        .into_par_iter()
        .map(|i| {
            let (b, h) = (i / heads, i % heads);
            let take = |src: &[f32], stride: usize, offset: usize| {
                let rows = &src[b * tokens * stride..][..tokens * stride];
                let parts = rows.chunks_exact(stride).flat_map(|r| &r[offset..offset + head_dim]);
                parts.copied().collect::<Vec<f32>>()
            };
            let head = Head {
                q: take(qk, 2 * g, h * head_dim),
                k: take(qk, 2 * g, g + h * head_dim),
                v: take(v, g, h * head_dim),
                dy: take(dy, g, h * head_dim),
            };
            head_grad(isa, &head, head_dim)
        })
        .collect();
    let (mut dqk, mut dv) = (vec![0.0; qk.len()], vec![0.0; v.len()]);
    for (i, part) in parts.iter().enumerate() {
        let (b, h) = (i / heads, i % heads);
        let put = |dst: &mut [f32], src: &[f32], stride: usize, offset: usize| {
            let rows = dst[b * tokens * stride..][..tokens * stride].chunks_exact_mut(stride);
            rows.zip(src.chunks_exact(head_dim))
                .for_each(|(r, s)| r[offset..][..head_dim].copy_from_slice(s));
        };
        put(&mut dqk, &part.q, 2 * g, h * head_dim);
        put(&mut dqk, &part.k, 2 * g, g + h * head_dim);
        put(&mut dv, &part.v, g, h * head_dim);
    }
    (dqk, dv)
}

/// One head, gathered: rows of `head_dim`.
struct Head {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dy: Vec<f32>,
}

/// Gradients of q, k (before elu + 1) and v.
struct HeadGrad {
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// The gradient of one head: matrix products over its tokens, and rows in between.
fn head_grad(isa: Isa, head: &Head, d: usize) -> HeadGrad {
    let tokens = head.q.len() / d;
    let inv = 1.0 / tokens.max(1) as f32;
    let rows = |m: &[f32]| -> Vec<f32> { vec![0.0; m.len()] };
    let (mut q, mut k) = (rows(&head.q), rows(&head.k));
    elu_plus_1(isa, &head.q, &mut q);
    elu_plus_1(isa, &head.k, &mut k);
    let mat = |m| Mat::rows(m, tokens, d, d);
    let square = |m| Mat::rows(m, d, d, d);
    let mut k_mean = super::column_sums(&k, d);
    let mut kv = vec![0.0; d * d];
    matmul(mat(&k).t(), mat(&head.v), &mut kv, d, false);
    k_mean.iter_mut().chain(&mut kv).for_each(|s| *s *= inv);

    let mut a = rows(&q); // q · kv, then the gradient of it
    matmul(mat(&q), square(&kv), &mut a, d, false);
    let (mut dq, mut dk_mean) = (rows(&q), vec![0.0; d]);
    divide_rows(isa, &q, &head.dy, &k_mean, &mut a, &mut dq, &mut dk_mean);
    matmul(mat(&a), square(&kv).t(), &mut dq, d, true);
    let mut dkv = vec![0.0; d * d];
    matmul(mat(&q).t(), mat(&a), &mut dkv, d, false);
    dk_mean.iter_mut().chain(&mut dkv).for_each(|s| *s *= inv);

    let mut dk = dk_mean.repeat(tokens);
    matmul(mat(&head.v), square(&dkv).t(), &mut dk, d, true);
    let mut dv = rows(&k);
    matmul(mat(&k), square(&dkv), &mut dv, d, false);
    elu_plus_1_slope(isa, &head.q, &q, &mut dq);
    elu_plus_1_slope(isa, &head.k, &k, &mut dk);
    HeadGrad { q: dq, k: dk, v: dv }
}

vectorised!(fn elu_plus_1(x: &[f32], y: &mut [f32]) = elu_plus_1_body);
vectorised!(
    /// Turns `grad` by elu + 1 into the gradient by `x`; `y` is elu(x) + 1.
    fn elu_plus_1_slope(x: &[f32], y: &[f32], grad: &mut [f32]) = elu_plus_1_slope_body
);
vectorised!(
    /// The division y = a / (q · k_mean + guard): `a` becomes its gradient, `dq` and `dk_mean` get their shares.
    fn divide_rows(q: &[f32], dy: &[f32], k_mean: &[f32], a: &mut [f32], dq: &mut [f32], dk_mean: &mut [f32])
        = divide_body
);

#[inline(always)]
fn elu_plus_1_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (o, &v) in y.iter_mut().zip(x) {
        let below = math::exp::<FMA>(v);
        *o = if v > 0.0 { v + 1.0 } else { below };
    }
}

#[inline(always)]
fn elu_plus_1_slope_body<const FMA: bool>(x: &[f32], y: &[f32], grad: &mut [f32]) {
    // Above zero the slope is 1, below it is e^x, which is y itself.
    for ((g, &e), &x) in grad.iter_mut().zip(y).zip(x) {
        *g *= if x > 0.0 { 1.0 } else { e };
    }
}

#[inline(always)]
fn divide_body<const FMA: bool>(
    q: &[f32],
    dy: &[f32],
    k_mean: &[f32],
    a: &mut [f32],
    dq: &mut [f32],
    dk_mean: &mut [f32],
) {
    let d = k_mean.len();
    let dk_mean = &mut dk_mean[..d];
    let inputs = q.chunks_exact(d).zip(dy.chunks_exact(d));
    for ((q, dy), (a, dq)) in inputs.zip(a.chunks_exact_mut(d).zip(dq.chunks_exact_mut(d))) {
        let (mut s, mut dot) = (0.0, 0.0);
        for i in 0..d {
            s = fma::<FMA>(q[i], k_mean[i], s);
            dot = fma::<FMA>(dy[i], a[i], dot);
        }
        let z = 1.0 / (s + GUARD);
        let ds = -z * z * dot;
        for i in 0..d {
            a[i] = dy[i] * z;
            dq[i] = ds * k_mean[i];
            dk_mean[i] = fma::<FMA>(ds, q[i], dk_mean[i]);
        }
    }
}
