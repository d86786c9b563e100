//! Which format a folder of pictures with label maps has, by looking; opening one part of it whatever the format.

use std::path::{Path, PathBuf};

use super::classes::Classes;
use super::describe::DATASET_FILE;
use super::layout::{Masks, Pair, Side, common_folders, pair_up};
use super::set::SemanticSet;
use super::spelling::did_you_mean;
use crate::annotated::Resolved;
use crate::folder::find_pictures;
use crate::{Error, Result};

/// Formats of segmentation data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegFormat {
    /// `images/{training,validation}` and `annotations/{training,validation}`; 0 is ignored, value `k` is class `k - 1`.
    Ade20k,
    /// `leftImg8bit/PART/CITY` and `gtFine/PART/CITY`.
    Cityscapes,
    /// `images/` beside `masks/`, `labels/` or `annotations/`, with or without folders per part.
    Masks,
}

impl SegFormat {
    /// All, in the order in which they are looked for.
    pub const ALL: [SegFormat; 3] = [SegFormat::Ade20k, SegFormat::Cityscapes, SegFormat::Masks];

    /// `ade20k`, `cityscapes` or `masks`.
    pub fn name(self) -> &'static str {
        match self {
            SegFormat::Ade20k => "ade20k",
            SegFormat::Cityscapes => "cityscapes",
            SegFormat::Masks => "masks",
        }
    }

    /// Names of the parts that a folder of this format has, sorted; none when it does not have the format.
    pub fn splits(self, folder: &Path) -> Vec<String> {
        match self {
            SegFormat::Ade20k => common_folders(&folder.join("images"), &folder.join("annotations")),
            SegFormat::Cityscapes => common_folders(&folder.join("leftImg8bit"), &folder.join("gtFine")),
            SegFormat::Masks => Masks::look(folder).map(|m| m.parts()).unwrap_or_default(),
        }
    }

    /// The rule by which the folder has this format, in words.
    fn recognise(self, folder: &Path) -> Option<String> {
        let parts = self.splits(folder);
        match self {
            SegFormat::Ade20k => parts
                .iter()
                .any(|p| p == "training" || p == "validation")
                .then(|| "ADE20K layout: annotations/PART/X.png beside images/PART/X".to_owned()),
            SegFormat::Cityscapes => (!parts.is_empty())
                .then(|| "Cityscapes layout: gtFine/PART/CITY beside leftImg8bit/PART/CITY".to_owned()),
            SegFormat::Masks => Masks::look(folder).map(|m| m.rule()),
        }
    }

    /// Folders of a part's pictures and label maps.
    fn places(self, folder: &Path, split: &str) -> Result<[PathBuf; 2]> {
        let under = |names: [&str; 2]| names.map(|name| folder.join(name).join(split));
        match self {
            SegFormat::Ade20k => Ok(under(["images", "annotations"])),
            SegFormat::Cityscapes => Ok(under(["leftImg8bit", "gtFine"])),
            SegFormat::Masks => match Masks::look(folder) {
                Some(masks) => Ok(masks.places(folder, split)),
                None => Err(Error::input(format!("{}: {}", folder.display(), expected(self)))),
            },
        }
    }

    /// Every label file of every part.
    fn label_files(self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for split in self.splits(folder) {
            let [_, labels] = self.places(folder, &split)?;
            // A part without label maps (a test part, say) has nothing to add.
            let found = find_pictures(&[labels]).unwrap_or_default();
            files.extend(found.into_iter().map(|found| found.path));
        }
        Ok(files)
    }

    /// The part's pairs, remarks, and whether its files hold Cityscapes' training ids.
    fn pairs(self, folder: &Path, split: &str) -> Result<(Vec<Pair>, Vec<String>, bool)> {
        let [pictures, labels] = self.places(folder, split)?;
        let sides = |picture_suffix, label_suffix| {
            let pictures = Side { folder: pictures.clone(), suffix: picture_suffix };
            pair_up(&pictures, &Side { folder: labels.clone(), suffix: label_suffix })
        };
        if self != SegFormat::Cityscapes {
            let (pairs, remarks) = sides("", "")?;
            return Ok((pairs, remarks, false));
        }
        let (pairs, remarks) = sides("_leftImg8bit", "_gtFine_labelIds")?;
        if pairs.iter().any(|p| matches!(p.label, Resolved::Found(_))) {
            return Ok((pairs, remarks, false));
        }
        let (pairs, remarks) = sides("_leftImg8bit", "_gtFine_labelTrainIds")?;
        Ok((pairs, remarks, true))
    }

    fn classes(self, folder: &Path, train_ids: bool) -> Result<Classes> {
        if let Some(classes) = Classes::described(folder, self == SegFormat::Ade20k)? {
            return Ok(classes);
        }
        match self {
            SegFormat::Ade20k => Classes::ade20k(folder, || self.label_files(folder)),
            SegFormat::Cityscapes => Ok(Classes::cityscapes(train_ids)),
            SegFormat::Masks => Classes::masks(folder, || self.label_files(folder)),
        }
    }
}

impl std::fmt::Display for SegFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for SegFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(SegFormat::name);
            let near = did_you_mean(name, names);
            Error::config(format!("unknown format {name:?}{near}; known are {}", names.join(", ")))
        })
    }
}

