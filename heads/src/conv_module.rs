//! A convolution with an optional batch norm: mmdetection's `ConvModule`, the brick of necks and heads.

use candle_core::Tensor;
use care_nn::layers::{Conv2d, ConvKernel, ConvNorm, ConvSpec};
use care_nn::ops::{Node, Tape};
use care_nn::params::Builder;
use care_nn::{Error, Result};
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

    /// Convolution, norm and ReLU as steps of a tape. With `grids` (`[N, H, W]` of every level) over the pixels of all levels,
    /// one after the other.
    pub(crate) fn on_tape(&self, tape: &mut Tape, x: Node, grids: Option<&[[usize; 3]]>) -> Result<Node> {
        let built_to_infer = || Error::internal("a convolution built for inference is not a step of a tape");
        let (conv, norm) = match self {
            Self::Plain(conv) => (conv.params().ok_or_else(built_to_infer)?, None),
            Self::Normed(both) => {
                both.params().map(|(conv, norm)| (conv, Some(norm))).ok_or_else(built_to_infer)?
            }
        };
        let mut y = match grids {
            Some(grids) => conv.levels_on_tape(tape, x, grids)?,
            None => conv.on_tape(tape, x)?,
        };
        if let Some(norm) = norm {
            y = norm.on_tape(tape, y)?;
        }
        tape.relu(y)
    }

    /// What is trained; nothing for a layer built for inference.
    pub(crate) fn parameters(&self) -> Vec<Tensor> {
        let (conv, norm) = match self {
            Self::Plain(conv) => (conv.params(), None),
            Self::Normed(both) => both.params().map_or((None, None), |(conv, norm)| (Some(conv), Some(norm))),
        };
        let of_conv = conv.into_iter().flat_map(|c| [Some(&c.weight), c.bias.as_ref()]).flatten();
        of_conv.chain(norm.into_iter().flat_map(|n| n.parameters())).cloned().collect()
    }

    /// The packed weights of a layer built for inference.
    pub(crate) fn kernel(&self) -> Result<&ConvKernel> {
        match self {
            Self::Plain(conv) => conv.kernel(),
            Self::Normed(conv) => conv.kernel(),
        }
    }
}
