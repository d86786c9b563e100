//! What a detector found: in network pixels, and in pixels of the original picture.
use crate::{BoxXyxy, ClassIndex, Rle};

/// One object in **network** pixels, as a head returns it.
#[derive(Clone, Debug, PartialEq)]
pub struct RawDetection {
    /// The class.
    pub class: ClassIndex,
    /// In [0, 1].
    pub score: f32,
    /// In network pixels (resized picture, padding included).
    pub bbox: BoxXyxy,
    /// Logits of the mask inside the box, for models that have masks.
    pub mask_logits: Option<MaskLogits>,
}

/// A square map of mask logits that fills its detection's box.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskLogits {
    /// Rows and columns (28 for Mask R-CNN).
    pub size: usize,
    /// `size * size` values, row by row.
    pub data: Vec<f32>,
}

/// One object in pixels of the **original** picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// The class.
    pub class: ClassIndex,
    /// In [0, 1].
    pub score: f32,
    /// In pixels of the original picture.
    pub bbox: BoxXyxy,
    /// Of the size of the original picture.
    pub mask: Option<Rle>,
}
