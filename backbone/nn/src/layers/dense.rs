//! Layers on `[N, C]`: layer norm and the fully connected layer.

use crate::{Builder, Init};
use crate::{Result, ops};
use candle_core::Tensor;

/// Layer norm over the last axis. Parameters: `weight`, `bias`.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Declares (or finds) the parameters of `c` channels under `b`.
    pub fn new(b: &Builder, c: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: b.param("weight", &[c], Init::Ones)?,
            bias: b.param("bias", &[c], Init::Zeros)?,
            eps,
        })
    }

    /// Normalises the last axis.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// A fully connected layer, `[.., k]` to `[.., n]`. Parameters: `weight` `[n, k]`, `bias` `[n]`.
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Declares (or finds) the parameters under `b`; the bias starts at 0.
    pub fn new(b: &Builder, k: usize, n: usize, init: Init) -> Result<Self> {
        Ok(Self { weight: b.param("weight", &[n, k], init)?, bias: b.param("bias", &[n], Init::Zeros)? })
    }

    /// `[.., k]` to `[.., n]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, Some(&self.bias))
    }
}
