//! The objects of a picture as losses see them: checked, crowds apart.

use care_nn::{Error, Result};
use care_types::{BoxXyxy, DetTarget, Segmentation};

/// The objects of one picture, and the regions to look away from.
#[derive(Default)]
pub(crate) struct Objects<'a> {
    pub(crate) boxes: Vec<BoxXyxy>,
    pub(crate) classes: Vec<usize>,
    pub(crate) masks: Vec<Option<&'a Segmentation>>,
    pub(crate) ignore: Vec<BoxXyxy>,
}

impl<'a> Objects<'a> {
    /// # Errors
    /// `Input` for a class that the network does not have, or a box that is not finite or has no area.
    pub(crate) fn of(target: &'a DetTarget, num_classes: usize) -> Result<Self> {
        let mut objects = Objects::default();
        for (i, b) in target.boxes.iter().enumerate() {
            if !b.to_array().iter().all(|v| v.is_finite()) {
                return Err(Error::input(format!("a target box is not finite: {b:?}")));
            }
            if target.ignore[i] {
                objects.ignore.push(*b);
                continue;
            }
            if b.x1 <= b.x0 || b.y1 <= b.y0 {
                return Err(Error::input(format!("a target box has no area: {b:?}")));
            }
            let class = target.classes[i].0;
            if class >= num_classes {
                return Err(Error::input(format!(
                    "a target has class index {class}, the network has {num_classes} classes"
                )));
            }
            objects.boxes.push(*b);
            objects.classes.push(class);
            objects.masks.push(target.masks[i].as_ref());
        }
        Ok(objects)
    }
}
