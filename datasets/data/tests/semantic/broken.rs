//! What is wrong is refused with the file, the place and what to do.

use care_data::ErrorKind;
use care_data::semantic::{SegFormat, class_shares};
use png::{BitDepth, ColorType};

use crate::folder::Folder;

/// Asserts that an error blames the data and has all the words.
fn says(error: &care_data::Error, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Input, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text}\n(wanted {word:?})"));
}

const TWO: &str = "classes = [\"a\", \"b\"]\n";

#[test]
fn an_unknown_value_is_named_with_its_pixel() {
    let dir = Folder::new()
        .text("dataset.toml", TWO)
        .picture("images/a.jpg", 3, 2)
        .png("masks/a.png", (3, 2), (ColorType::Grayscale, BitDepth::Eight, None), &[0, 1, 0, 0, 7, 1])
        .picture("images/b.jpg", 1, 1)
        .png("masks/b.png", (1, 1), (ColorType::Rgb, BitDepth::Eight, None), &[7, 7, 7])
        .picture("images/c.jpg", 1, 1)
        .grey("masks/c.png", &[1]);
    let set = dir.open().set;
    says(
        &set.example(0).unwrap_err(),
        &["masks/a.png: pixel x 1, y 1 has the value 7", "0, 1, ignored at 255", "7 = \"ignore\""],
    );
    says(&set.example(1).unwrap_err(), &["masks/b.png", "#070707", "no table of colours", "save it as grey"]);
    let shares = class_shares(&set);
    assert_eq!((shares.counted, shares.failed.len(), &shares.pixels[..]), (1, 2, &[0, 1][..]));
    assert!(set.example(2).is_ok(), "the other pictures are not affected");
}

#[test]
fn sizes_must_be_the_same_and_turned_pictures_are_recognised() {
    let dir = Folder::new()
        .text("dataset.toml", TWO)
        .picture("images/a.jpg", 4, 1)
        .grey("masks/a.png", &[0, 1, 0])
        .picture("images/b.jpg", 1, 4)
        .grey("masks/b.png", &[0, 1, 0, 0]);
    let set = dir.open().set;
    says(&set.example(0).unwrap_err(), &["masks/a.png: is 3x1", "images/a.jpg is 4x1", "resized"]);
    says(&set.example(1).unwrap_err(), &["is 4x1", "is 1x4", "quarter turn", "EXIF"]);
}

#[test]
fn missing_files_are_counted_and_errors_of_their_picture() {
    let dir = Folder::new()
        .text("dataset.toml", TWO)
        .picture("images/a.jpg", 1, 1)
        .grey("masks/a.png", &[0])
        .picture("images/b.jpg", 1, 1)
        .grey("masks/c.png", &[0])
        .picture("images/a.png", 1, 1);
    let set = dir.open().set;
    let funnel = set.funnel();
    assert_eq!(
        (funnel.images, funnel.missing_labels, funnel.missing_pictures, funnel.usable),
        (3, 1, 1, 1),
        "{funnel:?}"
    );
    assert_eq!(set.training_indices(), [0]);
    assert_eq!(set.missing().len(), 2);
    says(&set.example(1).unwrap_err(), &["masks/b.png: no such label map", "images/b.jpg"]);
    says(&set.example(2).unwrap_err(), &["images/c.jpg: no such picture"]);
    assert!(set.remarks()[0].contains("a.jpg has the same name"), "{:?}", set.remarks());
}

#[test]
fn label_files_that_are_no_png_say_what_they_are() {
    let dir = Folder::new()
        .text("dataset.toml", TWO)
        .picture("images/a.jpg", 1, 1)
        .picture("masks/a.jpg", 1, 1)
        .picture("images/b.jpg", 1, 1)
        .text("masks/b.png", "")
        .picture("images/c.jpg", 1, 1)
        .text("masks/c.png", "\u{89}PNG")
        .picture("images/d.jpg", 1, 1)
        .png("masks/d.png", (1, 1), (ColorType::Rgb, BitDepth::Sixteen, None), &[0; 6]);
    let set = dir.open().set;
    let table = ["is a JPEG picture", "is empty", "is no picture", "16 bits per channel"];
    for (i, word) in table.iter().enumerate() {
        says(&set.target(i).unwrap_err(), &[word]);
    }
}

