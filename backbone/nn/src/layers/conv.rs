//! Convolutions: dense and depthwise.

use super::{Affine, view};
use crate::ops::{self, Node, Tape};
use crate::{Builder, Init};
use crate::{Conv3x3, Error, Purpose, Result};
use candle_core::Tensor;
use care_kernels::conv::{ConvShape, PackedConv, conv2d};
use care_kernels::depthwise::PackedDepthwise;
use care_kernels::epilogue::{Act, Epilogue};
use care_kernels::gemm::{PackedMatrix, conv1x1};
use care_kernels::map::{Map, MapMut};
use care_kernels::winograd::{PackedWinograd, conv3x3_winograd};

/// Shape and initial values of a dense convolution.
#[derive(Debug, Clone)]
pub struct ConvSpec {
    /// Input channels.
    pub ci: usize,
    /// Output channels.
    pub co: usize,
    /// Kernel side.
    pub kernel: usize,
    /// Stride of both axes.
    pub stride: usize,
    /// Zero padding on every side.
    pub pad: usize,
    /// Initial weight values.
    pub init: Init,
    /// Initial bias values; `None` for a convolution without bias.
    pub bias: Option<Init>,
}

impl ConvSpec {
    /// `kernel`×`kernel`, stride 1, "same" padding, bias 0, PyTorch-like fan-in initialisation replaced by `init`.
    pub fn same(ci: usize, co: usize, kernel: usize, init: Init) -> Self {
        Self { ci, co, kernel, stride: 1, pad: kernel / 2, init, bias: Some(Init::Zeros) }
    }

    /// `kernel`×`kernel` patches that do not overlap: stride `kernel`, no padding, bias 0.
    pub fn patch(ci: usize, co: usize, kernel: usize, init: Init) -> Self {
        Self { ci, co, kernel, stride: kernel, pad: 0, init, bias: Some(Init::Zeros) }
    }

    /// Output side for an input side; 0 when the kernel does not fit.
    pub fn out(&self, side: usize) -> usize {
        (side + 2 * self.pad).checked_sub(self.kernel).map_or(0, |room| room / self.stride + 1)
    }
}

/// The parameters of a dense convolution, `weight` `[co, ci, k, k]` and perhaps `bias` `[co]`: what is trained, and what an
/// `Infer` layer is folded and packed from.
pub struct ConvParams {
    /// Shape and initial values.
    pub spec: ConvSpec,
    /// `[co, ci, k, k]`.
    pub weight: Tensor,
    /// `[co]`.
    pub bias: Option<Tensor>,
}

impl ConvParams {
    /// Declares (or finds) the parameters under `b`.
    pub fn new(b: &Builder, spec: ConvSpec) -> Result<Self> {
        let weight = b.param("weight", &[spec.co, spec.ci, spec.kernel, spec.kernel], spec.init)?;
        let bias = spec.bias.map(|init| b.param("bias", &[spec.co], init)).transpose()?;
        Ok(Self { spec, weight, bias })
    }

    /// The differentiable convolution, `[N, H, W, ci]` to `[N, H', W', co]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ConvSpec { stride, pad, .. } = self.spec;
        ops::conv2d(x, &self.weight, self.bias.as_ref(), stride, (pad, pad))
    }

    /// The convolution as a step of a tape.
    pub fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<Node> {
        let ConvSpec { stride, pad, .. } = self.spec;
        tape.conv2d(x, (&self.weight, self.bias.as_ref()), stride, (pad, pad))
    }

    /// The same over the pixels of several grids `[N, H, W]` that follow each other; a "same" convolution of stride 1.
    pub fn levels_on_tape(&self, tape: &mut Tape, x: Node, grids: &[[usize; 3]]) -> Result<Node> {
        tape.conv2d_levels(x, grids, (&self.weight, self.bias.as_ref()))
    }

    /// Weight and bias in C order; zeros for a missing bias.
    pub fn values(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        self.with_values(|weight, bias| (weight.to_vec(), bias.to_vec()))
    }

    /// Calls `f` with weight and bias as [`ConvParams::values`] returns them, without copying the weight.
    pub fn with_values<R>(&self, f: impl FnOnce(&[f32], &[f32]) -> R) -> Result<R> {
        let bias = self.bias.as_ref().map_or_else(|| Ok(vec![0.0; self.spec.co]), flat)?;
        view::with_values(&self.weight, |weight| f(weight, &bias))
    }

    /// The packed form, with a fixed affine map folded in front or behind.
    pub(super) fn pack(&self, fold: Fold<'_>, conv3x3: Conv3x3) -> Result<ConvKernel> {
        self.with_values(|weight, bias| {
            let (weight, bias) = match fold {
                Fold::None => return ConvKernel::pack(&self.spec, weight, bias, conv3x3),
                Fold::Before(affine) => affine.fold_before(weight, bias),
                Fold::After(affine) => affine.fold_after(weight, bias),
            };
            ConvKernel::pack(&self.spec, &weight, &bias, conv3x3)
        })
    }
}

