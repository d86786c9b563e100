//! RetinaNet's head (Lin et al., ICCV 2017, <https://arxiv.org/abs/1708.02002>): two towers shared by all levels.
//!
//! Names as mmdetection: `cls_convs.{i}.conv`, `reg_convs.{i}.conv`, `retina_cls`, `retina_reg`. Output
//! channel `anchor * num_classes + class`, respectively `anchor * 4 + coordinate`.

use crate::conv_module::NormKind;
use crate::dense::{HEAD_INIT, Predictor, Tower};
use crate::pyramid::Pyramid;
use crate::select::TopScores;
use candle_core::Tensor;
use care_kernels::epilogue::Act;
use care_kernels::map::Map;
use care_nn::layers::ConvSpec;
use care_nn::params::Builder;
use care_nn::{Error, Init, Result};
use serde::{Deserialize, Serialize};

/// Shape of the head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetinaHeadConfig {
    /// 3×3 convolutions per tower.
    pub stacked_convs: usize,
    /// Channels of the towers.
    pub feat_channels: usize,
    /// Probability that an untrained network gives every class at every anchor.
    pub prior_probability: f64,
    /// What follows the convolutions of the towers.
    #[serde(default, skip_serializing_if = "NormKind::is_none")]
    pub norm: NormKind,
}

impl Default for RetinaHeadConfig {
    fn default() -> Self {
        Self { stacked_convs: 4, feat_channels: 256, prior_probability: 0.01, norm: NormKind::None }
    }
}

/// Raw outputs of a dense head, one tensor per level.
#[derive(Clone, Debug)]
pub struct HeadOutputs {
    /// Logits `[N, H, W, anchors * classes]`.
    pub logits: Vec<Tensor>,
    /// Box deltas `[N, H, W, anchors * 4]`.
    pub deltas: Vec<Tensor>,
}

/// What selection needs of a batch: the best scores of each picture and level, and all box deltas.
pub(crate) struct BestScores {
    /// `[picture][level]`.
    pub(crate) scores: Vec<Vec<TopScores>>,
    /// `[N, H, W, anchors * 4]` per level.
    pub(crate) deltas: Pyramid,
}

/// The head.
pub struct RetinaHead {
    cls_tower: Tower,
    reg_tower: Tower,
    cls: Predictor,
    reg: Predictor,
    channels: usize,
}

impl RetinaHead {
    /// Declares the parameters under `b` (`bbox_head` in a detector); `ci` is the width of the pyramid.
    ///
    /// # Errors
    /// `Config` for a head without convolutions, channels or classes, or a prior outside (0, 1).
    pub fn new(
        b: &Builder,
        config: &RetinaHeadConfig,
        ci: usize,
        anchors: usize,
        num_classes: usize,
    ) -> Result<Self> {
        let &RetinaHeadConfig { stacked_convs: depth, feat_channels: width, prior_probability: prior, norm } =
            config;
        if depth == 0 || width == 0 || num_classes == 0 || !(prior > 0.0 && prior < 1.0) {
            return Err(Error::config(format!(
                "head: expected stacked_convs, feat_channels and num_classes >= 1 and prior_probability in (0, 1), \
                 got {depth}, {width}, {num_classes} and {prior}"
            )));
        }
        let cls_tower = Tower::new(&b.sub("cls_convs"), depth, (ci, width), norm)?;
        let reg_tower = Tower::new(&b.sub("reg_convs"), depth, (ci, width), norm)?;
        let cls_bias = Init::Const(-((1.0 - prior) / prior).ln());
        let cls_spec =
            ConvSpec { bias: Some(cls_bias), ..ConvSpec::same(width, anchors * num_classes, 3, HEAD_INIT) };
        let cls = Predictor::new(&b.sub("retina_cls"), cls_spec)?;
        let reg = Predictor::new(&b.sub("retina_reg"), ConvSpec::same(width, anchors * 4, 3, HEAD_INIT))?;
        Ok(Self { cls_tower, reg_tower, cls, reg, channels: width })
    }

    /// Pyramid levels `[N, H, W, ci]` to raw outputs; differentiable when built for training.
    ///
    /// # Errors
    /// `Internal` when a level does not have the width the head was built for.
    pub fn forward(&self, levels: &[Tensor]) -> Result<HeadOutputs> {
        let (Some(cls), Some(reg)) = (self.cls.train(), self.reg.train()) else {
            let levels = Pyramid::from_tensors(levels)?;
            return self.infer_all(&levels);
        };
        let logits = self.cls_tower.forward(levels, cls)?;
        let deltas = self.reg_tower.forward(levels, reg)?;
        Ok(HeadOutputs { logits, deltas })
    }

    fn infer_all(&self, levels: &Pyramid) -> Result<HeadOutputs> {
        let (mut a, mut b) = self.buffers(levels);
        self.cls_tower.run(levels, &mut a, &mut b)?;
        self.cls.run(&a, &mut b);
        let logits = b.tensors()?;
        self.reg_tower.run(levels, &mut a, &mut b)?;
        self.reg.run(&a, &mut b);
        Ok(HeadOutputs { logits, deltas: b.tensors()? })
    }

    /// The head on slices, built for inference. Logits are looked at group by group and never kept; `empty`
    /// is cloned for each picture and level.
    pub(crate) fn infer_best(&self, levels: &Pyramid, empty: &TopScores) -> Result<BestScores> {
        let pictures = levels.shapes().first().map_or(0, |s| s[0]);
        let mut scores = vec![vec![empty.clone(); levels.shapes().len()]; pictures];
        let (mut a, mut b) = self.buffers(levels);
        self.cls_tower.run(levels, &mut a, &mut b)?;
        for (range, kernel) in self.cls.groups() {
            b.set_channels(range.count);
            kernel.run(&a.maps(), Act::None, &mut b.maps_mut());
            for (level, logits) in b.maps().into_iter().enumerate() {
                for (picture, block) in pictures_of(logits).enumerate() {
                    scores[picture][level].scan(block, *range);
                }
            }
        }
        self.reg_tower.run(levels, &mut a, &mut b)?;
        self.reg.run(&a, &mut b);
        Ok(BestScores { scores, deltas: b })
    }

    fn buffers(&self, levels: &Pyramid) -> (Pyramid, Pyramid) {
        let shapes = levels.shapes_with(self.channels);
        (Pyramid::new(shapes.clone()), Pyramid::new(shapes))
    }
}

/// The values of each picture of a dense map.
pub(crate) fn pictures_of(map: Map<'_>) -> impl Iterator<Item = &[f32]> {
    map.data.chunks_exact((map.h * map.w * map.c).max(1))
}
