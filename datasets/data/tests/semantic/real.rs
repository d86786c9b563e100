//! The road set against what its documentation counts, and the golden cases.

use std::path::{Path, PathBuf};

use care_data::resize::nearest;
use care_data::semantic::{SegFormat, class_shares, open_semantic};
use care_data::{DEFAULT_SPLITS, TRAIN_SPLITS};
use care_types::{CategoryId, LabelMap};
use serde_json::Value;

use crate::folder::Folder;

fn shared(variable: &str, beside: &str, needed: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(beside);
    let folder = std::env::var_os(variable).map_or(beside, PathBuf::from);
    let there = folder.join(needed).exists();
    if !there {
        println!("SKIPPED: {needed} is not in {} ({variable})", folder.display());
    }
    there.then_some(folder)
}

fn roads() -> Option<PathBuf> {
    shared("CARE_DATA", "data", "road_defects/objectInfo.txt").map(|d| d.join("road_defects"))
}

/// A tensor of bytes of a safetensors file.
fn bytes_of(file: &Path, name: &str) -> Vec<u8> {
    let file = std::fs::read(file).unwrap();
    let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let json: Value = serde_json::from_slice(&file[8..header]).unwrap();
    assert_eq!(json[name]["dtype"], "U8");
    let end = |i: usize| header + json[name]["data_offsets"][i].as_u64().unwrap() as usize;
    file[end(0)..end(1)].to_vec()
}

#[test]
fn the_road_set_has_the_shares_that_its_page_says() {
    let Some(folder) = roads() else { return };
    // SOURCE.md: pictures, percent and pictures per class
    let table = [
        (&TRAIN_SPLITS[..], 120, [43.03, 54.56, 1.03, 1.38], [120, 120, 91, 54]),
        (&DEFAULT_SPLITS[..], 40, [44.64, 54.28, 0.74, 0.34], [40, 40, 30, 18]),
    ];
    for (splits, count, percent, pictures) in table {
        let opened = open_semantic(&folder, None, splits, None).unwrap();
        assert_eq!(opened.format, SegFormat::Ade20k);
        assert!(opened.rule.contains("4 classes from objectInfo.txt"), "{}", opened.rule);
        let set = opened.set;
        assert_eq!(set.labels().names(), ["background", "road", "crack", "pothole"]);
        assert_eq!((set.len(), set.funnel().usable, set.remarks().len()), (count, count, 0));
        let shares = class_shares(&set);
        assert_eq!((shares.counted, shares.ignored, &shares.pictures[..]), (count, 0, &pictures[..]));
        for (got, want) in shares.shares().iter().zip(percent) {
            assert!((got * 100.0 - want).abs() <= 0.01, "{:?}, expected {percent:?}", shares.shares());
        }
        let example = set.example(count / 2).unwrap();
        assert_eq!(example.picture.dimensions(), (1024, 640));
        assert!(example.target.classes().iter().all(|&c| c < 4));
    }
}

#[test]
fn the_road_set_splits_by_seed_with_every_class_on_both_sides() {
    let Some(folder) = roads() else { return };
    let set = open_semantic(&folder, Some("training"), &[], None).unwrap().set;
    let names = |s: &care_data::semantic::SemanticSet| {
        (0..s.len()).map(|i| (s.id(i), s.stem(i).to_owned())).collect::<Vec<_>>()
    };
    let (train, val) = set.split_off(0.2, 7);
    assert_eq!((train.len(), val.len()), (96, 24));
    let mut all = [names(&train), names(&val)].concat();
    all.sort();
    assert_eq!(all, names(&set));
    // 54 of 120 pictures have potholes and 91 cracks: a fifth is 11 and 18
    let shares = class_shares(&val);
    assert!((10..=12).contains(&shares.pictures[3]) && (17..=20).contains(&shares.pictures[2]), "{shares:?}");
    assert_eq!(names(&set.split_off(0.2, 7).1), names(&val));
    assert_ne!(names(&set.split_off(0.2, 8).1), names(&val));
    assert_ne!(train.fingerprint(), val.fingerprint());
    assert_eq!(train.fingerprint(), train.fingerprint());
}

#[test]
fn zero_label_reduction_is_the_reference_s() {
    let Some(golden) = shared("CARE_GOLDEN", "golden", "seg/ade_reduce_zero_label.safetensors") else {
        return;
    };
    let file = golden.join("seg/ade_reduce_zero_label.safetensors");
    let (raw, want) = (bytes_of(&file, "raw"), bytes_of(&file, "label"));
    let dir = Folder::new()
        .picture("images/training/a.png", raw.len() as u32, 1)
        .grey("annotations/training/a.png", &raw);
    assert_eq!(dir.open().set.example(0).unwrap().target.classes(), want);
}

#[test]
fn ade20k_s_names_and_colours_are_the_reference_s() {
    let Some(golden) = shared("CARE_GOLDEN", "golden", "seg/ade20k_classes.json") else { return };
    let text = std::fs::read(golden.join("seg/ade20k_classes.json")).unwrap();
    let json: Value = serde_json::from_slice(&text).unwrap();
    let labels = LabelMap::ade20k();
    assert_eq!(labels.len(), 150);
    for (i, label) in labels.entries().iter().enumerate() {
        // the reference has "bed " with a blank
        assert_eq!(label.name, json["classes"][i].as_str().unwrap().trim());
        assert_eq!(serde_json::json!(label.color), json["palette"][i]);
        assert_eq!(label.id, CategoryId(i as i64 + 1));
    }
}

#[test]
fn labels_are_resized_as_the_reference_resizes_them() {
    let Some(golden) = shared("CARE_GOLDEN", "golden", "pre/resize_nearest.safetensors") else { return };
    let file = golden.join("pre/resize_nearest.safetensors");
    let label = bytes_of(&file, "label"); // 37 rows of 53
    for [h, w] in [[74, 106], [50, 80], [18, 26], [37, 53], [20, 70]] {
        let want = bytes_of(&file, &format!("cv2_{h}x{w}"));
        assert_eq!(nearest::resize_cv2(&label, [53, 37], [w, h]), want, "{h}x{w}");
    }
}
