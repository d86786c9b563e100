//! Activations, elementwise on any shape.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::Result;
use candle_core::Tensor;
use care_kernels::{act, backward};

/// 0.5 · x · (1 + erf(x / √2)): the exact form, not the tanh one.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    elementwise(Kind::Gelu, x)
}

/// max(x, 0), with slope 0 at 0.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    elementwise(Kind::Relu, x)
}

/// x for x > 0, e^x − 1 otherwise.
pub fn elu(x: &Tensor) -> Result<Tensor> {
    elementwise(Kind::Elu, x)
}

/// 1 / (1 + e^−x).
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    elementwise(Kind::Sigmoid, x)
}

fn elementwise(kind: Kind, x: &Tensor) -> Result<Tensor> {
    apply(Activation { kind, shape: x.dims().to_vec() }, &[x])
}

#[derive(Clone, Copy)]
enum Kind {
    Gelu,
    Relu,
    Elu,
    Sigmoid,
}

pub(super) struct Activation {
    kind: Kind,
    shape: Vec<usize>,
}

impl Activation {
    /// For an input of this shape.
    pub(super) fn gelu(shape: &[usize]) -> Self {
        Self { kind: Kind::Gelu, shape: shape.to_vec() }
    }

    /// For an input of this shape.
    pub(super) fn relu(shape: &[usize]) -> Self {
        Self { kind: Kind::Relu, shape: shape.to_vec() }
    }
}

impl SliceOp for Activation {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Gelu => "gelu",
            Kind::Relu => "relu",
            Kind::Elu => "elu",
            Kind::Sigmoid => "sigmoid",
        }
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        match self.kind {
            Kind::Gelu => act::gelu(inputs[0], out),
            Kind::Relu => act::relu(inputs[0], out),
            Kind::Elu => act::elu(inputs[0], out),
            Kind::Sigmoid => act::sigmoid(inputs[0], out),
        }
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        vec![at.filled(0, |dx| match self.kind {
            Kind::Gelu => act::gelu_grad(at.inputs[0], at.grad, dx),
            Kind::Relu => backward::relu_grad(at.output, at.grad, dx),
            Kind::Elu => backward::elu_grad(at.output, at.grad, dx),
            Kind::Sigmoid => backward::sigmoid_grad(at.output, at.grad, dx),
        })]
    }
}
