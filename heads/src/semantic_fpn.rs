//! Semantic FPN (Kirillov et al., CVPR 2019, <https://arxiv.org/abs/1901.02446>): backbone, FPN, and a head that brings every level to
//! the finest and sums.
//!
//! Names and behaviour are mmsegmentation's `FPNHead`: `decode_head.scale_heads.{level}.{0, 2, 4}` (convolution, batch norm, ReLU; a
//! doubling of the sides stands between) and `decode_head.conv_seg`. CARE floors its sizes, so a doubled level is resized once more
//! to the finest level's exact size.
//! Source: <https://github.com/open-mmlab/mmsegmentation/blob/v1.2.2/mmseg/models/decode_heads/fpn_head.py>

use crate::draw::Draw;
use crate::neck::fpn::{Fpn, FpnConfig};
use crate::pyramid::Pyramid;
use crate::seg_loss::SegLossConfig;
use crate::task::{Images, Losses, Segmenter, require_targets, require_train};
use candle_core::Tensor;
use care_backbone::{Backbone, BackboneConfig};
use care_kernels::epilogue::Act;
use care_kernels::resample::bilinear;
use care_nn::layers::{Conv2d, ConvNorm, ConvSpec};
use care_nn::params::Builder;
use care_nn::{Error, Fan, Init, Result, ops};
use care_types::{RawSemantic, SegTarget};
use serde::{Deserialize, Serialize};

/// Everything that makes the network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemanticFpnConfig {
    /// Classes.
    pub num_classes: usize,
    /// Feature extractor.
    pub backbone: BackboneConfig,
    /// Neck; one output per level of the backbone.
    pub neck: FpnConfig,
    /// Head.
    pub head: SegHeadConfig,
    /// Loss.
    pub loss: SegLossConfig,
}

/// Shape of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegHeadConfig {
    /// Channels of the branches.
    pub channels: usize,
    /// Probability that a channel of the sum is dropped in training.
    pub dropout: f32,
}

impl Default for SegHeadConfig {
    fn default() -> Self {
        Self { channels: 128, dropout: 0.1 }
    }
}

impl SemanticFpnConfig {
    /// The ADE20K setting: 256 channels in the neck, 128 in the head.
    pub fn new(backbone: BackboneConfig, num_classes: usize) -> Self {
        Self {
            num_classes,
            backbone,
            neck: FpnConfig { num_outs: 4, ..FpnConfig::mask_rcnn() },
            head: SegHeadConfig::default(),
            loss: SegLossConfig::default(),
        }
    }
}

/// The head. Level `i` (strides 4, 8, 16, 32) has `max(1, i)` convolutions, and doubles its sides after each when `i > 0`.
pub struct SegHead {
    branches: Vec<Vec<ConvNorm>>,
    logits: Conv2d,
    config: SegHeadConfig,
    is_train: bool,
}

/// Names the random choice.
const PURPOSE: u64 = 3;

impl SegHead {
    /// Declares the parameters under `b` (`decode_head` in a segmenter) for `levels` maps of `ci` channels, each half the one before.
    ///
    /// # Errors
    /// `Config` for a head without levels, channels or classes, or a dropout outside [0, 1).
    pub fn new(
        b: &Builder,
        config: &SegHeadConfig,
        (ci, levels): (usize, usize),
        classes: usize,
    ) -> Result<Self> {
        let &SegHeadConfig { channels, dropout } = config;
        if levels == 0 || channels == 0 || !(0.0..1.0).contains(&dropout) {
            return Err(Error::config(format!(
                "head: expected channels >= 1 and dropout in [0, 1), got {channels} and {dropout}"
            )));
        }
        if !(1..=SegTarget::MAX_CLASSES).contains(&classes) {
            let most = SegTarget::MAX_CLASSES;
            return Err(Error::config(format!("num_classes: expected 1 to {most}, got {classes}")));
        }
        let init = Init::KaimingNormal { fan: Fan::Out };
        let branch = |level: usize| {
            let conv = |k: usize| {
                let b = b.sub("scale_heads").sub(level).sub(2 * k);
                let spec = ConvSpec::same(if k == 0 { ci } else { channels }, channels, 3, init);
                ConvNorm::new(&b.sub("conv"), &b.sub("bn"), ConvSpec { bias: None, ..spec })
            };
            (0..level.max(1)).map(conv).collect::<Result<Vec<_>>>()
        };
        let branches = (0..levels).map(branch).collect::<Result<_>>()?;
        let logits = ConvSpec::same(channels, classes, 1, Init::Normal { std: 0.01 });
        Ok(Self {
            branches,
            logits: Conv2d::new(&b.sub("conv_seg"), logits)?,
            config: config.clone(),
            is_train: b.purpose().is_train(),
        })
    }

