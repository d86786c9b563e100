//! Classification losses over logits, elementwise and vectorised: dense heads have tens of millions of them.

use super::{CHUNK, math, vectorised};
use crate::isa::Isa;
use rayon::prelude::*;

/// Rows per task for rows of `c` logits.
fn rows_step(c: usize) -> usize {
    (CHUNK / c.max(1)).max(1)
}

fn check(logits: usize, targets: &[u32], c: usize, out: usize) {
    assert!(c > 0 && logits == targets.len() * c && out == logits, "{logits} logits of {c} classes");
}

/// Sigmoid focal loss of every logit (Lin et al. 2017, the arithmetic of mmdetection's `py_sigmoid_focal_loss`).
///
/// `targets[row]` is the class of the row; `c` (or more) is background: all of its logits are negatives.
pub fn sigmoid_focal(x: &[f32], targets: &[u32], c: usize, (gamma, alpha): (f32, f32), loss: &mut [f32]) {
    check(x.len(), targets, c, loss.len());
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = x.par_chunks(step * c).zip(targets.par_chunks(step));
    loss.par_chunks_mut(step * c).zip(inputs).for_each(|(loss, (x, targets))| {
        negatives(isa, x, gamma, 1.0 - alpha, loss);
        for ((loss, x), &t) in loss.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(targets) {
            if let Some(loss) = loss.get_mut(t as usize) {
                *loss = focal::<false>(x[t as usize], gamma, alpha).0;
            }
        }
    });
}

/// dx of [`sigmoid_focal`], times `dy`.
pub fn sigmoid_focal_grad(
    x: &[f32],
    targets: &[u32],
    c: usize,
    (gamma, alpha): (f32, f32),
    dy: &[f32],
    dx: &mut [f32],
) {
    check(x.len(), targets, c, dx.len());
    assert_eq!(x.len(), dy.len(), "focal gradient on different lengths");
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = x.par_chunks(step * c).zip(dy.par_chunks(step * c)).zip(targets.par_chunks(step));
    dx.par_chunks_mut(step * c).zip(inputs).for_each(|(dx, ((x, dy), targets))| {
        negatives_grad(isa, x, dy, gamma, 1.0 - alpha, dx);
        let rows = x.chunks_exact(c).zip(dy.chunks_exact(c));
        for ((dx, (x, dy)), &t) in dx.chunks_exact_mut(c).zip(rows).zip(targets) {
            if let Some(dx) = dx.get_mut(t as usize) {
                *dx = dy[t as usize] * focal::<false>(x[t as usize], gamma, alpha).1;
            }
        }
    });
}

/// −ln softmax(x)[target] per row of `c` logits; 0 for a row whose target is not below `c` (ignored).
pub fn cross_entropy(x: &[f32], targets: &[u32], c: usize, loss: &mut [f32]) {
    check(x.len(), targets, c, x.len());
    assert_eq!(loss.len(), targets.len(), "one loss per row");
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = x.par_chunks(step * c).zip(targets.par_chunks(step));
    loss.par_chunks_mut(step).zip(inputs).for_each(|(loss, (x, targets))| {
        let mut row_exp = vec![0.0; c];
        for ((loss, x), &t) in loss.iter_mut().zip(x.chunks_exact(c)).zip(targets) {
            let (max, sum) = super::softmax::exp_row(isa, x, &mut row_exp);
            *loss = x.get(t as usize).map_or(0.0, |x| sum.ln() + (max - x));
        }
    });
}

/// dx of [`cross_entropy`]: (softmax(x) − one-hot) · dy, 0 in ignored rows.
pub fn cross_entropy_grad(x: &[f32], targets: &[u32], c: usize, dy: &[f32], dx: &mut [f32]) {
    check(x.len(), targets, c, dx.len());
    assert_eq!(dy.len(), targets.len(), "one gradient per row");
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = x.par_chunks(step * c).zip(targets.par_chunks(step)).zip(dy.par_chunks(step));
    dx.par_chunks_mut(step * c).zip(inputs).for_each(|(dx, ((x, targets), dy))| {
        let rows = x.chunks_exact(c).zip(targets).zip(dy);
        for (dx, ((x, &t), &g)) in dx.chunks_exact_mut(c).zip(rows) {
            if t as usize >= c {
                dx.fill(0.0);
                continue;
            }
            let factor = g / super::softmax::exp_row(isa, x, dx).1;
            dx.iter_mut().for_each(|d| *d *= factor);
            dx[t as usize] -= g;
        }
    });
}

