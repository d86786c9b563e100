//! CARE: "CARE Transformer: Mobile-Friendly Linear Visual Transformer via Decoupled Dual Interaction" (Zhou et al., CVPR
//! 2025, <https://arxiv.org/abs/2411.16170>).
//!
//! Four stages at strides 4, 8, 16 and 32. A block splits its input into *memory* channels, which carry features of
//! earlier layers along, and three groups of `g` channels: one mixed globally (linear attention in stages 3 and 4, an
//! 11×1 + 1×11 depthwise cross before), two locally (depthwise 3×3 and 7×7). Two interactions follow, first among the
//! mixed groups, then with the memory. Names, shapes and declaration order are those of the official release.
//!
//! Built for `Train`, a block is the composition of its layers. Built for `Infer`, it is five kernel calls on slices: batch
//! norms and layer scale are folded, channel groups are read and written in place by stride.

use crate::backbone::{Backbone, FeatureInfo, Features};
use candle_core::Tensor;
use care_kernels::attention::linear_attention;
use care_kernels::buffer::LINE;
use care_kernels::depthwise::{Branch, PackedDepthwise, depthwise_branches};
use care_kernels::epilogue::{Epilogue, Residual};
use care_kernels::gemm::{PackedMatrix, conv1x1};
use care_kernels::inverted_residual::{InvertedResidual, inverted_residual};
use care_kernels::map::{Map, MapMut};
use care_kernels::scratch;
use care_nn::layers::{
    Affine, BatchNorm, ConvNorm, ConvParams, ConvSpec, DepthwiseParams, LayerNorm, Linear, NormConv, view,
};

use care_nn::ops::{Node, Tape};
use care_nn::{Builder, Error, Init, Purpose, Result, ops};
use serde::{Deserialize, Serialize};

/// Initial values of every convolution and linear layer.
const WEIGHT_INIT: Init = Init::TruncNormal { std: 0.02 };
/// `LayerNorm` of the classification heads.
const HEAD_EPS: f64 = 1e-6;
/// Names of the four levels, and their strides.
const LEVELS: [(&str, usize); 4] = [("c2", 4), ("c3", 8), ("c4", 16), ("c5", 32)];

/// Where the coarsest level is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum C5 {
    /// The output of stage 4: its last block keeps the expanded width (1024 channels in S0 and S1, 1536 in S2).
    #[default]
    Wide,
    /// The input of the last block (256 or 384 channels); that block is not built.
    Narrow,
}

/// Norms on the feature maps that leave the backbone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputNorms {
    /// Maps leave as they are.
    #[default]
    None,
    /// A batch norm per level, freshly initialised.
    New,
    /// A batch norm per level; those of C2..C4 start from the norm of the next stage's downsampling, whose statistics are
    /// exactly those of that map.
    Pretrained,
}

/// A CARE variant. The names of the first five fields are those of the official release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CareConfig {
    /// Blocks per stage.
    pub depths: [usize; 4],
    /// Feature channels per stage: three groups of `mem_dims`.
    pub feat_dims: [usize; 4],
    /// Memory channels per stage, which is also the width `g` of a group.
    pub mem_dims: [usize; 4],
    /// Expansion of the two interactions, per stage.
    pub ratios: [[usize; 2]; 4],
    /// Channels per attention head; unused in stages without attention.
    pub att_head_dim: [usize; 4],
    /// Which stages attend; the others use the 11×1 + 1×11 cross.
    #[serde(default = "attention_in_late_stages")]
    pub attention: [bool; 4],
    /// Initial layer scale: 1e-6 as published; 0.1 trains much sooner from scratch on small data.
    #[serde(default = "published_layer_scale")]
    pub layer_scale: f64,
    /// Where the coarsest level is taken.
    #[serde(default)]
    pub c5: C5,
    /// Norms on the outputs.
    #[serde(default)]
    pub output_norms: OutputNorms,
}

fn attention_in_late_stages() -> [bool; 4] {
    [false, false, true, true]
}

fn published_layer_scale() -> f64 {
    1e-6
}

impl CareConfig {
    /// CARE-S0: 7.3 M parameters with both classification heads, 0.7 GMACs at 224.
    pub fn s0() -> Self {
        Self::new([2, 4, 8, 4], [24, 48, 96, 192], [8, 16, 32, 64], [[2, 2], [2, 4], [4, 4], [4, 4]])
    }

