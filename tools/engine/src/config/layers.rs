//! TOML tables laid over each other, with messages that name the nearest known key.

use super::{Preset, RunConfig};
use crate::error::{Error, Result};
use care_data::Preprocess;
use care_heads::registry::NetworkConfig;
use care_nn::keymap::did_you_mean;
use serde::Serialize;
use toml::{Table, Value};

/// Keys whose value decides what the other keys beside it are: setting one drops what was there.
const TAGS: [&str; 2] = ["kind", "type"];

/// One source of settings, and what to call it in messages.
#[derive(Clone, Debug)]
pub struct Layer {
    name: String,
    table: Table,
}

impl Layer {
    /// A TOML document.
    ///
    /// # Errors
    /// `Config` with line and column where it is not TOML.
    pub fn from_text(name: &str, text: &str) -> Result<Self> {
        let table = text
            .parse::<Table>()
            .map_err(|e| Error::config(format!("{name}: {}", e.to_string().trim_end())))?;
        Ok(Self { name: name.to_owned(), table })
    }

    /// A TOML document that may name the preset it is laid over: `preset = "…"`.
    ///
    /// # Errors
    /// `Config` where it is not TOML, or the preset is unknown.
    pub fn with_preset(name: &str, text: &str) -> Result<(Option<Preset>, Self)> {
        let mut layer = Self::from_text(name, text)?;
        let preset = match layer.table.remove("preset") {
            None => None,
            Some(Value::String(preset)) => Some(Preset::named(&preset).map_err(|e| e.context(name))?),
            Some(_) => return Err(Error::config(format!("{name}: preset: expected a name in quotes"))),
        };
        Ok((preset, layer))
    }

    /// `a.b=value` of `--set`. What is not a TOML value is taken as text, so that quotes are not needed.
    ///
    /// # Errors
    /// `Config` when there is no `=` or a part of the key is empty.
    pub fn from_assignment(text: &str) -> Result<Self> {
        let name = format!("--set {text}");
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::config(format!("{name}: expected KEY=VALUE, such as train.lr=0.001")));
        };
        let parts: Vec<&str> = key.trim().split('.').collect();
        if parts.iter().any(|p| p.is_empty()) {
            return Err(Error::config(format!("{name}: the key has an empty part")));
        }
        let mut value = parse_value(value.trim());
        for part in parts.iter().rev() {
            value = Value::Table(Table::from_iter([((*part).to_owned(), value)]));
        }
        let Value::Table(table) = value else { return Err(Error::internal("a key without parts")) };
        Ok(Self { name, table })
    }

    /// A flag of the command line as the setting it stands for.
    ///
    /// # Errors
    /// `Internal` when the value cannot be written as TOML.
    pub fn from_flag(flag: &str, section: &str, key: &str, value: impl Serialize) -> Result<Self> {
        let value = Value::try_from(value).map_err(|e| Error::internal(format!("{flag}: {e}")))?;
        let inner = Table::from_iter([(key.to_owned(), value)]);
        Ok(Self {
            name: flag.to_owned(),
            table: Table::from_iter([(section.to_owned(), Value::Table(inner))]),
        })
    }
}

fn parse_value(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("v"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Lays `layers` over `preset` and reads the result. With `given` (the detector and preprocessing of a weights file), those
/// take the place of the preset's own; layers may still change them.
///
/// # Errors
/// `Config` naming the layer and the key.
pub fn resolve(
    preset: &Preset,
    given: Option<(&str, &NetworkConfig, &Preprocess)>,
    layers: &[Layer],
) -> Result<RunConfig> {
    let mut table = preset.base(given)?;
    let mut config = read(&table, preset.name())?;
    for layer in layers {
        if let Some(model) = layer.table.get("model").and_then(Value::as_str) {
            // another detector: its own settings come first, then what the layer says about them
            table.insert("network".into(), to_value(&NetworkConfig::preset(model)?)?);
        }
        lay(&mut table, &layer.table);
        config = read(&table, &layer.name)?;
    }
    config.check()?;
    Ok(config)
}

pub(super) fn to_value(value: &impl Serialize) -> Result<Value> {
    Value::try_from(value).map_err(|e| Error::internal(format!("settings as TOML: {e}")))
}

/// Tables merge, everything else is replaced.
pub(super) fn lay(under: &mut Table, over: &Table) {
    for (key, value) in over {
        match (under.get_mut(key), value) {
            (Some(Value::Table(below)), Value::Table(above)) if !changes_kind(below, above) => {
                lay(below, above)
            }
            _ => {
                under.insert(key.clone(), value.clone());
            }
        }
    }
}

fn changes_kind(below: &Table, above: &Table) -> bool {
    TAGS.iter().any(|tag| above.get(*tag).is_some_and(|v| below.get(*tag) != Some(v)))
}

fn read(table: &Table, name: &str) -> Result<RunConfig> {
    // by way of the text: errors of a document name the line's key, those of a value do not
    let text = toml::to_string(table).map_err(|e| Error::internal(format!("settings as TOML: {e}")))?;
    toml::from_str(&text).map_err(|e| Error::config(format!("{name}: {}", explain(&e))))
}

/// serde's message without the excerpt of a document that the user never wrote, with the nearest known key.
pub(super) fn explain(e: &toml::de::Error) -> String {
    let message = e.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let is_key = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let Some(unknown) = quoted.next().filter(|_| is_key) else { return message.to_owned() };
    let known: Vec<&str> = quoted.collect();
    let what = if message.starts_with("unknown field") { "setting" } else { "value" };
    let hint = did_you_mean(unknown, known.iter().copied());
    format!("unknown {what} `{unknown}`{hint}; known are {}", known.join(", "))
}
