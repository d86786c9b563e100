//! Convolutions and linear layers. Weights are packed per call: in training they change every step.

use super::slice_op::{Backward, Grad, SliceOp, apply};
use crate::{Error, Result};
use candle_core::Tensor;
use care_kernels::backward::{self, ConvGeometry};
use care_kernels::depthwise::PackedDepthwise;
use care_kernels::map::{Map, MapMut};

/// Dense 2-D convolution with zero padding `(height, width)`.
///
/// # Shapes
/// `x [N, H, W, ci]`, `w [co, ci, kh, kw]`, `b [co]` → `[N, Ho, Wo, co]` with Ho = floor((H + 2·pad − kh) / stride) + 1.
pub fn conv2d(
    x: &Tensor,
    w: &Tensor,
    b: Option<&Tensor>,
    stride: usize,
    pad: (usize, usize),
) -> Result<Tensor> {
    apply_with_bias(Conv::new(x.dims(), w, b, stride, pad)?, x, w, b)
}

/// Matrix product over the last axis.
///
/// # Shapes
/// `x [.., k]`, `w [n, k]`, `b [n]` → `[.., n]`.
pub fn linear(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    let (co, k) = w.dims2()?;
    let mut out = x.dims().to_vec();
    if out.last() != Some(&k) {
        return Err(unfit("linear", x.dims(), w));
    }
    check_bias("linear", b, co)?;
    let rows = out.iter().rev().skip(1).product();
    *out.last_mut().expect("it has a last axis") = co;
    let g = ConvGeometry { n: 1, h: 1, w: rows, ci: k, co, kernel: (1, 1), stride: 1, pad: (0, 0) };
    apply_with_bias(Conv { g, out }, x, w, b)
}

/// Depthwise convolution with "same" padding; odd kernel sizes.
///
/// # Shapes
/// `x [N, H, W, C]`, `w [C, 1, kh, kw]`, `b [C]` → `[N, H, W, C]`.
pub fn depthwise_conv2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    apply_with_bias(Depthwise::new(x.dims(), w, b)?, x, w, b)
}

/// Transposed convolution without padding: the data gradient of [`conv2d`] as a forward pass.
///
/// # Shapes
/// `x [N, H, W, ci]`, `w [ci, co, kh, kw]`, `b [co]` → `[N, (H−1)·stride + kh, (W−1)·stride + kw, co]`.
pub fn conv_transpose2d(x: &Tensor, w: &Tensor, b: Option<&Tensor>, stride: usize) -> Result<Tensor> {
    let (n, h, width, ci) = x.dims4()?;
    let (wi, co, kh, kw) = w.dims4()?;
    if wi != ci || kh == 0 || kw == 0 || stride == 0 || h == 0 || width == 0 {
        return Err(unfit("conv_transpose2d", x.dims(), w));
    }
    check_bias("conv_transpose2d", b, co)?;
    // The geometry of the convolution that this is the gradient of: its input is our result.
    let (big_h, big_w) = ((h - 1) * stride + kh, (width - 1) * stride + kw);
    let g = ConvGeometry { n, h: big_h, w: big_w, ci: co, co: ci, kernel: (kh, kw), stride, pad: (0, 0) };
    apply_with_bias(Transposed { g }, x, w, b)
}

fn unfit(op: &str, x: &[usize], w: &Tensor) -> Error {
    Error::internal(format!("{op}: weights {:?} do not fit an input of {x:?}", w.dims()))
}

/// `[N, H, W, C]`.
fn four(op: &str, x: &[usize]) -> Result<[usize; 4]> {
    x.try_into().map_err(|_| Error::internal(format!("{op}: expected [N, H, W, C], got {x:?}")))
}

fn check_bias(op: &str, b: Option<&Tensor>, co: usize) -> Result<()> {
    match b {
        Some(b) if b.dims() != [co] => {
            Err(Error::internal(format!("{op}: a bias of {:?} for {co} output channels", b.dims())))
        }
        _ => Ok(()),
    }
}

fn apply_with_bias<O: SliceOp>(op: O, x: &Tensor, w: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    match b {
        Some(b) => apply(op, &[x, w, b]),
        None => apply(op, &[x, w]),
    }
}

pub(super) struct Conv {
    g: ConvGeometry,
    out: Vec<usize>,
}

impl Conv {
    /// For an input of shape `x`.
    pub(super) fn new(
        x: &[usize],
        w: &Tensor,
        b: Option<&Tensor>,
        stride: usize,
        pad: (usize, usize),
    ) -> Result<Self> {
        let [n, h, width, ci] = four("conv2d", x)?;
        let (co, wi, kh, kw) = w.dims4()?;
        let g = ConvGeometry { n, h, w: width, ci, co, kernel: (kh, kw), stride, pad };
        if wi != ci || kh == 0 || kw == 0 || stride == 0 {
            return Err(unfit("conv2d", x, w));
        }
        check_bias("conv2d", b, co)?;
        let (ho, wo) = g.out_size();
        if ho == 0 || wo == 0 {
            return Err(Error::internal(format!(
                "conv2d: a {kh}x{kw} kernel does not fit into {x:?} (pad {pad:?})"
            )));
        }
        Ok(Self { g, out: vec![n, ho, wo, co] })
    }
}

impl SliceOp for Conv {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.out.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::conv(inputs[0], (inputs[1], inputs.get(2).copied()), &self.g, out);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let (x, w) = (at.inputs[0], at.inputs[1]);
        let dx = at.filled(0, |dx| backward::conv_data_grad(w, at.grad, &self.g, dx));
        let dw = at.made(1, || backward::conv_weight_grad(x, at.grad, &self.g));
        with_bias_grad(at, dx, dw)
    }
}

