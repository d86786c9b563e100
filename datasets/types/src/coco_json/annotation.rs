//! The records of an annotation file.
use super::number;
use crate::{BoxXywh, CategoryId, ImageId, Segmentation, Size};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer};

/// One picture of a data set.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
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
}

impl Image {
    /// Width and height.
    pub fn size(&self) -> Size {
        Size { width: self.width, height: self.height }
    }
}

/// One object in one picture.
#[derive(Clone, Debug, PartialEq, Serialize, serde::Deserialize)]
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
}

/// One class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
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
