//! Annotations: polygons, and one in a hundred a crowd, as run lengths.
use crate::draws::{Blob, Draws, area, two_decimals};
use crate::synthetic::Picture;
use care_types::{LabelMap, Result, Rle};
use serde::Serialize;
use serde_json::{Value, json};

/// The annotation file, its fields in COCO's order.
#[derive(Serialize)]
pub(crate) struct Truth {
    images: Vec<Image>,
    annotations: Vec<Object>,
    categories: Vec<Category>,
}

#[derive(Serialize)]
struct Image {
    license: u8,
    file_name: String,
    height: u32,
    width: u32,
    date_captured: &'static str,
    id: usize,
}

#[derive(Serialize)]
struct Object {
    segmentation: Value,
    area: f64,
    iscrowd: u8,
    image_id: usize,
    bbox: [f64; 4],
    category_id: i64,
    id: usize,
}

#[derive(Serialize)]
struct Category {
    id: i64,
    name: String,
}

pub(crate) fn truth(pictures: &[Picture], draws: &mut Draws) -> Result<Truth> {
    let classes = LabelMap::coco();
    let mut annotations = Vec::new();
    for picture in pictures {
        for (class, blob) in &picture.objects {
            annotations.push(object(picture, classes.entries()[*class].id.0, blob, draws.chance(0.01))?);
        }
    }
    draws.shuffle(&mut annotations);
    let mut id = 900_000;
    for a in &mut annotations {
        id += 1 + draws.below(60);
        a.id = id;
    }
    let image = |p: &Picture| Image {
        license: 3,
        file_name: format!("{:012}.jpg", p.id),
        height: p.size[1],
        width: p.size[0],
        date_captured: "2013-11-14 17:02:52",
        id: p.id,
    };
    let categories = classes.entries().iter().map(|l| Category { id: l.id.0, name: l.name.clone() });
    Ok(Truth { images: pictures.iter().map(image).collect(), annotations, categories: categories.collect() })
}

fn object(picture: &Picture, category_id: i64, blob: &Blob, crowd: bool) -> Result<Object> {
    let ring = blob.ring(picture.extent());
    let segmentation = if crowd {
        let mask = Rle::from_polygon(&ring, picture.size[1], picture.size[0])?;
        json!({"counts": mask.counts(), "size": [mask.height, mask.width]})
    } else {
        json!([ring])
    };
    Ok(Object {
        segmentation,
        area: area(&ring),
        iscrowd: u8::from(crowd),
        image_id: picture.id,
        bbox: blob.bounds(picture.extent()).map(two_decimals),
        category_id,
        id: 0,
    })
}
