//! Initial values of parameters, from a seed and the parameter's own name.
//!
//! A parameter's values depend on (seed, name, shape) only: not on the order of declaration, the thread count, or the
//! platform's math library. The generator is ChaCha8 keyed by seed and CRC-32 of the full name; normals come from the
//! inverse cumulative distribution (Wichura's AS 241) evaluated with `+ - * /` and `sqrt` alone, so every IEEE machine
//! produces the same bits.

use candle_core::{DType, Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::error::{Error, Result};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// 0.
    Zeros,
    /// 1.
    Ones,
    /// One value everywhere.
    Const(f64),
    /// Uniform in [−bound, bound).
    Uniform {
        /// Half width.
        bound: f64,
    },
    /// Normal around 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal around 0, redrawn outside of ±2 (absolute, as `timm`'s `trunc_normal_` does).
    TruncNormal {
        /// Standard deviation.
        std: f64,
    },
    /// Uniform in ±√(6 / (fan_in + fan_out)).
    XavierUniform,
    /// Normal with std √(2 / fan): for layers followed by a ReLU.
    KaimingNormal {
        /// Which fan.
        fan: Fan,
    },
    /// Uniform in ±1/√fan_in, PyTorch's default of convolutions and linear layers.
    KaimingUniform,
    /// An int64 value (`num_batches_tracked`).
    Int(i64),
}

/// Fan of a weight `[out, in, kh, kw]` or `[out, in]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// `in · kh · kw`.
    In,
    /// `out · kh · kw`.
    Out,
}

impl Init {
    /// Type of the parameter that this fills: `I64` for [`Init::Int`], otherwise `F32`.
    pub fn dtype(self) -> DType {
        if matches!(self, Init::Int(_)) { DType::I64 } else { DType::F32 }
    }

    /// The initial tensor of the parameter `name`.
    ///
    /// # Errors
    /// `Config` when a fan is asked of a shape with fewer than two dimensions.
    pub fn tensor(self, seed: u64, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        if let Init::Int(value) = self {
            return Ok(Tensor::full(value, shape, device)?);
        }
        let mut draw = Draw::new(seed, name);
        let count = shape.iter().product();
        let mut fill = |f: &mut dyn FnMut(&mut Draw) -> f64| -> Vec<f32> {
            (0..count).map(|_| f(&mut draw) as f32).collect()
        };
        let values = match self {
            Init::Zeros | Init::Int(_) => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Const(v) => vec![v as f32; count],
            Init::Uniform { bound } => fill(&mut |d| d.symmetric() * bound),
            Init::Normal { std } => fill(&mut |d| d.normal() * std),
            Init::TruncNormal { std } => fill(&mut |d| d.truncated(std)),
            Init::XavierUniform => {
                let bound = (6.0 / (fan(shape, Fan::In, name)? + fan(shape, Fan::Out, name)?)).sqrt();
                fill(&mut |d| d.symmetric() * bound)
            }
            Init::KaimingNormal { fan: which } => {
                let std = (2.0 / fan(shape, which, name)?).sqrt();
                fill(&mut |d| d.normal() * std)
            }
            Init::KaimingUniform => {
                let bound = 1.0 / fan(shape, Fan::In, name)?.sqrt();
                fill(&mut |d| d.symmetric() * bound)
            }
        };
        Ok(Tensor::from_vec(values, shape, device)?)
    }
}

fn fan(shape: &[usize], which: Fan, name: &str) -> Result<f64> {
    let [out, input, kernel @ ..] = shape else {
        return Err(Error::config(format!(
            "{name}: an initial value by fan needs a matrix, got shape {shape:?}"
        )));
    };
    let channels = if which == Fan::In { input } else { out };
    Ok((channels * kernel.iter().product::<usize>()).max(1) as f64)
}