    /// CARE-S1: 9.6 M parameters, 1.0 GMACs at 224.
    pub fn s1() -> Self {
        Self::new([3, 6, 10, 6], [24, 48, 96, 192], [8, 16, 32, 64], [[2, 4], [2, 4], [4, 4], [4, 4]])
    }

    /// CARE-S2: 19.5 M parameters, 1.9 GMACs at 224.
    pub fn s2() -> Self {
        Self::new([3, 6, 10, 6], [24, 48, 144, 288], [8, 16, 48, 96], [[4, 4]; 4])
    }

    /// Not published: a small variant of this project for training from random weights on a CPU, with a layer scale that
    /// lets it learn from the start.
    pub fn xs() -> Self {
        let small =
            Self::new([2, 2, 4, 2], [24, 48, 72, 96], [8, 16, 24, 32], [[2, 2], [2, 4], [4, 4], [4, 4]]);
        Self { att_head_dim: [1, 1, 12, 16], layer_scale: 0.1, ..small }
    }

    fn new(depths: [usize; 4], feat_dims: [usize; 4], mem_dims: [usize; 4], ratios: [[usize; 2]; 4]) -> Self {
        Self {
            depths,
            feat_dims,
            mem_dims,
            ratios,
            att_head_dim: [1, 1, 16, 32],
            attention: attention_in_late_stages(),
            layer_scale: published_layer_scale(),
            c5: C5::default(),
            output_norms: OutputNorms::default(),
        }
    }

    /// Width of a stage: features and memory.
    pub fn dim(&self, stage: usize) -> usize {
        self.feat_dims[stage] + self.mem_dims[stage]
    }

    /// The levels, as they leave [`Care::features`].
    pub fn info(&self) -> Vec<FeatureInfo> {
        let channels = |stage| if stage == 3 && self.c5 == C5::Wide { self.wide() } else { self.dim(stage) };
        LEVELS
            .iter()
            .enumerate()
            .map(|(i, &(name, stride))| FeatureInfo { name, channels: channels(i), stride })
            .collect()
    }

    /// Channels of the expanded last block, which the classification heads read.
    pub fn wide(&self) -> usize {
        self.dim(3) * self.ratios[3][1]
    }

    /// Multiply-accumulates of the feature extractor (C5 wide, no output norms) on a picture of `h`×`w`: convolutions and
    /// the matrix products of attention, as papers count them.
    pub fn macs(&self, h: usize, w: usize) -> usize {
        let (mut h, mut w) = (h / 4, w / 4);
        let mut total = h * w * self.dim(0) * 3 * 16;
        for stage in 0..4 {
            let (c, g, [r1, r2]) = (self.dim(stage), self.mem_dims[stage], self.ratios[stage]);
            if stage > 0 {
                (h, w) = (h / 2, w / 2);
                total += h * w * c * self.dim(stage - 1) * 4;
            }
            // q·k and k·v per head, and q with the mean key.
            let attention = g * 2 * g + 2 * g * self.att_head_dim[stage] + g;
            let global = if self.attention[stage] { attention } else { g * (11 + 11) };
            let mixer = global + g * (3 * 3 + 7 * 7);
            let interaction = |c: usize, r: usize| 2 * c * r * c + r * c * 3 * 3;
            total += h * w * self.depths[stage] * (mixer + interaction(3 * g, r1) + interaction(c, r2));
            if stage == 3 {
                total -= h * w * c * r2 * c; // the last block has no second 1×1
            }
        }
        total
    }

    /// Parameters of a classification checkpoint that the feature extractor leaves out.
    pub fn unused_checkpoint_prefixes(&self) -> Vec<String> {
        let mut unused = vec!["head.".to_owned(), "dist_head.".to_owned()];
        if self.c5 == C5::Narrow {
            unused.push(format!("stages.3.blocks.{}.", self.depths[3] - 1));
        }
        unused
    }

    /// Parameters that start from another entry of a classification checkpoint: (ours, theirs).
    pub fn checkpoint_aliases(&self) -> Vec<(String, String)> {
        match self.output_norms {
            OutputNorms::Pretrained => {
                (0..3).map(|i| (format!("norm{i}."), format!("stages.{}.downsample.0.", i + 1))).collect()
            }
            OutputNorms::None | OutputNorms::New => Vec::new(),
        }
    }