/// Where a fixed batch norm stands next to a convolution.
pub(super) enum Fold<'a> {
    None,
    Before(&'a Affine),
    After(&'a Affine),
}

/// Packed weights of a dense convolution, with the kernel that suits its shape.
pub struct ConvKernel {
    spec: ConvSpec,
    weights: Weights,
}

enum Weights {
    OneByOne(PackedMatrix),
    Direct(PackedConv),
    Winograd(PackedWinograd),
}

impl ConvKernel {
    /// Packs `weight` (`[co, ci, k, k]`) and `bias`; 3×3 stride 1 goes by Winograd when `conv3x3` says so.
    pub fn pack(spec: &ConvSpec, weight: &[f32], bias: &[f32], conv3x3: Conv3x3) -> Self {
        let ConvSpec { ci, co, kernel, stride, pad, .. } = *spec;
        let weights = match (kernel, stride, pad) {
            (1, 1, 0) => Weights::OneByOne(PackedMatrix::pack(weight, co, ci, Some(bias))),
            (3, 1, 1) if conv3x3 == Conv3x3::Winograd => {
                Weights::Winograd(PackedWinograd::pack(weight, co, ci, Some(bias)))
            }
            _ => {
                let shape = ConvShape { co, ci, kh: kernel, kw: kernel, stride, pad_h: pad, pad_w: pad };
                Weights::Direct(PackedConv::pack(weight, shape, Some(bias)))
            }
        };
        Self { spec: spec.clone(), weights }
    }

    /// Output shape for an input map's shape.
    pub fn out_shape(&self, [n, h, w, _]: [usize; 4]) -> [usize; 4] {
        [n, self.spec.out(h), self.spec.out(w), self.spec.co]
    }

    /// Runs the convolution over several maps (pyramid levels) in one call, with `act` fused.
    pub fn run(&self, xs: &[Map<'_>], act: Act, outs: &mut [MapMut<'_>]) {
        match &self.weights {
            Weights::OneByOne(w) => {
                for (x, out) in xs.iter().zip(outs) {
                    conv1x1(*x, w, &Epilogue::act(act), out.reborrow());
                }
            }
            Weights::Direct(w) => conv2d(xs, w, act, outs),
            Weights::Winograd(w) => conv3x3_winograd(xs, w, act, outs),
        }
    }

    /// Runs on a tensor and returns a new one.
    pub fn forward(&self, x: &Tensor, act: Act) -> Result<Tensor> {
        let out_shape = self.out_shape(x.dims4()?.into());
        view::map_tensor(x, out_shape, |x, out| self.run(&[x], act, &mut [out]))
    }
}

/// A dense convolution, `[N, H, W, ci]` to `[N, H', W', co]`. Parameters: `weight`, `bias`.
pub struct Conv2d {
    inner: Inner,
}

enum Inner {
    Train(ConvParams),
    Infer(ConvKernel),
}

impl Conv2d {
    /// Declares (or finds) the parameters under `b`.
    pub fn new(b: &Builder, spec: ConvSpec) -> Result<Self> {
        let params = ConvParams::new(b, spec)?;
        let inner = match b.purpose() {
            Purpose::Train { .. } => Inner::Train(params),
            Purpose::Infer { conv3x3 } => Inner::Infer(params.pack(Fold::None, conv3x3)?),
        };
        Ok(Self { inner })
    }

    /// `[N, H, W, ci]` to `[N, H', W', co]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.inner {
            Inner::Train(params) => params.forward(x),
            Inner::Infer(kernel) => kernel.forward(x, Act::None),
        }
    }

    /// The convolution and ReLU, fused for `Infer`.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        match &self.inner {
            Inner::Train(params) => {
                let (mut tape, x) = Tape::on(x);
                let y = params.on_tape(&mut tape, x)?;
                let y = tape.relu(y)?;
                tape.run(y)
            }
            Inner::Infer(kernel) => kernel.forward(x, Act::Relu),
        }
    }

    /// The parameters of a layer built for `Train`.
    pub fn params(&self) -> Option<&ConvParams> {
        match &self.inner {
            Inner::Train(params) => Some(params),
            Inner::Infer(_) => None,
        }
    }

    /// The packed weights of a layer built for `Infer`.
    pub fn kernel(&self) -> Result<&ConvKernel> {
        match &self.inner {
            Inner::Infer(kernel) => Ok(kernel),
            Inner::Train(_) => Err(Error::internal("a convolution built for training has no packed weights")),
        }
    }
}

/// The parameters of a depthwise convolution with "same" padding: `weight` `[c, 1, kh, kw]`, `bias` `[c]`.
pub struct DepthwiseParams {
    kernel: (usize, usize),
    weight: Tensor,
    bias: Tensor,
}

impl DepthwiseParams {
    /// Declares (or finds) the parameters under `b`; `kernel` is (height, width), both odd.
    pub fn new(b: &Builder, c: usize, kernel: (usize, usize), init: Init) -> Result<Self> {
        let weight = b.param("weight", &[c, 1, kernel.0, kernel.1], init)?;
        Ok(Self { kernel, weight, bias: b.param("bias", &[c], Init::Zeros)? })
    }

    /// The differentiable convolution, `[N, H, W, c]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::depthwise_conv2d(x, &self.weight, Some(&self.bias))
    }

    /// The convolution as a step of a tape.
    pub fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<Node> {
        tape.depthwise_conv2d(x, (&self.weight, Some(&self.bias)))
    }

    /// Weight and bias in C order.
    pub fn values(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        Ok((flat(&self.weight)?, flat(&self.bias)?))
    }

    /// The packed form.
    pub fn pack(&self) -> Result<PackedDepthwise> {
        let (weight, bias) = self.values()?;
        Ok(PackedDepthwise::pack(&weight, bias.len(), self.kernel.0, self.kernel.1, Some(&bias)))
    }
}

/// The values of a tensor in C order.
fn flat(t: &Tensor) -> Result<Vec<f32>> {
    Ok(t.flatten_all()?.to_vec1()?)
}