/// Draws of one parameter.
struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64, name: &str) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..12].copy_from_slice(&crc32fast::hash(name.as_bytes()).to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in (0, 1): the midpoints of 2^53 equal cells, so never 0 and never 1.
    fn open01(&mut self) -> f64 {
        ((self.0.next_u64() >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// Uniform in [−1, 1).
    fn symmetric(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1u64 << 52) as f64) - 1.0
    }

    fn normal(&mut self) -> f64 {
        normal_quantile(self.open01())
    }

    fn truncated(&mut self, std: f64) -> f64 {
        // ±2 is at least 2σ for every std ≤ 1, so this ends after 1.05 draws on average; the bound guards silly values.
        (0..1000).map(|_| self.normal() * std).find(|v| v.abs() <= 2.0).unwrap_or(0.0)
    }
}

/// Quantile of the standard normal distribution for 0 < p < 1: Wichura 1988, algorithm AS 241 (PPND16), relative
/// error about 1e-16.
fn normal_quantile(p: f64) -> f64 {
    const A: [f64; 8] = [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ];
    const B: [f64; 8] = [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ];
    const C: [f64; 8] = [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ];
    const D: [f64; 8] = [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ];
    const E: [f64; 8] = [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ];
    const F: [f64; 8] = [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_7e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ];
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * horner(&A, r) / horner(&B, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    let r = (-ln(tail)).sqrt();
    let z = if r <= 5.0 {
        horner(&C, r - 1.6) / horner(&D, r - 1.6)
    } else {
        horner(&E, r - 5.0) / horner(&F, r - 5.0)
    };
    if q < 0.0 { -z } else { z }
}

fn horner(coefficients: &[f64; 8], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// Natural logarithm of a positive normal number by the series of atanh: no libm, so the same bits everywhere.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    // |s| <= 0.1716, s^2 <= 0.0295: twelve terms leave 1e-20
    let s2 = s * s;
    let series = (0..12).rev().fold(0.0, |sum, k| sum * s2 + 1.0 / (2 * k + 1) as f64);
    2.0 * s * series + exponent as f64 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_logarithm_matches_libm() {
        for i in 1..2000 {
            let x = i as f64 * 1e-3 * if i % 3 == 0 { 1e-9 } else { 1.0 };
            assert!((ln(x) - x.ln()).abs() <= 2e-15 * (1.0 + x.ln().abs()), "{x}");
        }
    }

    #[test]
    fn quantiles_match_published_values() {
        // scipy.stats.norm.ppf
        for (p, z) in [
            (0.5, 0.0),
            (0.25, -0.674_489_750_196_081_7),
            (0.975, 1.959_963_984_540_054),
            (1e-3, -3.090_232_306_167_813_5),
            (1e-10, -6.361_340_902_404_056),
            (1e-20, -9.262_340_089_798_408),
        ] {
            assert!((normal_quantile(p) - z).abs() < 1e-12, "{p}: {} vs {z}", normal_quantile(p));
        }
    }

    #[test]
    fn values_depend_on_seed_and_name_only_and_have_the_asked_moments() {
        let draw = |seed, name, init: Init| -> Vec<f32> {
            init.tensor(seed, name, &[64, 32, 3, 3], &Device::Cpu)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap()
        };
        let std = |v: &[f32]| (v.iter().map(|x| (*x as f64).powi(2)).sum::<f64>() / v.len() as f64).sqrt();
        let a = draw(1, "a", Init::Normal { std: 0.02 });
        assert_eq!(a, draw(1, "a", Init::Normal { std: 0.02 }));
        assert_ne!(a, draw(2, "a", Init::Normal { std: 0.02 }));
        assert_ne!(a, draw(1, "b", Init::Normal { std: 0.02 }));
        assert!((std(&a) / 0.02 - 1.0).abs() < 0.02);
        let fan_in = (32.0 * 9.0f64, Init::KaimingNormal { fan: Fan::In });
        assert!((std(&draw(0, "k", fan_in.1)) / (2.0 / fan_in.0).sqrt() - 1.0).abs() < 0.02);
        let bound = (6.0 / (96.0 * 9.0f64)).sqrt() as f32;
        let xavier = draw(0, "x", Init::XavierUniform);
        assert!(xavier.iter().all(|v| v.abs() <= bound) && xavier.iter().any(|v| v.abs() > 0.99 * bound));
        assert!(draw(0, "t", Init::TruncNormal { std: 1.5 }).iter().all(|v| v.abs() <= 2.0));
        assert!(Init::XavierUniform.tensor(0, "bias", &[3], &Device::Cpu).is_err());
    }

    /// Pins the bits: a change would silently alter every run that is repeated by its seed.
    #[test]
    fn bits_are_pinned() {
        let t = Init::TruncNormal { std: 0.02 }.tensor(42, "stem.0.weight", &[2, 2], &Device::Cpu).unwrap();
        let bits: Vec<u32> =
            t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [3_171_355_292, 3_146_477_229, 965_005_345, 1_024_569_426]);
    }
}