    /// Maps `[N, H, W, C]`, finest first, to logits `[N, H, W, classes]` of the finest. Channels are dropped only by `draw`.
    ///
    /// # Errors
    /// `Internal` when the maps are not those the head was built for.
    pub fn forward(&self, levels: &[Tensor], draw: Option<Draw>) -> Result<Tensor> {
        if levels.len() != self.branches.len() {
            let (got, want) = (levels.len(), self.branches.len());
            return Err(Error::internal(format!("head: {got} maps, expected {want}")));
        }
        if !self.is_train {
            return self.infer(&Pyramid::from_tensors(levels)?);
        }
        let (_, h, w, _) = levels[0].dims4()?;
        let mut sum: Option<Tensor> = None;
        for (level, (convs, x)) in self.branches.iter().zip(levels).enumerate() {
            let mut x = x.clone();
            for conv in convs {
                x = conv.forward_relu(&x)?;
                if level > 0 {
                    let (_, h, w, _) = x.dims4()?;
                    x = ops::resize_bilinear(&x, (2 * h, 2 * w), false)?;
                }
            }
            if x.dims()[1..3] != [h, w] {
                x = ops::resize_bilinear(&x, (h, w), false)?;
            }
            sum = Some(match sum {
                None => x,
                Some(sum) => ops::add(&sum, &x)?,
            });
        }
        let sum = sum.ok_or_else(|| Error::internal("a head without levels"))?;
        self.logits.forward(&match draw {
            Some(draw) => self.dropped(&sum, draw)?,
            None => sum,
        })
    }

