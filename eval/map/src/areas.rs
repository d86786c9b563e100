//! Where the areas of detections come from.
use care_types::coco_json::ResultRecord;

/// What the area of a detection is, which decides the area ranges in which it counts. pycocotools looks at the first
/// record of a results file and takes all areas as it finds that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Areas {
    /// That of its box: the first record has one. Then all must have one.
    OfBoxes,
    /// That of its mask: the first record has no box. Others may have one.
    OfMasks,
    /// That of the box around its joints: the first record has joints, and neither box nor mask.
    OfJoints,
}

impl Areas {
    /// pycocotools' choice for a results file; `None` without records.
    pub fn of(results: &[ResultRecord]) -> Option<Self> {
        let first = results.first()?;
        Some(match (first.bbox, &first.segmentation, &first.keypoints) {
            (Some(_), ..) => Areas::OfBoxes,
            (None, None, Some(_)) => Areas::OfJoints,
            _ => Areas::OfMasks,
        })
    }
}
