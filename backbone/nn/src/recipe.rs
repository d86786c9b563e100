//! Weights and inputs by formula, so that reference numbers can be checked without storing weights.
//!
//! `v(name, i)` hashes a name and an index to a number in [−1, 1) that is exact in f32 (section 3 of the golden data's
//! README). It is also what `weights init --recipe` writes.

use candle_core::{Device, Tensor};

use crate::error::Result;
use crate::params::ParamStore;

fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// The numbers of one name.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    seed: u32,
}

impl Stream {
    /// The stream of `name` (its CRC-32).
    pub fn new(name: &str) -> Self {
        Self { seed: crc32fast::hash(name.as_bytes()) }
    }

    /// Element `i` (flat index, C order) in [−1, 1), exact in f32 and f64.
    pub fn v(self, i: u32) -> f64 {
        let g = mix(i.wrapping_mul(0x9E37_79B9).wrapping_add(0x7F4A_7C15));
        let r = mix(g ^ self.seed);
        f64::from(r >> 8) * (1.0 / f64::from(1u32 << 23)) - 1.0
    }
}

/// Element `i` of the stream of `name`, see [`Stream`].
pub fn v(name: &str, i: u32) -> f64 {
    Stream::new(name).v(i)
}

/// Replaces the rule of all keys that end with `suffix`.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// End of the key.
    pub suffix: String,
    /// Middle of the values.
    pub center: f64,
    /// Half width.
    pub amp: f64,
}

/// How a parameter is filled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// `center + amp · v`.
    Uniform {
        /// Middle of the values.
        center: f64,
        /// Half width.
        amp: f64,
    },
    /// An int64 constant.
    Int(i64),
}

impl Rule {
    /// The rule of a parameter, by the first match: overrides, then the end of its key, then its shape.
    pub fn of(key: &str, shape: &[usize], overrides: &[Override]) -> Self {
        let uniform = |center, amp| Rule::Uniform { center, amp };
        if let Some(o) = overrides.iter().find(|o| key.ends_with(&o.suffix)) {
            return uniform(o.center, o.amp);
        }
        match key.rsplit('.').next().unwrap_or(key) {
            "num_batches_tracked" => Rule::Int(1000),
            "running_mean" => uniform(0.0, 0.2),
            "running_var" => uniform(1.0, 0.5),
            "gamma" => uniform(0.1, 0.4),
            "bias" => uniform(0.0, 0.1),
            _ if shape.len() <= 1 => uniform(1.0, 0.3),
            _ => uniform(0.0, (3.0 / shape[1..].iter().product::<usize>().max(1) as f64).sqrt()),
        }
    }
}

/// The recipe's value of the parameter `key` (with its prefix), PyTorch layout: F32, or I64 for counters.
///
/// # Errors
/// `Internal` when the tensor cannot be made.
pub fn parameter(salt: &str, key: &str, shape: &[usize], overrides: &[Override]) -> Result<Tensor> {
    match Rule::of(key, shape, overrides) {
        Rule::Int(value) => Ok(Tensor::full(value, shape, &Device::Cpu)?),
        Rule::Uniform { center, amp } => uniform(salt, key, shape, center, amp),
    }
}

/// Fills every parameter of a store by the recipe. `key_prefix` is put before the store's names.
///
/// # Errors
/// `Internal` when a tensor cannot be made or written.
pub fn fill(store: &ParamStore, salt: &str, key_prefix: &str, overrides: &[Override]) -> Result<()> {
    for param in store.params() {
        let key = format!("{key_prefix}{}", param.name);
        store.set(&param.name, &parameter(salt, &key, param.shape(), overrides)?)?;
    }
    Ok(())
}

/// `center + amp · v(salt/key)` in the given shape, F32.
///
/// # Errors
/// `Internal` when the tensor cannot be made.
pub fn uniform(salt: &str, key: &str, shape: &[usize], center: f64, amp: f64) -> Result<Tensor> {
    let stream = Stream::new(&format!("{salt}/{key}"));
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (center + amp * stream.v(i as u32)) as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// Block size and amplitudes of [`block_image`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Blocks {
    /// Side of a block of constant coarse value, pixels.
    pub block: usize,
    /// Amplitude per block.
    pub coarse_amp: f64,
    /// Amplitude per pixel.
    pub fine_amp: f64,
}

