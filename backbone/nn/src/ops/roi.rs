//! Features of boxes.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::map::Map;
use care_kernels::roi_align::{self, Roi, RoiAlign};

/// RoIAlign of boxes on one feature map; the gradient goes to the map.
///
/// # Shapes
/// `x [N, H, W, C]` → `[rois, size, size, C]`.
///
/// # Errors
/// `Internal` when a box is of a picture that is not there.
pub fn roi_align(x: &Tensor, rois: &[Roi], how: RoiAlign) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    if let Some(roi) = rois.iter().find(|r| r.image >= n) {
        return Err(Error::internal(format!("roi_align: a box of picture {} in a batch of {n}", roi.image)));
    }
    apply(Op { shape: [n, h, w, c], rois: rois.to_vec(), how }, &[x])
}

struct Op {
    shape: [usize; 4],
    rois: Vec<Roi>,
    how: RoiAlign,
}

impl SliceOp for Op {
    fn name(&self) -> &'static str {
        "roi_align"
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.rois.len(), self.how.size, self.how.size, self.shape[3]]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        roi_align::roi_align(Map::dense(inputs[0], self.shape), &self.rois, self.how, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let grad = || {
            let mut dx = vec![0.0; self.shape.iter().product()];
            roi_align::roi_align_grad(at.grad, &self.rois, self.how, self.shape, &mut dx);
            dx
        };
        vec![at.made(0, grad)]
    }
}
