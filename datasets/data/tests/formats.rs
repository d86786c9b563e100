//! Real data sets that come in two formats must read the same; broken ones must say where and why.

use care_data::{AnnotatedSet, Dataset, ErrorKind, Format, TRAIN_SPLITS, open_part, split_off};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn data() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("CARE_DATA").map_or(beside, PathBuf::from);
    let there = folder.is_dir();
    if !there {
        println!("SKIPPED: the shared data sets are not at {} (CARE_DATA)", folder.display());
    }
    there.then_some(folder)
}

/// (picture, class name, box) of every object, sorted.
fn objects(set: &AnnotatedSet) -> Vec<(String, String, [i64; 4])> {
    let mut all = Vec::new();
    for i in 0..set.len() {
        let stem = Path::new(&set.image(i).file_name).file_stem().unwrap().to_str().unwrap().to_owned();
        for a in set.annotations(i) {
            let class = set.labels().index_of_id(a.category_id).unwrap();
            let thousandths = a.bbox.unwrap().to_array().map(|v| (v * 20.0).round() as i64);
            all.push((stem.clone(), set.labels().name(class), thousandths));
        }
    }
    all.sort();
    all
}

fn part(folder: &Path, split: &str, format: Format) -> AnnotatedSet {
    open_part(folder, Some(split), &[], Some(format)).unwrap().set
}

#[test]
fn voc_and_coco_of_bccd_are_the_same_objects() {
    let Some(data) = data() else { return };
    for (split, count) in [("train", 2804), ("val", 1137), ("test", 945)] {
        let coco = objects(&part(&data.join("bccd"), split, Format::Coco));
        let voc = part(&data.join("bccd"), split, Format::Voc);
        assert_eq!(voc.labels().names(), ["Platelets", "RBC", "WBC"]);
        // the COCO file leaves out two boxes of no size, which the XML has and the target rules drop
        let with_area: Vec<_> = objects(&voc).into_iter().filter(|o| o.2[2] > 0 && o.2[3] > 0).collect();
        assert_eq!(coco.len(), count);
        assert_eq!(with_area, coco, "{split}");
        assert!((0..3).all(|i| voc.example(i).is_ok()));
    }
}

#[test]
fn yolo_and_coco_of_the_boards_are_the_same_objects() {
    let Some(data) = data() else { return };
    let folder = data.join("microcontroller");
    for split in ["train", "val", "test"] {
        let (yolo, coco) = (part(&folder, split, Format::Yolo), part(&folder, split, Format::Coco));
        assert_eq!(yolo.len(), coco.len());
        assert_eq!(objects(&yolo), objects(&coco), "{split}");
        assert!(yolo.remarks().is_empty(), "{:?}", yolo.remarks());
        assert!(yolo.example(0).is_ok());
    }
}

#[test]
fn a_share_is_split_off_with_every_class_in_proportion() {
    let Some(data) = data() else { return };
    let set = part(&data.join("bccd"), "train", Format::Voc);
    let count = |set: &AnnotatedSet| {
        let mut counts = BTreeMap::new();
        for (_, class, _) in objects(set) {
            *counts.entry(class).or_insert(0usize) += 1;
        }
        counts
    };
    let all = count(&set);
    let (train, val) = split_off(set.clone(), 0.2, 7);
    assert_eq!((train.len() + val.len(), val.len()), (205, 41));
    for (class, &n) in &all {
        let share = count(&val)[class] as f64 / n as f64;
        assert!((0.14..0.26).contains(&share), "{class}: {share}");
    }
    let (again, _) = split_off(set.clone(), 0.2, 7);
    assert_eq!(again.fingerprint(), train.fingerprint());
    assert_ne!(split_off(set.clone(), 0.2, 8).0.fingerprint(), train.fingerprint());
    assert_ne!(set.fingerprint(), train.fingerprint());
}

/// A small folder with a picture of 80 by 40 pixels at each of these places.
fn folder(pictures: &[&str], texts: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(80, 40).write_to(&mut png, image::ImageFormat::Png).unwrap();
    pictures.iter().for_each(|p| write(p, png.get_ref()));
    texts.iter().for_each(|(name, text)| write(name, text.as_bytes()));
    dir
}

const YAML: &str = "train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n";

#[test]
fn roboflows_paths_polygons_and_background_are_read() {
    let dir = folder(
        &["train/images/a.png", "train/images/b.png"],
        &[("data.yaml", YAML), ("train/labels/a.txt", "1 0.5 0.5 0.5 0.5\n0 0 0 0.5 0 0.5 1\n\n")],
    );
    let opened = open_part(dir.path(), None, &TRAIN_SPLITS, None).unwrap();
    assert!(opened.rule.contains("YOLO") && opened.split == "train", "{}", opened.rule);
    let set = opened.set;
    assert_eq!((set.len(), set.labels().names()), (2, vec!["cat", "dog"]));
    let boxes: Vec<[f64; 4]> = set.annotations(0).map(|a| a.bbox.unwrap().to_array()).collect();
    assert_eq!(boxes, [[20.0, 10.0, 40.0, 20.0], [0.0, 0.0, 40.0, 40.0]]);
    assert!(set.annotations(0).nth(1).unwrap().segmentation.is_some());
    assert_eq!(set.annotations(1).count(), 0, "no label file: background");
    assert_eq!((set.training_indices(true).len(), set.training_indices(false).len()), (2, 1));
}

