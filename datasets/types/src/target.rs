//! What a detector should find in one picture, and mmdetection's rules for making it from annotations.
use crate::coco_json::{Annotation, Image};
use crate::{BoxXyxy, ClassIndex, LabelMap, Segmentation, xyxy_from_xywh};

/// The objects of one picture, in pixels of the original picture: four lists of the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetTarget {
    /// Boxes, not clipped to the picture.
    pub boxes: Vec<BoxXyxy>,
    /// Classes.
    pub classes: Vec<ClassIndex>,
    /// True for a crowd: not an object to find. (Whether anchors inside are background is the matcher's to say; with
    /// mmdetection's settings they are.)
    pub ignore: Vec<bool>,
    /// Masks as annotated; `None` where the annotation has none.
    pub masks: Vec<Option<Segmentation>>,
}

impl DetTarget {
    /// Number of objects, ignored ones included.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// True without objects.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Adds one object.
    pub fn push(&mut self, bbox: BoxXyxy, class: ClassIndex, ignore: bool, mask: Option<Segmentation>) {
        self.boxes.push(bbox);
        self.classes.push(class);
        self.ignore.push(ignore);
        self.masks.push(mask);
    }
}

/// mmdetection's rules for reading COCO annotations (`CocoDataset`), which its published numbers depend on.
///
/// An annotation is dropped when its category is not among the labels, when it is marked `ignore`, when its box does
/// not overlap the picture, when its area is not positive, or when its box is narrower or lower than one pixel.
/// A crowd stays, marked as ignored. Boxes are not clipped.
#[derive(Clone, Copy, Debug, Default)]
pub struct TargetRules;

impl TargetRules {
    /// The target of one picture from its annotations, in their order.
    pub fn target<'a>(
        &self,
        image: &Image,
        annotations: impl IntoIterator<Item = &'a Annotation>,
        labels: &LabelMap,
    ) -> DetTarget {
        let mut target = DetTarget::default();
        for a in annotations {
            let (Some(class), Some(bbox)) = (labels.index_of_id(a.category_id), a.bbox) else { continue };
            let inside_w = (bbox.x + bbox.w).min(f64::from(image.width)) - bbox.x.max(0.0);
            let inside_h = (bbox.y + bbox.h).min(f64::from(image.height)) - bbox.y.max(0.0);
            let overlaps = inside_w.max(0.0) * inside_h.max(0.0) != 0.0;
            let area = a.area.unwrap_or_else(|| bbox.area());
            if a.ignore || !overlaps || area <= 0.0 || bbox.w < 1.0 || bbox.h < 1.0 {
                continue;
            }
            let mask = a.segmentation.as_ref().and_then(Segmentation::usable);
            target.push(xyxy_from_xywh(bbox), class, a.iscrowd, mask);
        }
        target
    }

    /// Whether mmdetection's 1× recipes train on this picture: an annotation of a known class (a crowd or a dropped one
    /// counts), and no side under 32 pixels.
    pub fn used_for_training<'a>(
        &self,
        image: &Image,
        annotations: impl IntoIterator<Item = &'a Annotation>,
        labels: &LabelMap,
    ) -> bool {
        const MIN_SIDE: u32 = 32; // filter_cfg.min_size of mmdetection's COCO configs
        image.width.min(image.height) >= MIN_SIDE
            && annotations.into_iter().any(|a| labels.index_of_id(a.category_id).is_some())
    }
}
