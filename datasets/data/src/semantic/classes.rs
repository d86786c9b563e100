//! Which classes a folder has and what the values of its label files mean: from `dataset.toml`, from a preset of the format,
//! from `objectInfo.txt`, or, when nobody says, from the values that occur in all parts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use care_types::{CategoryId, Label, LabelMap, SegTarget};
use rayon::prelude::*;

use super::describe::{DATASET_FILE, Described};
use super::png_labels::{self, LabelValues, Values};
use super::table::{ValueTable, ranges};
use crate::{DecodeLimits, Error, Result};

/// The classes of a set and how its files encode them.
pub(super) struct Classes {
    pub(super) labels: LabelMap,
    pub(super) table: ValueTable,
    /// Where they come from and what the values mean, as a part of a sentence.
    pub(super) rule: String,
    pub(super) remarks: Vec<String>,
}

impl Classes {
    fn new(labels: LabelMap, table: ValueTable, source: &str) -> Self {
        let rule = match table.first_value(0) {
            Some(_) => format!("{} classes {source}; values: {}", labels.len(), table.expected()),
            None => format!("{} classes {source}, told by colours", labels.len()),
        };
        Self { labels, table, rule, remarks: Vec::new() }
    }

    /// From the folder's own description; `zero_ignored` is what its format means where it does not say.
    ///
    /// # Errors
    /// `Input` when the description is malformed.
    pub(super) fn described(folder: &Path, zero_ignored: bool) -> Result<Option<Self>> {
        let Some(described) = Described::read(folder)? else { return Ok(None) };
        let table = described.table(zero_ignored)?;
        Ok(Some(Self::new(described.labels(&table), table, &format!("from {DATASET_FILE}"))))
    }

    /// ADE20K's layout: 0 is ignored and value `k` is class `k - 1`.
    ///
    /// # Errors
    /// `Input` when `objectInfo.txt` is malformed or the values that occur are no classes.
    pub(super) fn ade20k(folder: &Path, files: impl FnOnce() -> Result<Vec<PathBuf>>) -> Result<Self> {
        if says_ade20k(folder) {
            return Ok(Self::new(LabelMap::ade20k(), ValueTable::zero_ignored(150), "of ADE20K"));
        }
        let info = folder.join("objectInfo.txt");
        if info.is_file() {
            let labels = object_info(&info).map_err(|e| e.context(info.display()))?;
            let table = ValueTable::zero_ignored(labels.len());
            return Ok(Self::new(labels, table, "from objectInfo.txt"));
        }
        let seen = Seen::look(&files()?)?;
        let most = seen.values.keys().copied().filter(|&v| v != 0 && v != 255).max().unwrap_or(0);
        if most == 150 {
            let table = ValueTable::zero_ignored(150);
            return Ok(Self::new(LabelMap::ade20k(), table, "of ADE20K (values go up to 150)"));
        }
        if most == 0 || most > 254 {
            return Err(seen.unclear(folder));
        }
        let table = ValueTable::zero_ignored(most);
        Ok(Self::new(numbered(most, 1), table, "without names (values that occur)"))
    }

    /// Cityscapes: the 34 ids of `labelIds`, or training ids.
    pub(super) fn cityscapes(train_ids: bool) -> Self {
        let labels = LabelMap::cityscapes();
        if train_ids {
            let entry = |(i, l): (usize, &Label)| Label { id: CategoryId(i as i64), ..l.clone() };
            let labels = LabelMap::new(labels.entries().iter().enumerate().map(entry).collect());
            return Self::new(labels, ValueTable::plain(19), "of Cityscapes (labelTrainIds)");
        }
        let class = |id: u16| labels.index_of_id(CategoryId(i64::from(id)));
        let values = (0..34u16).chain([255]);
        let values = values.map(|id| (id, class(id).map_or(SegTarget::IGNORE, |c| c.0 as u8)));
        let table = ValueTable::new(values, Default::default());
        Self::new(labels, table, "of Cityscapes (labelIds)")
    }

    /// Mask folders without a description: the values that occur.
    ///
    /// # Errors
    /// `Input` when they cannot be class numbers: colours, more than 255, or more gaps than values.
    pub(super) fn masks(folder: &Path, files: impl FnOnce() -> Result<Vec<PathBuf>>) -> Result<Self> {
        let seen = Seen::look(&files()?)?;
        if seen.values.keys().eq(&[0, 255]) {
            let table = ValueTable::new([(0, 0), (255, 1)], Default::default());
            let mut classes = Self::new(numbered(2, 0), table, "without names (values that occur)");
            classes.remarks.push(format!(
                "only the values 0 and 255 occur: taken as two classes, class_0 and class_1, and nothing is ignored; if 255 \
                 means \"ignore\", say so in {}",
                folder.join(DATASET_FILE).display()
            ));
            return Ok(classes);
        }
        let count = seen.values.keys().copied().filter(|&v| v != 255).max().map_or(0, |v| v + 1);
        let absent: Vec<usize> = (0..count).filter(|v| !seen.values.contains_key(v)).collect();
        if count == 0 || count > SegTarget::MAX_CLASSES || absent.len() * 2 > count {
            return Err(seen.unclear(folder));
        }
        let mut classes =
            Self::new(numbered(count, 0), ValueTable::plain(count), "without names (values that occur)");
        if !absent.is_empty() {
            classes
                .remarks
                .push(format!("no pixel has the value {}: classes without pixels", ranges(&absent)));
        }
        Ok(classes)
    }
}

