//! COCO-format folders: the real sets of the data folder, and layouts made on the spot.

use std::path::{Path, PathBuf};

use care_data::{AnnotatedSet, Dataset, ErrorKind, coco};
use care_types::{ClassIndex, ImageId, Segmentation, Size};

fn data() -> Option<PathBuf> {
    let data = std::env::var_os("CARE_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    if data.join("coco_ccby").is_dir() {
        return Some(data);
    }
    eprintln!("SKIPPED: {} has no data sets (set CARE_DATA)", data.display());
    None
}

#[test]
fn real_sets_open_with_all_their_pictures() {
    let Some(data) = data() else { return };
    // name, split, the split that is found, pictures, objects, classes: the counts of each SOURCE.md
    for (name, split, found, images, annotations, classes) in [
        ("coco_ccby", None, "val", 18, 170, 80),
        ("coco_ccby", Some("train"), "train", 24, 256, 80),
        ("nuclei", None, "val", 39, 1870, 1),
        ("nuclei", Some("val_rle"), "val_rle", 39, 1870, 1),
        ("bccd", Some("test"), "test", 72, 945, 3),
        ("microcontroller", None, "val", 24, 30, 4),
    ] {
        let set = coco::open(&data.join(name), split).unwrap();
        let funnel = set.funnel();
        let got = (set.split(), set.len(), funnel.annotations, set.labels().len());
        assert_eq!(got, (Some(found), images, annotations, classes), "{name}");
        if split != Some("val_rle") {
            assert_eq!(set.missing(), Vec::<&Path>::new(), "{name}");
        }
        assert_eq!(
            (funnel.unknown_category, funnel.unknown_image, funnel.without_objects),
            (0, 0, 0),
            "{name}"
        );
    }
}

#[test]
fn real_pictures_come_with_their_objects() {
    let Some(data) = data() else { return };
    let set = coco::open(&data.join("coco_ccby"), None).unwrap();
    let mut objects = 0;
    for i in 0..set.len() {
        let example = set.example(i).unwrap();
        let size = Size::new(example.picture.width(), example.picture.height());
        assert_eq!((example.id, size), (set.image(i).id, set.image(i).size()));
        for mask in example.target.masks.iter().flatten() {
            mask.to_rle(size).unwrap();
        }
        objects += example.target.ignore.iter().filter(|crowd| !**crowd).count();
    }
    assert_eq!(objects, 166, "SOURCE.md counts 170 objects, 4 of them crowds");
    let person = set.labels().index_of_name("person").unwrap();
    assert_eq!(person, ClassIndex(0));
}

fn picture(path: &Path, w: u32, h: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(w, h, image::Rgb([9, 8, 7])).save(path).unwrap();
}

fn annotations(path: &Path, first_file: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let json = format!(
        r#"{{"images":[{{"id":7,"file_name":"{first_file}","width":20,"height":10}},
                      {{"id":3,"file_name":"gone.png","width":20,"height":10}}],
            "annotations":[{{"id":1,"image_id":7,"category_id":9,"bbox":[1,2,5,4],"segmentation":[[1,2,6,2,6,6]]}},
                           {{"id":2,"image_id":7,"category_id":4,"bbox":[1,2,0.5,4]}},
                           {{"id":3,"image_id":99,"category_id":4,"bbox":[1,2,5,4]}}],
            "categories":[{{"id":9,"name":"nine"}},{{"id":4,"name":"four"}}]}}"#
    );
    std::fs::write(path, json).unwrap();
}

#[test]
fn every_layout_is_found_and_its_picture_is_read() {
    for (file, pic, listed) in [
        ("annotations/instances_val2017.json", "val2017/a.png", "a.png"),
        ("annotations/instances_val.json", "images/val/a.png", "a.png"),
        ("annotations/instances_test.json", "test/sub/a.png", "sub/a.png"),
        ("coco/instances_val.json", "JPEGImages/a.png", "a.png"),
        ("valid/_annotations.coco.json", "valid/a.png", "a.png"),
        ("annotations/instances_val.json", "val/a.png", "val/a.png"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        annotations(&dir.path().join(file), listed);
        picture(&dir.path().join(pic), 20, 10);
        let set = coco::open(dir.path(), None).unwrap_or_else(|e| panic!("{file}: {e}"));
        let example = set.example(0).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(example.id, ImageId(7));
        assert_eq!(example.target.classes, [ClassIndex(0)]);
        assert!(matches!(example.target.masks[0], Some(Segmentation::Polygons(_))));
        let error = set.example(1).unwrap_err().to_string();
        assert!(error.contains("gone.png") && error.contains("no such file"), "{error}");
        let f = set.funnel();
        assert_eq!((f.images, f.missing_files, f.without_objects), (2, 1, 1), "{file}");
        assert_eq!((f.annotations, f.unusable, f.unknown_image), (3, 1, 1), "{file}");
    }
}

#[test]
fn what_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let kind_and_text = |r: care_data::Result<AnnotatedSet>| {
        let e = r.unwrap_err();
        (e.kind(), e.to_string())
    };
    let (kind, text) = kind_and_text(coco::open(&dir.path().join("no"), None));
    assert_eq!(kind, ErrorKind::Config, "{text}");
    let (kind, text) = kind_and_text(coco::open(dir.path(), None));
    assert_eq!(kind, ErrorKind::Input, "{text}");
    annotations(&dir.path().join("annotations/instances_train.json"), "a.png");
    let (kind, text) = kind_and_text(coco::open(dir.path(), None));
    assert!(kind == ErrorKind::Config && text.contains("train") && text.contains("val2017"), "{text}");
    let (kind, text) = kind_and_text(coco::open(dir.path(), Some("tset")));
    assert!(kind == ErrorKind::Config && text.contains("tset") && text.contains("train"), "{text}");
}

#[test]
fn a_picture_of_another_size_than_annotated_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    annotations(&dir.path().join("annotations/instances_val.json"), "a.png");
    picture(&dir.path().join("val/a.png"), 10, 20);
    let error = coco::open(dir.path(), None).unwrap().example(0).unwrap_err().to_string();
    assert!(error.contains("10x20") && error.contains("20x10") && error.contains("a.png"), "{error}");
}

#[test]
fn classes_follow_the_model_when_it_names_them() {
    let dir = tempfile::tempdir().unwrap();
    annotations(&dir.path().join("annotations/instances_val.json"), "a.png");
    picture(&dir.path().join("val/a.png"), 20, 10);
    let set = coco::open(dir.path(), None).unwrap().with_classes(&["four", "nine"]).unwrap();
    assert_eq!(set.example(0).unwrap().target.classes, [ClassIndex(1)]);
    let error = coco::open(dir.path(), None).unwrap().with_classes(&["five"]).unwrap_err().to_string();
    assert!(error.contains("five") && error.contains("nine, four"), "{error}");
}
