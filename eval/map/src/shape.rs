//! What is compared: boxes or masks.
use care_types::{BoxXywh, Rle};
use std::borrow::Cow;

/// Something with an intersection over union.
pub(crate) trait Shape: Send + Sync {
    /// IoU of a detection with an object; over the detection's own area when the object is a crowd.
    fn iou(&self, truth: &Self, crowd: bool) -> f64;
}

impl Shape for BoxXywh {
    fn iou(&self, truth: &Self, crowd: bool) -> f64 {
        BoxXywh::iou(self, truth, crowd)
    }
}

/// A mask and the box around it, which settles most pairs.
pub(crate) struct Mask<'a> {
    rle: Cow<'a, Rle>,
    bbox: BoxXywh,
}

impl<'a> Mask<'a> {
    pub(crate) fn new(rle: Cow<'a, Rle>) -> Self {
        let bbox = rle.bbox();
        Mask { rle, bbox }
    }

    pub(crate) fn rle(&self) -> &Rle {
        &self.rle
    }

    pub(crate) fn area(&self) -> f64 {
        self.rle.area().into()
    }
}

impl Shape for Mask<'_> {
    fn iou(&self, truth: &Self, crowd: bool) -> f64 {
        if self.bbox.iou(&truth.bbox, crowd) > 0.0 {
            // Both were checked against the size of their picture, so sizes agree; if not, nothing matches.
            self.rle.iou(&truth.rle, crowd).unwrap_or(-1.0)
        } else {
            0.0
        }
    }
}
