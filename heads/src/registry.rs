//! The plain table of built-in networks.

use crate::conv_module::NormKind;
use crate::mask_rcnn::{MaskRcnn, MaskRcnnConfig};
use crate::proposals::ProposalConfig;
use crate::retina_head::RetinaHeadConfig;
use crate::retinanet::{RetinaNet, RetinaNetConfig};
use crate::roi::mask_head::MaskHeadConfig;
use crate::semantic_fpn::{SemanticFpn, SemanticFpnConfig};
use crate::task::{Detector, Segmenter};
use care_backbone::BackboneConfig;
use care_nn::keymap::did_you_mean;
use care_nn::params::Builder;
use care_nn::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Finding objects.
    Detection,
    /// Giving every pixel a class.
    Segmentation,
}

/// A network by what it does.
pub enum Network {
    /// Finds objects.
    Detector(Box<dyn Detector>),
    /// Gives every pixel a class.
    Segmenter(Box<dyn Segmenter>),
}

/// The configuration of any built-in network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum NetworkConfig {
    /// One-stage detector with focal loss.
    #[serde(rename = "retinanet")]
    RetinaNet(RetinaNetConfig),
    /// Two-stage detector with masks.
    MaskRcnn(MaskRcnnConfig),
    /// Segmenter that sums all levels of a pyramid.
    SemanticFpn(SemanticFpnConfig),
}

/// What a run may change of the way from scores to detections, without touching the weights.
pub struct SelectMut<'a> {
    /// Scores must be above this.
    pub score_threshold: &'a mut f32,
    /// Boxes of one class that overlap more are suppressed.
    pub nms_iou: &'a mut f32,
    /// Detections per picture.
    pub max_per_image: &'a mut usize,
}

/// Makes the published setting of a family around a backbone.
type Family = fn(BackboneConfig) -> NetworkConfig;

/// Name of a preset, its family and its backbone. Detectors have COCO's 80 classes until told otherwise, segmenters ADE20K's 150.
const PRESETS: &[(&str, Family, &str)] = &[
    ("retinanet_care_s0", retinanet, "care_s0"),
    ("retinanet_care_s1", retinanet, "care_s1"),
    ("retinanet_care_s2", retinanet, "care_s2"),
    ("retinanet_care_xs", small_retinanet, "care_xs"),
    ("mask_rcnn_care_s0", mask_rcnn, "care_s0"),
    ("mask_rcnn_care_s1", mask_rcnn, "care_s1"),
    ("mask_rcnn_care_s2", mask_rcnn, "care_s2"),
    ("mask_rcnn_care_xs", small_mask_rcnn, "care_xs"),
    ("semantic_fpn_care_s0", semantic_fpn, "care_s0"),
    ("semantic_fpn_care_s1", semantic_fpn, "care_s1"),
    ("semantic_fpn_care_s2", semantic_fpn, "care_s2"),
    ("semantic_fpn_care_xs", small_semantic_fpn, "care_xs"),
];

const COCO_CLASSES: usize = 80;
const ADE20K_CLASSES: usize = 150;

fn retinanet(backbone: BackboneConfig) -> NetworkConfig {
    NetworkConfig::RetinaNet(RetinaNetConfig::new(backbone, COCO_CLASSES))
}

fn mask_rcnn(backbone: BackboneConfig) -> NetworkConfig {
    NetworkConfig::MaskRcnn(MaskRcnnConfig::new(backbone, COCO_CLASSES))
}

/// Neck and masks of 96 channels with batch norm, 256 for boxes: trains from random weights on a CPU.
fn small_mask_rcnn(backbone: BackboneConfig) -> NetworkConfig {
    const WIDTH: usize = 96;
    let mut config = MaskRcnnConfig::new(backbone, COCO_CLASSES);
    config.neck.out_channels = WIDTH;
    config.neck.norm = NormKind::Batch;
    config.rpn.feat_channels = WIDTH;
    config.rpn.train_proposals =
        ProposalConfig { nms_pre: 1000, max_per_image: 500, ..ProposalConfig::TRAIN };
    config.roi.sampler.num = 128;
    config.roi.bbox_head.fc_channels = 256;
    config.roi.mask_head = MaskHeadConfig {
        num_convs: 2,
        conv_channels: WIDTH,
        norm: NormKind::Batch,
        ..MaskHeadConfig::default()
    };
    NetworkConfig::MaskRcnn(config)
}

fn semantic_fpn(backbone: BackboneConfig) -> NetworkConfig {
    NetworkConfig::SemanticFpn(SemanticFpnConfig::new(backbone, ADE20K_CLASSES))
}

/// 96 channels with batch norm in the neck, 64 in the head: trains from random weights on a CPU.
fn small_semantic_fpn(backbone: BackboneConfig) -> NetworkConfig {
    let mut config = SemanticFpnConfig::new(backbone, ADE20K_CLASSES);
    config.neck.out_channels = 96;
    config.neck.norm = NormKind::Batch;
    config.head.channels = 64;
    NetworkConfig::SemanticFpn(config)
}

