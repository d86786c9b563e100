//! CARE's linear attention (REFERENCE: `token_mixer`): no softmax, cost linear in the number of tokens.

mod tokens;

use crate::count;
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::{self, SharedMut};
use crate::scratch;
use tokens::{BLOCK, Heads, Tokens, TokensMut, token_outputs, token_sums};

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
    let [n, h, w, g] = v.shape();
    let tokens = h * w;
    if n * tokens * g == 0 {
        return;
    }
    let heads = Heads { g, head_dim };
    let chunks = tokens.div_ceil(CHUNK);
    let chunk = |i: usize| {
        let first = i % chunks * CHUNK;
        (i / chunks * tokens + first, CHUNK.min(tokens - first)) // first pixel, tokens
    };
    let work = n * tokens * g * (head_dim + ELU_COST);
    count::add(n * tokens * g * (2 * head_dim + 1)); // kᵀv, q·kv and q with the mean key
    let len = heads.sums_len();
    let mut sums = scratch::take(n * chunks * len);
    let shared = SharedMut::new(&mut sums);
    let sum = token_sums(isa);
    par::for_each(n * chunks, work, |i| {
        let (first, count) = chunk(i);
        let mut buffer = scratch::take(BLOCK * g);
        let tokens = Tokens { data: qk.data[first * qk.stride + g..].as_ptr(), stride: qk.stride, count };
        let v = Tokens { data: v.data[first * v.stride..].as_ptr(), stride: v.stride, count };
        // SAFETY: `check` made sure that the maps hold these tokens; every chunk has its own sums and buffer.
        unsafe { sum(heads, tokens, v, shared.get().add(i * len), buffer.as_mut_ptr()) };
    });
    let mut means = scratch::take(n * len);
    for (means, parts) in means.chunks_exact_mut(len).zip(sums.chunks_exact(chunks * len)) {
        average(parts, tokens, means);
    }
    let (out_data, out_stride) = (SharedMut::new(out.data), out.stride);
    let output = token_outputs(isa);
    par::for_each(n * chunks, work, |i| {
        let (first, count) = chunk(i);
        let mut buffer = scratch::take(BLOCK * g);
        let q = Tokens { data: qk.data[first * qk.stride..].as_ptr(), stride: qk.stride, count };
        let means = means[i / chunks * len..].as_ptr();
        // SAFETY: as above; no two chunks share output tokens.
        unsafe {
            let out = TokensMut { data: out_data.get().add(first * out_stride), stride: out_stride };
            output(heads, q, means, out, buffer.as_mut_ptr());
        }
    });
}

/// Tokens whose sums are formed by one task. Fixed, and the sums of the chunks are added in order, so that a result does not depend
/// on the threads.
const CHUNK: usize = 512;

/// About what the exponential of one q or k costs, in multiply-adds.
const ELU_COST: usize = 12;

/// Adds the sums of the chunks of a picture and divides by its number of tokens.
fn average(parts: &[f32], tokens: usize, means: &mut [f32]) {
    means.fill(0.0);
    for part in parts.chunks_exact(means.len()) {
        means.iter_mut().zip(part).for_each(|(mean, sum)| *mean += sum);
    }
    let scale = 1.0 / tokens as f32;
    means.iter_mut().for_each(|mean| *mean *= scale);
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
