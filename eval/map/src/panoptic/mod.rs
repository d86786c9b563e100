//! Panoptic quality: the numbers of `panopticapi`'s `pq_compute`, one picture at a time.
//!
//! [Kirillov et al., 2019](https://arxiv.org/abs/1801.00868), section 4, with the rules of
//! [the official script](https://github.com/cocodataset/panopticapi/blob/master/panopticapi/evaluation.py):
//! - segments match when they have the same category and IoU > 0.5; the union leaves out the pixels of the predicted
//!   segment that are void (id 0) in the ground truth;
//! - a crowd segment is neither to be found nor found;
//! - a predicted segment that matches nothing is no false positive when more than half of it lies on void and on the
//!   crowd of its category (of several crowds of a category in one picture, the last in its list);
//! - pixels of the ground truth with an id that its list does not have are no void, but match nothing;
//! - PQ, SQ and RQ are means over the categories that occur at all.
//!
//! Different from it: areas are counted, not read from the file, and the sum of IoUs is exact, so that any split over
//! processes, merged in any order, gives the same bits as one run. What the script leaves to chance is refused: a segment
//! id twice in a list, id 0 in a list, two predictions for a picture. Where it fails (no category occurs) or prints 0 (a
//! category that does not occur), figures are −1.
//!
//! ```
//! use care_map::panoptic::{Categories, Category, PanopticQuality, Segment, SegmentMap};
//! let categories = Categories::new(vec![Category { id: 7, name: "dog".into(), isthing: true }])?;
//! let mut quality = PanopticQuality::new(categories);
//! let segments = [Segment::new(5, 7)];
//! let map = SegmentMap { ids: &[5, 5, 0, 0], segments: &segments };
//! quality.add(&1.into(), map, map)?;
//! assert_eq!(quality.summary().all.pq, 1.0);
//! # Ok::<(), care_map::Error>(())
//! ```
mod overlap;
mod picture;
mod quality;
mod records;
mod summary;

pub use picture::SegmentMap;
pub use quality::{CategoryCounts, PanopticQuality, TruthNotes};
pub use records::{
    Categories, Category, PanopticAnnotation, PanopticFile, PictureId, Segment, ids_from_rgb, pair, parse,
};
pub use summary::{CategoryQuality, PanopticSummary, Quality};
