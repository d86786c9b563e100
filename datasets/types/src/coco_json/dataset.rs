//! Annotation files.
use super::{Annotation, Category, Image, Start, diagnose, object, plain_annotations, plain_dataset};
use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// An annotation file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Free-form notes.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub info: serde_json::Value,
    /// The pictures.
    #[serde(deserialize_with = "object::list")]
    pub images: Vec<Image>,
    /// The objects; empty when the file has none (the image lists of test sets).
    #[serde(default, deserialize_with = "object::list")]
    pub annotations: Vec<Annotation>,
    /// The classes.
    #[serde(deserialize_with = "object::list")]
    pub categories: Vec<Category>,
}

/// Reads an annotation file.
///
/// # Errors
/// `Config` when there is no such file, `Input` when it cannot be read or is not an annotation file; the message has
/// the file and byte, line and column, or the record and field.
pub fn read_dataset(path: &Path) -> Result<Dataset> {
    read_plain(path)
        .map_or_else(|| parse_dataset(&diagnose::read(path)?).map_err(|e| e.context(path.display())), Ok)
}

fn read_plain(path: &Path) -> Option<Dataset> {
    plain_dataset(path, |opening| {
        let mut annotations = Vec::new();
        let start = Start::Opening(opening);
        let covered = plain_annotations(path, start, u64::MAX, true, |a| annotations.push(a))?;
        covered.closed.then_some((annotations, covered.to))
    })
}

/// Reads an annotation file from memory.
///
/// # Errors
/// `Input`, as [`read_dataset`].
pub fn parse_dataset(bytes: &[u8]) -> Result<Dataset> {
    let bytes = diagnose::without_mark(bytes);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    object::one(&mut json)
        .and_then(|dataset| json.end().map(|()| dataset))
        .map_err(|e| diagnose::dataset(bytes, &e))
}
