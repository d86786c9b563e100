//! Scalar functions without branches or calls, so that loops over them vectorise.

use super::fma;

/// e^x, relative error below 2e-7; inputs are clamped to ±87.3 (the smallest result is 1.2e-38), NaN stays NaN.
#[inline(always)]
pub(super) fn exp<const FMA: bool>(x: f32) -> f32 {
    const LIMIT: f32 = 87.3;
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits of the mantissa
    // Comparisons, not min/max: those would turn NaN into a number and hide a diverged network.
    let x = if x > LIMIT { LIMIT } else { x };
    let x = if x < -LIMIT { -LIMIT } else { x };
    let t = fma::<FMA>(x, std::f32::consts::LOG2_E, MAGIC);
    let n = t - MAGIC;
    // ln 2 in two parts, the first with few bits, so that n * part is exact (Cephes expf).
    let r = fma::<FMA>(n, -0.693_359_4, x);
    let r = fma::<FMA>(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = fma::<FMA>(p, r, c);
    }
    let y = fma::<FMA>(p, r * r, r) + 1.0;
    let scale = f32::from_bits(t.to_bits().wrapping_sub(MAGIC.to_bits()).wrapping_add(127) << 23);
    y * scale
}

/// ln(1 + e) for e in [0, 1], relative error below 3e-7 (also where e is tiny).
#[inline(always)]
pub(super) fn ln_1p_unit<const FMA: bool>(e: f32) -> f32 {
    // 2 atanh(s) with s = e / (2 + e) <= 1/3: the series ends below one rounding.
    let s = e / (2.0 + e);
    let t = s * s;
    let mut p = 1.0 / 15.0;
    for c in [1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0, 1.0] {
        p = fma::<FMA>(p, t, c);
    }
    2.0 * s * p
}

/// (sigmoid(-z), sigmoid(z), ln(1 + e^-z)) from one exponential, without overflow or cancellation.
#[inline(always)]
pub(super) fn sigmoids<const FMA: bool>(z: f32) -> (f32, f32, f32) {
    let e = exp::<FMA>(-z.abs());
    let inv = 1.0 / (1.0 + e);
    let small = e * inv;
    let positive = z >= 0.0;
    let below = if positive { small } else { inv };
    let above = if positive { inv } else { small };
    let hinge = if positive { 0.0 } else { -z };
    (below, above, hinge + ln_1p_unit::<FMA>(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_f64_over_the_whole_range() {
        for i in -8700..=8700 {
            let x = i as f32 * 0.01;
            for (got, name) in [(exp::<true>(x), "fused"), (exp::<false>(x), "plain")] {
                let want = f64::from(x).exp();
                assert!((f64::from(got) - want).abs() <= 2e-7 * want, "{name} exp({x}) = {got}, want {want}");
            }
            let z = f64::from(x);
            let (below, above, soft) = sigmoids::<true>(x);
            for (got, want) in [
                (below, 1.0 / (1.0 + z.exp())),
                (above, 1.0 / (1.0 + (-z).exp())),
                (soft, if z > 0.0 { (-z).exp().ln_1p() } else { z.exp().ln_1p() - z }),
            ] {
                assert!((f64::from(got) - want).abs() <= 5e-7 * want, "at {x}: {got}, want {want}");
            }
        }
        assert!(exp::<true>(f32::NAN).is_nan() && exp::<false>(f32::NAN).is_nan());
    }
}
