//! The demo set must stay the same bytes: shipped weights were trained on it.

use std::collections::BTreeSet;

use care_types::Segmentation;
use sha2::{Digest, Sha256};

use super::write::{write_first, write_first_scenes};
use super::*;
use crate::coco;
use crate::semantic::{SegDataset, open_semantic};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn rle(annotation: &Annotation) -> &Rle {
    match &annotation.segmentation {
        Some(Segmentation::Rle(rle)) => rle,
        other => panic!("not run lengths: {other:?}"),
    }
}

/// Over the sizes, the picture bytes and the numbers of every annotation of the first `count` pictures.
fn digest(split: DemoSplit, count: usize) -> String {
    let set = DemoDataset::new(split);
    let examples: Vec<DemoExample> = (0..count).into_par_iter().map(|i| set.draw(i).unwrap()).collect();
    let mut hash = Sha256::new();
    for example in &examples {
        hash.update(example.image.width.to_le_bytes());
        hash.update(example.image.height.to_le_bytes());
        hash.update(example.picture.as_raw());
        for a in &example.annotations {
            [a.id, a.image_id.0, a.category_id.0].iter().for_each(|v| hash.update(v.to_le_bytes()));
            let bbox = a.bbox.unwrap().to_array();
            bbox.iter().chain(&a.area).for_each(|v| hash.update((*v as u32).to_le_bytes()));
            rle(a).counts().iter().for_each(|v| hash.update(v.to_le_bytes()));
        }
    }
    hex(&hash.finalize())
}

#[test]
fn pictures_and_annotations_never_change() {
    let val = digest(DemoSplit::Val, DemoSplit::Val.len());
    let train = digest(DemoSplit::Train, 60);
    assert_eq!(
        [val.as_str(), train.as_str()],
        [
            "3e6d0d2e5ba90dea4ca4cb5523e7237584f6e2ad08eec1f18ce001f7e990c0cd",
            "47fc3f0bbd8baeec7501e3b55f45793677ac89a6b81fcc6ecbcf1bc8f2507cf9"
        ],
        "weights that were trained on the demo set would be measured on another one"
    );
}

#[test]
fn the_annotation_file_of_val_never_changes() {
    let truth = DemoDataset::new(DemoSplit::Val).ground_truth().unwrap();
    assert_eq!((truth.images.len(), truth.annotations.len()), (100, 431));
    let json = serde_json::to_vec(&truth).unwrap();
    assert_eq!(
        hex(&Sha256::digest(&json)),
        "9596cbce18b5bbfde7f1ebf38ca2fb617102431126c0c66089de612038be9f72"
    );
}

#[test]
fn every_object_can_be_seen_and_its_box_fits_its_mask() {
    let mut sizes = [0; 3];
    let mut classes = BTreeSet::new();
    let set = DemoDataset::new(DemoSplit::Val);
    for a in set.ground_truth().unwrap().annotations {
        let (rle, bbox) = (rle(&a), a.bbox.unwrap());
        assert_eq!(rle.bbox(), bbox, "annotation {}", a.id);
        assert_eq!(f64::from(rle.area()), a.area.unwrap());
        assert!(rle.area() >= 64 && bbox.w.min(bbox.h) >= 8.0, "annotation {}: {bbox:?}", a.id);
        sizes[usize::from(rle.area() > 32 * 32) + usize::from(rle.area() > 96 * 96)] += 1;
        classes.insert(a.category_id);
    }
    assert!(sizes.iter().all(|&n| n >= 25), "small, medium, large: {sizes:?}");
    assert_eq!(classes.len(), CATEGORIES.len());
}

#[test]
fn masks_of_a_picture_do_not_overlap() {
    let set = DemoDataset::new(DemoSplit::Train);
    for i in 0..10 {
        let example = set.draw(i).unwrap();
        let mut count = vec![0u8; (example.image.width * example.image.height) as usize];
        for a in &example.annotations {
            rle(a).to_mask().iter().zip(&mut count).for_each(|(m, c)| *c += m);
        }
        assert!(count.iter().all(|&c| c <= 1), "picture {i}");
    }
}

#[test]
fn written_files_read_back_as_the_same_set() {
    let dir = tempfile::tempdir().unwrap();
    for split in DemoSplit::ALL {
        let set = DemoDataset::new(split);
        write_first(&set, 3, dir.path(), &|| ()).unwrap();
        let read = coco::open(dir.path(), Some(split.name())).unwrap();
        assert_eq!((read.len(), read.labels()), (3, set.labels()));
        for i in 0..3 {
            let (a, b) = (read.example(i).unwrap(), set.example(i).unwrap());
            assert_eq!((a.id, a.file_name, a.picture, a.target), (b.id, b.file_name, b.picture, b.target));
        }
    }
}

#[test]
fn written_label_maps_read_back_as_the_same_set() {
    let dir = tempfile::tempdir().unwrap();
    for split in DemoSplit::ALL {
        let set = DemoSemantic::new(split);
        write_first_scenes(&set, 2, dir.path(), &|| ()).unwrap();
        let read = open_semantic(dir.path(), Some(split.name()), &[], None).unwrap().set;
        assert_eq!((read.len(), read.labels().names()), (2, set.labels().names()));
        for i in 0..2 {
            let (a, b) = (read.example(i).unwrap(), set.example(i).unwrap());
            assert_eq!((a.id, a.stem, a.picture, a.target), (b.id, b.stem, b.picture, b.target));
        }
    }
}
