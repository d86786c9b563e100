//! Batch norm, and the two ways in which it stands next to a convolution.

use super::conv::Fold;
use super::{Affine, ConvKernel, ConvParams, ConvSpec};
use crate::ops::{self, Node, Tape};
use crate::{BatchStats, Builder, Init};
use crate::{Error, NormMode, Purpose, Result};
use candle_core::Tensor;
use care_kernels::epilogue::Act;

/// PyTorch's default, used everywhere in CARE, mmdetection and mmsegmentation.
const EPS: f64 = 1e-5;

/// Batch norm over `[N, H, W]`. Parameters `weight`, `bias`; buffers `running_mean`, `running_var`, `num_batches_tracked`.
///
/// Built for `Train { norm: Batch }` it normalises by the batch and records its statistics in the network's
/// [`BatchStats`]; nothing in the store changes until the trainer commits them. Otherwise the running statistics are used.
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    /// Where batch statistics go, with the name of this layer; only for `Train { norm: Batch }`.
    record: Option<(BatchStats, String)>,
}

impl BatchNorm {
    /// Declares (or finds) the parameters of `c` channels under `b`.
    pub fn new(b: &Builder, c: usize) -> Result<Self> {
        let weight = b.param("weight", &[c], Init::Ones)?;
        let bias = b.param("bias", &[c], Init::Zeros)?;
        let mean = b.buffer("running_mean", &[c], Init::Zeros)?;
        let var = b.buffer("running_var", &[c], Init::Ones)?;
        b.buffer("num_batches_tracked", &[], Init::Int(0))?;
        let record = match b.purpose() {
            Purpose::Train { norm: NormMode::Batch } => Some((b.batch_stats(), b.prefix().to_owned())),
            _ => None,
        };
        Ok(Self { weight, bias, mean, var, record })
    }

    /// Weight and bias.
    pub fn parameters(&self) -> [&Tensor; 2] {
        [&self.weight, &self.bias]
    }

    /// Normalises over every axis but the last.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.record {
            Some((stats, name)) => {
                let normed = ops::batch_norm_train(x, &self.weight, &self.bias, EPS)?;
                stats.push(name, normed.mean, normed.var_unbiased);
                Ok(normed.y)
            }
            None => ops::batch_norm_frozen(x, &self.weight, &self.bias, (&self.mean, &self.var), EPS),
        }
    }

    /// The norm as a step of a tape.
    pub fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<Node> {
        let affine = (&self.weight, &self.bias);
        match &self.record {
            Some((stats, name)) => tape.batch_norm_train(x, affine, EPS, (stats, name.as_str())),
            None => tape.batch_norm_frozen(x, affine, (&self.mean, &self.var), EPS),
        }
    }

    /// The affine map of the running statistics.
    pub fn affine(&self) -> Result<Affine> {
        Affine::from_batch_norm(&self.weight, &self.bias, &self.mean, &self.var, EPS)
    }
}

/// Convolution, then batch norm (CARE's stem), folded into one convolution for `Infer`.
pub struct ConvNorm {
    inner: Inner,
}

/// Batch norm, then an unpadded convolution (CARE's downsampling), folded into one convolution for `Infer`.
pub struct NormConv {
    inner: Inner,
}

enum Inner {
    Train(ConvParams, BatchNorm),
    Infer(ConvKernel),
}

impl ConvNorm {
    /// The convolution's parameters go under `conv`, the norm's under `norm`.
    pub fn new(conv: &Builder, norm: &Builder, spec: ConvSpec) -> Result<Self> {
        let params = ConvParams::new(conv, spec)?;
        let norm = BatchNorm::new(norm, params.spec.co)?;
        let inner = match conv.purpose() {
            Purpose::Train { .. } => Inner::Train(params, norm),
            Purpose::Infer { conv3x3 } => Inner::Infer(params.pack(Fold::After(&norm.affine()?), conv3x3)?),
        };
        Ok(Self { inner })
    }

    /// `[N, H, W, ci]` to `[N, H', W', co]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.inner {
            Inner::Train(conv, norm) => {
                let (mut tape, x) = Tape::on(x);
                let y = conv.on_tape(&mut tape, x)?;
                let y = norm.on_tape(&mut tape, y)?;
                tape.run(y)
            }
            Inner::Infer(kernel) => kernel.forward(x, Act::None),
        }
    }

    /// The parameters of a layer built for `Train`.
    pub fn params(&self) -> Option<(&ConvParams, &BatchNorm)> {
        match &self.inner {
            Inner::Train(conv, norm) => Some((conv, norm)),
            Inner::Infer(_) => None,
        }
    }

    /// With ReLU behind the norm.
    pub fn forward_relu(&self, x: &Tensor) -> Result<Tensor> {
        match &self.inner {
            Inner::Train(conv, norm) => {
                let (mut tape, x) = Tape::on(x);
                let y = conv.on_tape(&mut tape, x)?;
                let y = norm.on_tape(&mut tape, y)?;
                let y = tape.relu(y)?;
                tape.run(y)
            }
            Inner::Infer(kernel) => kernel.forward(x, Act::Relu),
        }
    }

    /// The folded convolution of a layer built for `Infer`.
    pub fn kernel(&self) -> Result<&ConvKernel> {
        match &self.inner {
            Inner::Infer(kernel) => Ok(kernel),
            Inner::Train(..) => {
                Err(Error::internal("a convolution built for training has no packed weights"))
            }
        }
    }
}

impl NormConv {
    /// The norm's parameters go under `norm`, the convolution's under `conv`.
    ///
    /// # Panics
    /// On a padded convolution: the padding is not normalised, so nothing could be folded.
    pub fn new(norm: &Builder, conv: &Builder, spec: ConvSpec) -> Result<Self> {
        assert_eq!(spec.pad, 0, "a norm in front of a padded convolution cannot be folded");
        let norm = BatchNorm::new(norm, spec.ci)?;
        let params = ConvParams::new(conv, spec)?;
        let inner = match conv.purpose() {
            Purpose::Train { .. } => Inner::Train(params, norm),
            Purpose::Infer { conv3x3 } => Inner::Infer(params.pack(Fold::Before(&norm.affine()?), conv3x3)?),
        };
        Ok(Self { inner })
    }

    /// `[N, H, W, ci]` to `[N, H', W', co]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.inner {
            Inner::Train(..) => {
                let (mut tape, x) = Tape::on(x);
                let y = self.on_tape(&mut tape, x)?;
                tape.run(y)
            }
            Inner::Infer(kernel) => kernel.forward(x, Act::None),
        }
    }

    /// Both as steps of a tape, for a layer built for `Train`.
    pub fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<Node> {
        match &self.inner {
            Inner::Train(conv, norm) => {
                let y = norm.on_tape(tape, x)?;
                conv.on_tape(tape, y)
            }
            Inner::Infer(_) => Err(Error::internal("a layer built for inference is not a step of a tape")),
        }
    }
}
