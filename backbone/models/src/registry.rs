//! The plain table of built-in backbones.

use crate::care::{Care, CareConfig};
use crate::{Backbone, Error, Result};
use care_nn::Builder;
use serde::{Deserialize, Serialize};

/// The configuration of any built-in backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum BackboneConfig {
    /// The CARE Transformer.
    Care(CareConfig),
}

/// Makes the published setting of a variant.
type Preset = fn() -> BackboneConfig;

/// Name and configuration of the built-in variants.
const PRESETS: &[(&str, Preset)] = &[
    ("care_s0", || BackboneConfig::Care(CareConfig::s0())),
    ("care_s1", || BackboneConfig::Care(CareConfig::s1())),
    ("care_s2", || BackboneConfig::Care(CareConfig::s2())),
    ("care_xs", || BackboneConfig::Care(CareConfig::xs())),
];

impl BackboneConfig {
    /// A built-in variant by name; the error lists the names.
    pub fn preset(name: &str) -> Result<Self> {
        PRESETS.iter().find(|p| p.0 == name).map(|p| p.1()).ok_or_else(|| {
            let names: Vec<&str> = Self::names().collect();
            Error::config(format!("unknown backbone `{name}`; known are {}", names.join(", ")))
        })
    }

    /// The names of the built-in variants.
    pub fn names() -> impl Iterator<Item = &'static str> {
        PRESETS.iter().map(|p| p.0)
    }

    /// Builds the feature extractor for the builder's purpose.
    pub fn build(&self, b: &Builder) -> Result<Box<dyn Backbone + Send + Sync>> {
        Ok(match self {
            Self::Care(config) => Box::new(Care::new(b, config)?),
        })
    }

    /// Parameters of an official checkpoint that the feature extractor leaves out, as name prefixes.
    pub fn unused_checkpoint_prefixes(&self) -> Vec<String> {
        match self {
            Self::Care(config) => config.unused_checkpoint_prefixes(),
        }
    }

    /// Parameters that a classification checkpoint holds under another name: (ours, theirs) prefixes.
    pub fn checkpoint_aliases(&self) -> Vec<(String, String)> {
        match self {
            Self::Care(config) => config.checkpoint_aliases(),
        }
    }

    /// Parameters that no classification checkpoint holds, as name prefixes.
    pub fn fresh_prefixes(&self) -> Vec<String> {
        match self {
            Self::Care(config) => config.fresh_prefixes(),
        }
    }
}
