//! Pictures and data sets: decoding, resizing, reading annotated folders, the demo set, loading ahead.
//!
//! A fact crate: no tensors. A path becomes upright 8-bit RGB within limits ([`image_io`]), that becomes normalised
//! floats with the [`Geometry`](care_types::Geometry) needed to undo the resize ([`transforms`]). A [`Dataset`] gives
//! pictures with their objects in original pixels; [`loader`] prepares them ahead of the network.
#![forbid(unsafe_code)]

mod annotated;
pub mod augment;
pub mod coco;
mod dataset;
pub mod demo;
pub mod folder;
mod format;
pub mod image_io;
pub mod loader;
pub mod resize;
pub mod rng;
pub mod sampling;
pub mod semantic;
mod split;
pub mod transforms;
mod voc;
mod yolo;

pub use annotated::AnnotatedSet;
pub use augment::{Augment, TrainSample};
pub use care_types::{Error, ErrorKind, Result};
pub use coco::DEFAULT_SPLITS;
pub use dataset::{Dataset, Example, Funnel};
pub use demo::DemoDataset;
pub use format::{Format, Opened, TRAIN_SPLITS, open_part};
pub use image_io::{DecodeLimits, decode_bytes, decode_path, decode_path_within};
pub use loader::prefetch;
pub use split::split_off;
pub use transforms::{ClassifyPreprocess, Interpolation, Preprocess, Sample, Scale};
