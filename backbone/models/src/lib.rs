//! Backbones: pictures in, a pyramid of features out. One file per model.
//!
//! A model is a file and a line: the file holds config, blocks, forward and feature info; the line is its entry in
//! [`registry`]. Parameter names are those of the model's official release.
#![forbid(unsafe_code)]

pub mod backbone;
pub mod care;
pub mod registry;

pub use backbone::{Backbone, FeatureInfo, Features};
pub use care::{Care, CareConfig};
pub use care_nn::{Error, ErrorKind, Result};
pub use registry::BackboneConfig;