/// Two 3×3 convolutions of 96 channels per tower, batch norm everywhere: trains from random weights on a CPU.
fn small_retinanet(backbone: BackboneConfig) -> NetworkConfig {
    const WIDTH: usize = 96;
    let mut config = RetinaNetConfig::new(backbone, COCO_CLASSES);
    config.neck.out_channels = WIDTH;
    config.neck.norm = NormKind::Batch;
    config.head = RetinaHeadConfig {
        stacked_convs: 2,
        feat_channels: WIDTH,
        norm: NormKind::Batch,
        ..RetinaHeadConfig::default()
    };
    NetworkConfig::RetinaNet(config)
}

/// The same expression for the configuration of every family.
macro_rules! each {
    ($self:expr, $c:ident => $value:expr) => {
        match $self {
            NetworkConfig::RetinaNet($c) => $value,
            NetworkConfig::MaskRcnn($c) => $value,
            NetworkConfig::SemanticFpn($c) => $value,
        }
    };
}

impl NetworkConfig {
    /// The built-in network of that name, for COCO's 80 or ADE20K's 150 classes.
    ///
    /// # Errors
    /// `Config` with the known names.
    pub fn preset(name: &str) -> Result<Self> {
        let Some((_, family, backbone)) = PRESETS.iter().find(|p| p.0 == name) else {
            let known: Vec<&str> = Self::preset_names().collect();
            let hint = did_you_mean(name, Self::preset_names());
            return Err(Error::config(format!(
                "unknown model `{name}`{hint}; known are {}",
                known.join(", ")
            )));
        };
        Ok(family(BackboneConfig::preset(backbone)?))
    }

    /// Names of the built-in networks.
    pub fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|p| p.0)
    }

    /// What the network is for.
    pub fn task(&self) -> Task {
        match self {
            Self::RetinaNet(_) | Self::MaskRcnn(_) => Task::Detection,
            Self::SemanticFpn(_) => Task::Segmentation,
        }
    }

    /// The feature extractor.
    pub fn backbone(&self) -> &BackboneConfig {
        each!(self, c => &c.backbone)
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        each!(self, c => c.num_classes)
    }

    /// From scores to detections: what a run may change without touching the weights. `None` for segmenters.
    pub fn select_mut(&mut self) -> Option<SelectMut<'_>> {
        macro_rules! of {
            ($select:expr) => {
                Some(SelectMut {
                    score_threshold: &mut $select.score_threshold,
                    nms_iou: &mut $select.nms_iou,
                    max_per_image: &mut $select.max_per_image,
                })
            };
        }
        match self {
            Self::RetinaNet(c) => of!(c.select),
            Self::MaskRcnn(c) => of!(c.select),
            Self::SemanticFpn(_) => None,
        }
    }

    /// Whether its detections carry masks.
    pub fn predicts_masks(&self) -> bool {
        matches!(self, Self::MaskRcnn(_))
    }

    /// Loss weights of the classes; empty when there are none.
    pub fn class_weights(&self) -> &[f32] {
        match self {
            Self::RetinaNet(_) | Self::MaskRcnn(_) => &[],
            Self::SemanticFpn(c) => &c.loss.class_weight,
        }
    }

    /// The same network without loss weights of its classes.
    pub fn without_class_weights(mut self) -> Self {
        if let Self::SemanticFpn(c) = &mut self {
            c.loss.class_weight.clear();
        }
        self
    }

    /// Parameters whose shapes or meaning depend on the classes, as name prefixes.
    pub fn class_dependent(&self) -> Vec<String> {
        let names: &[&str] = match self {
            Self::RetinaNet(_) => &["bbox_head.retina_cls."],
            Self::MaskRcnn(_) => &[
                "roi_head.bbox_head.fc_cls.",
                "roi_head.bbox_head.fc_reg.",
                "roi_head.mask_head.conv_logits.",
            ],
            Self::SemanticFpn(_) => &["decode_head.conv_seg."],
        };
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    /// The same network for another number of classes.
    pub fn with_num_classes(mut self, num_classes: usize) -> Self {
        each!(&mut self, c => c.num_classes = num_classes);
        self
    }

    /// Builds the network for the builder's purpose, declaring its parameters.
    ///
    /// # Errors
    /// `Config` when the parts do not fit each other.
    pub fn build(&self, b: &Builder) -> Result<Network> {
        Ok(match self {
            Self::RetinaNet(c) => Network::Detector(Box::new(RetinaNet::new(b, c)?)),
            Self::MaskRcnn(c) => Network::Detector(Box::new(MaskRcnn::new(b, c)?)),
            Self::SemanticFpn(c) => Network::Segmenter(Box::new(SemanticFpn::new(b, c)?)),
        })
    }
}

impl Network {
    /// Number of classes the network tells apart.
    pub fn num_classes(&self) -> usize {
        match self {
            Self::Detector(net) => net.num_classes(),
            Self::Segmenter(net) => net.num_classes(),
        }
    }
}
