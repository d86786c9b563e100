//! Every format is recognised, says so, and gives the classes that its files mean.

use care_data::semantic::{Reordered, SegDataset, SegFormat, open_semantic};
use care_data::{DEFAULT_SPLITS, ErrorKind};
use care_types::CategoryId;
use png::{BitDepth, ColorType};
use std::sync::Arc;

use crate::folder::Folder;

#[test]
fn ade20k_folders_ignore_zero_and_know_their_names() {
    let dir = || {
        Folder::new()
            .picture("images/training/a.jpg", 4, 1)
            .picture("images/validation/b.jpg", 2, 1)
            .grey("annotations/training/a.png", &[0, 1, 2, 255])
    };
    let named = dir().grey("annotations/validation/b.png", &[150, 1]).kept();
    assert_eq!(named.format, SegFormat::Ade20k);
    assert_eq!(named.split, "training");
    assert!(
        named.rule.contains("150 classes") && named.rule.contains("a class at 1 to 150, ignored at 0, 255"),
        "{}",
        named.rule
    );
    assert_eq!(named.set.example(0).unwrap().target.classes(), [255, 0, 1, 255]);
    assert_eq!(named.set.labels().names()[..2], ["wall", "building"]);
    let info = dir().grey("annotations/validation/b.png", &[1, 1]);
    let info = info.text("objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tStuff\tName\n").kept();
    assert_eq!(info.set.labels().len(), 150);
    let few = dir().grey("annotations/validation/b.png", &[3, 1]).kept();
    assert_eq!(few.set.labels().names(), ["class_0", "class_1", "class_2"], "all parts are looked at");
    assert_eq!(few.set.labels().entries()[2].id, CategoryId(3));
    let read = dir().grey("annotations/validation/b.png", &[3, 1]);
    let read = read.text("objectInfo.txt", "Idx Name\n1 dry road\n2 wet road\n").kept();
    assert_eq!(read.set.labels().names(), ["dry road", "wet road"]);
    let part = open_semantic(read.set.folder(), None, &DEFAULT_SPLITS, None).unwrap();
    assert_eq!((part.split.as_str(), part.set.stem(0)), ("validation", "b"));
    let error = open_semantic(read.set.folder(), Some("validatoin"), &[], None).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("did you mean \"validation\""), "{error}");
}

#[test]
fn cityscapes_ids_become_the_nineteen_classes() {
    let base = "leftImg8bit/train/aachen/aachen_0_1_leftImg8bit.png";
    let label = |kind: &str| format!("gtFine/train/aachen/aachen_0_1_gtFine_{kind}.png");
    let ids = Folder::new()
        .picture(base, 5, 1)
        .grey(&label("labelIds"), &[7, 8, 33, 0, 29])
        .grey(&label("instanceIds"), &[1, 1, 1, 1, 1])
        .kept();
    assert_eq!((ids.format, ids.set.len()), (SegFormat::Cityscapes, 1));
    assert_eq!(ids.set.stem(0), "aachen/aachen_0_1");
    assert_eq!(ids.set.example(0).unwrap().target.classes(), [0, 1, 18, 255, 255]);
    assert_eq!(ids.set.labels().entries()[18].id, CategoryId(33));
    let train_ids = Folder::new().picture(base, 3, 1).grey(&label("labelTrainIds"), &[18, 255, 0]).kept();
    assert_eq!(train_ids.set.example(0).unwrap().target.classes(), [18, 255, 0]);
    assert!(train_ids.rule.contains("labelTrainIds"), "{}", train_ids.rule);
    assert_eq!(train_ids.set.labels().names(), ids.set.labels().names());
}

#[test]
fn mask_folders_are_found_in_each_arrangement() {
    let table = [
        ("images/x.jpg", "masks/x.png", "train"),
        ("images/train/x.jpg", "labels/train/x.png", "train"),
        ("images/trainval/sub/x.jpg", "annotations/trainval/sub/x.png", "trainval"),
        ("train/images/x.jpg", "train/masks/x.png", "train"),
    ];
    for (picture, mask, split) in table {
        let dir = Folder::new().picture(picture, 4, 1).grey(mask, &[0, 1, 2, 255]);
        let opened = dir.open();
        assert_eq!((opened.format, opened.split.as_str()), (SegFormat::Masks, split), "{picture}");
        assert_eq!(opened.set.example(0).unwrap().target.classes(), [0, 1, 2, 255], "{picture}");
        assert_eq!(opened.set.labels().names(), ["class_0", "class_1", "class_2"]);
        assert!(opened.rule.contains("ignored at 255"), "{}", opened.rule);
    }
}

#[test]
fn masks_of_0_and_255_are_two_classes_and_a_remark() {
    let opened = Folder::new().picture("images/x.jpg", 3, 1).grey("masks/x.png", &[0, 255, 0]).kept();
    assert_eq!(opened.set.example(0).unwrap().target.classes(), [0, 1, 0]);
    assert!(opened.set.remarks()[0].contains("taken as two classes"), "{:?}", opened.set.remarks());
}

