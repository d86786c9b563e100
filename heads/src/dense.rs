//! What dense heads share: towers of convolutions and prediction layers over all pyramid levels.
//!
//! Built for inference, a layer runs over every level in one call and towers alternate between two buffers.
//! The classification layer of 80 classes and 9 anchors makes 720 channels, 64 MB at 800×1344; it is computed
//! in channel groups so that never more than one group exists.

use crate::conv_module::{ConvModule, NormKind};
use crate::pyramid::Pyramid;
use crate::select::ChannelRange;
use candle_core::Tensor;
use care_kernels::epilogue::Act;
use care_nn::layers::{Conv2d, ConvKernel, ConvParams, ConvSpec};
use care_nn::ops::{Node, Tape};
use care_nn::params::Builder;
use care_nn::{Error, Init, Purpose, Result};

/// Initial weights of every convolution of a dense head.
pub(crate) const HEAD_INIT: Init = Init::Normal { std: 0.01 };

/// Channels per group of a prediction layer: as wide as the towers of the presets, so a group fits their
/// buffers, and a multiple of every vector tile.
const GROUP_CHANNELS: usize = 256;

/// 3×3 convolutions with ReLU, `[N, H, W, C]` to `[N, H, W, channels]`.
pub(crate) struct Tower {
    convs: Vec<ConvModule>,
    channels: usize,
}

impl Tower {
    /// `depth` convolutions named `{i}.conv`, each with its norm.
    pub(crate) fn new(
        b: &Builder,
        depth: usize,
        (ci, channels): (usize, usize),
        norm: NormKind,
    ) -> Result<Self> {
        Self::of(b, depth, (ci, channels), norm, HEAD_INIT)
    }

    /// The same with other initial weights.
    pub(crate) fn of(
        b: &Builder,
        depth: usize,
        (ci, channels): (usize, usize),
        norm: NormKind,
        init: Init,
    ) -> Result<Self> {
        let conv = |i: usize| {
            let from = if i == 0 { ci } else { channels };
            ConvModule::new(&b.sub(i), ConvSpec::same(from, channels, 3, init), norm)
        };
        Ok(Self { convs: (0..depth).map(conv).collect::<Result<_>>()?, channels })
    }

    /// One convolution of that very name (the RPN's `rpn_conv`).
    pub(crate) fn single(b: &Builder, ci: usize, channels: usize) -> Result<Self> {
        Ok(Self { convs: vec![ConvModule::bare(b, ConvSpec::same(ci, channels, 3, HEAD_INIT))?], channels })
    }

    /// All levels, and `last` behind them; differentiable, for a tower built for training. Each branch is one node of the graph
    /// for all levels together, so that weights are packed once.
    ///
    /// With batch norm, layers shared by levels are normalised by the statistics of all of them, as the one folded layer does
    /// after training (mmdetection normalises each level by its own and averages what it saw).
    pub(crate) fn forward(&self, levels: &[Tensor], last: &Conv2d) -> Result<Vec<Tensor>> {
        let last = last.params().ok_or_else(|| Error::internal("a head built for inference in training"))?;
        let grids = levels.iter().map(|x| x.dims4().map(|(n, h, w, _)| [n, h, w]));
        let grids = grids.collect::<candle_core::Result<Vec<_>>>()?;
        let pixels = |grid: &[usize; 3]| grid.iter().product::<usize>();
        let rows = levels.iter().map(|x| x.flatten_to(2)).collect::<candle_core::Result<Vec<_>>>()?;
        let (mut tape, x) = Tape::on(&Tensor::cat(&rows, 0)?);
        let y = self.on_tape(&mut tape, x, Some(&grids))?;
        let y = last.levels_on_tape(&mut tape, y, &grids)?;
        let joined = tape.run(y)?;
        let mut first = 0;
        let mut part = |grid: &[usize; 3]| {
            first += pixels(grid);
            let rows = joined.narrow(0, first - pixels(grid), pixels(grid))?;
            Ok(rows.reshape((grid[0], grid[1], grid[2], last.spec.co))?)
        };
        grids.iter().map(&mut part).collect()
    }

