//! The plain table of built-in detectors.

use crate::conv_module::NormKind;
use crate::retina_head::RetinaHeadConfig;
use crate::retinanet::{RetinaNet, RetinaNetConfig};
use crate::select::SelectConfig;
use crate::task::Detector;
use care_backbone::BackboneConfig;
use care_nn::keymap::did_you_mean;
use care_nn::params::Builder;
use care_nn::{Error, Result};
use serde::{Deserialize, Serialize};

/// The configuration of any built-in detector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DetectorConfig {
    /// One-stage detector with focal loss.
    #[serde(rename = "retinanet")]
    RetinaNet(RetinaNetConfig),
}

/// Makes the published setting of a family around a backbone, for a number of classes.
type Family = fn(BackboneConfig, usize) -> DetectorConfig;

/// Name of a preset, its family and its backbone. All have COCO's 80 classes until told otherwise.
const PRESETS: &[(&str, Family, &str)] = &[
    ("retinanet_care_s0", retinanet, "care_s0"),
    ("retinanet_care_s1", retinanet, "care_s1"),
    ("retinanet_care_s2", retinanet, "care_s2"),
    ("retinanet_care_xs", small_retinanet, "care_xs"),
];

const COCO_CLASSES: usize = 80;

fn retinanet(backbone: BackboneConfig, num_classes: usize) -> DetectorConfig {
    DetectorConfig::RetinaNet(RetinaNetConfig::new(backbone, num_classes))
}

/// Two 3×3 convolutions of 96 channels per tower, batch norm everywhere: trains from random weights on a CPU.
fn small_retinanet(backbone: BackboneConfig, num_classes: usize) -> DetectorConfig {
    const WIDTH: usize = 96;
    let mut config = RetinaNetConfig::new(backbone, num_classes);
    config.neck.out_channels = WIDTH;
    config.neck.norm = NormKind::Batch;
    config.head = RetinaHeadConfig {
        stacked_convs: 2,
        feat_channels: WIDTH,
        norm: NormKind::Batch,
        ..RetinaHeadConfig::default()
    };
    DetectorConfig::RetinaNet(config)
}

impl DetectorConfig {
    /// The built-in detector of that name, for COCO's 80 classes.
    ///
    /// # Errors
    /// `Config` with the known names.
    pub fn preset(name: &str) -> Result<Self> {
        let Some((_, family, backbone)) = PRESETS.iter().find(|p| p.0 == name) else {
            let known: Vec<&str> = Self::preset_names().collect();
            let hint = did_you_mean(name, Self::preset_names());
            return Err(Error::config(format!(
                "unknown detector `{name}`{hint}; known are {}",
                known.join(", ")
            )));
        };
        Ok(family(BackboneConfig::preset(backbone)?, COCO_CLASSES))
    }

    /// Names of the built-in detectors.
    pub fn preset_names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|p| p.0)
    }

    /// The feature extractor.
    pub fn backbone(&self) -> &BackboneConfig {
        match self {
            Self::RetinaNet(c) => &c.backbone,
        }
    }

    /// Number of classes.
    pub fn num_classes(&self) -> usize {
        match self {
            Self::RetinaNet(c) => c.num_classes,
        }
    }

    /// From scores to detections: what a run may change without touching the weights.
    pub fn select_mut(&mut self) -> &mut SelectConfig {
        match self {
            Self::RetinaNet(c) => &mut c.select,
        }
    }

    /// Whether its detections carry masks.
    pub fn predicts_masks(&self) -> bool {
        match self {
            Self::RetinaNet(_) => false,
        }
    }

    /// Parameters whose shapes or meaning depend on the classes, as name prefixes.
    pub fn class_dependent(&self) -> Vec<String> {
        match self {
            Self::RetinaNet(_) => vec!["bbox_head.retina_cls.".to_owned()],
        }
    }

    /// The same detector for another number of classes.
    pub fn with_num_classes(mut self, num_classes: usize) -> Self {
        match &mut self {
            Self::RetinaNet(c) => c.num_classes = num_classes,
        }
        self
    }

    /// Builds the network for the builder's purpose, declaring its parameters.
    ///
    /// # Errors
    /// `Config` when the parts do not fit each other.
    pub fn build(&self, b: &Builder) -> Result<Box<dyn Detector>> {
        Ok(match self {
            Self::RetinaNet(c) => Box::new(RetinaNet::new(b, c)?),
        })
    }
}
