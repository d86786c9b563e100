//! Says where a COCO file is wrong. Runs only after reading has failed, so that reading itself stays simple and fast.
use super::object::Object;
use super::{Annotation, Category, Image, ResultRecord};
use crate::{Error, ErrorKind, Result};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

/// The bytes of a file; that it is not there is the caller's mistake, anything else is the data's.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| {
        let missing = e.kind() == std::io::ErrorKind::NotFound;
        let kind = if missing { ErrorKind::Config } else { ErrorKind::Input };
        Error::new(kind, format!("{}: cannot read: {e}", path.display())).with_source(e)
    })
}

/// The bytes without the mark that some editors put in front of UTF-8.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// Why this is not an annotation file.
pub(super) fn dataset(bytes: &[u8], error: &serde_json::Error) -> Error {
    if let Some(e) = syntax(bytes) {
        return e;
    }
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Error::input("a list where an annotation file has an object (is this a results file?)");
    }
    let Ok(top) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(bytes) else {
        return Error::input(format!("not an annotation file: {error}"));
    };
    for name in ["images", "categories"] {
        if !top.contains_key(name) {
            return Error::input(format!("not an annotation file: `{name}` is missing"));
        }
    }
    let at = |name: &str| top.get(name).map_or("[]", |v| v.get());
    record::<Image>("images", at("images"))
        .or_else(|| record::<Annotation>("annotations", at("annotations")))
        .or_else(|| record::<Category>("categories", at("categories")))
        .unwrap_or_else(|| Error::input(format!("not an annotation file: {error}")))
}

/// Why this is not a results file.
pub(super) fn results(bytes: &[u8], error: &serde_json::Error) -> Error {
    if let Some(e) = syntax(bytes) {
        return e;
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    if text.trim_start().starts_with('{') {
        return Error::input("an object where a results file has a list (is this an annotation file?)");
    }
    record::<ResultRecord>("results", text)
        .unwrap_or_else(|| Error::input(format!("not a results file: {error}")))
}

/// Text that is not JSON at all, with byte, line and column.
fn syntax(bytes: &[u8]) -> Option<Error> {
    if bytes.trim_ascii().is_empty() {
        return Some(Error::input("the file is empty"));
    }
    let e = serde_json::from_slice::<IgnoredAny>(bytes).err()?;
    let (line, column) = (e.line(), e.column());
    let before: usize =
        bytes.split_inclusive(|&b| b == b'\n').take(line.saturating_sub(1)).map(<[u8]>::len).sum();
    let byte = (before + column.saturating_sub(1)).min(bytes.len());
    let rest = &bytes[byte..];
    let no_number = [&b"NaN"[..], b"Infinity", b"-Infinity", b"inf", b"nan", b"aN", b"N", b"I"];
    let hint =
        if no_number.iter().any(|n| rest.starts_with(n)) { " (JSON has no NaN or Infinity)" } else { "" };
    Some(Error::input(format!("not JSON at byte {byte}, line {line}, column {column}: {}{hint}", reason(&e))))
}

/// The first record of a list that cannot be read, and its field.
fn record<T: DeserializeOwned + Fields>(list: &str, text: &str) -> Option<Error> {
    let records: Vec<&RawValue> = match serde_json::from_str(text) {
        Ok(records) => records,
        Err(_) => return Some(Error::input(format!("`{list}` is not a list"))),
    };
    for (index, raw) in records.iter().enumerate() {
        let Err(error) = serde_json::from_str::<Object<T>>(raw.get()) else { continue };
        let field = field::<T>(raw.get()).map(|(name, why)| (format!(".{name}"), why));
        let (field, why) = field.unwrap_or_else(|| (String::new(), reason(&error)));
        return Some(Error::input(format!("{list}[{index}]{field}: {why}")));
    }
    None
}

/// The field that makes a record unreadable: the one without which, or with the value of a good record, it reads.
fn field<T: DeserializeOwned + Fields>(text: &str) -> Option<(String, String)> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
    for &(name, _) in T::FIELDS {
        let Some(value) = fields.get(name) else { continue };
        // A record of good values except for this one.
        let probe: Vec<String> = T::FIELDS
            .iter()
            .map(|&(n, g)| format!("{n:?}:{}", if n == name { value.get() } else { g }))
            .collect();
        if let Err(e) = serde_json::from_str::<T>(&format!("{{{}}}", probe.join(","))) {
            return Some((name.to_string(), reason(&e)));
        }
    }
    None
}

/// serde_json's message without its position, which would be relative to the record.
fn reason(e: &serde_json::Error) -> String {
    let text = e.to_string();
    let text = text.rfind(" at line ").map_or(text.as_str(), |at| &text[..at]);
    let got = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    match got.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some(("map", expected)) => format!("expected {}, got an object", plain(expected)),
        Some(("sequence", expected)) => format!("expected {}, got a list", plain(expected)),
        Some((got, expected)) => format!("expected {}, got {got}", plain(expected)),
        None => text.to_string(),
    }
}

/// Rust's names of types in plain words.
fn plain(expected: &str) -> &str {
    match expected {
        "f64" | "f32" => "a number",
        "u64" | "u32" | "u8" | "usize" => "a whole number of 0 or more",
        "i64" | "i32" => "a whole number",
        "a sequence" => "a list",
        "a map" => "an object",
        e if e.starts_with("struct ") || e.starts_with("enum ") => "an object",
        e => e,
    }
}

/// The fields of a record with a value that reads.
trait Fields {
    const FIELDS: &'static [(&'static str, &'static str)];
}

impl Fields for Image {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("id", "1"),
        ("width", "1"),
        ("height", "1"),
        ("file_name", "\"\""),
        ("neg_category_ids", "null"),
        ("not_exhaustive_category_ids", "null"),
    ];
}

impl Fields for Category {
    const FIELDS: &'static [(&'static str, &'static str)] =
        &[("id", "1"), ("name", "\"\""), ("supercategory", "null"), ("frequency", "null")];
}

impl Fields for Annotation {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("id", "1"),
        ("image_id", "1"),
        ("category_id", "1"),
        ("bbox", "null"),
        ("area", "null"),
        ("segmentation", "null"),
        ("iscrowd", "0"),
        ("ignore", "0"),
        ("keypoints", "null"),
        ("num_keypoints", "null"),
    ];
}

impl Fields for ResultRecord {
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("image_id", "1"),
        ("category_id", "1"),
        ("bbox", "null"),
        ("segmentation", "null"),
        ("keypoints", "null"),
        ("score", "1"),
    ];
}