    fn on_tape(&self, tape: &mut Tape, x: Node, grids: Option<&[[usize; 3]]>) -> Result<Node> {
        self.convs.iter().try_fold(x, |x, conv| conv.on_tape(tape, x, grids))
    }

    /// The tower alone, for heads whose branches share it; differentiable.
    pub(crate) fn shared(&self, levels: &[Tensor]) -> Result<Vec<Tensor>> {
        let level = |x: &Tensor| {
            let (mut tape, x) = Tape::on(x);
            let y = self.on_tape(&mut tape, x, None)?;
            tape.run(y)
        };
        levels.iter().map(level).collect()
    }

    /// What is trained.
    pub(crate) fn parameters(&self) -> Vec<Tensor> {
        self.convs.iter().flat_map(ConvModule::parameters).collect()
    }

    /// Runs on slices; the result is in `a`, `b` is working space, and both may be reused afterwards.
    pub(crate) fn run(&self, x: &Pyramid, a: &mut Pyramid, b: &mut Pyramid) -> Result<()> {
        for (i, conv) in self.convs.iter().enumerate() {
            if i > 0 {
                std::mem::swap(a, b);
            }
            let source = if i == 0 { x } else { &*b };
            a.set_channels(self.channels);
            conv.kernel()?.run(&source.maps(), Act::Relu, &mut a.maps_mut());
        }
        Ok(())
    }
}

/// The last layer of a branch: no activation.
pub(crate) struct Predictor {
    channels: usize,
    inner: Inner,
}

enum Inner {
    Train(Box<Conv2d>),
    Infer(Vec<(ChannelRange, ConvKernel)>),
}

impl Predictor {
    /// Parameters `weight` and `bias` under `b`.
    pub(crate) fn new(b: &Builder, spec: ConvSpec) -> Result<Self> {
        let channels = spec.co;
        let inner = match b.purpose() {
            Purpose::Train { .. } => Inner::Train(Box::new(Conv2d::new(b, spec)?)),
            Purpose::Infer { conv3x3 } => {
                let groups = |weight: &[f32], bias: &[f32]| {
                    let per_channel = weight.len() / channels.max(1);
                    let pack = |first: usize| {
                        let count = GROUP_CHANNELS.min(channels - first);
                        let spec = ConvSpec { co: count, ..spec.clone() };
                        let rows = &weight[first * per_channel..(first + count) * per_channel];
                        let kernel = ConvKernel::pack(&spec, rows, &bias[first..first + count], conv3x3);
                        (ChannelRange { first, count, total: channels }, kernel)
                    };
                    (0..channels).step_by(GROUP_CHANNELS).map(pack).collect()
                };
                Inner::Infer(ConvParams::new(b, spec.clone())?.with_values(groups)?)
            }
        };
        Ok(Self { channels, inner })
    }

    /// Differentiable, for a layer built for training.
    pub(crate) fn train(&self) -> Option<&Conv2d> {
        match &self.inner {
            Inner::Train(conv) => Some(conv),
            Inner::Infer(_) => None,
        }
    }

    /// Channel groups of a layer built for inference; empty for one built for training.
    pub(crate) fn groups(&self) -> &[(ChannelRange, ConvKernel)] {
        match &self.inner {
            Inner::Train(_) => &[],
            Inner::Infer(groups) => groups,
        }
    }

    /// All channels of a layer built for inference.
    pub(crate) fn run(&self, x: &Pyramid, out: &mut Pyramid) {
        out.set_channels(self.channels);
        for (range, kernel) in self.groups() {
            let all = out.maps_mut().into_iter();
            let mut part: Vec<_> = all.map(|m| m.channels(range.first..range.first + range.count)).collect();
            kernel.run(&x.maps(), Act::None, &mut part);
        }
    }
}