#[test]
fn cut_and_changed_label_files_never_panic() {
    let values: Vec<u8> = (0..4000u32).map(|i| (i * i % 2) as u8).collect();
    let whole = Folder::new().grey("a.png", &values);
    let bytes = std::fs::read(whole.path().join("a.png")).unwrap();
    let dir =
        Folder::new().text("dataset.toml", TWO).picture("images/a.jpg", 4000, 1).grey("masks/a.png", &[0]);
    let set = dir.open().set;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        for broken in [&bytes[..at], &changed[..]] {
            std::fs::write(dir.path().join("masks/a.png"), broken).unwrap();
            let _ = set.target(0);
        }
    }
    std::fs::write(dir.path().join("masks/a.png"), &bytes).unwrap();
    assert_eq!(set.target(0).unwrap().classes(), values);
}

#[test]
fn descriptions_that_contradict_themselves_are_refused() {
    let table: &[(&str, &[&str])] = &[
        ("clases = [\"a\"]", &["unknown field `clases`"]),
        ("classes = []", &["expected 1 to 255 names"]),
        ("classes = [\"a\", \"a\"]", &["\"a\" is there twice"]),
        ("classes = [\"ignore\"]", &["none of them \"ignore\""]),
        ("classes = [{nam = \"a\"}]", &["unknown field `nam`"]),
        ("classes = [3]", &["the name of a class, or a table"]),
        ("classes = [\"road\"]\n[values]\n0 = \"raod\"", &["did you mean \"road\"?", "classes are road"]),
        ("classes = [\"a\"]\n[values]\n-1 = \"a\"", &["0 to 65535"]),
        ("classes = [\"a\"]\n[colors]\n\"#12345\" = \"a\"", &["expected a colour such as"]),
        ("classes = [\"a\"]\nreduce_zero_label = true\n[values]\n0 = \"a\"", &["leave one of them out"]),
    ];
    for (toml, words) in table {
        let dir =
            Folder::new().text("dataset.toml", toml).picture("images/a.jpg", 1, 1).grey("masks/a.png", &[0]);
        let error = dir.refused();
        says(&error, &["dataset.toml"]);
        says(&error, words);
    }
}

#[test]
fn values_that_are_no_class_numbers_ask_for_a_description() {
    let grey = Folder::new().picture("images/a.jpg", 3, 1).grey("masks/a.png", &[0, 38, 75]);
    says(&grey.refused(), &["values in the label files are 0, 38, 75", "dataset.toml", "[values]"]);
    let color = Folder::new().picture("images/a.jpg", 1, 1).png(
        "masks/a.png",
        (1, 1),
        (ColorType::Rgb, BitDepth::Eight, None),
        &[1, 2, 3],
    );
    says(&color.refused(), &["masks/a.png: is an RGB picture", "[colors]"]);
    let gap = Folder::new().picture("images/a.jpg", 3, 1).grey("masks/a.png", &[0, 1, 3]).open();
    assert!(gap.set.remarks()[0].contains("no pixel has the value 2"), "{:?}", gap.set.remarks());
    let info = Folder::new()
        .picture("images/training/a.jpg", 1, 1)
        .grey("annotations/training/a.png", &[1])
        .text("objectInfo.txt", "Idx\tName\n1\troad\n3\tcar\n");
    says(&info.refused(), &["objectInfo.txt", "expected class 2", "3\\tcar"]);
}

#[test]
fn folders_that_are_no_set_are_told_what_was_expected() {
    let names = Folder::new().picture("images/a.jpg", 1, 1).grey("masks/a_mask.png", &[0]);
    says(&names.refused(), &["no picture has a label map", "images/a.jpg", "masks/a_mask.png"]);
    let none = Folder::new().picture("pictures/a.jpg", 1, 1);
    says(&none.refused(), &["ade20k: ", "cityscapes: ", "masks: ", "dataset.toml"]);
    // YOLO's labels/ and COCO's annotations/ hold no PNG files.
    let yolo = Folder::new().picture("images/a.jpg", 1, 1).text("labels/a.txt", "0 0.5 0.5 1 1");
    says(&yolo.refused(), &["holds no segmentation data set"]);
    let masks = Folder::new().picture("images/a.jpg", 1, 1).grey("masks/a.png", &[0]);
    says(&masks.open_as(SegFormat::Ade20k).map(|_| ()).unwrap_err(), &["does not look like ade20k"]);
    let up = Folder::new().picture("set/images/a.jpg", 1, 1).grey("set/masks/a.png", &[0]);
    says(&up.refused(), &["set is (masks); name that"]);
    let dir = Folder::new().picture("images/val/a.jpg", 1, 1).grey("masks/val/a.png", &[0]);
    let error = dir.refused();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("has none of train2017"), "{error}");
}