/// `objectInfo150.txt`, or a folder that is called as the official archive is.
fn says_ade20k(folder: &Path) -> bool {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let name = whole.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    folder.join("objectInfo150.txt").is_file() || name.contains("ade20k") || name.contains("adechallenge")
}

/// `class_0`, `class_1`, …; category ids are the values of the files.
fn numbered(count: usize, first_id: i64) -> LabelMap {
    let names: Vec<String> = (0..count).map(|i| format!("class_{i}")).collect();
    LabelMap::from_names(&names, first_id)
}

/// A table with the columns `Idx` (1, 2, 3 …) and `Name`, separated by tabs or blanks.
fn object_info(path: &Path) -> Result<LabelMap> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::input(format!("cannot be read: {e}")))?;
    let mut lines = text.lines().filter(|l| !l.trim().is_empty());
    let header = lines.next().unwrap_or_default();
    let split = |line: &str| -> Vec<String> {
        let parts: Vec<&str> = if header.contains('\t') {
            line.split('\t').collect()
        } else {
            line.split_whitespace().collect()
        };
        parts.into_iter().map(|p| p.trim().to_owned()).collect()
    };
    let column = |name: &str| split(header).iter().position(|h| h.eq_ignore_ascii_case(name));
    let (Some(index), Some(name)) = (column("idx"), column("name")) else {
        return Err(Error::input(format!("expected a first line with Idx and Name, got {header:?}")));
    };
    let mut names = Vec::new();
    for line in lines {
        let parts = split(line);
        let number = parts.get(index).and_then(|p| p.parse::<usize>().ok());
        // With blanks between columns a name of several words is the rest of the line.
        let text = parts.get(name..).map(|rest| rest.join(" ")).filter(|t| !t.is_empty());
        match (number, text) {
            (Some(n), Some(text)) if n == names.len() + 1 && n < 255 => names.push(text),
            _ => {
                let next = names.len() + 1;
                return Err(Error::input(format!(
                    "expected class {next} (up to 254) and its name, got {line:?}"
                )));
            }
        }
    }
    if names.is_empty() {
        return Err(Error::input("names no class"));
    }
    Ok(LabelMap::from_names(&names, 1))
}

/// The values that occur in some label files.
struct Seen {
    /// Each with the first file that has it.
    values: BTreeMap<usize, PathBuf>,
    /// A file that holds colours.
    colored: Option<PathBuf>,
}

impl Seen {
    /// Files that cannot be read are passed over: reading their picture will say so.
    ///
    /// # Errors
    /// `Input` when not one of the files can be read: the first one's problem.
    fn look(files: &[PathBuf]) -> Result<Self> {
        let limits = DecodeLimits::default();
        let read = |path: &PathBuf| {
            let raw = png_labels::read(path, &limits).and_then(|bytes| png_labels::decode(&bytes, &limits));
            let raw = raw.map_err(|e| e.context(path.display()))?;
            Ok(match raw.values {
                Values::Grey(values) | Values::Palette(values, _) => {
                    let values = distinct(&values).map(|v| (v, path.clone())).collect();
                    Seen { values, colored: None }
                }
                Values::Color(_) => Seen { values: BTreeMap::new(), colored: Some(path.clone()) },
            })
        };
        let each: Vec<Result<Self>> = files.par_iter().map(read).collect();
        let mut all = Seen { values: BTreeMap::new(), colored: None };
        let (mut readable, mut first_error) = (0, None);
        for one in each {
            match one {
                Ok(one) => {
                    readable += 1;
                    for (value, file) in one.values {
                        all.values.entry(value).or_insert(file);
                    }
                    all.colored = all.colored.or(one.colored);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match first_error {
            Some(error) if readable == 0 => Err(error),
            _ => Ok(all),
        }
    }

    fn unclear(&self, folder: &Path) -> Error {
        let values: Vec<usize> = self.values.keys().copied().collect();
        let rare = self.values.iter().next_back();
        let rare = rare.map_or(String::new(), |(v, path)| format!(" ({v} is in {})", path.display()));
        let file = folder.join(DATASET_FILE);
        let file = file.display();
        match &self.colored {
            Some(path) => Error::input(format!(
                "{}: is an RGB picture, and nothing says which colour is which class; write {file} with\n  classes = \
                 [\"NAME\", …]\n  [colors]\n  \"#rrggbb\" = \"NAME\"",
                path.display()
            )),
            None => Error::input(format!(
                "{}: the values in the label files are {}{rare}, which are no class numbers; write {file} with\n  classes = \
                 [\"NAME\", …]\n  [values]\n  VALUE = \"NAME\"  (or \"ignore\")",
                folder.display(),
                if values.is_empty() { "none".to_owned() } else { ranges(&values) }
            )),
        }
    }
}

fn distinct(values: &LabelValues) -> impl Iterator<Item = usize> {
    let mut seen = vec![false; 1 << 16];
    match values {
        LabelValues::Bytes(values) => values.iter().for_each(|&v| seen[usize::from(v)] = true),
        LabelValues::Words(values) => values.iter().for_each(|&v| seen[usize::from(v)] = true),
    }
    (0..seen.len()).filter(move |&v| seen[v])
}
