//! Pooling over `[N, H, W, C]`.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::backward::{self, PoolShape};

/// Max pooling with −∞ padding and floored size, as PyTorch's; among equal values the first one gets the gradient.
///
/// # Shapes
/// `x [N, H, W, C]` → `[N, Ho, Wo, C]` with Ho = floor((H + 2·pad − kernel) / stride) + 1; `pad` at most half the kernel.
pub fn max_pool(x: &Tensor, kernel: usize, stride: usize, pad: usize) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let shape = PoolShape { dims: [n, h, w, c], kernel, stride, pad };
    if kernel == 0 || stride == 0 || 2 * pad > kernel || h + 2 * pad < kernel || w + 2 * pad < kernel {
        return Err(Error::internal(format!(
            "max_pool: kernel {kernel}, stride {stride}, pad {pad} on {:?}",
            x.dims()
        )));
    }
    apply(MaxPool(shape), &[x])
}

/// Mean over all pixels of each picture.
///
/// # Shapes
/// `x [N, H, W, C]` → `[N, C]`.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    if n * h * w * c == 0 {
        return Err(Error::internal(format!("global_avg_pool: no pixels in {:?}", x.dims())));
    }
    apply(GlobalAvgPool { n, c }, &[x])
}

struct MaxPool(PoolShape);

impl SliceOp for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn out_shape(&self) -> Vec<usize> {
        let (ho, wo) = self.0.out_size();
        vec![self.0.dims[0], ho, wo, self.0.dims[3]]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::max_pool(inputs[0], &self.0, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        vec![at.filled(0, |dx| backward::max_pool_grad(at.inputs[0], at.grad, &self.0, dx))]
    }
}

struct GlobalAvgPool {
    n: usize,
    c: usize,
}

impl SliceOp for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.n, self.c]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::global_avg_pool(inputs[0], self.n, self.c, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        vec![at.filled(0, |dx| backward::global_avg_pool_grad(at.grad, self.n, self.c, dx))]
    }
}