impl Default for Blocks {
    fn default() -> Self {
        Self { block: 16, coarse_amp: 1.5, fine_amp: 0.5 }
    }
}

/// A picture-like input: coarse blocks plus fine noise. The streams are `salt/key/coarse` and `salt/key/fine`.
///
/// # Shapes
/// Returns `[n, c, h, w]` (the reference's layout), F32.
///
/// # Errors
/// `Internal` when the tensor cannot be made.
pub fn block_image(salt: &str, key: &str, shape: [usize; 4], blocks: Blocks) -> Result<Tensor> {
    let [n, c, h, w] = shape;
    let Blocks { block, coarse_amp, fine_amp } = blocks;
    let coarse = Stream::new(&format!("{salt}/{key}/coarse"));
    let fine = Stream::new(&format!("{salt}/{key}/fine"));
    let (rows, columns) = (h.div_ceil(block), w.div_ceil(block));
    let mut values = Vec::with_capacity(n * c * h * w);
    for plane in 0..n * c {
        for y in 0..h {
            let row = (plane * rows + y / block) * columns;
            for x in 0..w {
                let coarse_value = coarse.v((row + x / block) as u32);
                let fine_value = fine.v(values.len() as u32);
                values.push((coarse_amp * coarse_value + fine_amp * fine_value) as f32);
            }
        }
    }
    Ok(Tensor::from_vec(values, &shape[..], &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;
    use crate::purpose::Purpose;

    #[test]
    fn v_matches_the_published_vectors() {
        // golden manifest, recipe.test_vectors
        let expected = [
            ("A/care_s0/stem.0.weight", 0, 0.03304874897003174),
            ("A/care_s0/stem.0.weight", 7, 0.6047396659851074),
            ("A/care_s0/stem.0.weight", 99_999, 0.367722749710083),
            ("A/care_s0/input/coarse", 3, -0.07082819938659668),
            ("abc", 100, -0.4391990900039673),
            ("", 0, 0.94798743724823),
        ];
        for (name, i, value) in expected {
            assert_eq!(v(name, i), value, "{name} {i}");
        }
    }

    #[test]
    fn rules_go_by_override_then_name_then_shape() {
        let o = [Override { suffix: "retina_cls.bias".into(), center: -4.6, amp: 0.5 }];
        let u = |center, amp| Rule::Uniform { center, amp };
        assert_eq!(Rule::of("bbox_head.retina_cls.bias", &[9], &o), u(-4.6, 0.5));
        assert_eq!(Rule::of("stem.0.bias", &[9], &o), u(0.0, 0.1));
        assert_eq!(Rule::of("stem.1.weight", &[9], &o), u(1.0, 0.3));
        assert_eq!(Rule::of("stem.0.weight", &[9, 3, 1, 1], &o), u(0.0, 1.0));
        assert_eq!(Rule::of("stem.1.num_batches_tracked", &[], &o), Rule::Int(1000));
    }

    #[test]
    fn filling_a_store_uses_the_prefixed_key() {
        let store = ParamStore::new(Device::Cpu, 0);
        let b = store.root(Purpose::TRAIN);
        b.param("weight", &[2, 3], Init::Zeros).unwrap();
        b.buffer("num_batches_tracked", &[], Init::Int(0)).unwrap();
        fill(&store, "salt", "neck.", &[]).unwrap();
        let got: Vec<Vec<f32>> = store.get("weight").unwrap().var.to_vec2().unwrap();
        assert_eq!(got[1][2], v("salt/neck.weight", 5) as f32);
        let counter = store.get("num_batches_tracked").unwrap();
        assert_eq!(counter.var.to_scalar::<i64>().unwrap(), 1000);
    }

    #[test]
    fn block_image_adds_two_streams() {
        let image = block_image("s", "x", [2, 3, 17, 33], Blocks::default()).unwrap();
        let got = image
            .get(1)
            .unwrap()
            .get(2)
            .unwrap()
            .get(16)
            .unwrap()
            .get(32)
            .unwrap()
            .to_scalar::<f32>()
            .unwrap();
        let coarse = v("s/x/coarse", 35);
        let fine = v("s/x/fine", 2 * 3 * 17 * 33 - 1);
        assert_eq!(got, (1.5 * coarse + 0.5 * fine) as f32);
    }
}
