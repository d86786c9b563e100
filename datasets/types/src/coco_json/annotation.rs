//! The records of an annotation file.
use super::number;
use crate::{BoxXywh, CategoryId, ImageId, Segmentation, Size};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer};

/// One picture of a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Image {
    /// Unique in its file.
    #[serde(deserialize_with = "image_id")]
    pub id: ImageId,
    /// In pixels; 0 when the file does not say.
    #[serde(default, deserialize_with = "number::side")]
    pub width: u32,
    /// In pixels; 0 when the file does not say.
    #[serde(default, deserialize_with = "number::side")]
    pub height: u32,
    /// Relative to the folder of the pictures; empty when the file does not say.
    #[serde(default)]
    pub file_name: String,
    /// Classes that are known not to be in the picture; LVIS' files have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neg_category_ids: Option<Vec<CategoryId>>,
    /// Classes of which not every object in the picture is labelled; LVIS' files have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_exhaustive_category_ids: Option<Vec<CategoryId>>,
}

impl Image {
    /// Width and height.
    pub fn size(&self) -> Size {
        Size { width: self.width, height: self.height }
    }
}

/// One object in one picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct Annotation {
    /// Meant to be unique; not always is.
    #[serde(deserialize_with = "number::whole")]
    pub id: i64,
    /// The picture.
    #[serde(deserialize_with = "image_id")]
    pub image_id: ImageId,
    /// The class.
    #[serde(deserialize_with = "category_id")]
    pub category_id: CategoryId,
    /// In pixels.
    #[serde(default, deserialize_with = "bbox", skip_serializing_if = "Option::is_none")]
    pub bbox: Option<BoxXywh>,
    /// In square pixels: of the mask in COCO's own files, of the box in many others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<f64>,
    /// The mask.
    #[serde(
        default,
        deserialize_with = "super::segmentation::optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub segmentation: Option<Segmentation>,
    /// Many objects that were not told apart.
    #[serde(default, deserialize_with = "number::flag", serialize_with = "as_number")]
    pub iscrowd: bool,
    /// Some tools' mark for "neither object nor background". COCO's evaluation does not know it.
    #[serde(
        default,
        deserialize_with = "number::flag",
        skip_serializing_if = "is_false",
        serialize_with = "as_number"
    )]
    pub ignore: bool,
    /// `x, y, visibility` of each joint, in pixels; 0 is not labelled, 1 is labelled but hidden, 2 is visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keypoints: Option<Vec<f64>>,
    /// Number of labelled joints.
    #[serde(default, deserialize_with = "number::count", skip_serializing_if = "Option::is_none")]
    pub num_keypoints: Option<u32>,
}

/// One class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Category {
    /// Unique in its file; any number.
    #[serde(deserialize_with = "category_id")]
    pub id: CategoryId,
    /// Empty when the file does not say.
    #[serde(default)]
    pub name: String,
    /// The group it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supercategory: Option<String>,
    /// How common it is; LVIS' files have it. `None` also for words that are not LVIS'.
    #[serde(default, deserialize_with = "frequency", skip_serializing_if = "Option::is_none")]
    pub frequency: Option<Frequency>,
}

/// In how many training pictures of LVIS a class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Frequency {
    /// At most 10.
    #[serde(rename = "r")]
    Rare,
    /// At most 100.
    #[serde(rename = "c")]
    Common,
    /// More.
    #[serde(rename = "f")]
    Frequent,
}

impl Frequency {
    /// From LVIS' letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "r" => Some(Frequency::Rare),
            "c" => Some(Frequency::Common),
            "f" => Some(Frequency::Frequent),
            _ => None,
        }
    }

    /// LVIS' letter.
    pub fn letter(self) -> &'static str {
        match self {
            Frequency::Rare => "r",
            Frequency::Common => "c",
            Frequency::Frequent => "f",
        }
    }
}

/// Files of other origin may mean something else by the word, which is no reason to refuse them.
fn frequency<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Frequency>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Word {
        Text(String),
        Other(serde::de::IgnoredAny),
    }
    Ok(match Word::deserialize(d)? {
        Word::Text(text) => Frequency::from_letter(&text),
        Word::Other(_) => None,
    })
}

pub(super) fn image_id<'de, D: Deserializer<'de>>(d: D) -> Result<ImageId, D::Error> {
    number::whole(d).map(ImageId)
}

pub(super) fn category_id<'de, D: Deserializer<'de>>(d: D) -> Result<CategoryId, D::Error> {
    number::whole(d).map(CategoryId)
}

/// Four finite numbers; null and an empty list are no box.
pub(super) fn bbox<'de, D: Deserializer<'de>>(d: D) -> Result<Option<BoxXywh>, D::Error> {
    use serde::de::Error;
    let Some(values) = Option::<Vec<f64>>::deserialize(d)? else { return Ok(None) };
    match values[..] {
        [] => Ok(None),
        [x, y, w, h] => Ok(Some(BoxXywh { x, y, w, h })),
        _ => Err(D::Error::custom(format_args!(
            "{} numbers, a box has 4: [x, y, width, height]",
            values.len()
        ))),
    }
}

fn as_number<S: serde::Serializer>(v: &bool, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u8(u8::from(*v))
}

fn is_false(v: &bool) -> bool {
    !*v
}
