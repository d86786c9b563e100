//! Which format a folder has, by looking; opening one part of it whatever the format.

use crate::annotated::AnnotatedSet;
use crate::{Error, Result, coco, voc, yolo};
use std::path::{Path, PathBuf};

/// The parts that are learnt from, tried in this order, when none is named.
pub const TRAIN_SPLITS: [&str; 4] = ["train2017", "train", "training", "trainval"];

/// Formats of detection data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `instances_S.json` or Roboflow's `_annotations.coco.json`.
    Coco,
    /// `data.yaml` and one text file per picture.
    Yolo,
    /// One XML file per picture.
    Voc,
}

impl Format {
    /// All, in the order in which they are looked for.
    pub const ALL: [Format; 3] = [Format::Coco, Format::Yolo, Format::Voc];

    /// `coco`, `yolo` or `voc`.
    pub fn name(self) -> &'static str {
        match self {
            Format::Coco => "coco",
            Format::Yolo => "yolo",
            Format::Voc => "voc",
        }
    }

    /// The rule by which the folder has this format, in words.
    fn recognise(self, folder: &Path) -> Option<String> {
        match self {
            Format::Coco => coco::recognise(folder),
            Format::Yolo => yolo::recognise(folder),
            Format::Voc => voc::recognise(folder),
        }
    }

    /// Names of the parts that a folder of this format has.
    ///
    /// # Errors
    /// `Input` when the file that lists them is malformed.
    pub fn splits(self, folder: &Path) -> Result<Vec<String>> {
        match self {
            Format::Coco => Ok(coco::splits_in(folder)),
            Format::Yolo => yolo::splits_in(folder),
            Format::Voc => Ok(voc::splits_in(folder)),
        }
    }

    fn open(self, folder: &Path, split: &str) -> Result<AnnotatedSet> {
        match self {
            Format::Coco => coco::open(folder, Some(split)),
            Format::Yolo => yolo::open(folder, split),
            Format::Voc => voc::open(folder, split),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| {
            Error::config(format!(
                "unknown format {name:?}; known are coco (also Roboflow's COCO export), yolo, voc"
            ))
        })
    }
}

/// One part of a data set, and how it was found.
#[derive(Debug)]
pub struct Opened {
    /// The pictures.
    pub set: AnnotatedSet,
    /// The format that was recognised or asked for.
    pub format: Format,
    /// Why, in words.
    pub rule: String,
    /// The part that was taken.
    pub split: String,
}

/// Opens the part `split` of the data set in `folder`; without a name, the first of `defaults` that is there.
///
/// # Errors
/// `Config` when the folder or the named part is not there; `Input` when the folder has no known format or its annotations
/// are malformed.
pub fn open_part(
    folder: &Path,
    split: Option<&str>,
    defaults: &[&str],
    format: Option<Format>,
) -> Result<Opened> {
    let shown = folder.display();
    if folder.is_file() {
        return Err(Error::config(format!("{shown}: is a file, expected the folder of a data set")));
    }
    if !folder.is_dir() {
        return Err(Error::config(format!("{shown}: no such folder")));
    }
    let (format, rule) = recognised(folder, format)?;
    let there = format.splits(folder)?;
    let found = match split {
        Some(name) => there.iter().find(|s| *s == name),
        None => defaults.iter().find_map(|name| there.iter().find(|s| s == name)),
    };
    let Some(found) = found else {
        let wanted =
            split.map_or_else(|| format!("none of {}", defaults.join(", ")), |s| format!("no part {s:?}"));
        return Err(Error::config(format!("{shown}: has {wanted}; it has {}", there.join(", "))));
    };
    let set = format.open(folder, found)?;
    Ok(Opened { set, format, rule, split: found.clone() })
}

fn recognised(folder: &Path, format: Option<Format>) -> Result<(Format, String)> {
    let shown = folder.display();
    match format {
        Some(format) => match format.recognise(folder) {
            Some(rule) => Ok((format, rule)),
            None => Err(Error::input(format!("{shown}: does not look like {format}; {}", expected(format)))),
        },
        None => Format::ALL.iter().find_map(|f| Some((*f, f.recognise(folder)?))).ok_or_else(|| {
            if let Some((near, format)) = nearby(folder) {
                let near = near.display();
                return Error::input(format!(
                    "{shown}: is not a data set itself, but {near} is ({format}); name that"
                ));
            }
            let layouts: Vec<&str> = Format::ALL.into_iter().map(expected).collect();
            Error::input(format!(
                "{shown}: holds no data set that is known; expected one of\n  {}",
                layouts.join("\n  ")
            ))
        }),
    }
}

/// A data set one or two folders above (its pictures were named), or the only one in a folder below (what it was unpacked
/// into).
fn nearby(folder: &Path) -> Option<(PathBuf, Format)> {
    let known = |path: &Path| Format::ALL.into_iter().find(|f| f.recognise(path).is_some());
    let whole = folder.canonicalize().ok()?;
    let above = whole.ancestors().skip(1).take(2).find_map(|p| Some((p.to_path_buf(), known(p)?)));
    above.or_else(|| {
        let entries = std::fs::read_dir(folder).ok()?.flatten().map(|e| e.path()).filter(|p| p.is_dir());
        let mut below = entries.filter_map(|p| Some((p.clone(), known(&p)?)));
        below.next().filter(|_| below.next().is_none())
    })
}

fn expected(format: Format) -> &'static str {
    match format {
        Format::Coco => {
            "coco: annotations/instances_SPLIT.json, or SPLIT/_annotations.coco.json beside the pictures"
        }
        Format::Yolo => "yolo: data.yaml with names and train/val paths, labels/*.txt beside images/",
        Format::Voc => "voc: Annotations/*.xml, JPEGImages/, ImageSets/Main/SPLIT.txt",
    }
}