    /// Parameters that no classification checkpoint holds.
    pub fn fresh_prefixes(&self) -> Vec<String> {
        match self.output_norms {
            OutputNorms::None => Vec::new(),
            OutputNorms::New => (0..4).map(|i| format!("norm{i}.")).collect(),
            OutputNorms::Pretrained => vec!["norm3.".to_owned()],
        }
    }

    fn check(&self) -> Result<()> {
        for stage in 0..4 {
            let (f, g, head) = (self.feat_dims[stage], self.mem_dims[stage], self.att_head_dim[stage]);
            let fail = |why: String| Err(Error::config(format!("CARE stage {}: {why}", stage + 1)));
            if self.depths[stage] == 0 || g == 0 || self.ratios[stage].contains(&0) {
                return fail("depth, mem_dims and ratios must be at least 1".to_owned());
            }
            if f + g < 3 * g {
                return fail(format!("the three groups of mem_dims {g} do not fit into {} channels", f + g));
            }
            if self.attention[stage] && (head == 0 || g % head != 0) {
                return fail(format!("mem_dims {g} is not a multiple of att_head_dim {head}"));
            }
        }
        Ok(())
    }
}

/// The feature extractor.
pub struct Care {
    stem: ConvNorm,
    /// The four stages, public so that a user can run or tap them one by one.
    pub stages: Vec<Stage>,
    norms: Vec<BatchNorm>,
    info: Vec<FeatureInfo>,
}

impl Care {
    /// Builds the network; parameters are declared under `b` with their official names.
    pub fn new(b: &Builder, config: &CareConfig) -> Result<Self> {
        config.check()?;
        let stem = b.sub("stem");
        let stem =
            ConvNorm::new(&stem.sub(0), &stem.sub(1), ConvSpec::patch(3, config.dim(0), 4, WEIGHT_INIT))?;
        let stages = (0..4).map(|i| Stage::new(&b.sub("stages").sub(i), config, i)).collect::<Result<_>>()?;
        let info = config.info();
        let norms = match config.output_norms {
            OutputNorms::None => Vec::new(),
            OutputNorms::New | OutputNorms::Pretrained => info
                .iter()
                .enumerate()
                .map(|(i, level)| BatchNorm::new(&b.sub(format!("norm{i}")), level.channels))
                .collect::<Result<_>>()?,
        };
        Ok(Self { stem, stages, norms, info })
    }

    /// The stem alone: `[N, H, W, 3]` to `[N, H/4, W/4, C]`, floored.
    pub fn stem(&self, x: &Tensor) -> Result<Tensor> {
        self.stem.forward(x)
    }
}

impl Backbone for Care {
    fn features(&self, x: &Tensor) -> Result<Features> {
        let (_, h, w, _) = x.dims4()?;
        if h < 32 || w < 32 {
            return Err(Error::input(format!(
                "CARE reduces 32 times; a {w}x{h} input has no C5. Pad it to 32x32 or more"
            )));
        }
        let mut x = self.stem.forward(x)?;
        let mut maps = Vec::with_capacity(4);
        for stage in &self.stages {
            x = stage.forward(&x)?;
            maps.push(x.clone());
        }
        for (map, norm) in maps.iter_mut().zip(&self.norms) {
            *map = norm.forward(map)?;
        }
        Ok(Features { maps })
    }

    fn info(&self) -> &[FeatureInfo] {
        &self.info
    }
}

/// CARE with its two classification heads; training distils into the second.
pub struct CareClassifier {
    /// The feature extractor, C5 wide.
    pub backbone: Care,
    head: Head,
    dist_head: Head,
}

impl CareClassifier {
    /// Builds the network with `classes` outputs.
    pub fn new(b: &Builder, config: &CareConfig, classes: usize) -> Result<Self> {
        if config.c5 != C5::Wide || config.output_norms != OutputNorms::None {
            return Err(Error::config("classification reads the wide C5 without output norms"));
        }
        let backbone = Care::new(b, config)?;
        let head = Head::new(&b.sub("head"), config.wide(), classes)?;
        let dist_head = Head::new(&b.sub("dist_head"), config.wide(), classes)?;
        Ok(Self { backbone, head, dist_head })
    }

