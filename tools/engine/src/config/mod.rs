//! What a training run is: one typed value, written as TOML, resolved in layers.
//!
//! A layer is a TOML table that is laid over the one before: built-in detector → preset → the user's file → `--set` →
//! flags. Unknown keys are refused with the nearest known one at every layer, and the resolved value is saved with the
//! run, so that a run folder says everything that was decided.

mod augment;
mod layers;
mod presets;
mod scaling;

pub use augment::AugmentConfig;
pub use layers::{Layer, resolve};
pub use presets::{Preset, preset_names};
pub use scaling::ScaledRate;

use crate::error::{Error, Result};
use crate::optim::{DecayRule, OptimizerConfig};
use crate::schedule::Schedule;
use care_data::Preprocess;
use care_heads::registry::NetworkConfig;
use serde::{Deserialize, Serialize};

/// A training run in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The built-in detector that `detector` started from.
    pub model: String,
    /// What is learnt from; filled in by the command line.
    #[serde(default)]
    pub data: DataConfig,
    /// What the numbers start from.
    #[serde(default)]
    pub start: StartConfig,
    /// What is trained and for how long.
    pub train: TrainConfig,
    /// How parameters move.
    pub optimizer: OptimizerConfig,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// When and on what the detector is scored.
    pub validation: ValidationConfig,
    /// From pictures to network input, in training and ever after.
    pub preprocess: Preprocess,
    /// Changes of training pictures.
    pub augment: AugmentConfig,
    /// Architecture.
    pub network: NetworkConfig,
}

/// What is learnt from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of the data set, or `demo`.
    pub path: String,
    /// Training part; empty for the first usual name that is there.
    pub train_split: String,
    /// Part that is scored; empty for the first usual name that is there.
    pub val_split: String,
    /// Share of the training part that is kept for scoring when there is no other part; 0 for none.
    pub val_fraction: f64,
    /// Format of the data set; empty to recognise it by looking.
    pub format: String,
}

/// What the numbers start from: at most one of the two, drawn values without.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StartConfig {
    /// A detector's weights file, or `demo`.
    pub weights: String,
    /// A classification checkpoint.
    pub backbone: String,
}

/// What is trained and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Seed of initial values, shuffling and augmentation.
    pub seed: u64,
    /// Passes over the training pictures; not used when `steps` is above 0.
    pub epochs: u64,
    /// Optimiser steps; 0 means that `epochs` counts.
    pub steps: u64,
    /// Pictures per forward pass.
    pub batch: usize,
    /// Forward passes whose gradients are averaged into one step.
    pub accum: usize,
    /// Learning rate for `reference_batch` pictures a step.
    pub lr: f64,
    /// Pictures a step that `lr` is meant for; the rate is scaled by (batch × accum) / this.
    pub reference_batch: usize,
    /// Learning rate of the backbone relative to the rest.
    pub backbone_lr: f64,
    /// Learning rate of each backbone stage relative to the next one up; 1 for none.
    pub layer_decay: f64,
    /// Which parameters decay.
    #[serde(default)]
    pub decay: DecayRule,
    /// The global gradient norm is cut to this; 0 for never.
    pub clip_norm: f64,
    /// Decay of the averaged weights that are scored and saved; 0 for none.
    pub ema: f64,
    /// Batch norm keeps to its running statistics. Right with pretrained weights, wrong without.
    pub norm_eval: bool,
    /// How much of the backbone does not train: 0 nothing, 1 the stem, 2 the stem and the first stage, …
    pub frozen_stages: usize,
    /// Train on pictures without objects, too.
    pub keep_empty: bool,
    /// Evaluations without a better AP after which training ends; 0 for never.
    pub patience: u64,
    /// Steps between two snapshots, besides the one after every epoch; 0 for none.
    pub snapshot_every: u64,
}

/// When and on what the detector is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// Epochs between two evaluations; 0 for none at all.
    pub every: u64,
    /// Only the first pictures of the split; 0 for all.
    pub limit: usize,
}

impl RunConfig {
    /// Pictures a step.
    pub fn step_pictures(&self) -> usize {
        self.train.batch * self.train.accum
    }

    /// The resolved file that is saved with a run.
    ///
    /// # Errors
    /// `Internal` when it cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::internal(format!("the configuration as TOML: {e}")))
    }

    /// Reads a resolved file.
    ///
    /// # Errors
    /// `Config` when it is not one.
    pub fn from_toml(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|e| Error::config(layers::explain(&e)))?;
        config.check()?;
        Ok(config)
    }

    /// Whether the numbers make sense, each and together.
    ///
    /// # Errors
    /// `Config`, naming the key, what it is and what it should be.
    pub fn check(&self) -> Result<()> {
        let t = &self.train;
        let wrong = |key: &str, got: String, expected: &str| {
            Err(Error::config(format!("train.{key} is {got}, expected {expected}")))
        };
        for (key, value) in [("batch", t.batch), ("accum", t.accum), ("reference_batch", t.reference_batch)] {
            if value == 0 {
                return wrong(key, "0".into(), "at least 1");
            }
        }
        if t.steps == 0 && t.epochs == 0 {
            return wrong("epochs", "0".into(), "at least 1 (or train.steps)");
        }
        if !(t.lr.is_finite() && t.lr > 0.0) {
            return wrong("lr", t.lr.to_string(), "a finite number above 0");
        }
        if !(0.0..1.0).contains(&t.ema) {
            return wrong("ema", t.ema.to_string(), "0 (none) or a decay below 1, such as 0.999");
        }
        for (key, value) in [("backbone_lr", t.backbone_lr), ("clip_norm", t.clip_norm)] {
            if !(value.is_finite() && value >= 0.0) {
                return wrong(key, value.to_string(), "a finite number, at least 0");
            }
        }
        if !(t.layer_decay > 0.0 && t.layer_decay <= 1.0) {
            return wrong("layer_decay", t.layer_decay.to_string(), "above 0 and at most 1");
        }
        if t.frozen_stages > 5 {
            return wrong("frozen_stages", t.frozen_stages.to_string(), "0 to 5 (5 is the whole backbone)");
        }
        if !(0.0..1.0).contains(&self.data.val_fraction) {
            return Err(Error::config(format!(
                "data.val_fraction is {}, expected 0 (none) or a share below 1",
                self.data.val_fraction
            )));
        }
        self.preprocess.check()?;
        self.optimizer.check()?;
        self.schedule.check()?;
        self.augment.check(self.network.task())?;
        let [width, height] = self.augment.largest(&self.preprocess);
        crate::memory::check_pass(width.into(), height.into(), t.batch as u64)
            .map_err(|e| e.context(format!("train.batch {}", t.batch)))
    }
}
