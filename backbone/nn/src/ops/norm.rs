//! Batch norm with batch or frozen statistics, and layer norm; channels are the last axis.

use super::slice_op::{Backward, Grad, SliceOp, apply, refuse_tracked, values};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::backward::{self, BatchStats};

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
    let c = check("batch_norm_train", x, &[w, b])?;
    let x = x.contiguous()?;
    let stats = backward::batch_stats(&values(&x)?, c);
    let mean = Tensor::from_vec(stats.mean.clone(), c, x.device())?;
    let var_unbiased = Tensor::from_vec(stats.unbiased_var(), c, x.device())?;
    let op = BatchNorm { shape: x.dims().to_vec(), stats, frozen: false, eps: eps as f32 };
    Ok(BatchNormed { y: apply(op, &[&x, w, b])?, mean, var_unbiased })
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
    let c = check("batch_norm_frozen", x, &[w, b, mean, var])?;
    refuse_tracked("batch_norm_frozen", &[("mean", mean), ("var", var)])?;
    let stats = BatchStats { mean: mean.to_vec1()?, var: var.to_vec1()?, count: x.elem_count() / c };
    apply(BatchNorm { shape: x.dims().to_vec(), stats, frozen: true, eps: eps as f32 }, &[x, w, b])
}

/// Normalises every row of the last axis by its own mean and biased variance.
///
/// # Shapes
/// `x [.., C]`, `w [C]`, `b [C]` → `[.., C]`.
pub fn layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    check("layer_norm", x, &[w, b])?;
    apply(LayerNorm { shape: x.dims().to_vec(), eps: eps as f32 }, &[x, w, b])
}

/// The number of channels, when all parameters have it.
fn check(op: &str, x: &Tensor, parameters: &[&Tensor]) -> Result<usize> {
    let c = x.dims().last().copied().unwrap_or(0);
    match parameters.iter().find(|p| p.dims() != [c]) {
        None if x.elem_count() > 0 => Ok(c),
        None => Err(Error::internal(format!("{op}: nothing to normalise in {:?}", x.dims()))),
        Some(p) => Err(Error::internal(format!("{op}: a parameter of {:?} for {:?}", p.dims(), x.dims()))),
    }
}

struct BatchNorm {
    shape: Vec<usize>,
    stats: BatchStats,
    frozen: bool,
    eps: f32,
}

impl SliceOp for BatchNorm {
    fn name(&self) -> &'static str {
        if self.frozen { "batch_norm_frozen" } else { "batch_norm_train" }
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let stats = (&*self.stats.mean, &*self.stats.var);
        backward::batch_norm(inputs[0], stats, (inputs[1], inputs[2]), self.eps, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let (x, w) = (at.inputs[0], at.inputs[1]);
        let (dx, dw, db) = if self.frozen {
            let stats = (&*self.stats.mean, &*self.stats.var);
            backward::batch_norm_frozen_grad(x, at.grad, stats, w, self.eps)
        } else {
            backward::batch_norm_train_grad(x, at.grad, &self.stats, w, self.eps)
        };
        vec![at.made(0, || dx), at.made(1, || dw), at.made(2, || db)]
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
