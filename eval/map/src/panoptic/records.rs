//! The panoptic JSON's records, and ids in PNG pixels.
use crate::{Error, Result};
use serde::de::{Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a data set calls a picture: a number (COCO) or a text (Cityscapes).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, DeriveDeserialize)]
#[serde(untagged)]
pub enum PictureId {
    /// As in COCO.
    Number(i64),
    /// As in Cityscapes.
    Text(String),
}

impl fmt::Display for PictureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PictureId::Number(id) => id.fmt(f),
            PictureId::Text(id) => id.fmt(f),
        }
    }
}

impl From<i64> for PictureId {
    fn from(id: i64) -> Self {
        PictureId::Number(id)
    }
}

/// A category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct Category {
    /// Unique in its file.
    pub id: i64,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// Countable things, or stuff.
    #[serde(deserialize_with = "flag")]
    pub isthing: bool,
}

/// The categories of the ground truth, with unique ids, in file order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
#[serde(try_from = "Vec<Category>", into = "Vec<Category>")]
pub struct Categories {
    list: Vec<Category>,
    positions: BTreeMap<i64, usize>,
}

impl Categories {
    /// # Errors
    /// `Input` for an id that occurs twice.
    pub fn new(list: Vec<Category>) -> Result<Self> {
        let mut positions = BTreeMap::new();
        for (at, category) in list.iter().enumerate() {
            if let Some(first) = positions.insert(category.id, at) {
                let id = category.id;
                return Err(Error::input(format!(
                    "categories[{at}].id: {id}, which categories[{first}] has"
                )));
            }
        }
        Ok(Categories { list, positions })
    }

    /// In file order.
    pub fn list(&self) -> &[Category] {
        &self.list
    }

    pub(super) fn position(&self, id: i64) -> Option<usize> {
        self.positions.get(&id).copied()
    }
}

impl TryFrom<Vec<Category>> for Categories {
    type Error = Error;
    fn try_from(list: Vec<Category>) -> Result<Self> {
        Categories::new(list)
    }
}

impl From<Categories> for Vec<Category> {
    fn from(categories: Categories) -> Self {
        categories.list
    }
}

/// A segment of one picture; other fields of the file (`bbox`) are not needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct Segment {
    /// Of its pixels; unique in its picture, not 0.
    pub id: u32,
    /// Its category.
    pub category_id: i64,
    /// Many things that were not told apart; only looked at in the ground truth.
    #[serde(default, deserialize_with = "flag")]
    pub iscrowd: bool,
    /// In pixels, as the file says; only compared with the pixels, see [`super::TruthNotes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<u64>,
}

impl Segment {
    /// A segment that is no crowd.
    pub fn new(id: u32, category_id: i64) -> Self {
        Segment { id, category_id, iscrowd: false, area: None }
    }
}

/// The segments of one picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct PanopticAnnotation {
    /// The picture.
    pub image_id: PictureId,
    /// The PNG, relative to its folder.
    pub file_name: String,
    /// Its segments.
    pub segments_info: Vec<Segment>,
}

/// A panoptic JSON file: ground truth, or predictions (which need no categories).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeriveDeserialize)]
pub struct PanopticFile {
    /// One record for each picture.
    pub annotations: Vec<PanopticAnnotation>,
    /// Empty when the file has none.
    #[serde(default)]
    pub categories: Vec<Category>,
}

/// Reads a panoptic JSON file.
///
/// # Errors
/// `Input` for anything else, with line, column and field. Put the file's name in front.
pub fn parse(bytes: &[u8]) -> Result<PanopticFile> {
    serde_json::from_slice(bytes).map_err(|e| Error::input(format!("panoptic JSON: {e}")))
}

/// Each picture of the ground truth with its prediction, in the order of the ground truth. Predictions for other pictures
/// are left out.
///
/// # Errors
/// `Input`, naming the picture, when one has no prediction, or when either file has one twice.
pub fn pair<'a>(
    truth: &'a [PanopticAnnotation],
    predictions: &'a [PanopticAnnotation],
) -> Result<Vec<(&'a PanopticAnnotation, &'a PanopticAnnotation)>> {
    let mut of_picture = BTreeMap::new();
    for (at, prediction) in predictions.iter().enumerate() {
        let id = &prediction.image_id;
        if let Some((first, _)) = of_picture.insert(id, (at, prediction)) {
            let twice = format!("annotations[{at}].image_id: {id}, which annotations[{first}] has");
            return Err(Error::input(twice).context("predictions"));
        }
    }
    let mut seen = BTreeSet::new();
    let pairs = truth.iter().enumerate().map(|(at, truth)| {
        let id = &truth.image_id;
        if !seen.insert(id) {
            let twice = format!("annotations[{at}].image_id: {id}, for the second time");
            return Err(Error::input(twice).context("ground truth"));
        }
        match of_picture.get(id) {
            Some((_, prediction)) => Ok((truth, *prediction)),
            None => Err(Error::input(format!("picture {id} has no prediction"))),
        }
    });
    pairs.collect()
}

/// Segment ids of the pixels of a panoptic PNG: R + 256 G + 256² B.
///
/// # Errors
/// `Input` when the number of bytes is no multiple of 3.
pub fn ids_from_rgb(rgb: &[u8]) -> Result<Vec<u32>> {
    let (pixels, rest) = rgb.as_chunks::<3>();
    if !rest.is_empty() {
        let n = rgb.len();
        return Err(Error::input(format!("{n} bytes of RGB pixels: expected a multiple of 3")));
    }
    Ok(pixels.iter().map(|&[r, g, b]| u32::from_le_bytes([r, g, b, 0])).collect())
}

/// `true`, `false`, 1 or 0.
fn flag<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<bool, D::Error> {
    #[derive(DeriveDeserialize)]
    #[serde(untagged)]
    enum Flag {
        Bool(bool),
        Number(u64),
    }
    match Flag::deserialize(d) {
        Ok(Flag::Bool(v)) => Ok(v),
        Ok(Flag::Number(v @ 0..=1)) => Ok(v == 1),
        _ => Err(serde::de::Error::custom("expected 0, 1, true or false")),
    }
}