/// Binary cross-entropy of logits against targets in 0..1: max(x, 0) − x·z + ln(1 + e^−|x|).
pub fn bce_with_logits(x: &[f32], z: &[f32], loss: &mut [f32]) {
    assert!(x.len() == z.len() && x.len() == loss.len(), "bce on different lengths");
    let isa = Isa::current();
    let inputs = x.par_chunks(CHUNK).zip(z.par_chunks(CHUNK));
    loss.par_chunks_mut(CHUNK).zip(inputs).for_each(|(l, (x, z))| bce(isa, x, z, l));
}

/// dx of [`bce_with_logits`]: (sigmoid(x) − z) · dy.
pub fn bce_with_logits_grad(x: &[f32], z: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == z.len() && x.len() == dy.len() && x.len() == dx.len(), "bce on different lengths");
    let isa = Isa::current();
    let inputs = x.par_chunks(CHUNK).zip(z.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK));
    dx.par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, ((x, z), dy))| bce_grad(isa, x, z, dy, dx));
}

/// Loss and slope of one logit whose target is `true` (a negative is the same with the sign of the logit exchanged).
///
/// With p = sigmoid(z): loss = α (1 − p)^γ ln(1 + e^−z), slope = −α (1 − p)^γ (γ p ln(1 + e^−z) + 1 − p).
#[inline(always)]
fn focal<const FMA: bool>(z: f32, gamma: f32, alpha: f32) -> (f32, f32) {
    let (miss, hit, soft) = math::sigmoids::<FMA>(z);
    let weight = alpha * if gamma == 2.0 { miss * miss } else { miss.powf(gamma) };
    (weight * soft, -weight * (gamma * hit * soft + miss))
}

vectorised!(fn negatives(x: &[f32], gamma: f32, alpha: f32, loss: &mut [f32]) = negatives_body);
vectorised!(fn negatives_grad(x: &[f32], dy: &[f32], gamma: f32, alpha: f32, dx: &mut [f32]) = negatives_grad_body);
vectorised!(fn bce(x: &[f32], z: &[f32], loss: &mut [f32]) = bce_body);
vectorised!(fn bce_grad(x: &[f32], z: &[f32], dy: &[f32], dx: &mut [f32]) = bce_grad_body);

#[inline(always)]
fn negatives_body<const FMA: bool>(x: &[f32], gamma: f32, alpha: f32, loss: &mut [f32]) {
    // The test is outside the loop so that the usual exponent, 2, vectorises.
    if gamma == 2.0 {
        loss.iter_mut().zip(x).for_each(|(l, &x)| *l = focal::<FMA>(-x, 2.0, alpha).0);
    } else {
        loss.iter_mut().zip(x).for_each(|(l, &x)| *l = focal::<FMA>(-x, gamma, alpha).0);
    }
}

#[inline(always)]
fn negatives_grad_body<const FMA: bool>(x: &[f32], dy: &[f32], gamma: f32, alpha: f32, dx: &mut [f32]) {
    let inputs = x.iter().zip(dy);
    if gamma == 2.0 {
        dx.iter_mut().zip(inputs).for_each(|(d, (&x, &g))| *d = -g * focal::<FMA>(-x, 2.0, alpha).1);
    } else {
        dx.iter_mut().zip(inputs).for_each(|(d, (&x, &g))| *d = -g * focal::<FMA>(-x, gamma, alpha).1);
    }
}

#[inline(always)]
fn bce_body<const FMA: bool>(x: &[f32], z: &[f32], loss: &mut [f32]) {
    for ((l, &x), &z) in loss.iter_mut().zip(x).zip(z) {
        // The two large terms first: for a confident right answer they cancel exactly and leave the logarithm.
        let hinge = if x > 0.0 { x } else { 0.0 };
        *l = (hinge - x * z) + math::ln_1p_unit::<FMA>(math::exp::<FMA>(-x.abs()));
    }
}

#[inline(always)]
fn bce_grad_body<const FMA: bool>(x: &[f32], z: &[f32], dy: &[f32], dx: &mut [f32]) {
    for (((d, &x), &z), &g) in dx.iter_mut().zip(x).zip(z).zip(dy) {
        *d = g * (math::sigmoids::<FMA>(x).1 - z);
    }
}
