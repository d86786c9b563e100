//! Gradient of CARE's linear attention.

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
            head_grad(isa, head, head_dim)
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

vectorised!(fn head_grad(head: Head, d: usize) -> HeadGrad = head_body);

#[inline(always)]
fn elu_plus_1<const FMA: bool>(x: &[f32]) -> Vec<f32> {
    x.iter().map(|&v| if v > 0.0 { v + 1.0 } else { math::exp::<FMA>(v) }).collect()
}

/// out[e] += s * row[e]
#[inline(always)]
fn axpy<const FMA: bool>(s: f32, row: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(row).for_each(|(o, &r)| *o = fma::<FMA>(s, r, *o));
}

#[inline(always)]
fn transposed(m: &[f32], d: usize) -> Vec<f32> {
    (0..d * d).map(|i| m[i % d * d + i / d]).collect()
}

#[inline(always)]
fn head_body<const FMA: bool>(head: Head, d: usize) -> HeadGrad {
    let tokens = head.q.len() / d;
    let inv = 1.0 / tokens.max(1) as f32;
    let (q, k) = (elu_plus_1::<FMA>(&head.q), elu_plus_1::<FMA>(&head.k));
    let mut k_mean = vec![0.0f32; d];
    let mut kv = vec![0.0f32; d * d]; // [d][e]
    for (k, v) in k.chunks_exact(d).zip(head.v.chunks_exact(d)) {
        for i in 0..d {
            k_mean[i] += k[i];
            axpy::<FMA>(k[i], v, &mut kv[i * d..(i + 1) * d]);
        }
    }
    k_mean.iter_mut().chain(&mut kv).for_each(|s| *s *= inv);
    let kv_t = transposed(&kv, d); // [e][d]
    let mut dq = vec![0.0f32; q.len()];
    let mut dk_mean = vec![0.0f32; d];
    let mut dkv = vec![0.0f32; d * d]; // [d][e]
    let (mut a, mut da) = (vec![0.0f32; d], vec![0.0f32; d]);
    for ((q, dy), dq) in q.chunks_exact(d).zip(head.dy.chunks_exact(d)).zip(dq.chunks_exact_mut(d)) {
        // a = q · kv, s = q · k_mean + guard, y = a / s
        a.fill(0.0);
        (0..d).for_each(|i| axpy::<FMA>(q[i], &kv[i * d..(i + 1) * d], &mut a));
        let s: f32 = q.iter().zip(&k_mean).map(|(q, m)| q * m).sum::<f32>() + GUARD;
        let z = 1.0 / s;
        da.iter_mut().zip(dy).for_each(|(o, &g)| *o = g * z);
        let ds = -z * z * dy.iter().zip(&a).map(|(g, a)| g * a).sum::<f32>();
        dq.iter_mut().zip(&k_mean).for_each(|(o, m)| *o = ds * m);
        (0..d).for_each(|e| axpy::<FMA>(da[e], &kv_t[e * d..(e + 1) * d], dq));
        for i in 0..d {
            dk_mean[i] = fma::<FMA>(ds, q[i], dk_mean[i]);
            axpy::<FMA>(q[i], &da, &mut dkv[i * d..(i + 1) * d]);
        }
    }
    dk_mean.iter_mut().chain(&mut dkv).for_each(|s| *s *= inv);
    let dkv_t = transposed(&dkv, d);
    let (mut dk, mut dv) = (vec![0.0f32; k.len()], vec![0.0f32; k.len()]);
    let rows = k.chunks_exact(d).zip(head.v.chunks_exact(d));
    for ((k, v), (dk, dv)) in rows.zip(dk.chunks_exact_mut(d).zip(dv.chunks_exact_mut(d))) {
        dk.copy_from_slice(&dk_mean);
        for i in 0..d {
            axpy::<FMA>(v[i], &dkv_t[i * d..(i + 1) * d], dk);
            axpy::<FMA>(k[i], &dkv[i * d..(i + 1) * d], dv);
        }
    }
    // d(elu + 1)/dx is 1 above zero and e^x, which is q itself, below.
    for (grad, (value, x)) in [(&mut dq, (&q, &head.q)), (&mut dk, (&k, &head.k))] {
        for ((g, &e), &x) in grad.iter_mut().zip(value).zip(x) {
            *g *= if x > 0.0 { 1.0 } else { e };
        }
    }
    HeadGrad { q: dq, k: dk, v: dv }
}
