//! Softmax and log-softmax over the last axis.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::backward;

/// e^x / Σ e^x over the last axis.
pub fn softmax(x: &Tensor) -> Result<Tensor> {
    over_last_axis(false, x)
}

/// x − ln Σ e^x over the last axis.
pub fn log_softmax(x: &Tensor) -> Result<Tensor> {
    over_last_axis(true, x)
}

fn over_last_axis(log: bool, x: &Tensor) -> Result<Tensor> {
    let shape = x.dims().to_vec();
    match shape.last() {
        Some(&c) if c > 0 => apply(Softmax { log, shape, c }, &[x]),
        _ => Err(Error::internal(format!("softmax over the last axis of {shape:?}"))),
    }
}

struct Softmax {
    log: bool,
    shape: Vec<usize>,
    c: usize,
}

impl SliceOp for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn out_shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let forward = if self.log { backward::log_softmax } else { backward::softmax };
        forward(inputs[0], self.c, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let gradient = if self.log { backward::log_softmax_grad } else { backward::softmax_grad };
        vec![at.filled(0, |dx| gradient(at.output, at.grad, self.c, dx))]
    }
}
