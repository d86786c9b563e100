//! A convolution with an optional batch norm: mmdetection's `ConvModule`, the brick of necks and heads.

use candle_core::Tensor;
use care_nn::layers::{Conv2d, ConvKernel, ConvNorm, ConvSpec};
use care_nn::params::Builder;
use care_nn::{Result, ops};
use serde::{Deserialize, Serialize};

/// What follows the convolutions of a neck or head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Nothing: right with pretrained features, the published 1× setting.
    #[default]
    None,
    /// Batch norm, and no bias in the convolution. Needed from random weights.
    Batch,
}

impl NormKind {
    /// For configurations: leaves the default out of files, so that old ones and new ones are the same.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// Parameters `conv.weight`, and `conv.bias` or `bn.*`.
pub(crate) enum ConvModule {
    Plain(Conv2d),
    Normed(ConvNorm),
}

impl ConvModule {
    pub(crate) fn new(b: &Builder, spec: ConvSpec, norm: NormKind) -> Result<Self> {
        Ok(match norm {
            NormKind::None => Self::Plain(Conv2d::new(&b.sub("conv"), spec)?),
            NormKind::Batch => {
                let spec = ConvSpec { bias: None, ..spec };
                Self::Normed(ConvNorm::new(&b.sub("conv"), &b.sub("bn"), spec)?)
            }
        })
    }

    /// A bare convolution, its parameters right under `b`.
    pub(crate) fn bare(b: &Builder, spec: ConvSpec) -> Result<Self> {
        Ok(Self::Plain(Conv2d::new(b, spec)?))
    }

    /// `[N, H, W, ci]` to `[N, H', W', co]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain(conv) => conv.forward(x),
            Self::Normed(conv) => conv.forward(x),
        }
    }

    /// All levels, then ReLU. Layers shared by levels are normalised by the statistics of all of them together, as the one
    /// folded layer does after training (mmdetection normalises each level by its own and averages what it saw).
    pub(crate) fn levels_relu(&self, levels: &[Tensor]) -> Result<Vec<Tensor>> {
        match self {
            Self::Plain(conv) => levels.iter().map(|x| conv.forward_relu(x)).collect(),
            Self::Normed(conv) => conv.forward_levels(levels)?.iter().map(ops::relu).collect(),
        }
    }

    /// The packed weights of a layer built for inference.
    pub(crate) fn kernel(&self) -> Result<&ConvKernel> {
        match self {
            Self::Plain(conv) => conv.kernel(),
            Self::Normed(conv) => conv.kernel(),
        }
    }
}
