//! Resizing and sampling of `[N, H, W, C]`.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::backward::{self, GridSampleShape};
use care_kernels::map::{Map, MapMut};
use care_kernels::resample;

/// Nearest resizing to an explicit (height, width): source = floor(destination · in/out), as PyTorch's `interpolate`.
///
/// # Shapes
/// `x [N, H, W, C]` → `[N, h, w, C]`.
pub fn resize_nearest(x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
    resize(x, size, Mode::Nearest)
}

/// Bilinear resizing without antialiasing; half-pixel centres, or the corner pixels aligned.
///
/// # Shapes
/// `x [N, H, W, C]` → `[N, h, w, C]`.
pub fn resize_bilinear(x: &Tensor, size: (usize, usize), align_corners: bool) -> Result<Tensor> {
    resize(x, size, Mode::Bilinear { align_corners })
}

/// Bilinear samples at given places, zeros outside, `align_corners = false`; gradients to both inputs.
///
/// # Shapes
/// `x [N, H, W, C]`, `grid [N, h, w, 2]` (x then y, −1..1 from edge to edge) → `[N, h, w, C]`.
pub fn grid_sample(x: &Tensor, grid: &Tensor) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    let (gn, gh, gw, two) = grid.dims4()?;
    if gn != n || two != 2 {
        return Err(Error::internal(format!("grid_sample: a grid of {:?} for {:?}", grid.dims(), x.dims())));
    }
    apply(GridSample(GridSampleShape { dims: [n, h, w, c], out: (gh, gw) }), &[x, grid])
}

fn resize(x: &Tensor, to: (usize, usize), mode: Mode) -> Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    if h * w == 0 || to.0 * to.1 == 0 {
        return Err(Error::internal(format!("resize of {:?} to {to:?}", x.dims())));
    }
    apply(Resize { from: [n, h, w, c], to, mode }, &[x])
}

#[derive(Clone, Copy)]
enum Mode {
    Nearest,
    Bilinear { align_corners: bool },
}

struct Resize {
    from: [usize; 4],
    to: (usize, usize),
    mode: Mode,
}

impl SliceOp for Resize {
    fn name(&self) -> &'static str {
        match self.mode {
            Mode::Nearest => "resize_nearest",
            Mode::Bilinear { .. } => "resize_bilinear",
        }
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.from[0], self.to.0, self.to.1, self.from[3]]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let x = Map::dense(inputs[0], self.from);
        let out = MapMut::dense(out, [self.from[0], self.to.0, self.to.1, self.from[3]]);
        match self.mode {
            Mode::Nearest => resample::nearest(x, out),
            Mode::Bilinear { align_corners } => resample::bilinear(x, out, align_corners),
        }
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        vec![at.filled(0, |dx| match self.mode {
            Mode::Nearest => backward::nearest_grad(at.grad, self.from, self.to, dx),
            Mode::Bilinear { align_corners } => {
                backward::bilinear_grad(at.grad, self.from, self.to, align_corners, dx);
            }
        })]
    }
}

struct GridSample(GridSampleShape);

impl SliceOp for GridSample {
    fn name(&self) -> &'static str {
        "grid_sample"
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.0.dims[0], self.0.out.0, self.0.out.1, self.0.dims[3]]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::grid_sample(inputs[0], inputs[1], &self.0, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let (dx, dgrid) = backward::grid_sample_grad(at.inputs[0], at.inputs[1], at.grad, &self.0);
        vec![at.made(0, || dx), at.made(1, || dgrid)]
    }
}
