//! RetinaNet: backbone, FPN and the dense head of focal loss (<https://arxiv.org/abs/1708.02002>), in the 1× setting of
//! mmdetection. Parameters: `backbone.`, `neck.`, `bbox_head.`.

use crate::anchors::{AnchorConfig, AnchorGenerator};
use crate::box_coder::BoxCoder;
use crate::dense_loss::{DenseLoss, DenseLossConfig, LevelLoss};
use crate::dense_select::DenseSelect;
use crate::matcher::Matcher;
use crate::neck::fpn::{Fpn, FpnConfig};
use crate::retina_head::{HeadOutputs, RetinaHead, RetinaHeadConfig};
use crate::select::SelectConfig;
use crate::task::{Detector, Images, Losses, require_targets, require_train};
use candle_core::Tensor;
use care_backbone::{Backbone, BackboneConfig};
use care_nn::params::Builder;
use care_nn::{Error, Result};
use care_types::{DetTarget, RawDetection};
use serde::{Deserialize, Serialize};

/// A RetinaNet in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetinaNetConfig {
    /// Number of classes.
    pub num_classes: usize,
    /// Feature extractor.
    pub backbone: BackboneConfig,
    /// Neck.
    pub neck: FpnConfig,
    /// Head.
    pub head: RetinaHeadConfig,
    /// Priors; one stride per level of the neck.
    pub anchors: AnchorConfig,
    /// Normalisation of box deltas.
    pub box_coder: BoxCoder,
    /// Assignment of objects to anchors.
    pub matcher: Matcher,
    /// Losses.
    pub loss: DenseLossConfig,
    /// From scores to detections.
    pub select: SelectConfig,
}

impl RetinaNetConfig {
    /// The 1× setting: 256 channels, P3..P7, 4 + 4 convolutions, 9 anchors.
    pub fn new(backbone: BackboneConfig, num_classes: usize) -> Self {
        Self {
            num_classes,
            backbone,
            neck: FpnConfig::retinanet(),
            head: RetinaHeadConfig::default(),
            anchors: AnchorConfig::retinanet(),
            box_coder: BoxCoder::UNIT,
            matcher: Matcher::RETINANET,
            loss: DenseLossConfig::default(),
            select: SelectConfig::COCO,
        }
    }
}

/// The network, for the purpose of the builder it was made with.
pub struct RetinaNet {
    backbone: Box<dyn Backbone + Send + Sync>,
    neck: Fpn,
    head: RetinaHead,
    loss: DenseLoss,
    select: DenseSelect,
    is_train: bool,
}

impl RetinaNet {
    /// Declares all parameters under `b`.
    ///
    /// # Errors
    /// `Config` when the parts do not fit each other.
    pub fn new(b: &Builder, config: &RetinaNetConfig) -> Result<Self> {
        config.select.check("select")?;
        let anchors = AnchorGenerator::new(&config.anchors)?;
        if anchors.levels() != config.neck.num_outs {
            let (strides, outs) = (anchors.levels(), config.neck.num_outs);
            return Err(Error::config(format!(
                "anchors.strides has {strides} entries, neck.num_outs is {outs}; they must agree"
            )));
        }
        let backbone = config.backbone.build(&b.sub("backbone"))?;
        let neck = Fpn::new(&b.sub("neck"), &config.neck, backbone.info())?;
        let width = neck.out_channels();
        let head = RetinaHead::new(
            &b.sub("bbox_head"),
            &config.head,
            width,
            anchors.per_cell(),
            config.num_classes,
        )?;
        let (coder, num_classes) = (config.box_coder, config.num_classes);
        let select = DenseSelect { anchors: anchors.clone(), coder, config: config.select, num_classes };
        let loss = DenseLoss { anchors, coder, matcher: config.matcher, config: config.loss, num_classes };
        Ok(Self { backbone, neck, head, loss, select, is_train: b.purpose().is_train() })
    }

    /// Pictures `[N, H, W, 3]` to the neck's maps and the head's raw outputs (every score;
    /// [`Detector::detect`] keeps only what it needs).
    ///
    /// # Errors
    /// `Internal` when a computation fails.
    pub fn forward(&self, pixels: &Tensor) -> Result<(Vec<Tensor>, HeadOutputs)> {
        let levels = self.neck.forward(&self.backbone.features(pixels)?.maps)?;
        let outputs = self.head.forward(&levels)?;
        Ok((levels, outputs))
    }
}

impl Detector for RetinaNet {
    fn losses(&self, images: &Images, targets: &[DetTarget]) -> Result<Losses> {
        require_train(self.is_train)?;
        require_targets(images, targets.len())?;
        let (_, outputs) = self.forward(&images.pixels)?;
        let levels = self.loss.by_level(&outputs, targets, &images.info)?;
        let sum = |part: fn(&LevelLoss) -> &Tensor| LevelLoss::sum(&levels, part);
        Ok(Losses::new(vec![("loss_cls", sum(|l| &l.cls)?), ("loss_bbox", sum(|l| &l.bbox)?)]))
    }

    fn detect_observed(
        &self,
        images: &Images,
        phase: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<Vec<RawDetection>>> {
        if self.is_train {
            return self.select.detections(&self.forward(&images.pixels)?.1, &images.info);
        }
        let features = self.backbone.features(&images.pixels)?;
        phase("backbone");
        let levels = self.neck.infer(&features.maps)?;
        drop(features); // the backbone's maps are not needed while the head runs
        phase("neck");
        let best = self.head.infer_best(&levels, &self.select.empty())?;
        phase("head");
        let found = self.select.of_best(best, &images.info);
        phase("select");
        Ok(found)
    }

    fn num_classes(&self) -> usize {
        self.loss.num_classes
    }
}
