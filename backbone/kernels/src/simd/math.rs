//! Elementary functions on vectors.

use super::Simd;

/// Numerator of erf(x)/x in x², highest power first.
const ERF_P: [f32; 7] = [
    -2.726_142_3e-10,
    2.770_681_4e-8,
    -2.101_024e-6,
    -5.692_506_5e-5,
    -7.349_906e-4,
    -2.954_6e-3,
    -1.609_603_3e-2,
];

/// Denominator of erf(x)/x in x², highest power first.
const ERF_Q: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];

/// erf, as the rational function that Eigen uses on [−4, 4] (erf is ±1 in f32 beyond): error ≤ 3e-7.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.min(x, s.splat(4.0)), s.splat(-4.0));
    let z = s.mul(x, x);
    let p = s.mul(polynomial(s, z, &ERF_P), x);
    s.div(p, polynomial(s, z, &ERF_Q))
}

/// Below it |GELU| < 1e-7.
const GELU_ZERO: f32 = -5.5;

/// GELU in the exact form, `x/2 · (1 + erf(x/√2))`.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let e = erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    let half = s.mul(x, s.splat(0.5));
    // Far below zero `1 + erf` is a rounding error, which a huge x would blow up.
    s.select_gt(s.splat(GELU_ZERO), x, s.zero(), s.fma(half, e, half))
}

/// Horner's scheme, highest power first.
#[inline(always)]
pub(crate) fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, coefficients: &[f32; N]) -> S::V {
    let mut sum = s.splat(coefficients[0]);
    let mut i = 1;
    while i < N {
        sum = s.fma(sum, x, s.splat(coefficients[i]));
        i += 1;
    }
    sum
}
