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

/// Where Φ is 0 (below the negative) and 1 (above) in f32 for the purposes of GELU: 4·√2.
const GELU_END: f32 = 5.656_854;

/// GELU in the exact form, `x · Φ(x)` with `Φ(x) = (1 + erf(x/√2)) / 2`: error ≤ 5e-7, or 3e-7 of a large result.
///
/// The factors √2 and ½ are folded into the coefficients of [`erf`].
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    // Far below zero 1 + erf is a rounding error, which a huge x would blow up; so the factor is bounded too.
    // (The operands stand in this order because then a NaN comes through.)
    let x = s.max(s.splat(-GELU_END), x);
    let t = s.min(s.splat(GELU_END), x);
    let z = s.mul(t, t);
    let p = s.mul(polynomial(s, z, &GELU_P), t);
    let half_erf = s.div(p, polynomial(s, z, &ERF_Q_HALF));
    s.fma(x, half_erf, s.mul(x, s.splat(0.5)))
}

/// [`ERF_P`] for x/√2 and half the value: the coefficient of x²ⁿ divided by 2ⁿ·2√2.
const GELU_P: [f32; 7] = scaled(&ERF_P, 0.353_553_390_593_273_8);

/// [`ERF_Q`] for x/√2: the coefficient of x²ⁿ divided by 2ⁿ.
const ERF_Q_HALF: [f32; 5] = scaled(&ERF_Q, 1.0);

/// Coefficients of a polynomial in z, highest power first, for z/2 and times a factor.
const fn scaled<const N: usize>(coefficients: &[f32; N], factor: f64) -> [f32; N] {
    let mut out = [0.0; N];
    let mut i = 0;
    while i < N {
        out[i] = (coefficients[i] as f64 * factor / (1u32 << (N - 1 - i)) as f64) as f32;
        i += 1;
    }
    out
}

/// Where the density of the normal distribution is 0 in f32, long before its square overflows.
const DENSITY_ZERO: f32 = 13.0;

/// Derivative of [`gelu`], `Φ(x) + x·φ(x)`: error ≤ 5e-7.
#[inline(always)]
pub(crate) fn gelu_derivative<S: Simd>(s: S, x: S::V) -> S::V {
    let e = erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    let cumulative = s.fma(s.splat(0.5), e, s.splat(0.5));
    let near = s.max(s.splat(-DENSITY_ZERO), s.min(s.splat(DENSITY_ZERO), x));
    let density = exp_not_positive(s, s.mul(s.mul(near, near), s.splat(-0.5)));
    s.fma(s.mul(near, s.splat(INV_SQRT_TAU)), density, cumulative)
}

/// 1/√(2π).
const INV_SQRT_TAU: f32 = 0.398_942_3;

/// The smallest argument whose exponential is a normal number; below it the exponential of [`exp_not_positive`] stays at 1.2e-38.
const EXP_LOW: f32 = -87.336_54;

/// Below it e^x rounds to zero, also as a subnormal number.
const EXP_ZERO: f32 = -103.98;

/// (e^r − 1 − r)/r² on |r| ≤ ln 2 / 2, highest power first (Cephes expf).
const EXP_P: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// (n, e^r − 1) with x = n·ln 2 + r.
#[inline(always)]
fn reduced_exp<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let n = s.round(s.mul(x, s.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts, the first with few bits, so that n times it is exact.
    let r = s.fma(n, s.splat(-0.693_359_4), x);
    let r = s.fma(n, s.splat(2.121_944_4e-4), r);
    (n, s.fma(polynomial(s, r, &EXP_P), s.mul(r, r), r))
}

/// e^x for x ≤ 0 (and up to 88): relative error ≤ 2e-7, never below 1.2e-38.
#[inline(always)]
pub(crate) fn exp_not_positive<S: Simd>(s: S, x: S::V) -> S::V {
    let (n, q) = reduced_exp(s, s.max(s.splat(EXP_LOW), x));
    s.scale_by_power_of_two(s.add(q, s.splat(1.0)), n)
}

/// e^x: relative error ≤ 2e-7; infinite above 88.72, what would be subnormal is 1.2e-38 or 0.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let (n, q) = reduced_exp(s, s.max(s.splat(EXP_LOW), s.min(s.splat(89.0), x)));
    // 2^128 is no number, 2^127 · 2 is infinity at the right moment.
    let (one, zero) = (s.splat(1.0), s.zero());
    let step = s.select_gt(n, zero, one, zero);
    let y = s.scale_by_power_of_two(s.add(q, one), s.sub(n, step));
    s.select_gt(s.splat(EXP_ZERO), x, zero, s.mul(y, s.add(step, one)))
}

/// `1 / (1 + e^−x)`: relative error ≤ 4e-7.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    s.div(one, s.add(one, exp(s, s.sub(s.zero(), x))))
}

/// ELU with alpha 1. Below zero `2ⁿ·(e^r − 1) + (2ⁿ − 1)`, which keeps the digits of small x: relative error ≤ 3e-7.
#[inline(always)]
pub(crate) fn elu<S: Simd>(s: S, x: S::V) -> S::V {
    let (n, q) = reduced_exp(s, s.max(s.splat(EXP_LOW), s.min(s.zero(), x)));
    let power = s.scale_by_power_of_two(s.splat(1.0), n);
    let below = s.fma(power, q, s.sub(power, s.splat(1.0)));
    s.select_gt(x, s.zero(), x, below)
}

/// `elu(x) + 1`, from the exponential itself: below zero nothing is lost by adding what had been subtracted.
#[inline(always)]
pub(crate) fn elu_plus_1<S: Simd>(s: S, x: S::V) -> S::V {
    let below = exp_not_positive(s, s.min(s.zero(), x));
    s.select_gt(x, s.zero(), s.add(x, s.splat(1.0)), below)
}

/// `max(x, 0)`; a NaN stays a NaN.
#[inline(always)]
pub(crate) fn relu<S: Simd>(s: S, x: S::V) -> S::V {
    s.max(s.zero(), x)
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
