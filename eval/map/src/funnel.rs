//! What went into an evaluation, and what did not and why.
use serde::Serialize;

/// Counts from the files to the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Funnel {
    /// Pictures.
    pub images: ImageFunnel,
    /// Objects of the ground truth.
    pub annotations: AnnotationFunnel,
    /// Detections.
    pub detections: DetectionFunnel,
}

/// Pictures: `in_ground_truth = evaluated + not_selected`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageFunnel {
    /// Different pictures in the file.
    pub in_ground_truth: usize,
    /// Dropped: not among `imgIds`.
    pub not_selected: usize,
    /// Scored.
    pub evaluated: usize,
    /// Of those evaluated: without an object of an evaluated category.
    pub without_objects: usize,
    /// Of those evaluated: without a detection of an evaluated category.
    pub without_detections: usize,
    /// Of those evaluated: could not be looked at, which counts as finding nothing. Only who ran the detector knows;
    /// see [`Funnel::with_failed`].
    #[serde(skip_serializing_if = "is_zero")]
    pub failed: usize,
}

impl Funnel {
    /// Tells pictures that could not be looked at from those in which nothing was found.
    pub fn with_failed(mut self, failed: usize) -> Self {
        self.images.failed = failed;
        self.images.without_detections = self.images.without_detections.saturating_sub(failed);
        self
    }
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// Objects: `in_ground_truth = evaluated + unknown_image + unknown_category + not_selected + without_area`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AnnotationFunnel {
    /// Records in the file.
    pub in_ground_truth: usize,
    /// Dropped: their image id is not among the pictures.
    pub unknown_image: usize,
    /// Dropped: their category id is not among the categories.
    pub unknown_category: usize,
    /// Dropped: picture or category not among `imgIds`, `catIds`.
    pub not_selected: usize,
    /// Dropped, by LVIS' rules: without area.
    #[serde(skip_serializing_if = "is_zero")]
    pub without_area: usize,
    /// Used.
    pub evaluated: usize,
    /// Of those used: crowds, which count neither way.
    pub crowd: usize,
    /// Of those used: not to be found without being crowds. With keypoints those without a labelled joint, with boundaries
    /// and by LVIS' rules those marked `ignore`.
    #[serde(skip_serializing_if = "is_zero")]
    pub ignored: usize,
    /// Of those used: marked `ignore`, which COCO's evaluation does not look at.
    pub ignore_flag_without_effect: usize,
    /// Of those used: no `area`; the box's (or, for masks, the mask's) was taken.
    pub area_missing: usize,
    /// Of those used: with an id that an earlier one has.
    pub duplicate_ids: usize,
    /// Of those used: with id 0.
    pub id_zero: usize,
}

/// Detections: `in_results = used + unknown_category + not_selected + beyond_max_dets + unverified + without_area`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DetectionFunnel {
    /// Records in the file.
    pub in_results: usize,
    /// Dropped: their category id is not among the categories.
    pub unknown_category: usize,
    /// Dropped: picture or category not among `imgIds`, `catIds`.
    pub not_selected: usize,
    /// Dropped: more than the largest `maxDets` of their picture and category (by LVIS' rules, of their picture).
    pub beyond_max_dets: usize,
    /// Dropped, by LVIS' rules: whether their category is in their picture is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub unverified: usize,
    /// Dropped, by LVIS' rules: without area.
    #[serde(skip_serializing_if = "is_zero")]
    pub without_area: usize,
    /// Used.
    pub used: usize,
    /// Of those used, as boxes: a width or height below 0, which overlaps nothing.
    #[serde(skip_serializing_if = "is_zero")]
    pub negative_size: usize,
}
