//! COCO-format folders: find the annotation file and the pictures.
//!
//! Layouts, `S` being the split:
//! - official: `annotations/instances_S.json`, pictures in `S/`
//! - by kind: `annotations/instances_S.json` (or `coco/…`), pictures in `images/S/`, `images/` or `JPEGImages/`
//! - by split (Roboflow's COCO export): `S/_annotations.coco.json` beside its pictures

use std::path::{Path, PathBuf};

use care_types::coco_json;

use crate::annotated::{AnnotatedSet, resolve};
use crate::{Error, Result};

/// The splits that are scored, tried in this order, when none is named.
pub const DEFAULT_SPLITS: [&str; 5] = ["val2017", "val", "valid", "validation", "test"];

pub(crate) fn recognise(folder: &Path) -> Option<String> {
    let splits = splits_in(folder);
    let file = annotation_files(folder, splits.first()?).into_iter().find(|f| f.is_file())?;
    let kind = if file.ends_with("_annotations.coco.json") { "COCO, as Roboflow exports it" } else { "COCO" };
    Some(format!("{kind}: {}", file.display()))
}

/// Opens the `split` of the COCO data set in `folder`; without one, the first of [`DEFAULT_SPLITS`] that is there.
///
/// # Errors
/// `Config` when the folder or the named split is not there; `Input` when the folder holds no COCO data set or the
/// annotation file is malformed.
pub fn open(folder: &Path, split: Option<&str>) -> Result<AnnotatedSet> {
    if !folder.is_dir() {
        return Err(Error::config(format!("{}: no such folder", folder.display())));
    }
    let wanted: Vec<&str> = split.map_or_else(|| DEFAULT_SPLITS.to_vec(), |s| vec![s]);
    for split in &wanted {
        if let Some(file) = annotation_files(folder, split).into_iter().find(|f| f.is_file()) {
            return Ok(from_file(&file, &picture_folders(folder, split, &file))?.with_split(split));
        }
    }
    Err(not_found(folder, split))
}

/// Opens an annotation file whose pictures lie in one of `folders` (tried in order, per picture).
///
/// # Errors
/// `Config` when there is no such file, `Input` when it is malformed or uses a picture id twice.
pub fn from_file(annotation_file: &Path, folders: &[PathBuf]) -> Result<AnnotatedSet> {
    let truth = coco_json::read_dataset(annotation_file)?;
    let files = resolve(&truth.images, folders);
    AnnotatedSet::new(annotation_file, truth, files)
}

fn annotation_files(folder: &Path, split: &str) -> Vec<PathBuf> {
    let instances = format!("instances_{split}.json");
    vec![
        folder.join("annotations").join(&instances),
        folder.join("coco").join(&instances),
        folder.join("annotations").join(format!("{split}.json")),
        folder.join(split).join("_annotations.coco.json"),
        folder.join(&instances),
    ]
}

fn picture_folders(folder: &Path, split: &str, annotation_file: &Path) -> Vec<PathBuf> {
    let mut folders = vec![
        folder.join(split),
        folder.join("images").join(split),
        folder.join("images"),
        folder.join("JPEGImages"),
        folder.to_owned(),
    ];
    folders.extend(annotation_file.parent().map(Path::to_owned));
    folders
}

fn not_found(folder: &Path, split: Option<&str>) -> Error {
    let there = splits_in(folder);
    let name = folder.display();
    match (split, there.is_empty()) {
        (_, true) => Error::input(format!(
            "{name}: holds no COCO data set; expected annotations/instances_SPLIT.json with pictures in SPLIT/ or \
             images/SPLIT/"
        )),
        (Some(split), false) => {
            Error::config(format!("{name}: has no split {split:?}; it has {}", there.join(", ")))
        }
        (None, false) => Error::config(format!(
            "{name}: has none of the splits {}; name one of {}",
            DEFAULT_SPLITS.join(", "),
            there.join(", ")
        )),
    }
}

/// The splits that a folder has annotation files for, sorted.
pub fn splits_in(folder: &Path) -> Vec<String> {
    let mut splits = std::collections::BTreeSet::new();
    for sub in ["annotations", "coco", "."] {
        for name in names_in(&folder.join(sub)) {
            let split = name.strip_prefix("instances_").and_then(|n| n.strip_suffix(".json"));
            splits.extend(split.map(str::to_owned));
        }
    }
    let by_split = |name: &String| folder.join(name).join("_annotations.coco.json").is_file();
    splits.extend(names_in(folder).into_iter().filter(by_split));
    splits.into_iter().collect()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().into_string().ok()).collect()
}
