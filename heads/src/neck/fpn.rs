//! Feature Pyramid Network (Lin et al., CVPR 2017, <https://arxiv.org/abs/1612.03144>), as mmdetection's `FPN`.
//!
//! A 1×1 convolution brings each level to one width, coarse levels are added to finer ones by nearest
//! upsampling to the finer level's exact size (CARE floors its sizes, so the ratio is often not 2), and a 3×3
//! convolution smooths each. Extra levels follow at stride 2. Names: `lateral_convs.{i}.conv`,
//! `fpn_convs.{i}.conv`.

use crate::conv_module::{ConvModule, NormKind};
use crate::pyramid::Pyramid;
use candle_core::Tensor;
use care_backbone::FeatureInfo;
use care_kernels::epilogue::Act;
use care_kernels::map::{Map, MapMut};
use care_kernels::resample::nearest_add;
use care_nn::layers::{ConvSpec, view};
use care_nn::params::Builder;
use care_nn::{Error, Init, Result, ops};
use serde::{Deserialize, Serialize};

/// Where the levels beyond the backbone's come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExtraLevels {
    /// Every second pixel of the level before (Mask R-CNN's P6).
    MaxPool,
    /// 3×3 stride 2 convolutions, the first on the backbone's coarsest map (RetinaNet's P6, P7).
    OnInput,
    /// The same, the first on the neck's coarsest output.
    OnOutput,
}

/// Shape of the neck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FpnConfig {
    /// Channels of every output level.
    pub out_channels: usize,
    /// First backbone level used (0 is C2).
    pub start_level: usize,
    /// Output levels.
    pub num_outs: usize,
    /// Where levels beyond the backbone's come from.
    pub extra_levels: ExtraLevels,
    /// ReLU on the input of every extra convolution but the first (torchvision's P7).
    pub relu_before_extra_convs: bool,
    /// What follows every convolution.
    #[serde(default, skip_serializing_if = "NormKind::is_none")]
    pub norm: NormKind,
}

impl FpnConfig {
    /// RetinaNet: P3..P7, the last two by convolutions on C5.
    pub fn retinanet() -> Self {
        Self { start_level: 1, extra_levels: ExtraLevels::OnInput, ..Self::mask_rcnn() }
    }

    /// Mask R-CNN: P2..P6.
    pub fn mask_rcnn() -> Self {
        let extra_levels = ExtraLevels::MaxPool;
        Self {
            out_channels: 256,
            start_level: 0,
            num_outs: 5,
            extra_levels,
            relu_before_extra_convs: false,
            norm: NormKind::None,
        }
    }
}

/// The neck. Inputs are the backbone's maps, all of them, finest first.
pub struct Fpn {
    config: FpnConfig,
    laterals: Vec<ConvModule>,
    /// One per backbone level used, then the extra convolutions.
    convs: Vec<ConvModule>,
}

impl Fpn {
    /// Declares the parameters under `b` (`neck` in a detector) for a backbone with the given levels.
    ///
    /// # Errors
    /// `Config` when `start_level` or `num_outs` does not fit the backbone, or there are no channels.
    pub fn new(b: &Builder, config: &FpnConfig, inputs: &[FeatureInfo]) -> Result<Self> {
        let used = inputs.get(config.start_level..).unwrap_or_default();
        let (width, num_outs, levels) = (config.out_channels, config.num_outs, used.len());
        if width == 0 {
            return Err(Error::config("neck: out_channels must be at least 1"));
        }
        if used.is_empty() || num_outs < levels {
            let (start, all) = (config.start_level, inputs.len());
            return Err(Error::config(format!(
                "neck: start_level {start} of a backbone with {all} levels leaves {levels}; expected at least one, and \
                 num_outs at least as many, got num_outs {num_outs}"
            )));
        }
        let extra = if config.extra_levels == ExtraLevels::MaxPool { 0 } else { num_outs - levels };
        let (lateral_b, conv_b) = (b.sub("lateral_convs"), b.sub("fpn_convs"));
        let lateral = |(i, info): (usize, &FeatureInfo)| {
            let spec = ConvSpec::same(info.channels, width, 1, Init::XavierUniform);
            ConvModule::new(&lateral_b.sub(i), spec, config.norm)
        };
        let laterals = used.iter().enumerate().map(lateral).collect::<Result<_>>()?;
        let conv = |i: usize| {
            let on_input = i == levels && config.extra_levels == ExtraLevels::OnInput;
            let ci = if on_input { used[levels - 1].channels } else { width };
            let stride = if i < levels { 1 } else { 2 };
            let spec = ConvSpec { stride, ..ConvSpec::same(ci, width, 3, Init::XavierUniform) };
            ConvModule::new(&conv_b.sub(i), spec, config.norm)
        };
        let convs = (0..levels + extra).map(conv).collect::<Result<_>>()?;
        Ok(Self { config: config.clone(), laterals, convs })
    }

    /// Channels of every output.
    pub fn out_channels(&self) -> usize {
        self.config.out_channels
    }

    /// Backbone maps `[N, H, W, C]`, finest first, to `num_outs` maps of `out_channels`.
    ///
    /// # Errors
    /// `Internal` when the maps are not those of the backbone the neck was built for.
    pub fn forward(&self, features: &[Tensor]) -> Result<Vec<Tensor>> {
        if self.is_train() { self.train(features) } else { self.infer(features)?.tensors() }
    }

    fn is_train(&self) -> bool {
        self.laterals[0].kernel().is_err()
    }