    /// Logits of both heads, `[N, classes]` each: what training needs.
    pub fn both_logits(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let features = self.backbone.features(x)?;
        self.logits_of(&features.maps[3])
    }

    /// Logits of both heads from C5.
    pub fn logits_of(&self, c5: &Tensor) -> Result<(Tensor, Tensor)> {
        let pooled = ops::gelu(&ops::global_avg_pool(c5)?)?;
        Ok((self.head.forward(&pooled)?, self.dist_head.forward(&pooled)?))
    }

    /// The mean of both heads, `[N, classes]`: the prediction.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        let (head, dist) = self.both_logits(x)?;
        Ok(((head + dist)? * 0.5)?)
    }
}

struct Head {
    norm: LayerNorm,
    fc: Linear,
}

impl Head {
    fn new(b: &Builder, channels: usize, classes: usize) -> Result<Self> {
        let norm = LayerNorm::new(&b.sub("norm"), channels, HEAD_EPS)?;
        Ok(Self { norm, fc: Linear::new(&b.sub("fc"), channels, classes, WEIGHT_INIT)? })
    }

    fn forward(&self, pooled: &Tensor) -> Result<Tensor> {
        self.fc.forward(&self.norm.forward(pooled)?)
    }
}

/// Downsampling (from the second stage on) and blocks.
pub struct Stage {
    downsample: Option<NormConv>,
    /// The blocks in order.
    pub blocks: Vec<Block>,
}

impl Stage {
    fn new(b: &Builder, config: &CareConfig, stage: usize) -> Result<Self> {
        let downsample = (stage > 0)
            .then(|| {
                let b = b.sub("downsample");
                let spec = ConvSpec::patch(config.dim(stage - 1), config.dim(stage), 2, WEIGHT_INIT);
                NormConv::new(&b.sub(0), &b.sub(1), spec)
            })
            .transpose()?;
        let depth = config.depths[stage];
        let built = if stage == 3 && config.c5 == C5::Narrow { depth - 1 } else { depth };
        let blocks = (0..built)
            .map(|j| Block::new(&b.sub("blocks").sub(j), config, stage, stage == 3 && j + 1 == depth))
            .collect::<Result<_>>()?;
        Ok(Self { downsample, blocks })
    }

    /// The reduced input of the first block; the input itself in the first stage.
    pub fn downsample(&self, x: &Tensor) -> Result<Tensor> {
        self.downsample.as_ref().map_or_else(|| Ok(x.clone()), |d| d.forward(x))
    }

    /// The whole stage as one tape.
    fn train(&self, x: &Tensor) -> Result<Tensor> {
        let (mut tape, x) = Tape::on(x);
        let x = self.downsample.as_ref().map_or(Ok(x), |d| d.on_tape(&mut tape, x))?;
        let y = self.blocks.iter().try_fold(x, |x, block| block.on_tape(&mut tape, x))?;
        tape.run(y)
    }

    /// `[N, H, W, C]` of the stage before to this stage's output.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let fused: Vec<&FusedBlock> = self.blocks.iter().filter_map(Block::fused).collect();
        if fused.len() < self.blocks.len() {
            return self.train(x);
        }
        let x = self.downsample(x)?;
        let Some((last, inner)) = fused.split_last() else { return Ok(x) };
        let (n, h, w, c) = x.dims4()?;
        view::map_tensor(&x, [n, h, w, last.out_channels], |x, out| {
            // Blocks read one part and write the other; the first reads the tensor, the last writes the result. One request for all of it:
            // the neck and the head find a buffer of that size useful, too.
            let room = if inner.is_empty() { 0 } else { (x.pixels() * c).next_multiple_of(LINE) };
            let mut memory = scratch::take(2 * room + last.work_len(x));
            let (parts, work) = memory.split_at_mut(2 * room);
            let (mut from, mut to) = parts.split_at_mut(room);
            let shape = [n, h, w, c];
            for (j, block) in inner.iter().enumerate() {
                let input = if j == 0 { x } else { Map::dense(&from[..x.pixels() * c], shape) };
                block.run(input, MapMut::dense(&mut to[..x.pixels() * c], shape), work);
                std::mem::swap(&mut from, &mut to);
            }
            last.run(
                if inner.is_empty() { x } else { Map::dense(&from[..x.pixels() * c], shape) },
                out,
                work,
            );
        })
    }
}

