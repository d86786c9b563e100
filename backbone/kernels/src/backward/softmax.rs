//! Softmax and log-softmax over the last axis, with gradients taken from their results.

use super::{math, vectorised};
use crate::isa::Isa;
use rayon::prelude::*;

/// Rows that one task handles.
fn rows_step(c: usize) -> usize {
    super::columns::rows_per_chunk(c) * c
}

fn check(len: usize, c: usize) {
    assert!(c > 0 && len.is_multiple_of(c), "{len} values are not rows of {c}");
}

/// Rows of `c` values: y = e^x / Σ e^x.
pub fn softmax(x: &[f32], c: usize, y: &mut [f32]) {
    check(x.len(), c);
    let (isa, step) = (Isa::current(), rows_step(c));
    y.par_chunks_mut(step).zip(x.par_chunks(step)).for_each(|(y, x)| softmax_rows(isa, x, c, y));
}

/// Rows of `c` values: y = x − ln Σ e^x.
pub fn log_softmax(x: &[f32], c: usize, y: &mut [f32]) {
    check(x.len(), c);
    let (isa, step) = (Isa::current(), rows_step(c));
    y.par_chunks_mut(step).zip(x.par_chunks(step)).for_each(|(y, x)| log_softmax_rows(isa, x, c, y));
}

/// dx = y · (dy − Σ dy·y), from the result `y` of [`softmax`].
pub fn softmax_grad(y: &[f32], dy: &[f32], c: usize, dx: &mut [f32]) {
    check(y.len(), c);
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = y.par_chunks(step).zip(dy.par_chunks(step));
    dx.par_chunks_mut(step).zip(inputs).for_each(|(dx, (y, dy))| softmax_grad_rows(isa, y, dy, c, dx));
}

/// dx = dy − e^y · Σ dy, from the result `y` of [`log_softmax`].
pub fn log_softmax_grad(y: &[f32], dy: &[f32], c: usize, dx: &mut [f32]) {
    check(y.len(), c);
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = y.par_chunks(step).zip(dy.par_chunks(step));
    dx.par_chunks_mut(step).zip(inputs).for_each(|(dx, (y, dy))| log_softmax_grad_rows(isa, y, dy, c, dx));
}

vectorised!(
    /// e^(x − max) of one row; returns the maximum and the sum.
    pub(super) fn exp_row(x: &[f32], y: &mut [f32]) -> (f32, f32) = shifted_exp
);
vectorised!(fn softmax_rows(x: &[f32], c: usize, y: &mut [f32]) = softmax_body);
vectorised!(fn log_softmax_rows(x: &[f32], c: usize, y: &mut [f32]) = log_softmax_body);
vectorised!(fn softmax_grad_rows(y: &[f32], dy: &[f32], c: usize, dx: &mut [f32]) = softmax_grad_body);
vectorised!(fn log_softmax_grad_rows(y: &[f32], dy: &[f32], c: usize, dx: &mut [f32]) = log_softmax_grad_body);

/// e^(x − max) into `y`; returns the maximum and the sum.
#[inline(always)]
fn shifted_exp<const FMA: bool>(x: &[f32], y: &mut [f32]) -> (f32, f32) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    y.iter_mut().zip(x).for_each(|(o, &v)| *o = math::exp::<FMA>(v - max));
    (max, y.iter().sum())
}

#[inline(always)]
fn softmax_body<const FMA: bool>(x: &[f32], c: usize, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let inv = 1.0 / shifted_exp::<FMA>(x, y).1;
        y.iter_mut().for_each(|o| *o *= inv);
    }
}

#[inline(always)]
fn log_softmax_body<const FMA: bool>(x: &[f32], c: usize, y: &mut [f32]) {
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let (max, sum) = shifted_exp::<FMA>(x, y);
        let ln = sum.ln();
        y.iter_mut().zip(x).for_each(|(o, &v)| *o = v - max - ln);
    }
}

#[inline(always)]
fn softmax_grad_body<const FMA: bool>(y: &[f32], dy: &[f32], c: usize, dx: &mut [f32]) {
    for ((y, dy), dx) in y.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
        let dot: f32 = y.iter().zip(dy).map(|(&y, &g)| y * g).sum();
        for ((o, &y), &g) in dx.iter_mut().zip(y).zip(dy) {
            *o = y * (g - dot);
        }
    }
}

#[inline(always)]
fn log_softmax_grad_body<const FMA: bool>(y: &[f32], dy: &[f32], c: usize, dx: &mut [f32]) {
    for ((y, dy), dx) in y.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c)) {
        let sum: f32 = dy.iter().sum();
        for ((o, &y), &g) in dx.iter_mut().zip(y).zip(dy) {
            *o = g - math::exp::<FMA>(y) * sum;
        }
    }
}
