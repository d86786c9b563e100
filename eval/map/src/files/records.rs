//! What boxes and masks of a results file have in common.
use crate::Areas;
use crate::columns::{Place, place};
use crate::funnel::DetectionFunnel;
use crate::selection::Selection;
use care_types::coco_json::PlainResult;

/// Where areas of detections come from, if this record is the first one. `None` for joints, which go the general way.
pub(super) fn areas_of(record: &PlainResult<'_>) -> Option<Areas> {
    match (record.bbox, record.segmentation, record.has_keypoints) {
        (Some(_), ..) => Some(Areas::OfBoxes),
        (None, None, true) => None,
        _ => Some(Areas::OfMasks),
    }
}

/// The rule of all parts so far: the first part's, which all others have to have too. `None` when they have not.
pub(super) fn one_rule(before: Option<Areas>, part: Option<Areas>) -> Option<Option<Areas>> {
    match (before, part) {
        (Some(before), Some(part)) if before != part => None,
        _ => Some(before.or(part)),
    }
}

/// Category and picture of a detection, by position; counts those that are not evaluated. `None` when it is a mistake.
pub(super) fn cell_of(
    record: &PlainResult<'_>,
    selection: &Selection,
    count: &mut DetectionFunnel,
) -> Option<Option<(u32, u32)>> {
    count.in_results += 1;
    match place(record.image_id.0, record.category_id.0, selection) {
        Place::UnknownImage => return None,
        Place::UnknownCategory => count.unknown_category += 1,
        Place::NotSelected => count.not_selected += 1,
        Place::Cell { category, image } => return Some(Some((category, image))),
    }
    Some(None)
}

/// Adds the counts of a part.
pub(super) fn add_counts(sum: &mut DetectionFunnel, part: &DetectionFunnel) {
    sum.in_results += part.in_results;
    sum.unknown_category += part.unknown_category;
    sum.not_selected += part.not_selected;
    sum.negative_size += part.negative_size;
}
