//! What people look at: detections drawn over pictures.
#![forbid(unsafe_code)]

mod draw;
mod label;

pub use draw::{OverlayOptions, overlay};