/// One part of a segmentation data set, and how it was found.
#[derive(Debug)]
pub struct OpenedSemantic {
    /// The pictures.
    pub set: SemanticSet,
    /// The format that was recognised or asked for.
    pub format: SegFormat,
    /// Why, which classes, and what the values of the files mean: a sentence to be printed.
    pub rule: String,
    /// The part that was taken.
    pub split: String,
}

/// Opens the part `split` of the segmentation data set in `folder`; without a name, the first of `defaults` that is there
/// ([`crate::TRAIN_SPLITS`] or [`crate::DEFAULT_SPLITS`]).
///
/// Label files are not read here, unless nothing names the classes: then all of them are (every part), for the values.
///
/// # Errors
/// `Config` when the folder or the named part is not there; `Input` when the folder has no known format, its description is
/// malformed, or no picture has a label map.
pub fn open_semantic(
    folder: &Path,
    split: Option<&str>,
    defaults: &[&str],
    format: Option<SegFormat>,
) -> Result<OpenedSemantic> {
    let shown = folder.display();
    if folder.is_file() {
        return Err(Error::config(format!("{shown}: is a file, expected the folder of a data set")));
    }
    if !folder.is_dir() {
        return Err(Error::config(format!("{shown}: no such folder")));
    }
    let (format, rule) = recognised(folder, format)?;
    let split = chosen(format.splits(folder), split, defaults).map_err(|e| e.context(&shown))?;
    let (pairs, mut remarks, train_ids) = format.pairs(folder, &split)?;
    let whole = |p: &&Pair| matches!((&p.picture, &p.label), (Resolved::Found(_), Resolved::Found(_)));
    if pairs.iter().find(whole).is_none() {
        return Err(no_pair(&pairs).context(&shown));
    }
    let classes = format.classes(folder, train_ids)?;
    let rule = format!("{rule}; {}", classes.rule);
    remarks.extend(classes.remarks);
    let set = SemanticSet::new(folder, &split, pairs, (classes.labels, classes.table)).with_remarks(remarks);
    Ok(OpenedSemantic { set, format, rule, split })
}

fn chosen(there: Vec<String>, split: Option<&str>, defaults: &[&str]) -> Result<String> {
    let found = match split {
        Some(name) => there.iter().find(|s| *s == name),
        None => defaults.iter().find_map(|name| there.iter().find(|s| s == name)),
    };
    found.cloned().ok_or_else(|| {
        let wanted = match split {
            Some(name) => format!("no part {name:?}{}", did_you_mean(name, there.iter().map(String::as_str))),
            None => format!("none of {}", defaults.join(", ")),
        };
        Error::config(format!("has {wanted}; it has {}", there.join(", ")))
    })
}

fn no_pair(pairs: &[Pair]) -> Error {
    let example = |side: fn(&Pair) -> &Resolved| {
        let found = pairs.iter().find_map(|p| match side(p) {
            Resolved::Found(path) => Some(path.display().to_string()),
            Resolved::Missing(_) => None,
        });
        found.unwrap_or_else(|| "none at all".to_owned())
    };
    Error::input(format!(
        "no picture has a label map: their names must be the same but for the ending\n  a picture: {}\n  a label map: {}",
        example(|p| &p.picture),
        example(|p| &p.label)
    ))
}

fn recognised(folder: &Path, format: Option<SegFormat>) -> Result<(SegFormat, String)> {
    let shown = folder.display();
    if let Some(format) = format {
        let rule = format.recognise(folder);
        let wrong = || Error::input(format!("{shown}: does not look like {format}; {}", expected(format)));
        return Ok((format, rule.ok_or_else(wrong)?));
    }
    SegFormat::ALL.into_iter().find_map(|f| Some((f, f.recognise(folder)?))).ok_or_else(|| {
        if let Some((near, format)) = nearby(folder) {
            let near = near.display();
            return Error::input(format!(
                "{shown}: is not a data set itself, but {near} is ({format}); name that"
            ));
        }
        let layouts = SegFormat::ALL.map(expected);
        Error::input(format!(
            "{shown}: holds no segmentation data set that is known; expected one of\n  {}\n(classes and values may be \
             described in {DATASET_FILE})",
            layouts.join("\n  ")
        ))
    })
}

/// A data set one or two folders above, or the only one in a folder below.
fn nearby(folder: &Path) -> Option<(PathBuf, SegFormat)> {
    let known = |path: &Path| SegFormat::ALL.into_iter().find(|f| f.recognise(path).is_some());
    let whole = folder.canonicalize().ok()?;
    let above = whole.ancestors().skip(1).take(2).find_map(|p| Some((p.to_path_buf(), known(p)?)));
    above.or_else(|| {
        let entries = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).filter(|p| p.is_dir());
        let mut below = entries.filter_map(|p| Some((p.clone(), known(&p)?)));
        below.next().filter(|_| below.next().is_none())
    })
}

fn expected(format: SegFormat) -> &'static str {
    match format {
        SegFormat::Ade20k => {
            "ade20k: images/{training,validation}/X.jpg with annotations/{training,validation}/X.png"
        }
        SegFormat::Cityscapes => {
            "cityscapes: leftImg8bit/PART/CITY/X_leftImg8bit.png with gtFine/PART/CITY/X_gtFine_labelIds.png"
        }
        SegFormat::Masks => {
            "masks: images/X.jpg with masks/X.png (or labels/, annotations/; or a folder per part in both)"
        }
    }
}
