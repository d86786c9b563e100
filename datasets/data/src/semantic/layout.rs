//! Where a part's pictures and label maps are, and which belong together: by their path without the ending.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::annotated::Resolved;
use crate::folder::{Found, find_pictures};
use crate::{DEFAULT_SPLITS, Result, TRAIN_SPLITS};

/// Folders of label maps beside `images/`, in the order in which they are looked for.
const LABEL_FOLDERS: [&str; 3] = ["masks", "labels", "annotations"];
/// The part of a set without folders per part.
const WHOLE: &str = "train";
/// Remarks about single files that are kept.
const REMARKS: usize = 20;

/// A picture and its label map; one of them may be missing.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// Path below the part's folder, without ending and format's suffix.
    pub(super) stem: String,
    pub(super) file_name: String,
    pub(super) picture: Resolved,
    pub(super) label: Resolved,
}

/// A folder and what the names of its files end with before the dot.
pub(super) struct Side<'a> {
    pub(super) folder: PathBuf,
    pub(super) suffix: &'a str,
}

/// The pictures of a part with their label maps, sorted, and what was odd.
///
/// # Errors
/// `Input` when one of the folders cannot be read or holds no picture at all.
pub(super) fn pair_up(pictures: &Side<'_>, labels: &Side<'_>) -> Result<(Vec<Pair>, Vec<String>)> {
    let mut remarks = Vec::new();
    let pictures_found = by_stem(pictures, &mut remarks)?;
    let mut labels_found = by_stem(labels, &mut remarks)?;
    let expected = |side: &Side<'_>, stem: &str, ending: &str| {
        side.folder.join(format!("{stem}{}.{ending}", side.suffix))
    };
    let mut pairs = Vec::new();
    for (stem, found) in pictures_found {
        let label = labels_found.remove(&stem).map(|f| Resolved::Found(f.path));
        pairs.push(Pair {
            label: label.unwrap_or_else(|| Resolved::Missing(expected(labels, &stem, "png"))),
            file_name: found.relative.display().to_string(),
            picture: Resolved::Found(found.path),
            stem,
        });
    }
    for (stem, found) in labels_found {
        let picture = Resolved::Missing(expected(pictures, &stem, "jpg"));
        let file_name = format!("{stem}{}.jpg", pictures.suffix);
        pairs.push(Pair { stem, file_name, picture, label: Resolved::Found(found.path) });
    }
    pairs.sort_by(|a, b| a.stem.cmp(&b.stem));
    if remarks.len() > REMARKS {
        let more = remarks.len() - REMARKS;
        remarks.truncate(REMARKS);
        remarks.push(format!("and {more} more of the same kind"));
    }
    Ok((pairs, remarks))
}

/// The files of one side whose names have the suffix; of two with the same stem, a PNG wins, then the first by name.
fn by_stem(side: &Side<'_>, remarks: &mut Vec<String>) -> Result<BTreeMap<String, Found>> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for file in find_pictures(&[&side.folder])? {
        let bare = file.relative.with_extension("").display().to_string();
        let Some(stem) = bare.strip_suffix(side.suffix).map(str::to_owned) else { continue };
        match found.get_mut(&stem) {
            None => _ = found.insert(stem, file),
            Some(first) => {
                let (mut kept, mut left) = (first.clone(), file);
                if !is_png(&kept.path) && is_png(&left.path) {
                    std::mem::swap(&mut kept, &mut left);
                }
                let (a, b) = (kept.path.display(), left.relative.display());
                remarks.push(format!("{a}: {b} has the same name but for the ending and is not used"));
                *first = kept;
            }
        }
    }
    Ok(found)
}

fn is_png(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"))
}

/// Whether there is a PNG file anywhere below the folder.
fn holds_png(folder: &Path) -> bool {
    folder.is_dir() && WalkDir::new(folder).into_iter().flatten().any(|e| is_png(e.path()))
}

/// Names of folders that are in both, sorted.
pub(super) fn common_folders(a: &Path, b: &Path) -> Vec<String> {
    let there = folders_in(a);
    there.into_iter().filter(|name| b.join(name).is_dir()).collect()
}

fn folders_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|e| e.path().is_dir());
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|n| !n.starts_with('.'));
    names.sort();
    names
}

/// How a folder of masks is arranged.
pub(super) enum Masks {
    /// `images/` beside the named folder; with these parts as folders in both, or without parts.
    Beside(&'static str, Vec<String>),
    /// `PART/images/` beside `PART/` and the named folder.
    ByPart(&'static str, Vec<String>),
}

impl Masks {
    pub(super) fn look(folder: &Path) -> Option<Self> {
        let beside = |root: &Path| {
            let label = |l: &&str| holds_png(&root.join(l));
            root.join("images").is_dir().then(|| LABEL_FOLDERS.into_iter().find(label)).flatten()
        };
        if let Some(label) = beside(folder) {
            return Some(Masks::Beside(label, common_folders(&folder.join("images"), &folder.join(label))));
        }
        let parts = folders_in(folder);
        // Any folder of data sets would look like one set with parts, were it not for the usual names.
        let usual = |part: &String| TRAIN_SPLITS.iter().chain(&DEFAULT_SPLITS).any(|name| name == part);
        if !parts.iter().any(usual) {
            return None;
        }
        let label = parts.iter().find_map(|part| beside(&folder.join(part)))?;
        let whole = |part: &String| beside(&folder.join(part)) == Some(label);
        Some(Masks::ByPart(label, parts.into_iter().filter(whole).collect()))
    }

    pub(super) fn parts(&self) -> Vec<String> {
        match self {
            Masks::Beside(_, parts) if parts.is_empty() => vec![WHOLE.to_owned()],
            Masks::Beside(_, parts) | Masks::ByPart(_, parts) => parts.clone(),
        }
    }

    /// Folders of a part's pictures and label maps.
    pub(super) fn places(&self, folder: &Path, part: &str) -> [PathBuf; 2] {
        match self {
            Masks::Beside(label, parts) if parts.is_empty() => ["images", label].map(|f| folder.join(f)),
            Masks::Beside(label, _) => ["images", label].map(|f| folder.join(f).join(part)),
            Masks::ByPart(label, _) => ["images", label].map(|f| folder.join(part).join(f)),
        }
    }

    pub(super) fn rule(&self) -> String {
        match self {
            Masks::Beside(label, parts) if parts.is_empty() => {
                format!("mask folders: {label}/X.png beside images/X")
            }
            Masks::Beside(label, _) => format!("mask folders: {label}/PART/X.png beside images/PART/X"),
            Masks::ByPart(label, _) => format!("mask folders: PART/{label}/X.png beside PART/images/X"),
        }
    }
}
