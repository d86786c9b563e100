//! The facts of a data set: ids, boxes, masks, labels, targets, and the COCO JSON records that carry them.
//!
//! No tensors, no pictures, no threads: every crate that talks about objects in pictures can depend on this one.
//!
//! The types are made so that the classic mistakes do not compile: a [`ClassIndex`] (what a network predicts) is
//! not a [`CategoryId`] (what a data set calls it), a [`BoxXyxy`] is not a [`BoxXywh`], a [`RawDetection`]
//! (network pixels) is not a [`Detection`] (pixels of the original picture).
#![forbid(unsafe_code)]

pub mod coco_json;
mod detection;
mod error;
mod geometry;
mod ids;
mod label;
mod mask;
mod seg_target;
mod semantic;
pub mod state;
mod target;

pub use detection::{Detection, MaskLogits, RawDetection};
pub use error::{Error, ErrorKind, Result};
pub use geometry::{BoxXywh, BoxXyxy, Geometry, Size, xywh_from_xyxy, xyxy_from_xywh};
pub use ids::{CategoryId, ClassIndex, ImageId};
pub use label::{Label, LabelMap};
pub use mask::{MaskFacts, Pen, Rle, Segmentation, Span, common_pixels};
pub use seg_target::SegTarget;
pub use semantic::RawSemantic;
pub use target::{DetTarget, TargetRules};
