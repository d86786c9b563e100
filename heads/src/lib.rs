//! From backbone features to objects: necks, heads, targets, losses and the selection of detections.
//!
//! Behaviour, names and numbers are those of mmdetection 3 unless a module says otherwise. Feature maps are
//! `[N, H, W, C]`, boxes are continuous pixels of the network's input, class indices are 0-based and
//! background is never a user's class.
#![forbid(unsafe_code)]

pub mod anchors;
pub mod box_coder;
mod conv_module;
mod dense;
pub mod dense_loss;
pub mod dense_select;
pub mod draw;
pub mod iou;
pub mod losses;
pub mod mask_rcnn;
pub mod matcher;
pub mod neck;
mod objects;
pub mod proposals;
mod pyramid;
pub mod registry;
pub mod retina_head;
pub mod retinanet;
pub mod roi;
pub mod rpn;
pub mod rpn_loss;
pub mod sampler;
pub mod seg_loss;
pub mod select;
pub mod semantic_fpn;
pub mod task;

pub use care_nn::{Error, ErrorKind, Result};
pub use conv_module::NormKind;
pub use draw::Draw;
pub use registry::{Network, NetworkConfig, Task};
pub use task::{Detector, ImageInfo, Images, Losses, Segmenter};