/// Token mixing, dual interaction, layer scale and shortcut. The very last block of stage 4 has neither of the last two and
/// keeps the expanded width.
pub struct Block {
    inner: BlockInner,
}

enum BlockInner {
    Train { token_mixer: TokenMixer, inter_layer: InterLayer, gamma: Option<Tensor> },
    Infer(FusedBlock),
}

impl Block {
    fn new(b: &Builder, config: &CareConfig, stage: usize, last: bool) -> Result<Self> {
        let dim = config.dim(stage);
        let gamma = (!last).then(|| b.param("gamma", &[dim], Init::Const(config.layer_scale))).transpose()?;
        let mixer = TokenMixerConfig::of(config, stage);
        let token_mixer = TokenMixer::new(&b.sub("token_mixer"), mixer)?;
        let inter_layer = InterLayer::new(&b.sub("inter_layer"), dim, mixer.g, config.ratios[stage], last)?;
        let inner = match b.purpose() {
            Purpose::Train { .. } => BlockInner::Train { token_mixer, inter_layer, gamma },
            Purpose::Infer { .. } => {
                BlockInner::Infer(FusedBlock::new(token_mixer, &inter_layer, gamma.as_ref())?)
            }
        };
        Ok(Self { inner })
    }

    /// `[N, H, W, C]` to the same shape (the last block of stage 4: to the expanded width).
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.inner {
            BlockInner::Train { .. } => {
                let (mut tape, x) = Tape::on(x);
                let y = self.on_tape(&mut tape, x)?;
                tape.run(y)
            }
            BlockInner::Infer(block) => {
                let (n, h, w, _) = x.dims4()?;
                view::map_tensor(x, [n, h, w, block.out_channels], |x, out| {
                    block.run(x, out, &mut scratch::take(block.work_len(x)));
                })
            }
        }
    }

    /// The block as steps of a tape, when it is built for `Train`.
    fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<Node> {
        let BlockInner::Train { token_mixer, inter_layer, gamma } = &self.inner else {
            return Err(Error::internal("a block built for inference is not a step of a tape"));
        };
        let (memory, mixed) = token_mixer.on_tape(tape, x)?;
        let y = inter_layer.on_tape(tape, memory, mixed)?;
        gamma.as_ref().map_or(Ok(y), |gamma| tape.scale_add(x, y, gamma))
    }

    /// The token mixer of a block, for taps: memory and mixed channels.
    pub fn token_mixer(&self) -> &TokenMixer {
        match &self.inner {
            BlockInner::Train { token_mixer, .. } => token_mixer,
            BlockInner::Infer(block) => &block.token_mixer,
        }
    }

    /// The interactions of a block built for `Train`; `Infer` fuses them with layer scale and shortcut.
    pub fn inter_layer(&self) -> Option<&InterLayer> {
        match &self.inner {
            BlockInner::Train { inter_layer, .. } => Some(inter_layer),
            BlockInner::Infer(_) => None,
        }
    }

    fn fused(&self) -> Option<&FusedBlock> {
        match &self.inner {
            BlockInner::Infer(block) => Some(block),
            BlockInner::Train { .. } => None,
        }
    }
}

/// Shape of a token mixer.
#[derive(Debug, Clone, Copy)]
pub struct TokenMixerConfig {
    /// Width of each of the three groups.
    pub g: usize,
    /// Channels per attention head; `None` for the 11×1 + 1×11 cross.
    pub attention: Option<usize>,
}

impl TokenMixerConfig {
    fn of(config: &CareConfig, stage: usize) -> Self {
        Self {
            g: config.mem_dims[stage],
            attention: config.attention[stage].then_some(config.att_head_dim[stage]),
        }
    }
}

/// Mixes the last `3g` channels over space: `[memory | global | 3×3 | 7×7]`; memory passes through.
pub struct TokenMixer {
    g: usize,
    inner: MixerInner,
}

enum MixerInner {
    Train { global: Global, local_3x3: DepthwiseParams, local_7x7: DepthwiseParams },
    Infer(FusedMixer),
}

/// The global group: attention, or depthwise 11×1 + 1×11.
enum Global {
    Attention { qk: ConvParams, head_dim: usize },
    Cross { vertical: DepthwiseParams, horizontal: DepthwiseParams },
}

