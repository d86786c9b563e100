//! Changes of training pictures, by task.

use crate::error::{Error, Result};
use care_data::Augment;
use care_data::semantic::SegAugment;
use care_heads::Task;
use serde::{Deserialize, Serialize};

/// What may happen to a training picture; `kind` says for which task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AugmentConfig {
    /// Boxes and masks of objects move with the pixels.
    Detection(Augment),
    /// A label map moves with the pixels.
    Segmentation(SegAugment),
}

impl AugmentConfig {
    /// Whether the numbers make sense, and are for this task.
    ///
    /// # Errors
    /// `Config`, naming the key.
    pub fn check(&self, task: Task) -> Result<()> {
        match (self, task) {
            (Self::Detection(augment), Task::Detection) => Ok(augment.check()?),
            (Self::Segmentation(augment), Task::Segmentation) => Ok(augment.check()?),
            _ => Err(Error::config(format!(
                "augment.kind is {}, but the model is for {}",
                if matches!(self, Self::Detection(_)) { "detection" } else { "segmentation" },
                if task == Task::Detection { "detection" } else { "segmentation" },
            ))),
        }
    }
}
