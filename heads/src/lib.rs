//! From backbone features to objects: necks, heads, targets, losses and the selection of detections.
//!
//! Behaviour, names and numbers are those of mmdetection 3 unless a module says otherwise. Feature maps are `[N, H, W, C]`,
//! boxes are continuous pixels of the network's input, class indices are 0-based and background is never a user's class.
#![forbid(unsafe_code)]

pub mod anchors;
pub mod box_coder;
pub mod iou;
pub mod matcher;
pub mod select;
pub mod task;

pub use care_nn::{Error, ErrorKind, Result};
pub use task::{Detector, ImageInfo, Images, Losses};
