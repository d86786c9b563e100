//! What is compared, and by whose rules.
use care_types::{Error, Result};
use serde::Serialize;
use std::str::FromStr;

/// What is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IouType {
    /// Boxes.
    #[default]
    Bbox,
    /// Masks.
    Segm,
    /// Joints, by object keypoint similarity instead of IoU.
    Keypoints,
    /// Masks, by the smaller one of the IoUs of the masks and of the bands along their outlines.
    Boundary,
}

impl IouType {
    /// All of them.
    pub const ALL: [IouType; 4] = [IouType::Bbox, IouType::Segm, IouType::Keypoints, IouType::Boundary];

    /// `bbox`, `segm`, `keypoints` or `boundary`.
    pub fn as_str(self) -> &'static str {
        match self {
            IouType::Bbox => "bbox",
            IouType::Segm => "segm",
            IouType::Keypoints => "keypoints",
            IouType::Boundary => "boundary",
        }
    }
}

impl FromStr for IouType {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            Error::config(format!("iou type {text:?}: expected bbox, segm, keypoints or boundary"))
        })
    }
}

/// Whose rules are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Benchmark {
    /// Every category was looked for in every picture: pycocotools.
    #[default]
    Coco,
    /// Each picture says for which categories: lvis-api.
    Lvis,
}

impl Benchmark {
    /// `coco` or `lvis`.
    pub fn as_str(self) -> &'static str {
        match self {
            Benchmark::Coco => "coco",
            Benchmark::Lvis => "lvis",
        }
    }
}

impl FromStr for Benchmark {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let all = [Benchmark::Coco, Benchmark::Lvis];
        let known = all.into_iter().find(|b| b.as_str() == text);
        known.ok_or_else(|| Error::config(format!("benchmark {text:?}: expected coco or lvis")))
    }
}
