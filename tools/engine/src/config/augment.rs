//! Changes of training pictures, by task.

use crate::error::{Error, Result};
use care_data::semantic::SegAugment;
use care_data::{Augment, Preprocess, Scale};
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
    /// The largest size of a training picture, without padding.
    pub fn largest(&self, preprocess: &Preprocess) -> [u32; 2] {
        match self {
            Self::Detection(augment) => {
                let of = |scale: &Scale| [scale.long, scale.short];
                let all = augment.scales.iter().map(of);
                all.max_by_key(|[long, short]| u64::from(*long) * u64::from(*short))
                    .unwrap_or(of(&preprocess.scale))
            }
            Self::Segmentation(augment) => augment.crop.size,
        }
    }

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