impl TokenMixer {
    /// Builds the mixer; parameters are declared under `b`.
    pub fn new(b: &Builder, TokenMixerConfig { g, attention }: TokenMixerConfig) -> Result<Self> {
        let depthwise = |name: &str, kernel| DepthwiseParams::new(&b.sub(name), g, kernel, WEIGHT_INIT);
        let cross = match attention {
            None => Some((depthwise("dwconvatt_1", (11, 1))?, depthwise("dwconvatt_2", (1, 11))?)),
            Some(_) => None,
        };
        let local_3x3 = depthwise("dwconv1", (3, 3))?;
        let local_7x7 = depthwise("dwconv2", (7, 7))?;
        let global = match (cross, attention) {
            (Some((vertical, horizontal)), _) => Global::Cross { vertical, horizontal },
            (None, head_dim) => Global::Attention {
                qk: ConvParams::new(&b.sub("qk"), ConvSpec::same(g, 2 * g, 1, WEIGHT_INIT))?,
                head_dim: head_dim.unwrap_or(g),
            },
        };
        let inner = match b.purpose() {
            Purpose::Train { .. } => MixerInner::Train { global, local_3x3, local_7x7 },
            Purpose::Infer { .. } => MixerInner::Infer(FusedMixer::new(g, &global, &local_3x3, &local_7x7)?),
        };
        Ok(Self { g, inner })
    }

    /// `[N, H, W, C]` to the untouched memory `[N, H, W, C - 3g]` and the mixed channels `[N, H, W, 3g]`.
    pub fn forward(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let (n, h, w, c) = x.dims4()?;
        let (g, m) = (self.g, c - 3 * self.g);
        match &self.inner {
            MixerInner::Train { .. } => {
                let memory = ops::narrow_channels(x, 0, m)?;
                let (mut tape, x) = Tape::on(x);
                let (_, mixed) = self.on_tape(&mut tape, x)?;
                Ok((memory, tape.run(mixed)?))
            }
            MixerInner::Infer(mixer) => {
                let memory = ops::narrow_channels(x, 0, m)?;
                Ok((memory, view::map_tensor(x, [n, h, w, 3 * g], |x, out| mixer.run(x, out))?))
            }
        }
    }

    /// The memory and the mixed channels of `x`, for a mixer built for `Train`.
    fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<(Node, Node)> {
        let MixerInner::Train { global, local_3x3, local_7x7 } = &self.inner else {
            return Err(Error::internal("a token mixer built for inference is not a step of a tape"));
        };
        let (g, m) = (self.g, tape.shape(x).last().map_or(0, |c| c - 3 * self.g));
        let memory = tape.narrow_channels(x, 0, m)?;
        let groups = [0, 1, 2].map(|i| tape.narrow_channels(x, m + i * g, g));
        let [a, b, c] = groups;
        let mixed = [global.on_tape(tape, a?)?, local_3x3.on_tape(tape, b?)?, local_7x7.on_tape(tape, c?)?];
        Ok((memory, tape.cat_channels(&mixed)?))
    }
}

impl Global {
    fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<Node> {
        match self {
            Self::Attention { qk, head_dim } => {
                let queries_keys = qk.on_tape(tape, x)?;
                tape.linear_attention(queries_keys, x, *head_dim)
            }
            Self::Cross { vertical, horizontal } => {
                let (a, b) = (vertical.on_tape(tape, x)?, horizontal.on_tape(tape, x)?);
                tape.add(a, b)
            }
        }
    }
}

/// The two interactions: among the mixed groups, then of all channels with the memory.
pub struct InterLayer {
    inter1: Interaction,
    inter2: Interaction,
}

impl InterLayer {
    fn new(b: &Builder, dim: usize, g: usize, ratios: [usize; 2], last: bool) -> Result<Self> {
        let inter1 = Interaction::new(b, "inter1", 3 * g, ratios[0], false)?;
        Ok(Self { inter1, inter2: Interaction::new(b, "inter2", dim, ratios[1], last)? })
    }

    /// Memory `[N, H, W, M]` and mixed channels `[N, H, W, 3g]` to `[N, H, W, M + 3g]` (last block: the expanded width).
    pub fn forward(&self, memory: &Tensor, mixed: &Tensor) -> Result<Tensor> {
        let (mut tape, [memory, mixed]) = Tape::on_two(memory, mixed);
        let y = self.on_tape(&mut tape, memory, mixed)?;
        tape.run(y)
    }

