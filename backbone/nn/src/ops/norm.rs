//! Batch norm with batch or frozen statistics, and layer norm; channels are the last axis.

use super::slice_op::{Backward, Grad, SliceOp, apply, refuse_tracked};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use care_kernels::backward::{self, BatchStats};
use care_kernels::scratch;
use std::sync::{Arc, OnceLock};

/// What a training step's batch norm gives.
pub struct BatchNormed {
    /// The normalised activations.
    pub y: Tensor,
    /// Mean of the batch, `[C]`, without gradient: for the running statistics.
    pub mean: Tensor,
    /// Unbiased variance of the batch, `[C]`, without gradient: for the running statistics.
    pub var_unbiased: Tensor,
}

/// Batch norm with the statistics of the batch itself (biased variance); gradients flow through them.
///
/// # Shapes
/// `x [.., C]`, `w [C]`, `b [C]` → `[.., C]`; at least one pixel.
pub fn batch_norm_train(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<BatchNormed> {
    let (op, measured) = BatchNorm::measuring(x.dims(), &[w, b], eps)?;
    let y = apply(op, &[x, w, b])?;
    let (mean, var_unbiased) = measured.tensors(x.device())?;
    Ok(BatchNormed { y, mean, var_unbiased })
}

/// Batch norm with given statistics, which are constants; differentiable in `x`, `w` and `b`.
///
/// # Shapes
/// `x [.., C]`, `w`, `b`, `mean`, `var` `[C]` → `[.., C]`.
pub fn batch_norm_frozen(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    (mean, var): (&Tensor, &Tensor),
    eps: f64,
) -> Result<Tensor> {
    apply(BatchNorm::frozen(x.dims(), &[w, b], (mean, var), eps)?, &[x, w, b])
}

/// Normalises every row of the last axis by its own mean and biased variance.
///
/// # Shapes
/// `x [.., C]`, `w [C]`, `b [C]` → `[.., C]`.
pub fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    check("layer_norm", x.dims(), &[w, b])?;
    apply(LayerNorm { shape: x.dims().to_vec(), eps: eps as f32 }, &[x, w, b])
}

/// The number of channels, when all parameters have it.
fn check(op: &str, x: &[usize], parameters: &[&Tensor]) -> Result<usize> {
    let c = x.last().copied().unwrap_or(0);
    match parameters.iter().find(|p| p.dims() != [c]) {
        None if x.iter().product::<usize>() > 0 => Ok(c),
        None => Err(Error::internal(format!("{op}: nothing to normalise in {x:?}"))),
        Some(p) => Err(Error::internal(format!("{op}: a parameter of {:?} for {x:?}", p.dims()))),
    }
}

/// Statistics that a forward pass measures, for whoever asks after it.
#[derive(Default)]
pub(super) struct Measured(OnceLock<BatchStats>);

impl Measured {
    /// Mean and unbiased variance, without gradient.
    pub(super) fn tensors(&self, device: &Device) -> Result<(Tensor, Tensor)> {
        let stats = self.0.get().ok_or_else(|| Error::internal("batch norm: nothing was measured"))?;
        let vector = |v: Vec<f32>| Tensor::from_vec(v, stats.mean.len(), device);
        Ok((vector(stats.mean.clone())?, vector(stats.unbiased_var())?))
    }
}

pub(super) struct BatchNorm {
    shape: Vec<usize>,
    stats: Arc<Measured>,
    frozen: bool,
    eps: f32,
}

impl BatchNorm {
    /// With the statistics of the input itself, an input of shape `x`.
    pub(super) fn measuring(x: &[usize], affine: &[&Tensor], eps: f64) -> Result<(Self, Arc<Measured>)> {
        check("batch_norm_train", x, affine)?;
        let stats = Arc::new(Measured::default());
        Ok((Self { shape: x.to_vec(), stats: stats.clone(), frozen: false, eps: eps as f32 }, stats))
    }

    /// With statistics that are constants, for an input of shape `x`.
    pub(super) fn frozen(
        x: &[usize],
        affine: &[&Tensor],
        (mean, var): (&Tensor, &Tensor),
        eps: f64,
    ) -> Result<Self> {
        let c = check("batch_norm_frozen", x, affine)?;
        check("batch_norm_frozen", x, &[mean, var])?;
        refuse_tracked("batch_norm_frozen", &[("mean", mean), ("var", var)])?;
        let count = x.iter().product::<usize>() / c;
        let stats = BatchStats { mean: mean.to_vec1()?, var: var.to_vec1()?, count };
        let stats = Arc::new(Measured(OnceLock::from(stats)));
        Ok(Self { shape: x.to_vec(), stats, frozen: true, eps: eps as f32 })
    }

    /// The statistics; measured on the first forward pass.
    fn stats(&self, x: &[f32]) -> &BatchStats {
        let c = self.shape.last().copied().unwrap_or(1);
        self.stats.0.get_or_init(|| backward::batch_stats(x, c))
    }
}

impl SliceOp for BatchNorm {
    fn name(&self) -> &'static str {
        if self.frozen { "batch_norm_frozen" } else { "batch_norm_train" }
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let stats = self.stats(inputs[0]);
        backward::batch_norm(inputs[0], (&stats.mean, &stats.var), (inputs[1], inputs[2]), self.eps, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let (x, w) = (at.inputs[0], at.inputs[1]);
        let stats = self.stats(x);
        let grad = |dx: &mut [f32]| {
            if self.frozen {
                let stats = (&stats.mean[..], &stats.var[..]);
                backward::batch_norm_frozen_grad((x, at.grad), stats, w, self.eps, dx)
            } else {
                backward::batch_norm_train_grad((x, at.grad), stats, w, self.eps, dx)
            }
        };
        let mut affine = None;
        let dx = at.filled(0, |dx| affine = Some(grad(dx)));
        let (dw, db) = affine.unwrap_or_else(|| grad(&mut scratch::take(x.len())));
        vec![dx, at.made(1, || dw), at.made(2, || db)]
    }
}

struct LayerNorm {
    shape: Vec<usize>,
    eps: f32,
}

impl SliceOp for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::layer_norm(inputs[0], inputs[1], inputs[2], self.eps, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let grad = backward::layer_norm_grad(at.inputs[0], at.grad, at.inputs[1], self.eps);
        vec![at.made(0, || grad.dx), at.made(1, || grad.dweight), at.made(2, || grad.dbias)]
    }
}
