//! COCO average precision and recall for boxes, masks, keypoints and boundaries: the numbers of pycocotools' `COCOeval`, to 1e-9.
//!
//! One function, plain data out, nothing printed:
//! ```
//! use care_map::{IouType, Params, evaluate};
//! let gt = care_types::coco_json::parse_dataset(
//!     br#"{"images":[{"id":1}],"categories":[{"id":7,"name":"dog"}],
//!          "annotations":[{"id":0,"image_id":1,"category_id":7,"bbox":[2,2,8,8],"area":64}]}"#)?;
//! let dt = care_types::coco_json::parse_results(
//!     br#"[{"image_id":1,"category_id":7,"bbox":[2,2,8,8],"score":0.9}]"#)?;
//! let metrics = evaluate(&gt, &dt, &Params::new(IouType::Bbox))?;
//! assert!((metrics.stats[0] - 1.0).abs() < 1e-9);
//! # Ok::<(), care_types::Error>(())
//! ```
//!
//! [`Evaluator`] gives the same bits picture by picture or in parts that are merged, and travels as bytes; [`compare`] says
//! which of two results is better, and whether that could be chance.
//!
//! The rules that published numbers depend on, all tested against pycocotools:
//! - a match needs IoU ≥ min(threshold, 1 − 1e-10); of equal IoUs the object later in the file wins;
//! - detections are taken by falling score, ties in file order inside a picture and by picture id between pictures;
//! - a crowd, and an object outside the area range, is matched last and counts neither way; a crowd can absorb many
//!   detections and its IoU is over the detection's area; an `ignore` field has no effect (pycocotools overwrites it);
//! - a detection's area is its box's when the first record of the file has a box, for masks too, and its mask's else;
//! - an object without a labelled joint counts neither way with keypoints, and one detection can find it; detections' areas
//!   are those of their boxes, masks or joints, as the first record has them;
//! - a boundary's IoU is the smaller one of those of the masks and of the bands; a crowd's is the mask's, and `ignore` has an
//!   effect (the program of its authors does not overwrite it);
//! - `AP` is at maxDets 100 and −1 when that is not among `maxDets`; the other figures use the third `maxDets`.
//!
//! Different from pycocotools, unless [`Params::quirks`] asks for it: an annotation with id 0 can be found (pycocotools
//! counts whoever finds it as a false positive), and objects that share an id stay different objects (pycocotools
//! evaluates the last one several times), and joints are compared when categories are not told apart (pycocotools then
//! compares none; lvis-api looks at nothing at all). [`CocoMetrics::pycocotools_stats`] says what it would have printed. Mask
//! strings with empty runs inside are read for what they mean (pycocotools stops comparing at two empty runs).
//! An id that two different pictures or categories have is refused (pycocotools takes the last one).
//!
//! [`Params::lvis`] follows lvis-api instead:
//! - detections of categories that are neither in a picture nor known not to be there are dropped; what finds nothing, of
//!   a category that is not labelled throughout the picture, counts neither way;
//! - `maxDets` (300) is for a picture, all categories together, before anything else is dropped;
//! - `ignore` has an effect and `iscrowd` has none; objects and detections without area are left out.
//!
//! [`explain`] says why a score is what it is; [`panoptic`] scores panoptic segmentation.
#![forbid(unsafe_code)]

mod accumulate;
mod ambiguous;
mod areas;
mod boundary;
mod cells;
mod columns;
mod compare;
mod curve;
mod detections;
mod evaluator;
pub mod explain;
mod federation;
mod figures;
mod files;
mod funnel;
mod keypoints;
mod kind;
mod matching;
mod mean;
mod metrics;
mod outlined;
pub mod panoptic;
mod params;
mod poses;
mod selection;
mod shape;
mod summary;

pub use areas::Areas;
pub use boundary::{BOUNDARY_RATIO, boundary};
pub use care_types::{Error, ErrorKind, Result};
pub use compare::{CategoryDifference, CompareOptions, Comparison, Difference, Verdict, compare};
pub use evaluator::{Evaluator, Shard, Source};
pub use figures::{Dets, Figure, figures, lvis_figures};
pub use files::evaluate_files;
pub use funnel::{AnnotationFunnel, DetectionFunnel, Funnel, ImageFunnel};
pub use keypoints::COCO_SIGMAS;
pub use kind::{Benchmark, IouType};
pub use metrics::{CategoryMetrics, CocoMetrics, Curves, Protocol};
pub use params::Params;

use care_types::coco_json::{Dataset, ResultRecord};
use selection::Selection;

/// Scores results against ground truth.
///
/// # Errors
/// `Config` for parameters that cannot be meant (ids that are not in the ground truth, lists of different length).
/// `Input` for data that cannot be scored, with the record and field: an image id that is not in the ground truth, a
/// score or coordinate that is not finite, a missing box or mask, a mask of another size than its picture.
pub fn evaluate(gt: &Dataset, dt: &[ResultRecord], params: &Params) -> Result<CocoMetrics> {
    params.validate()?;
    with_quirks(params, |params| run(gt, dt, params))
}

/// The metrics, and what pycocotools makes of the same data when that is something else.
fn with_quirks(params: &Params, run: impl Fn(&Params) -> Result<CocoMetrics>) -> Result<CocoMetrics> {
    let mut metrics = run(params)?;
    let odd_ids = metrics.funnel.annotations.id_zero + metrics.funnel.annotations.duplicate_ids > 0;
    if odd_ids && params.tells_quirks() {
        let quirky = Params { quirks: true, ..params.clone() };
        metrics.pycocotools_stats = Some(run(&quirky)?.stats);
    }
    Ok(metrics)
}

fn run(gt: &Dataset, dt: &[ResultRecord], params: &Params) -> Result<CocoMetrics> {
    let selection = Selection::new(gt, params)?.federated(gt, params)?;
    let mut funnel = Funnel::default();
    let curves = match params.iou_type {
        IouType::Bbox => {
            let truths = columns::truth_boxes(gt, &selection, &mut funnel)?;
            let found = columns::found_boxes(dt, &selection, &mut funnel)?;
            accumulate::curves(&truths, &found, &selection, params, &mut funnel)
        }
        IouType::Segm => {
            let truths = columns::truth_masks(gt, &selection, &mut funnel)?;
            let found = columns::found_masks(gt, dt, &selection, &mut funnel)?;
            accumulate::curves(&truths, &found, &selection, params, &mut funnel)
        }
        IouType::Keypoints => {
            let truths = poses::truth_poses(gt, &params.kpt_oks_sigmas, &selection, &mut funnel)?;
            let found = poses::found_poses(dt, &params.kpt_oks_sigmas, &selection, &mut funnel)?;
            accumulate::curves(&truths, &found, &selection, params, &mut funnel)
        }
        IouType::Boundary => {
            let truths = outlined::truths(gt, params.dilation_ratio, &selection, &mut funnel)?;
            let found = outlined::found((gt, dt), params.dilation_ratio, &selection, &mut funnel)?;
            accumulate::curves(&truths, &found, &selection, params, &mut funnel)
        }
    };
    Ok(summary::summarize(curves, &selection, params, funnel))
}