/// One "same" convolution over maps of several sizes whose pixels follow each other: pyramid levels with shared weights.
pub(super) struct LevelsConv {
    levels: Vec<ConvGeometry>,
    ci: usize,
    out: Vec<usize>,
}

impl LevelsConv {
    /// For an input of shape `x`, `[pixels of all grids, ci]`; `grids` are `[N, H, W]`.
    pub(super) fn new(x: &[usize], grids: &[[usize; 3]], w: &Tensor, b: Option<&Tensor>) -> Result<Self> {
        let (co, ci, kh, kw) = w.dims4()?;
        let pixels: usize = grids.iter().map(|grid| grid.iter().product::<usize>()).sum();
        if x != [pixels, ci] || kh != kw || kh % 2 == 0 || grids.is_empty() {
            return Err(unfit("conv2d over levels", x, w));
        }
        check_bias("conv2d over levels", b, co)?;
        let pad = (kh / 2, kw / 2);
        let level =
            |&[n, h, w]: &[usize; 3]| ConvGeometry { n, h, w, ci, co, kernel: (kh, kw), stride: 1, pad };
        Ok(Self { levels: grids.iter().map(level).collect(), ci, out: vec![pixels, co] })
    }

    /// The parts of a buffer of `channels` per pixel that belong to the levels.
    fn parts<'a>(&self, mut data: &'a [f32], channels: usize) -> Vec<&'a [f32]> {
        let part = |g: &ConvGeometry| {
            let (level, rest) = data.split_at(g.n * g.h * g.w * channels);
            data = rest;
            level
        };
        self.levels.iter().map(part).collect()
    }

    fn parts_mut<'a>(&self, mut data: &'a mut [f32], channels: usize) -> Vec<&'a mut [f32]> {
        let part = |g: &ConvGeometry| {
            let (level, rest) = std::mem::take(&mut data).split_at_mut(g.n * g.h * g.w * channels);
            data = rest;
            level
        };
        self.levels.iter().map(part).collect()
    }
}

impl SliceOp for LevelsConv {
    fn name(&self) -> &'static str {
        "conv2d over levels"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.out.clone()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let xs = self.parts(inputs[0], self.ci);
        let mut ys = self.parts_mut(out, self.out[1]);
        backward::conv_levels(&xs, (inputs[1], inputs.get(2).copied()), &self.levels, &mut ys);
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let dys = self.parts(at.grad, self.out[1]);
        let dx = at.filled(0, |dx| {
            let mut dxs = self.parts_mut(dx, self.ci);
            backward::conv_levels_data_grad(at.inputs[1], &dys, &self.levels, &mut dxs);
        });
        let xs = self.parts(at.inputs[0], self.ci);
        let dw = at.made(1, || backward::conv_levels_weight_grad(&xs, &dys, &self.levels));
        with_bias_grad(at, dx, dw)
    }
}

/// Adds the bias gradient when there is a bias.
fn with_bias_grad(at: &Backward<'_>, dx: Grad, dw: Grad) -> Vec<Grad> {
    let mut grads = vec![dx, dw];
    if let Some(b) = at.inputs.get(2) {
        grads.push(at.made(2, || backward::column_sums(at.grad, b.len())));
    }
    grads
}

pub(super) struct Depthwise {
    dims: [usize; 4],
    kernel: (usize, usize),
}

impl Depthwise {
    /// For an input of shape `x`.
    pub(super) fn new(x: &[usize], w: &Tensor, b: Option<&Tensor>) -> Result<Self> {
        let dims = four("depthwise_conv2d", x)?;
        let (wc, one, kh, kw) = w.dims4()?;
        if wc != dims[3] || one != 1 || kh % 2 == 0 || kw % 2 == 0 {
            return Err(unfit("depthwise_conv2d", x, w));
        }
        check_bias("depthwise_conv2d", b, wc)?;
        Ok(Self { dims, kernel: (kh, kw) })
    }
}

impl SliceOp for Depthwise {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn out_shape(&self) -> Vec<usize> {
        self.dims.to_vec()
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        let packed = PackedDepthwise::pack(
            inputs[1],
            self.dims[3],
            self.kernel.0,
            self.kernel.1,
            inputs.get(2).copied(),
        );
        care_kernels::depthwise::depthwise(
            Map::dense(inputs[0], self.dims),
            &packed,
            MapMut::dense(out, self.dims),
        );
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let dx = at.filled(0, |dx| {
            let (dy, dx) = (Map::dense(at.grad, self.dims), MapMut::dense(dx, self.dims));
            backward::depthwise_data_grad(at.inputs[1], self.kernel, dy, dx);
        });
        let dw =
            at.made(1, || backward::depthwise_weight_grad(at.inputs[0], at.grad, self.dims, self.kernel));
        with_bias_grad(at, dx, dw)
    }
}

struct Transposed {
    /// Of the convolution whose input is our result.
    g: ConvGeometry,
}

impl SliceOp for Transposed {
    fn name(&self) -> &'static str {
        "conv_transpose2d"
    }

    fn out_shape(&self) -> Vec<usize> {
        vec![self.g.n, self.g.h, self.g.w, self.g.ci]
    }

    fn forward(&self, inputs: &[&[f32]], out: &mut [f32]) {
        backward::conv_data_grad(inputs[1], inputs[0], &self.g, out);
        if let Some(b) = inputs.get(2) {
            backward::add_to_rows(b, out);
        }
    }

    fn backward(&self, at: &Backward<'_>) -> Vec<Grad> {
        let dx = at.filled(0, |dx| backward::conv(at.grad, (at.inputs[1], None), &self.g, dx));
        let dw = at.made(1, || backward::conv_weight_grad(at.grad, at.inputs[0], &self.g));
        with_bias_grad(at, dx, dw)
    }
}