#[test]
fn broken_yolo_sets_say_where() {
    let table: &[(&str, &str, &str)] = &[
        (YAML, "2 0.5 0.5 0.1 0.1", "a.txt:1: class 2, but data.yaml names 2"),
        (YAML, "0 0.5 0.5 0.1", "a.txt:1: 3 values after the class"),
        (YAML, "0 0.5 0.5 0.1 0.1\n0 0.5 x 0.1 0.1", "a.txt:2: \"x\" is not a number"),
        (YAML, "0 20 10 5 5", "expected shares of the picture"),
        (YAML, "0 nan 0.5 0.1 0.1", "is not a number"),
        ("train: train/images\nnames: [a, b]\nnc: 3\n", "", "nc is 3, but there are 2 names"),
        ("train: nowhere\nnames: [a]\n", "", "nowhere: no such folder"),
        ("train: train/images\n", "", "names: expected a list"),
        ("train: [train/images\n", "", "is not YAML"),
        ("train: train/images\nnames: {0: a, 2: b}\n", "", "expected keys 0, 1, 2"),
    ];
    for (yaml, labels, want) in table {
        let dir = folder(&["train/images/a.png"], &[("data.yaml", yaml), ("train/labels/a.txt", labels)]);
        let error = open_part(dir.path(), Some("train"), &[], None).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(want), "{error} (wanted {want})");
    }
    let outside =
        folder(&["train/images/a.png"], &[("data.yaml", YAML), ("train/labels/a.txt", "0 0.9 0.5 0.4 0.5")]);
    let set = open_part(outside.path(), Some("train"), &[], None).unwrap().set;
    assert!(set.remarks()[0].contains("reaches outside"), "{:?}", set.remarks());
}

fn xml(objects: &str) -> String {
    format!("<annotation><size><width>80</width><height>40</height></size>{objects}</annotation>")
}

#[test]
fn broken_voc_sets_say_where() {
    let object = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax></bndbox></object>";
    let table: &[(String, &str)] = &[
        ("<annotation><object>".into(), "is not XML"),
        (xml("\n<object><bndbox/></object>"), "line 2: the object has no name"),
        (xml("<object><name>cat</name></object>"), "has no bndbox"),
        (xml(&object.replace("<ymax>8</ymax>", "")), "has no number ymax"),
        (xml(&object.replace(">8<", ">NaN<")), "has no number ymax"),
    ];
    for (text, want) in table {
        let dir = folder(&["JPEGImages/a.png"], &[("Annotations/a.xml", text)]);
        let error = open_part(dir.path(), None, &TRAIN_SPLITS, None).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains(want) && error.to_string().contains("a.xml"), "{error}");
    }
    let difficult = object.replace("</name>", "</name><difficult>1</difficult>");
    let texts = [
        ("Annotations/a.xml", xml(&difficult)),
        ("Annotations/c.xml", xml(object)),
        ("ImageSets/Main/train.txt", "a\nb\nc\n".to_owned()),
        ("ImageSets/Main/cat_train.txt", "a 1\n".to_owned()),
    ];
    let texts: Vec<(&str, &str)> = texts.iter().map(|(a, b)| (*a, b.as_str())).collect();
    let dir = folder(&["JPEGImages/a.png", "JPEGImages/b.png"], &texts);
    assert_eq!(Format::Voc.splits(dir.path()).unwrap(), ["train"]);
    let set = open_part(dir.path(), None, &TRAIN_SPLITS, None).unwrap().set;
    assert_eq!((set.len(), set.missing().len(), set.remarks().len()), (3, 1, 1));
    assert!(set.example(0).unwrap().target.ignore[0], "difficult is neither object nor background");
}

#[test]
fn folders_without_a_known_format_are_refused_with_what_was_expected() {
    let dir = folder(&["pictures/a.png"], &[]);
    let error = open_part(dir.path(), None, &TRAIN_SPLITS, None).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(["coco", "yolo", "voc"].iter().all(|f| error.to_string().contains(f)), "{error}");
    let error = open_part(&dir.path().join("no"), None, &TRAIN_SPLITS, None).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!("yollo".parse::<Format>().is_err());
}

#[test]
fn a_folder_beside_the_data_set_points_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let touch = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    touch("up/set/annotations/instances_val.json", r#"{"images":[],"annotations":[],"categories":[]}"#);
    touch("up/set/images/val/x.jpg", "");
    for near in ["up/set/images", "up/set/images/val", "up"] {
        let error = open_part(&dir.path().join(near), None, &["val"], None).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(text.contains("up/set is (coco); name that"), "{near}: {text}");
    }
    touch("up/other/annotations/instances_val.json", "{}");
    let two = open_part(&dir.path().join("up"), None, &["val"], None).unwrap_err().to_string();
    assert!(two.contains("expected one of"), "which of the two is meant cannot be told: {two}");
}
