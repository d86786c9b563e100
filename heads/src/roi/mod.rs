//! The second stage of two-stage detectors: features of boxes, and what they say about class, box and mask.

pub mod bbox_head;
pub mod extractor;
pub mod head;
mod linear;
pub mod mask_head;
pub mod mask_target;
