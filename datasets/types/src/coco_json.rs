//! COCO's JSON records: annotation files (ground truth) and results files, in the dialects that exist.
//!
//! Accepted beside the official form: no `iscrowd`, no `area`, `segmentation` null, empty, one flat polygon, compressed
//! or uncompressed run lengths, ids with holes, ids written as `1.0`, repeated annotation ids, an empty results list.
//! Refused, with file, record and field: what cannot be meant (a missing id, a box of three numbers, an unfinished
//! mask string, run lengths that do not fill their picture, a score that is no number).
mod annotation;
mod dataset;
mod diagnose;
mod number;
mod object;
mod plain;
mod results;
mod segmentation;

pub use annotation::{Annotation, Category, Frequency, Image};
pub use dataset::{Dataset, parse_dataset, read_dataset};
pub use plain::{
    Covered, PlainResult, Start, plain_annotations, plain_dataset, plain_end, plain_results,
    plain_results_opening,
};
pub use results::{ResultRecord, parse_results, read_results, results_json, write_results};
