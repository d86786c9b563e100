//! Activations in f64. Rust's standard library has no `erf`, so its series is here.

use std::f64::consts::{FRAC_2_SQRT_PI, SQRT_2};

/// erf by `2/√π · e^(−x²) · Σ 2ⁿ x^(2n+1) / (2n+1)!!`: all terms have one sign, so nothing cancels (error ≲ 1e-15).
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return x.signum(); // 1 - erf(6) = 2e-17
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// GELU, exact form: `x/2 · (1 + erf(x/√2))`.
pub fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / SQRT_2))
}

/// Derivative of [`gelu`]: `Φ(x) + x·φ(x)`.
pub fn gelu_derivative(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() * FRAC_2_SQRT_PI / (2.0 * SQRT_2);
    0.5 * (1.0 + erf(x / SQRT_2)) + x * density
}

/// `1 / (1 + e^−x)`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// ELU with alpha 1: `x` above zero, `e^x − 1` below.
pub fn elu(x: f64) -> f64 {
    if x > 0.0 { x } else { x.exp_m1() }
}
