//! A segmentation data set in memory: paths of pictures and label maps, the classes, and what the files' values mean.
//!
//! Pixels are read when they are asked for. A file that is not there is counted, listed, and an error only when its picture
//! is asked for.

use std::path::{Path, PathBuf};

use care_types::{ImageId, LabelMap, SegTarget, Size};
use image::RgbImage;

use super::layout::Pair;
use super::png_labels;
use super::table::ValueTable;
use crate::annotated::Resolved;
use crate::{DecodeLimits, Error, Result, decode_path_within};

/// One picture and the classes of its pixels.
#[derive(Clone, Debug)]
pub struct SegExample {
    /// Position in the part as it was opened, from 1.
    pub id: ImageId,
    /// Path below the part's folder without its ending: what results are called.
    pub stem: String,
    /// Path below the part's folder.
    pub file_name: String,
    /// Upright 8-bit RGB.
    pub picture: RgbImage,
    /// Of the same size.
    pub target: SegTarget,
}

/// Pictures with label maps.
#[derive(Clone, Debug)]
pub struct SemanticSet {
    folder: PathBuf,
    split: String,
    /// Number in the part and files, sorted by stem.
    pub(super) records: Vec<(ImageId, Pair)>,
    labels: LabelMap,
    pub(super) table: ValueTable,
    pub(super) limits: DecodeLimits,
    remarks: Vec<String>,
}

impl SemanticSet {
    pub(super) fn new(
        folder: &Path,
        split: &str,
        pairs: Vec<Pair>,
        (labels, table): (LabelMap, ValueTable),
    ) -> Self {
        let records = (1..).map(ImageId).zip(pairs).collect();
        let (limits, remarks) = (DecodeLimits::default(), Vec::new());
        Self { folder: folder.to_owned(), split: split.to_owned(), records, labels, table, limits, remarks }
    }

    pub(super) fn with_remarks(mut self, remarks: Vec<String>) -> Self {
        self.remarks = remarks;
        self
    }

    /// The same set with other limits for decoding.
    pub fn with_limits(mut self, limits: DecodeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Where the pictures come from, for messages: the folder and the part.
    pub fn name(&self) -> String {
        format!("{} ({})", self.folder.display(), self.split)
    }

    /// The data set's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The part.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// The classes; a category id is the value that label files have for the class (the smallest, if there are several).
    pub fn labels(&self) -> &LabelMap {
        &self.labels
    }

    /// Number of names, with those whose picture or label map is missing.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True without pictures.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// What was found odd and gone on with, for people.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The number of picture `i` in its part.
    pub fn id(&self, i: usize) -> ImageId {
        self.records[i].0
    }

    /// The stem of picture `i`.
    pub fn stem(&self, i: usize) -> &str {
        &self.records[i].1.stem
    }

    /// The file of picture `i`.
    ///
    /// # Errors
    /// `Input` when it was not there when the set was opened.
    pub fn picture_path(&self, i: usize) -> Result<&Path> {
        let Pair { picture, label, .. } = &self.records[i].1;
        found(picture, label, "picture")
    }

    /// The label file of picture `i`.
    ///
    /// # Errors
    /// `Input` when it was not there when the set was opened.
    pub fn label_path(&self, i: usize) -> Result<&Path> {
        let Pair { picture, label, .. } = &self.records[i].1;
        found(label, picture, "label map")
    }

    /// The label map of picture `i` alone.
    ///
    /// # Errors
    /// `Input` when it is missing, damaged, no PNG, or has a value that is no class; the message names the file and the pixel.
    pub fn target(&self, i: usize) -> Result<SegTarget> {
        let path = self.label_path(i)?;
        png_labels::read(path, &self.limits)
            .and_then(|bytes| png_labels::decode(&bytes, &self.limits))
            .and_then(|raw| self.table.apply(raw))
            .map_err(|e| e.context(path.display()))
    }

    /// Reads picture `i` and its label map.
    ///
    /// # Errors
    /// As [`SemanticSet::target`] and [`crate::decode_path`]; `Input` when the two differ in size. The other pictures are not
    /// affected.
    ///
    /// # Panics
    /// When `i` is not below [`SemanticSet::len`].
    pub fn example(&self, i: usize) -> Result<SegExample> {
        let (picture_path, label_path) = (self.picture_path(i)?, self.label_path(i)?);
        let target = self.target(i)?;
        let picture = decode_path_within(picture_path, &self.limits)?;
        let size = Size::new(picture.width(), picture.height());
        if size != target.size() {
            return Err(other_size((picture_path, size), (label_path, target.size())));
        }
        let (id, Pair { stem, file_name, .. }) = &self.records[i];
        Ok(SegExample { id: *id, stem: stem.clone(), file_name: file_name.clone(), picture, target })
    }

    /// The pictures at these positions, in this order.
    pub fn subset(&self, positions: &[usize]) -> Self {
        let records = positions.iter().map(|&i| self.records[i].clone()).collect();
        Self { records, ..self.clone() }
    }
}

fn found<'a>(file: &'a Resolved, other: &Resolved, what: &str) -> Result<&'a Path> {
    match (file, other) {
        (Resolved::Found(path), _) => Ok(path),
        (Resolved::Missing(path), Resolved::Found(other) | Resolved::Missing(other)) => Err(Error::input(
            format!("{}: no such {what}, expected beside {}", path.display(), other.display()),
        )),
    }
}

fn other_size((picture, at): (&Path, Size), (label, got): (&Path, Size)) -> Error {
    let advice = if (at.width, at.height) == (got.height, got.width) {
        "they fit after a quarter turn: the picture is turned upright by its EXIF orientation, the label map is not; turn \
         the label map the same way"
    } else {
        "was one of them resized? They must have the same size"
    };
    Error::input(format!(
        "{}: is {}x{} pixels, but its picture {} is {}x{} ({advice})",
        label.display(),
        got.width,
        got.height,
        picture.display(),
        at.width,
        at.height
    ))
}
