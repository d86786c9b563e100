//! Layers on `[N, C]`: layer norm and the fully connected layer.

use super::view;
use crate::{Builder, Init, Purpose, Result, ops};
use candle_core::Tensor;
use care_kernels::epilogue::Epilogue;
use care_kernels::gemm::{PackedMatrix, conv1x1};

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
    inner: Inner,
}

enum Inner {
    Train { weight: Tensor, bias: Tensor },
    Infer(PackedMatrix),
}

impl Linear {
    /// Declares (or finds) the parameters under `b`; the bias starts at 0.
    pub fn new(b: &Builder, k: usize, n: usize, init: Init) -> Result<Self> {
        let (weight, bias) = (b.param("weight", &[n, k], init)?, b.param("bias", &[n], Init::Zeros)?);
        let inner = match b.purpose() {
            Purpose::Train { .. } => Inner::Train { weight, bias },
            Purpose::Infer { .. } => {
                let weight: Vec<f32> = weight.flatten_all()?.to_vec1()?;
                Inner::Infer(PackedMatrix::pack(&weight, n, k, Some(&bias.to_vec1::<f32>()?)))
            }
        };
        Ok(Self { inner })
    }

    /// `[.., k]` to `[.., n]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.inner {
            Inner::Train { weight, bias } => ops::linear(x, weight, Some(bias)),
            Inner::Infer(w) => {
                let mut shape = x.dims().to_vec();
                let k = shape.pop().unwrap_or_default();
                let rows = shape.iter().product();
                let y = view::map_tensor(&x.reshape((1, 1, rows, k))?, [1, 1, rows, w.n_out()], |x, out| {
                    conv1x1(x, w, &Epilogue::default(), out);
                })?;
                shape.push(w.n_out());
                Ok(y.reshape(shape)?)
            }
        }
    }
}
