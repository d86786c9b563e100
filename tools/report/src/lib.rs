//! What people look at: detections drawn over pictures, pictures beside each other, and charts.
#![forbid(unsafe_code)]

mod axis;
mod chart;
mod draw;
mod gallery;
mod label;
mod scene;

pub use chart::{Chart, Series, line_chart_svg};
pub use draw::{OverlayOptions, overlay};
pub use gallery::{beside, mosaic, side_by_side};
pub use scene::scene_overlay;
