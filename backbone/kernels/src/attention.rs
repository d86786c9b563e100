//! CARE's linear attention (REFERENCE: `token_mixer`): no softmax, cost linear in the number of tokens.

use crate::isa::Isa;
use crate::map::{Map, MapMut};

/// For each picture and each head of `head_dim` channels, over its `T = h·w` tokens:
/// `q, k = elu(qk) + 1`, `out_t = (q_t · Σ_s k_sᵀ v_s / T) / (q_t · mean_s(k_s) + 1e-6)`.
///
/// # Shapes
/// `qk`: `[n, h, w, 2g]`, q in the first g channels and k in the others, before the activation; `v`, `out`: `[n, h, w, g]`;
/// any pixel strides; `head_dim` divides g. Channel of a head: `head · head_dim + d`.
///
/// # Panics
/// When a shape does not fit.
pub fn linear_attention(qk: Map<'_>, v: Map<'_>, head_dim: usize, out: MapMut<'_>) {
    linear_attention_with(Isa::current(), qk, v, head_dim, out);
}

/// [`linear_attention`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn linear_attention_with(isa: Isa, qk: Map<'_>, v: Map<'_>, head_dim: usize, out: MapMut<'_>) {
    isa.assert_available();
    check(&qk, &v, head_dim, &out);
    crate::reference::linear_attention(qk, v, head_dim, out);
}

/// Panics unless the shapes fit: the check that the pointer arithmetic of the kernel rests on.
fn check(qk: &Map<'_>, v: &Map<'_>, head_dim: usize, out: &MapMut<'_>) {
    qk.check();
    v.check();
    out.check();
    let [n, h, w, g] = v.shape();
    assert_eq!(out.shape(), v.shape(), "output of a linear attention");
    assert_eq!(qk.shape(), [n, h, w, 2 * g], "q and k of a linear attention over {g} channels");
    assert!(head_dim > 0 && g % head_dim == 0, "{g} channels do not divide into heads of {head_dim}");
}
