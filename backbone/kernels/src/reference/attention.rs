//! CARE's linear attention as its definition (REFERENCE: q, k = elu + 1; k averaged over tokens; guard 1e-6).

use super::{act::elu, pixel};
use crate::map::{Map, MapMut};

/// For each picture and head (channel = head·head_dim + d), over its `T = h·w` tokens, in f64:
/// `q, k = elu(qk) + 1`, `out_t = (q_t · Σ_s k_sᵀ v_s / T) / (q_t · mean_s(k_s) + 1e-6)`.
///
/// # Shapes
/// `qk`: 2g channels (q, then k), `v` and `out`: g channels.
pub fn linear_attention(qk: Map<'_>, v: Map<'_>, head_dim: usize, out: MapMut<'_>) {
    let MapMut { n, h, w, c: g, stride, data } = out;
    assert_eq!((qk.c, v.c), (2 * g, g));
    let tokens = (h * w) as f64;
    for image in 0..n {
        for head in (0..g).step_by(head_dim) {
            let mut kv = vec![vec![0.0; head_dim]; head_dim];
            let mut k_mean = vec![0.0; head_dim];
            for (_, y, x, d) in super::every(1, h, w, head_dim) {
                let k = 1.0 + elu(f64::from(pixel(&qk, image, y, x)[g + head + d]));
                k_mean[d] += k / tokens;
                for (e, sum) in kv[d].iter_mut().enumerate() {
                    *sum += k * f64::from(pixel(&v, image, y, x)[head + e]) / tokens;
                }
            }
            for (_, y, x, e) in super::every(1, h, w, head_dim) {
                let q = |d: usize| 1.0 + elu(f64::from(pixel(&qk, image, y, x)[head + d]));
                let top: f64 = (0..head_dim).map(|d| q(d) * kv[d][e]).sum();
                let bottom: f64 = (0..head_dim).map(|d| q(d) * k_mean[d]).sum();
                data[((image * h + y) * w + x) * stride + head + e] = (top / (bottom + 1e-6)) as f32;
            }
        }
    }
}