    /// Whole channels of a picture become 0, the others grow to keep the mean (`Dropout2d`).
    fn dropped(&self, x: &Tensor, draw: Draw) -> Result<Tensor> {
        let (n, _, _, c) = x.dims4()?;
        let rate = self.config.dropout;
        if rate == 0.0 {
            return Ok(x.clone());
        }
        let picture = |i: usize| -> Result<Tensor> {
            let mut stream = draw.stream(PURPOSE, i);
            let keep = (0..c).map(|_| if stream.unit() < rate { 0.0 } else { 1.0 / (1.0 - rate) });
            let keep = Tensor::from_vec(keep.collect::<Vec<f32>>(), c, x.device())?;
            ops::scale_channels(&x.narrow(0, i, 1)?, &keep)
        };
        Ok(Tensor::cat(&(0..n).map(picture).collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// The head on slices.
    fn infer(&self, levels: &Pyramid) -> Result<Tensor> {
        let channels = self.config.channels;
        let [n, h, w, _] = levels.shapes()[0];
        let finest = [n, h, w, channels];
        let mut sum = Pyramid::new(vec![finest]);
        for (level, (convs, source)) in self.branches.iter().zip(levels.maps()).enumerate() {
            let mut shape = [n, source.h, source.w, channels];
            let mut x = Pyramid::new(vec![shape]);
            for (k, conv) in convs.iter().enumerate() {
                if k == 0 {
                    conv.kernel()?.run(&[source], Act::Relu, &mut x.maps_mut());
                } else {
                    let before = std::mem::replace(&mut x, Pyramid::new(vec![shape]));
                    conv.kernel()?.run(&before.maps(), Act::Relu, &mut x.maps_mut());
                }
                if level > 0 {
                    shape = [n, 2 * shape[1], 2 * shape[2], channels];
                    x = resized(&x, shape);
                }
            }
            if shape != finest {
                x = resized(&x, finest);
            }
            match level {
                0 => sum = x,
                _ => sum.maps_mut()[0].data.iter_mut().zip(x.slices()[0]).for_each(|(s, &v)| *s += v),
            }
        }
        let kernel = self.logits.kernel()?;
        let mut logits = Pyramid::new(vec![kernel.out_shape(finest)]);
        kernel.run(&sum.maps(), Act::None, &mut logits.maps_mut());
        Ok(logits.tensors()?.swap_remove(0))
    }
}

fn resized(x: &Pyramid, shape: [usize; 4]) -> Pyramid {
    let mut out = Pyramid::new(vec![shape]);
    bilinear(x.maps()[0], out.maps_mut().swap_remove(0), false);
    out
}

/// The network, for the purpose of the builder it was made with.
pub struct SemanticFpn {
    backbone: Box<dyn Backbone + Send + Sync>,
    neck: Fpn,
    head: SegHead,
    loss: SegLossConfig,
    num_classes: usize,
    is_train: bool,
}

impl SemanticFpn {
    /// Declares all parameters under `b`.
    ///
    /// # Errors
    /// `Config` when the parts do not fit each other.
    pub fn new(b: &Builder, config: &SemanticFpnConfig) -> Result<Self> {
        config.loss.check(config.num_classes)?;
        let backbone = config.backbone.build(&b.sub("backbone"))?;
        let neck = Fpn::new(&b.sub("neck"), &config.neck, backbone.info())?;
        let levels = (neck.out_channels(), config.neck.num_outs);
        let head = SegHead::new(&b.sub("decode_head"), &config.head, levels, config.num_classes)?;
        Ok(Self {
            backbone,
            neck,
            head,
            loss: config.loss.clone(),
            num_classes: config.num_classes,
            is_train: b.purpose().is_train(),
        })
    }

    /// Pictures `[N, H, W, 3]` to logits `[N, H / 4, W / 4, classes]`.
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    pub fn forward(&self, pixels: &Tensor, draw: Option<Draw>) -> Result<Tensor> {
        let levels = self.neck.forward(&self.backbone.features(pixels)?.maps)?;
        self.head.forward(&levels, draw)
    }
}

impl Segmenter for SemanticFpn {
    fn losses(&self, images: &Images, targets: &[SegTarget]) -> Result<Losses> {
        require_train(self.is_train)?;
        require_targets(images, targets.len())?;
        let logits = self.forward(&images.pixels, images.draw)?;
        Ok(Losses::new(vec![("loss_seg", self.loss.of(&logits, targets)?)]))
    }

    fn segment_observed(
        &self,
        images: &Images,
        phase: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<RawSemantic>> {
        let features = self.backbone.features(&images.pixels)?;
        phase("backbone");
        let logits = if self.is_train {
            self.head.forward(&self.neck.forward(&features.maps)?, None)?
        } else {
            let levels = self.neck.infer(&features.maps)?;
            drop(features);
            phase("neck");
            self.head.infer(&levels)?
        };
        phase("head");
        let (n, height, width, classes) = logits.dims4()?;
        let values = logits.flatten_all()?.to_vec1::<f32>()?;
        let size = (values.len() / n.max(1)).max(1);
        let raw = |logits: &[f32]| RawSemantic { height, width, classes, logits: logits.to_vec() };
        Ok(values.chunks_exact(size).map(raw).collect())
    }

    fn num_classes(&self) -> usize {
        self.num_classes
    }
}
