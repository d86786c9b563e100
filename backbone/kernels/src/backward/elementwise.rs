//! Elementwise training ops, in parallel over fixed chunks.

use super::{CHUNK, fma, vectorised};
use crate::isa::Isa;
use rayon::prelude::*;

/// Runs `f(isa, a, b, out)` on matching chunks.
fn map2(a: &[f32], b: &[f32], out: &mut [f32], f: impl Fn(Isa, &[f32], &[f32], &mut [f32]) + Sync) {
    assert!(a.len() == out.len() && b.len() == out.len(), "elementwise op on different lengths");
    let isa = Isa::current();
    let chunks = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    out.par_chunks_mut(CHUNK).zip(chunks).for_each(|(o, (a, b))| f(isa, a, b, o));
}

/// Gradient of the exponential linear unit (α = 1) from its result: dy for y > 0, dy · (y + 1) otherwise.
pub fn elu_grad(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map2(y, dy, dx, elu_grad_chunk);
}

/// Gradient of max(x, 0) from its result: 0 where y = 0.
pub fn relu_grad(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map2(y, dy, dx, relu_grad_chunk);
}

/// Gradient of the logistic function from its result: dy · y · (1 − y).
pub fn sigmoid_grad(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    map2(y, dy, dx, sigmoid_grad_chunk);
}

/// out = a + b.
pub fn add(a: &[f32], b: &[f32], out: &mut [f32]) {
    map2(a, b, out, add_chunk);
}

/// y += x.
pub fn add_to(x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "add_to on different lengths");
    let isa = Isa::current();
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| add_to_chunk(isa, x, y));
}

/// y = x · scale, one factor per channel (the length of `scale` is the number of channels).
pub fn scale_channels(x: &[f32], scale: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "scale_channels on different lengths");
    let (isa, step) = (Isa::current(), super::columns::rows_per_chunk(scale.len()) * scale.len());
    y.par_chunks_mut(step).zip(x.par_chunks(step)).for_each(|(y, x)| scale_chunk(isa, x, scale, y));
}

/// y = shortcut + x · scale, one factor per channel: layer scale and residual in one pass.
pub fn scale_add(shortcut: &[f32], x: &[f32], scale: &[f32], y: &mut [f32]) {
    assert!(x.len() == y.len() && x.len() == shortcut.len(), "scale_add on different lengths");
    let (isa, step) = (Isa::current(), super::columns::rows_per_chunk(scale.len()) * scale.len());
    let inputs = shortcut.par_chunks(step).zip(x.par_chunks(step));
    y.par_chunks_mut(step).zip(inputs).for_each(|(y, (s, x))| scale_add_chunk(isa, s, x, scale, y));
}

vectorised!(fn elu_grad_chunk(y: &[f32], dy: &[f32], dx: &mut [f32]) = elu_grad_body);
vectorised!(fn relu_grad_chunk(y: &[f32], dy: &[f32], dx: &mut [f32]) = relu_grad_body);
vectorised!(fn sigmoid_grad_chunk(y: &[f32], dy: &[f32], dx: &mut [f32]) = sigmoid_grad_body);
vectorised!(fn add_chunk(a: &[f32], b: &[f32], out: &mut [f32]) = add_body);
vectorised!(fn add_to_chunk(x: &[f32], y: &mut [f32]) = add_to_body);
vectorised!(fn scale_chunk(x: &[f32], scale: &[f32], y: &mut [f32]) = scale_body);
vectorised!(fn scale_add_chunk(shortcut: &[f32], x: &[f32], scale: &[f32], y: &mut [f32]) = scale_add_body);

#[inline(always)]
fn elu_grad_body<const FMA: bool>(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((o, &y), &g) in dx.iter_mut().zip(y).zip(dy) {
        *o = g * if y > 0.0 { 1.0 } else { y + 1.0 };
    }
}

#[inline(always)]
fn relu_grad_body<const FMA: bool>(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((o, &y), &g) in dx.iter_mut().zip(y).zip(dy) {
        *o = if y > 0.0 { g } else { 0.0 };
    }
}

#[inline(always)]
fn sigmoid_grad_body<const FMA: bool>(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    for ((o, &y), &g) in dx.iter_mut().zip(y).zip(dy) {
        *o = g * y * (1.0 - y);
    }
}

#[inline(always)]
fn add_to_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

#[inline(always)]
fn add_body<const FMA: bool>(a: &[f32], b: &[f32], out: &mut [f32]) {
    for ((o, &a), &b) in out.iter_mut().zip(a).zip(b) {
        *o = a + b;
    }
}

#[inline(always)]
fn scale_body<const FMA: bool>(x: &[f32], scale: &[f32], y: &mut [f32]) {
    let c = scale.len();
    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        for ((o, &x), &s) in y.iter_mut().zip(x).zip(scale) {
            *o = x * s;
        }
    }
}

#[inline(always)]
fn scale_add_body<const FMA: bool>(shortcut: &[f32], x: &[f32], scale: &[f32], y: &mut [f32]) {
    let c = scale.len();
    let rows = shortcut.chunks_exact(c).zip(x.chunks_exact(c));
    for (y, (r, x)) in y.chunks_exact_mut(c).zip(rows) {
        for (((o, &r), &x), &s) in y.iter_mut().zip(r).zip(x).zip(scale) {
            *o = fma::<FMA>(x, s, r);
        }
    }
}