    fn on_tape(&self, tape: &mut Tape, memory: Node, mixed: Node) -> Result<Node> {
        let mixed = self.inter1.on_tape(tape, mixed)?;
        let x = tape.cat_channels(&[memory, mixed])?;
        self.inter2.on_tape(tape, x)
    }
}

/// Norm → 1×1 → GELU → depthwise 3×3 → 1×1 + input: an inverted residual.
struct Interaction {
    norm: BatchNorm,
    fc1: ConvParams,
    conv: DepthwiseParams,
    /// Missing, together with the residual, in the very last block, which keeps the expanded width.
    fc2: Option<ConvParams>,
}

impl Interaction {
    fn new(b: &Builder, name: &str, c: usize, ratio: usize, last: bool) -> Result<Self> {
        let sub = |part: &str| b.sub(format!("{name}_{part}"));
        let fc = |part: &str, ci, co| ConvParams::new(&sub(part), ConvSpec::same(ci, co, 1, WEIGHT_INIT));
        Ok(Self {
            norm: BatchNorm::new(&sub("norm"), c)?,
            fc1: fc("fc1", c, ratio * c)?,
            conv: DepthwiseParams::new(&sub("conv"), ratio * c, (3, 3), WEIGHT_INIT)?,
            fc2: (!last).then(|| fc("fc2", ratio * c, c)).transpose()?,
        })
    }

    fn on_tape(&self, tape: &mut Tape, x: Node) -> Result<Node> {
        let y = self.norm.on_tape(tape, x)?;
        let y = self.fc1.on_tape(tape, y)?;
        let y = tape.gelu(y)?;
        let y = self.conv.on_tape(tape, y)?;
        match &self.fc2 {
            Some(fc2) => {
                let y = fc2.on_tape(tape, y)?;
                tape.add(y, x)
            }
            None => Ok(y),
        }
    }

    /// The packed form, with the norm folded into the first 1×1 and layer scale into the second.
    fn fuse(&self, gamma: Option<&[f32]>) -> Result<InvertedResidual> {
        let (weight, bias) = self.fc1.values()?;
        let (weight, bias) = self.norm.affine()?.fold_before(&weight, &bias);
        let fc1 = PackedMatrix::pack(&weight, self.fc1.spec.co, self.fc1.spec.ci, Some(&bias));
        let fc2 = self.fc2.as_ref().map(|fc2| -> Result<PackedMatrix> {
            let (mut weight, mut bias) = fc2.values()?;
            if let Some(gamma) = gamma {
                let scale = gamma.iter().map(|&g| f64::from(g)).collect();
                (weight, bias) = Affine { scale, shift: vec![0.0; gamma.len()] }.fold_after(&weight, &bias);
            }
            Ok(PackedMatrix::pack(&weight, fc2.spec.co, fc2.spec.ci, Some(&bias)))
        });
        Ok(InvertedResidual { fc1, dw: self.conv.pack()?, fc2: fc2.transpose()? })
    }
}

/// A block built for `Infer`.
struct FusedBlock {
    token_mixer: TokenMixer,
    inter1: InvertedResidual,
    /// With layer scale in its last 1×1.
    inter2: InvertedResidual,
    /// Layer scale, for the residual inside the scaled branch.
    gamma: Option<Vec<f32>>,
    out_channels: usize,
}

impl FusedBlock {
    fn new(token_mixer: TokenMixer, inter: &InterLayer, gamma: Option<&Tensor>) -> Result<Self> {
        let gamma = gamma.map(|g| g.to_vec1::<f32>()).transpose()?;
        let out_channels = inter.inter2.fc2.as_ref().map_or(inter.inter2.fc1.spec.co, |fc2| fc2.spec.co);
        let inter1 = inter.inter1.fuse(None)?;
        let inter2 = inter.inter2.fuse(gamma.as_deref())?;
        Ok(Self { token_mixer, inter1, inter2, gamma, out_channels })
    }

    fn mixer(&self) -> &FusedMixer {
        match &self.token_mixer.inner {
            MixerInner::Infer(mixer) => mixer,
            MixerInner::Train { .. } => unreachable!("a block and its mixer are built for the same purpose"),
        }
    }

