//! Recipes that ship, as files of this repository.

use super::layers::{Layer, lay, to_value};
use crate::error::{Error, Result};
use care_data::Preprocess;
use care_heads::registry::NetworkConfig;
use care_nn::keymap::did_you_mean;
use toml::{Table, Value};

/// Name and text; the files stand in `tools/engine/presets`.
const PRESETS: [(&str, &str); 12] = [
    ("mask_rcnn_care_s0_coco_1x", include_str!("../../presets/mask_rcnn_care_s0_coco_1x.toml")),
    ("mask_rcnn_care_s0_custom", include_str!("../../presets/mask_rcnn_care_s0_custom.toml")),
    ("mask_rcnn_care_xs_demo", include_str!("../../presets/mask_rcnn_care_xs_demo.toml")),
    ("mask_rcnn_care_xs_scratch", include_str!("../../presets/mask_rcnn_care_xs_scratch.toml")),
    ("retinanet_care_s0_coco_1x", include_str!("../../presets/retinanet_care_s0_coco_1x.toml")),
    ("retinanet_care_s0_custom", include_str!("../../presets/retinanet_care_s0_custom.toml")),
    ("retinanet_care_xs_demo", include_str!("../../presets/retinanet_care_xs_demo.toml")),
    ("retinanet_care_xs_scratch", include_str!("../../presets/retinanet_care_xs_scratch.toml")),
    ("semantic_fpn_care_s0_ade20k_40k", include_str!("../../presets/semantic_fpn_care_s0_ade20k_40k.toml")),
    ("semantic_fpn_care_s0_custom", include_str!("../../presets/semantic_fpn_care_s0_custom.toml")),
    ("semantic_fpn_care_xs_demo", include_str!("../../presets/semantic_fpn_care_xs_demo.toml")),
    ("semantic_fpn_care_xs_scratch", include_str!("../../presets/semantic_fpn_care_xs_scratch.toml")),
];

/// A recipe that ships.
#[derive(Clone, Debug)]
pub struct Preset {
    name: &'static str,
    text: &'static str,
}

/// The names of all presets.
pub fn preset_names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|p| p.0)
}

impl Preset {
    /// The preset of that name.
    ///
    /// # Errors
    /// `Config` with the known names.
    pub fn named(name: &str) -> Result<Self> {
        match PRESETS.iter().find(|p| p.0 == name) {
            Some(&(name, text)) => Ok(Self { name, text }),
            None => Err(Error::config(format!(
                "there is no preset `{name}`{}; there are {}",
                did_you_mean(name, preset_names()),
                preset_names().collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The file.
    pub fn text(&self) -> &'static str {
        self.text
    }

    /// The preset over the settings of its detector, or over those of a weights file.
    pub(super) fn base(&self, given: Option<(&str, &NetworkConfig, &Preprocess)>) -> Result<Table> {
        let mut own =
            self.text.parse::<Table>().map_err(|e| Error::internal(format!("{}: {e}", self.name)))?;
        let mut table = Table::new();
        match given {
            Some((model, detector, preprocess)) => {
                own.remove("network");
                own.remove("preprocess");
                own.insert("model".into(), Value::String(model.to_owned()));
                table.insert("network".into(), to_value(detector)?);
                table.insert("preprocess".into(), to_value(preprocess)?);
            }
            None => {
                let model = own.get("model").and_then(Value::as_str).unwrap_or_default();
                table.insert("network".into(), to_value(&NetworkConfig::preset(model)?)?);
                table.insert("preprocess".into(), to_value(&Preprocess::default())?);
            }
        }
        lay(&mut table, &own);
        Ok(table)
    }
}

impl TryFrom<&Preset> for Layer {
    type Error = Error;

    fn try_from(preset: &Preset) -> Result<Self> {
        Layer::from_text(preset.name, preset.text)
    }
}
