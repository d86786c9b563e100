//! An annotation file around its annotations.
use super::blocks::Blocks;
use super::mark;
use super::scan::Stop;
use crate::coco_json::object::Object;
use crate::coco_json::{Annotation, Category, Dataset, Image};
use serde::de::{DeserializeOwned, IgnoredAny};
use std::path::Path;

/// Reads an annotation file. The list of annotations is read by `annotations`, which is given the position behind its
/// opening bracket and gives them and the position behind the closing one. `None` for what the general reader must see.
pub fn plain_dataset(
    path: &Path,
    mut annotations: impl FnMut(u64) -> Option<(Vec<Annotation>, u64)>,
) -> Option<Dataset> {
    let mut blocks = Blocks::open(path, mark(path)?, u64::MAX)?;
    let (mut images, mut objects, mut categories, mut info) = (None, None, None, None);
    blocks.scan(|scan| scan.take(b'{'))?;
    loop {
        // Owned, because reading the value moves on.
        let key = blocks.scan(|scan| scan.key().map(<[u8]>::to_vec))?;
        match &key[..] {
            b"images" if images.is_none() => images = Some(records::<Image>(&mut blocks)?),
            b"categories" if categories.is_none() => categories = Some(records::<Category>(&mut blocks)?),
            b"info" if info.is_none() => info = Some(value(&mut blocks)?),
            b"annotations" if objects.is_none() => {
                blocks.scan(|scan| scan.take(b'['))?;
                let (list, end) = annotations(blocks.position())?;
                objects = Some(list);
                blocks = Blocks::open(path, end, u64::MAX)?;
            }
            b"images" | b"categories" | b"info" | b"annotations" => return None,
            _ => drop(value::<IgnoredAny>(&mut blocks)?),
        }
        if !blocks.scan(|scan| scan.another(b'}'))? {
            break;
        }
    }
    let (images, annotations, categories) = (images?, objects.unwrap_or_default(), categories?);
    blocks.ends().then(|| Dataset { info: info.unwrap_or_default(), images, annotations, categories })
}

/// A list of records, each read by the general reader.
fn records<T: DeserializeOwned>(blocks: &mut Blocks) -> Option<Vec<T>> {
    let mut records = Vec::new();
    blocks.scan(|scan| scan.take(b'['))?;
    if blocks.scan(|scan| scan.takes(b']'))? {
        return Some(records);
    }
    loop {
        let Object(record) = value(blocks)?;
        records.push(record);
        if !blocks.scan(|scan| scan.another(b']'))? {
            return Some(records);
        }
    }
}

/// A value, read by the general reader.
fn value<T: DeserializeOwned>(blocks: &mut Blocks) -> Option<T> {
    blocks.scan(|scan| {
        let range = scan.extent()?;
        serde_json::from_slice(&scan.bytes[range]).map_err(|_| Stop::Odd)
    })
}
