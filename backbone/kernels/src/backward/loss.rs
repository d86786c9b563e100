//! Classification losses over logits, elementwise and vectorised: dense heads have tens of millions of them.

use super::{CHUNK, fma, math, vectorised};
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
    loss.par_chunks_mut(step * c)
        .zip(inputs)
        .for_each(|(loss, (x, targets))| focal_rows(isa, (x, targets, c), (gamma, alpha), loss));
}

/// Σ of [`sigmoid_focal`] over all rows, each times its weight: the losses of a few rows exist at a time.
pub fn sigmoid_focal_sum(x: &[f32], targets: &[u32], weights: &[f32], c: usize, how: (f32, f32)) -> f64 {
    check(x.len(), targets, c, x.len());
    assert_eq!(weights.len(), targets.len(), "one weight per row");
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = x.par_chunks(step * c).zip(targets.par_chunks(step)).zip(weights.par_chunks(step));
    let part = |((x, targets), weights): ((&[f32], &[u32]), &[f32])| {
        let (mut loss, mut sums) = (vec![0.0; x.len()], vec![0.0; c]);
        focal_rows(isa, (x, targets, c), how, &mut loss);
        add_weighted_rows(isa, &loss, weights, &mut sums);
        sums.into_iter().map(f64::from).sum::<f64>()
    };
    inputs.map(part).collect::<Vec<f64>>().into_iter().sum()
}

/// dx of [`sigmoid_focal_sum`], times `scale`.
pub fn sigmoid_focal_sum_grad(
    (x, targets, c): (&[f32], &[u32], usize),
    weights: &[f32],
    how: (f32, f32),
    scale: f32,
    dx: &mut [f32],
) {
    check(x.len(), targets, c, dx.len());
    assert_eq!(weights.len(), targets.len(), "one weight per row");
    let (isa, step) = (Isa::current(), rows_step(c));
    let inputs = x.par_chunks(step * c).zip(targets.par_chunks(step)).zip(weights.par_chunks(step));
    dx.par_chunks_mut(step * c).zip(inputs).for_each(|(dx, ((x, targets), weights))| {
        let dy: Vec<f32> = weights.iter().flat_map(|w| std::iter::repeat_n(w * scale, c)).collect();
        focal_rows_grad(isa, (x, targets, c), how, &dy, dx);
    });
}

/// The losses of some rows.
fn focal_rows(
    isa: Isa,
    (x, targets, c): (&[f32], &[u32], usize),
    (gamma, alpha): (f32, f32),
    loss: &mut [f32],
) {
    negatives(isa, x, gamma, 1.0 - alpha, loss);
    for ((loss, x), &t) in loss.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(targets) {
        if let Some(loss) = loss.get_mut(t as usize) {
            *loss = focal::<false>(x[t as usize], gamma, alpha).0;
        }
    }
}

/// Their slopes, times `dy`.
fn focal_rows_grad(
    isa: Isa,
    (x, targets, c): (&[f32], &[u32], usize),
    (gamma, alpha): (f32, f32),
    dy: &[f32],
    dx: &mut [f32],
) {
    negatives_grad(isa, x, dy, gamma, 1.0 - alpha, dx);
    let rows = x.chunks_exact(c).zip(dy.chunks_exact(c));
    for ((dx, (x, dy)), &t) in dx.chunks_exact_mut(c).zip(rows).zip(targets) {
        if let Some(dx) = dx.get_mut(t as usize) {
            *dx = dy[t as usize] * focal::<false>(x[t as usize], gamma, alpha).1;
        }
    }
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
        focal_rows_grad(isa, (x, targets, c), (gamma, alpha), dy, dx);
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
vectorised!(
    /// sums += every row of `sums.len()` losses times its weight.
    fn add_weighted_rows(rows: &[f32], weights: &[f32], sums: &mut [f32]) = add_weighted_body
);
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
fn add_weighted_body<const FMA: bool>(rows: &[f32], weights: &[f32], sums: &mut [f32]) {
    for (row, &weight) in rows.chunks_exact(sums.len()).zip(weights) {
        for (sum, &loss) in sums.iter_mut().zip(row) {
            *sum = fma::<FMA>(weight, loss, *sum);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_focal_losses_is_that_of_the_single_ones_at_any_number_of_threads() {
        for (rows, c) in [(0, 3), (1, 1), (1000, 80), (7, 20)] {
            let x: Vec<f32> = (0..rows * c).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.1).collect();
            let targets: Vec<u32> = (0..rows).map(|i| (i * 5 % (c + 1)) as u32).collect();
            let weights: Vec<f32> = (0..rows).map(|i| [1.0, 0.0, 0.5][i % 3]).collect();
            for how in [(2.0, 0.25), (1.5, 0.4)] {
                let (mut each, mut slopes) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                sigmoid_focal(&x, &targets, c, how, &mut each);
                let dy: Vec<f32> = (0..x.len()).map(|i| 0.3 * weights[i / c]).collect();
                sigmoid_focal_grad(&x, &targets, c, how, &dy, &mut slopes);
                let want: f64 =
                    each.iter().enumerate().map(|(i, l)| f64::from(*l) * f64::from(weights[i / c])).sum();
                let run = |threads: usize| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    let mut dx = vec![f32::NAN; x.len()];
                    pool.install(|| sigmoid_focal_sum_grad((&x, &targets, c), &weights, how, 0.3, &mut dx));
                    (pool.install(|| sigmoid_focal_sum(&x, &targets, &weights, c, how)), dx)
                };
                let (sum, dx) = run(1);
                assert!((sum - want).abs() <= 1e-6 * want.abs(), "{rows}x{c}: {sum}, want {want}");
                assert_eq!(dx, slopes);
                assert!(run(3) == (sum, dx), "{rows}x{c}: three threads");
            }
        }
    }
}
