//! `dataset.toml`: what a folder says of its own classes and values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use care_types::{CategoryId, ClassIndex, Label, LabelMap, SegTarget};
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};

use super::spelling::did_you_mean;
use super::table::ValueTable;
use crate::{Error, Result};

/// The file in a data set's folder that describes its classes and values:
///
/// ```toml
/// classes = ["road", "crack"]      # or [[classes]] with name = "road" and color = [128, 64, 128]
/// # reduce_zero_label = true       # instead of [values]: 0 is ignored, value k is class k - 1
///
/// [values]                         # what grey values and palette indices mean, complete
/// 0 = "ignore"
/// 17 = "road"
///
/// [colors]                         # the same for RGB files (and for palette files, when there is no [values])
/// "#804080" = "road"
/// ```
/// Without `[values]`, value `k` is class `k` and 255 is ignored (ADE20K's layout: as with `reduce_zero_label`). Without
/// `[colors]`, RGB files are read by the classes' own colours. A value or colour that is not named must not occur.
pub const DATASET_FILE: &str = "dataset.toml";
/// What a value is called that has no class.
const IGNORE: &str = "ignore";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Described {
    classes: Vec<Class>,
    reduce_zero_label: Option<bool>,
    #[serde(default)]
    values: BTreeMap<String, String>,
    #[serde(default)]
    colors: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Detailed {
    name: String,
    color: Option<[u8; 3]>,
}

#[derive(Debug)]
struct Class(Detailed);

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(ClassVisitor)
    }
}

struct ClassVisitor;

impl<'de> Visitor<'de> for ClassVisitor {
    type Value = Class;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a class, or a table with name and color")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<Class, E> {
        Ok(Class(Detailed { name: name.to_owned(), color: None }))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Class, A::Error> {
        Detailed::deserialize(MapAccessDeserializer::new(map)).map(Class)
    }
}

impl Described {
    /// The description in `folder`, if it has one.
    ///
    /// # Errors
    /// `Input` when the file cannot be read, is no such TOML, or contradicts itself.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(DATASET_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let input = |e: String| Error::input(format!("{}: {e}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|e| input(format!("cannot be read: {e}")))?;
        let described: Self =
            toml::from_str(&text).map_err(|e| input(e.to_string().trim_end().to_owned()))?;
        described.check().map_err(|e| e.context(path.display()))?;
        Ok(Some(described))
    }

    fn check(&self) -> Result<()> {
        let names = self.names();
        let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
        if let Some((_, name)) = twice {
            return Err(Error::input(format!("classes: {name:?} is there twice")));
        }
        if names.contains(&IGNORE) || !(1..=SegTarget::MAX_CLASSES).contains(&names.len()) {
            return Err(Error::input(format!(
                "classes: expected 1 to {} names, none of them {IGNORE:?}, got {}",
                SegTarget::MAX_CLASSES,
                names.join(", ")
            )));
        }
        if self.reduce_zero_label.is_some() && !self.values.is_empty() {
            return Err(Error::input(
                "reduce_zero_label says what [values] says already; leave one of them out",
            ));
        }
        self.table(false).map(|_| ())
    }

    fn names(&self) -> Vec<&str> {
        self.classes.iter().map(|c| c.0.name.as_str()).collect()
    }

    /// The classes; the category id is the smallest value of the class, or its index.
    pub(super) fn labels(&self, table: &ValueTable) -> LabelMap {
        let unknown = LabelMap::default();
        let entry = |(i, class): (usize, &Class)| Label {
            id: CategoryId(table.first_value(i as u8).unwrap_or(i as i64)),
            name: class.0.name.clone(),
            color: class.0.color.unwrap_or_else(|| unknown.color(ClassIndex(i))),
        };
        LabelMap::new(self.classes.iter().enumerate().map(entry).collect())
    }

    /// What values mean; `zero_ignored` is the format's own rule, for when the file does not say.
    ///
    /// # Errors
    /// `Input` for a key that is no value or colour, or a name that is no class.
    pub(super) fn table(&self, zero_ignored: bool) -> Result<ValueTable> {
        let mut colors = BTreeMap::new();
        for (key, name) in &self.colors {
            let color = parse_color(key).ok_or_else(|| {
                Error::input(format!(
                    "colors: {key:?}: expected a colour such as \"#804080\" or \"128, 64, 128\""
                ))
            })?;
            colors.insert(color, self.class(name, "colors")?);
        }
        let mut values = Vec::new();
        for (key, name) in &self.values {
            let value = key.parse::<u16>().map_err(|_| {
                Error::input(format!("values: {key:?}: expected a value from 0 to 65535 as key"))
            })?;
            values.push((value, self.class(name, "values")?));
        }
        let count = self.classes.len();
        if !values.is_empty() {
            return Ok(ValueTable::new(values, if colors.is_empty() { self.own_colors() } else { colors }));
        }
        if !colors.is_empty() {
            return Ok(ValueTable::new([], colors));
        }
        let zero_ignored = self.reduce_zero_label.unwrap_or(zero_ignored);
        if zero_ignored && count > SegTarget::MAX_CLASSES - 1 {
            return Err(Error::input(
                "255 classes and reduce_zero_label: value 255 is both a class and ignored",
            ));
        }
        let table = if zero_ignored { ValueTable::zero_ignored(count) } else { ValueTable::plain(count) };
        Ok(table.with_colors(self.own_colors()))
    }

    /// The classes' own colours as a table; empty when two classes share one.
    fn own_colors(&self) -> BTreeMap<[u8; 3], u8> {
        let given = self.classes.iter().enumerate().filter_map(|(i, c)| Some((c.0.color?, i as u8)));
        let colors: BTreeMap<[u8; 3], u8> = given.clone().collect();
        if colors.len() == given.count() { colors } else { BTreeMap::new() }
    }

    fn class(&self, name: &str, key: &str) -> Result<u8> {
        if name == IGNORE {
            return Ok(SegTarget::IGNORE);
        }
        let names = self.names();
        names.iter().position(|n| *n == name).map(|i| i as u8).ok_or_else(|| {
            let near = did_you_mean(name, names.iter().copied().chain([IGNORE]));
            Error::input(format!(
                "{key}: {name:?} is neither a class nor {IGNORE:?}{near}; classes are {}",
                names.join(", ")
            ))
        })
    }
}

/// `#rrggbb` or three decimal numbers.
fn parse_color(text: &str) -> Option<[u8; 3]> {
    if let Some(hex) = text.strip_prefix('#') {
        let number = u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 6)?;
        let [_, r, g, b] = number.to_be_bytes();
        return Some([r, g, b]);
    }
    let parts: Option<Vec<u8>> = text.split(',').map(|p| p.trim().parse().ok()).collect();
    parts?.try_into().ok()
}