#[test]
fn a_description_names_values_and_colours() {
    let toml = "classes = [\"road\", {name = \"crack\", color = [9, 8, 7]}]\n[values]\n0 = \"ignore\"\n17 = \
                \"road\"\n1000 = \"crack\"\n[colors]\n\"#804080\" = \"road\"\n\"0, 0, 0\" = \"ignore\"\n";
    let sixteen: Vec<u8> = [1000u16, 17, 0].iter().flat_map(|v| v.to_be_bytes()).collect();
    let dir = Folder::new()
        .text("dataset.toml", toml)
        .picture("images/a.jpg", 3, 1)
        .png("masks/a.png", (3, 1), (ColorType::Grayscale, BitDepth::Sixteen, None), &sixteen)
        .picture("images/b.jpg", 2, 1)
        .png("masks/b.png", (2, 1), (ColorType::Rgb, BitDepth::Eight, None), &[0x80, 0x40, 0x80, 0, 0, 0]);
    let opened = dir.open();
    assert_eq!(opened.set.example(0).unwrap().target.classes(), [1, 0, 255]);
    assert_eq!(opened.set.example(1).unwrap().target.classes(), [0, 255]);
    let labels = opened.set.labels().entries();
    assert_eq!((labels[1].id, labels[1].color), (CategoryId(1000), [9, 8, 7]));
    assert!(opened.rule.contains("2 classes from dataset.toml"), "{}", opened.rule);
}

#[test]
fn palette_indices_count_and_their_colours_only_when_asked() {
    let palette = [200u8, 0, 0, 0, 200, 0, 0, 0, 200];
    // Two bits per pixel: 2 1 0 1 | 2 …
    let packed = [0b10_01_00_01, 0b10_00_00_00];
    let dir = |toml: &str| {
        Folder::new().text("dataset.toml", toml).picture("images/a.jpg", 5, 1).png(
            "masks/a.png",
            (5, 1),
            (ColorType::Indexed, BitDepth::Two, Some(&palette)),
            &packed,
        )
    };
    let by_index = dir("classes = [\"r\", \"g\", \"b\"]").kept();
    assert_eq!(by_index.set.target(0).unwrap().classes(), [2, 1, 0, 1, 2]);
    let colors = "[colors]\n\"#c80000\" = \"ignore\"\n\"#00c800\" = \"b\"\n\"0,0,200\" = \"g\"";
    let by_color = dir(&format!("classes = [\"g\", \"b\"]\n{colors}")).kept();
    assert_eq!(by_color.set.target(0).unwrap().classes(), [0, 1, 255, 1, 0]);
    let both =
        dir(&format!("classes = [\"g\", \"b\"]\n{colors}\n[values]\n0=\"g\"\n1=\"b\"\n2=\"ignore\"")).kept();
    assert_eq!(both.set.target(0).unwrap().classes(), [255, 1, 0, 1, 255], "values come first");
}

#[test]
fn rgb_masks_are_read_by_the_classes_own_colours() {
    let toml =
        "classes = [{name=\"a\", color=[1,2,3]}, {name=\"b\", color=[4,5,6]}]\nreduce_zero_label = true";
    let bytes = [4, 5, 6, 0, 1, 2, 3, 255];
    let opened = Folder::new()
        .text("dataset.toml", toml)
        .picture("images/a.jpg", 2, 1)
        .png("masks/a.png", (2, 1), (ColorType::Rgba, BitDepth::Eight, None), &bytes)
        .picture("images/b.jpg", 3, 1)
        .grey("masks/b.png", &[0, 1, 2])
        .kept();
    assert_eq!(opened.set.target(0).unwrap().classes(), [1, 0], "alpha is dropped");
    assert_eq!(opened.set.target(1).unwrap().classes(), [255, 0, 1]);
}

#[test]
fn one_bit_masks_hold_zero_and_one() {
    let dir = Folder::new().picture("images/a.jpg", 10, 2).png(
        "masks/a.png",
        (10, 2),
        (ColorType::Grayscale, BitDepth::One, None),
        &[0b1010_0000, 0b0100_0000, 0b0000_0001, 0b1000_0000],
    );
    let target = dir.open().set.target(0).unwrap();
    assert_eq!(target.classes()[..10], [1, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(target.classes()[10..], [0, 0, 0, 0, 0, 0, 0, 1, 1, 0]);
}

#[test]
fn a_model_s_classes_reorder() {
    let dir = Folder::new()
        .text("dataset.toml", "classes = [\"a\", \"b\", \"c\"]")
        .picture("images/x.jpg", 4, 1)
        .grey("masks/x.png", &[0, 1, 2, 255]);
    let set: Arc<dyn SegDataset> = Arc::new(dir.open().set);
    let turned = Reordered::new(Arc::clone(&set), &["c", "a", "b"]).unwrap();
    assert_eq!(turned.example(0).unwrap().target.classes(), [1, 2, 0, 255]);
    assert_eq!(turned.labels().names(), ["c", "a", "b"]);
    for names in [&["c", "a"][..], &["c", "a", "b", "d"], &["c", "a", "B"]] {
        let error = Reordered::new(Arc::clone(&set), names).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("is not among"), "{names:?}: {error}");
    }
}

#[test]
fn formats_have_names_that_are_corrected() {
    for format in SegFormat::ALL {
        assert_eq!(format.to_string().parse::<SegFormat>().unwrap(), format);
    }
    let error = "cityscape".parse::<SegFormat>().unwrap_err();
    assert!(error.to_string().contains("did you mean \"cityscapes\""), "{error}");
}