    /// Floats of working space that [`FusedBlock::run`] needs: the mixed channels, and all channels between the interactions.
    fn work_len(&self, x: Map<'_>) -> usize {
        self.mixed_len(x) + x.pixels() * x.c
    }

    /// Those of the mixed channels, whole cache lines.
    fn mixed_len(&self, x: Map<'_>) -> usize {
        (x.pixels() * 3 * self.token_mixer.g).next_multiple_of(LINE)
    }

    /// `out = γ·(inter2(y) + y) + x` with `y = [memory | inter1(f) + f]` and `f` the mixed channels of `x`.
    fn run(&self, x: Map<'_>, mut out: MapMut<'_>, work: &mut [f32]) {
        let (g, m) = (self.token_mixer.g, x.c - 3 * self.token_mixer.g);
        let (mixed, y) = work.split_at_mut(self.mixed_len(x));
        let mut mixed = MapMut::dense(&mut mixed[..x.pixels() * 3 * g], [x.n, x.h, x.w, 3 * g]);
        self.mixer().run(x, mixed.reborrow());
        let mixed = mixed.as_map();
        let mut y = MapMut::dense(&mut y[..x.pixels() * x.c], [x.n, x.h, x.w, x.c]);
        y.reborrow().channels(0..m).copy_from(x.channels(0..m));
        inverted_residual(mixed, &self.inter1, &[Residual::plain(mixed)], y.reborrow().channels(m..x.c));
        let y = y.as_map();
        let residuals = [Residual { map: y, scale: self.gamma.as_deref() }, Residual::plain(x)];
        let residuals = if self.gamma.is_some() { &residuals[..] } else { &[] };
        inverted_residual(y, &self.inter2, residuals, out.reborrow());
    }
}

/// A token mixer built for `Infer`: reads and writes channel groups in place.
struct FusedMixer {
    g: usize,
    global: FusedGlobal,
    local_3x3: PackedDepthwise,
    local_7x7: PackedDepthwise,
}

enum FusedGlobal {
    Attention {
        qk: PackedMatrix,
        head_dim: usize,
    },
    /// 11×1 + 1×11 in one pass.
    Cross(PackedDepthwise),
}

impl FusedMixer {
    fn new(
        g: usize,
        global: &Global,
        local_3x3: &DepthwiseParams,
        local_7x7: &DepthwiseParams,
    ) -> Result<Self> {
        let global = match global {
            Global::Attention { qk, head_dim } => {
                let (weight, bias) = qk.values()?;
                FusedGlobal::Attention {
                    qk: PackedMatrix::pack(&weight, 2 * g, g, Some(&bias)),
                    head_dim: *head_dim,
                }
            }
            Global::Cross { vertical, horizontal } => {
                let ((v, v_bias), (h, h_bias)) = (vertical.values()?, horizontal.values()?);
                FusedGlobal::Cross(PackedDepthwise::cross(&v, Some(&v_bias), &h, Some(&h_bias), g))
            }
        };
        Ok(Self { g, global, local_3x3: local_3x3.pack()?, local_7x7: local_7x7.pack()? })
    }

    /// The last `3g` channels of `x`, mixed, into the `3g` channels of `out`.
    fn run(&self, x: Map<'_>, mut out: MapMut<'_>) {
        let (g, m) = (self.g, x.c - 3 * self.g);
        let group = |i: usize| x.channels(m + i * g..m + (i + 1) * g);
        let local = [Branch { x: group(1), w: &self.local_3x3 }, Branch { x: group(2), w: &self.local_7x7 }];
        match &self.global {
            FusedGlobal::Cross(w) => {
                depthwise_branches(&[Branch { x: group(0), w }, local[0], local[1]], out)
            }
            FusedGlobal::Attention { qk, head_dim } => {
                let mut buffer = scratch::take(x.pixels() * 2 * g);
                let mut queries_keys = MapMut::dense(&mut buffer, [x.n, x.h, x.w, 2 * g]);
                conv1x1(group(0), qk, &Epilogue::default(), queries_keys.reborrow());
                linear_attention(queries_keys.as_map(), group(0), *head_dim, out.reborrow().channels(0..g));
                depthwise_branches(&local, out.channels(g..3 * g));
            }
        }
    }
}