    fn used<'a>(&self, features: &'a [Tensor]) -> Result<&'a [Tensor]> {
        let expected = self.config.start_level + self.laterals.len();
        if features.len() != expected {
            return Err(Error::internal(format!(
                "fpn: expected {expected} backbone maps, got {}",
                features.len()
            )));
        }
        Ok(&features[self.config.start_level..])
    }

    fn train(&self, features: &[Tensor]) -> Result<Vec<Tensor>> {
        let used = self.used(features)?;
        let mut laterals =
            self.laterals.iter().zip(used).map(|(conv, x)| conv.forward(x)).collect::<Result<Vec<_>>>()?;
        for i in (1..laterals.len()).rev() {
            let (_, h, w, _) = laterals[i - 1].dims4()?;
            laterals[i - 1] = (&laterals[i - 1] + ops::resize_nearest(&laterals[i], (h, w))?)?;
        }
        let mut outs =
            laterals.iter().zip(&self.convs).map(|(x, conv)| conv.forward(x)).collect::<Result<Vec<_>>>()?;
        for i in used.len()..self.config.num_outs {
            let out = match (self.config.extra_levels, i == used.len()) {
                (ExtraLevels::MaxPool, _) => ops::max_pool(&outs[i - 1], 1, 2, 0)?,
                (ExtraLevels::OnInput, true) => self.convs[i].forward(&used[i - 1])?,
                (ExtraLevels::OnInput | ExtraLevels::OnOutput, first) => {
                    let relu = self.config.relu_before_extra_convs && !first;
                    self.convs[i].forward(&if relu {
                        ops::relu(&outs[i - 1])?
                    } else {
                        outs[i - 1].clone()
                    })?
                }
            };
            outs.push(out);
        }
        Ok(outs)
    }

    /// The whole neck on slices.
    pub(crate) fn infer(&self, features: &[Tensor]) -> Result<Pyramid> {
        let used = self.used(features)?;
        let width = self.config.out_channels;
        let lateral_shape = |x: &Tensor| x.dims4().map(|(n, h, w, _)| [n, h, w, width]);
        let lateral_shapes = used.iter().map(lateral_shape).collect::<Result<Vec<_>, _>>()?;
        let mut outs = Pyramid::new(self.out_shapes(&lateral_shapes));
        // As large as the outputs: the head's buffers are, and take this one over.
        let mut laterals = Pyramid::with_room(lateral_shapes, outs.len());
        self.infer_laterals(used, &mut laterals)?;
        for (i, lateral) in laterals.maps().into_iter().enumerate() {
            run(&self.convs[i], lateral, &mut outs.maps_mut()[i])?;
        }
        for i in used.len()..self.config.num_outs {
            self.infer_extra(i, &used[used.len() - 1], &mut outs.maps_mut())?;
        }
        Ok(outs)
    }

    fn infer_laterals(&self, used: &[Tensor], laterals: &mut Pyramid) -> Result<()> {
        let mut maps = laterals.maps_mut();
        for ((conv, x), out) in self.laterals.iter().zip(used).zip(&mut maps) {
            view::with_map(x, |x| run(conv, x, out))??;
        }
        for i in (1..maps.len()).rev() {
            let (fine, coarse) = maps.split_at_mut(i);
            nearest_add(coarse[0].as_map(), fine[i - 1].reborrow());
        }
        Ok(())
    }

    /// Each extra level has half the side of the one before, rounded up.
    fn out_shapes(&self, laterals: &[[usize; 4]]) -> Vec<[usize; 4]> {
        let mut shapes = laterals.to_vec();
        while let (Some(&[n, h, w, c]), true) = (shapes.last(), shapes.len() < self.config.num_outs) {
            shapes.push([n, h.div_ceil(2), w.div_ceil(2), c]);
        }
        shapes
    }

    fn infer_extra(&self, i: usize, coarsest: &Tensor, outs: &mut [MapMut<'_>]) -> Result<()> {
        let (before, after) = outs.split_at_mut(i);
        let (source, out) = (before[i - 1].as_map(), &mut after[0]);
        let first = i == self.laterals.len();
        match self.config.extra_levels {
            ExtraLevels::MaxPool => every_second_pixel(source, out),
            ExtraLevels::OnInput if first => {
                return view::with_map(coarsest, |x| run(&self.convs[i], x, out))?;
            }
            _ if self.config.relu_before_extra_convs && !first => {
                let mut rectified = Pyramid::new(vec![[source.n, source.h, source.w, source.c]]);
                relu_into(source, &mut rectified);
                return run(&self.convs[i], rectified.maps()[0], out);
            }
            _ => return run(&self.convs[i], source, out),
        }
        Ok(())
    }
}

fn run(conv: &ConvModule, x: Map<'_>, out: &mut MapMut<'_>) -> Result<()> {
    conv.kernel()?.run(&[x], Act::None, std::slice::from_mut(out));
    Ok(())
}

/// Max-pooling of kernel 1 and stride 2.
fn every_second_pixel(x: Map<'_>, out: &mut MapMut<'_>) {
    let (h, w, c) = (out.h, out.w, out.c);
    for (p, pixel) in out.data.chunks_exact_mut(c).enumerate() {
        let (n, y, col) = (p / (h * w), p / w % h, p % w);
        let from = ((n * x.h + 2 * y) * x.w + 2 * col) * x.stride;
        pixel.copy_from_slice(&x.data[from..from + c]);
    }
}

fn relu_into(x: Map<'_>, out: &mut Pyramid) {
    let mut maps = out.maps_mut();
    for (o, &v) in maps[0].data.iter_mut().zip(x.data) {
        *o = v.max(0.0);
    }
}
