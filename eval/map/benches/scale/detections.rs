//! Results, as records of JSON.
use crate::draws::{Blob, Draws};
use crate::synthetic::Picture;
use care_types::{Result, Rle};
use serde_json::json;

pub(crate) struct Detection<'a> {
    picture: &'a Picture,
    class: usize,
    blob: Blob,
    score: f32,
}

/// The same number for each picture: its objects found well, then around, then anything, by falling score.
pub(crate) fn detections<'a>(
    pictures: &'a [Picture],
    draws: &'a mut Draws,
    each: usize,
) -> impl Iterator<Item = Detection<'a>> {
    pictures.iter().flat_map(move |picture| {
        let mut all: Vec<Detection<'a>> = (0..each).map(|n| detection(picture, n, draws)).collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        all
    })
}

fn detection<'a>(picture: &'a Picture, n: usize, draws: &mut Draws) -> Detection<'a> {
    let objects = picture.objects.len();
    let found = n < 4 * objects && draws.chance(0.8);
    if !found {
        let blob = draws.blob(picture.extent());
        return Detection { picture, class: draws.class(80), blob, score: draws.unit().powi(8) as f32 };
    }
    let (class, object) = &picture.objects[n % objects];
    let first = n < objects;
    let class = if draws.chance(0.85) { *class } else { draws.class(80) };
    let score = if first { draws.unit().sqrt() } else { draws.unit().powi(3) * 0.5 };
    Detection {
        picture,
        class,
        blob: draws.near(object, if first { 0.05 } else { 0.2 }),
        score: score as f32,
    }
}

impl Detection<'_> {
    pub(crate) fn as_box(&self, ids: &[i64]) -> String {
        let (image, category, score) = (self.picture.id, ids[self.class], f64::from(self.score));
        let bbox = self.bbox();
        format!(r#"{{"image_id": {image}, "category_id": {category}, "bbox": {bbox:?}, "score": {score:?}}}"#)
    }

    /// With its box, as mmdetection and detectron2 write it.
    pub(crate) fn as_mask(&self, ids: &[i64]) -> Result<String> {
        let [width, height] = self.picture.size;
        let mask = Rle::from_polygon(&self.blob.ring(self.picture.extent()), height, width)?;
        let counts = json!(mask.to_compressed_string());
        let (image, category, score) = (self.picture.id, ids[self.class], f64::from(self.score));
        let bbox = self.bbox();
        Ok(format!(
            r#"{{"image_id": {image}, "bbox": {bbox:?}, "score": {score:?}, "category_id": {category}, "segmentation": {{"size": [{height}, {width}], "counts": {counts}}}}}"#
        ))
    }

    /// With the digits of an `f32`.
    fn bbox(&self) -> [f64; 4] {
        self.blob.bounds(self.picture.extent()).map(|v| f64::from(v as f32))
    }
}
