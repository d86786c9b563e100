//! CARE's linear attention.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::backward::linear_attention_grad;
use care_kernels::map::{Map, MapMut};

/// Linear attention over all pixels of each picture, after elu + 1 on queries and keys; no softmax, no projection.
///
/// # Shapes
/// `qk [N, H, W, 2g]` (queries, then keys), `v [N, H, W, g]` → `[N, H, W, g]`; heads are runs of `head_dim` channels.
pub fn linear_attention(qk: &Tensor, v: &Tensor, head_dim: usize) -> Result<Tensor> {
    apply(Attention::new(qk.dims(), v.dims(), head_dim)?, &[qk, v])
}

pub(super) struct Attention {
    dims: [usize; 4],
    head_dim: usize,
}

impl Attention {
    /// For inputs of these shapes.
    pub(super) fn new(qk: &[usize], v: &[usize], head_dim: usize) -> Result<Self> {
        match *v {
            [n, h, w, g] if *qk == [n, h, w, 2 * g] && head_dim > 0 && g.is_multiple_of(head_dim) => {
                Ok(Self { dims: [n, h, w, g], head_dim })
            }
            _ => Err(Error::internal(format!(
                "linear_attention: q and k of {qk:?} with v of {v:?} and heads of {head_dim}"
            ))),
        }
    }
}

impl SliceOp for Attention {
    fn name(&self) -> &'static str {
        "linear_attention"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.dims.to_vec()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let [n, h, w, g] = self.dims;
        let (qk, v) = (Map::dense(inputs[0], [n, h, w, 2 * g]), Map::dense(inputs[1], self.dims));
        care_kernels::attention::linear_attention(qk, v, self.head_dim, MapMut::dense(out, self.dims));
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let [n, h, w, g] = self.dims;
        let (dqk, dv) =
            linear_attention_grad(at.inputs[0], at.inputs[1], at.grad, (n, h * w, g), self.head_dim);
        vec![at.made(0, || dqk), at.made(1, || dv)]
    }
}
