//! Pictures with a class for every pixel: reading ADE20K, Cityscapes and mask folders, and preparing samples for training.
//!
//! A [`SemanticSet`] gives pictures with their [`SegTarget`], whichever format the folder has ([`open_semantic`]); what the
//! values of its PNG files mean is one table per set, said in words in the rule that is printed. There is no silent guess:
//! a value that the table does not have is an error that names the file, the value and the pixel.
//! [`train_sample`] moves pixels and labels together; [`class_shares`] counts pixels per class.

mod aligned;
mod augment;
mod classes;
mod crop;
mod dataset;
mod describe;
mod fingerprint;
mod format;
mod funnel;
mod hsv;
mod layout;
mod photometric;
mod png_labels;
mod set;
mod shares;
mod spelling;
mod split;
mod table;

pub use aligned::aligned;
pub use augment::{RandomResize, SegAugment, SegSample, train_sample};
pub use care_types::SegTarget;
pub use crop::RandomCrop;
pub use dataset::{Reordered, SegDataset};
pub use describe::DATASET_FILE;
pub use format::{OpenedSemantic, SegFormat, open_semantic};
pub use funnel::SegFunnel;
pub use photometric::Photometric;
pub use png_labels::{LabelValues, read_label_values};
pub use set::{SegExample, SemanticSet};
pub use shares::{ClassShares, class_shares};
