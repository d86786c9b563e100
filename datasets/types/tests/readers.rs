//! Whatever the bytes are, reading ends with a value or an error of kind `Input`, never with a panic.
use care_types::coco_json::{Annotation, Category, Dataset, Frequency, Image, ResultRecord};
use care_types::coco_json::{
    parse_dataset, parse_results, read_dataset, read_results, results_json, write_results,
};
use care_types::{BoxXywh, CategoryId, ErrorKind, ImageId, Rle, Segmentation};
use proptest::prelude::*;

const GT: &str = r#"{"images":[{"id":1,"width":4,"height":3,"file_name":"a.jpg"}],"categories":[{"id":2,"name":"dog"}],
 "annotations":[{"id":1,"image_id":1,"category_id":2,"bbox":[0,0,2,2],"area":4,"iscrowd":0,"segmentation":[[0,0,2,0,2,2]]},
 {"id":2,"image_id":1,"category_id":2,"bbox":[0,0,2,2],"area":4,"iscrowd":1,"segmentation":{"size":[3,4],"counts":[0,12]}}]}"#;
const DT: &str = r#"[{"image_id":1,"category_id":2,"bbox":[0,0,2,2],"score":0.5},
 {"image_id":1,"category_id":2,"segmentation":{"size":[3,4],"counts":"0<"},"score":1e-3}]"#;

fn both(bytes: &[u8]) -> Result<(), TestCaseError> {
    for e in [parse_dataset(bytes).err(), parse_results(bytes).err()].into_iter().flatten() {
        prop_assert_eq!(e.kind(), ErrorKind::Input);
        prop_assert!(!e.to_string().is_empty());
    }
    Ok(())
}

/// Fragments that keep mutated text close to JSON.
const PIECES: [&str; 16] = [
    "null",
    "-1",
    "1e999",
    "NaN",
    "[]",
    "{}",
    "\"\"",
    "[[",
    "]]",
    "\"counts\":\"0\"",
    "\"size\":[1,1]",
    "18446744073709551616",
    "0.5",
    "\u{0}",
    "true",
    ",",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn damaged_files_never_panic(results in any::<bool>(), from in 0..600usize, length in 0..40usize, piece in 0..PIECES.len()) {
        let mut text = if results { DT } else { GT }.as_bytes().to_vec();
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        text.splice(from..to, PIECES[piece].bytes());
        both(&text)?;
    }

    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        both(&bytes)?;
    }

    #[test]
    fn results_survive_writing(boxes in proptest::collection::vec((any::<i32>(), -1e6..1e6f64, 0.0..1.0f64, any::<bool>()), 0..5)) {
        let records: Vec<ResultRecord> = boxes.iter().map(|&(id, x, score, mask)| ResultRecord {
            image_id: ImageId(id.into()),
            category_id: CategoryId(1),
            bbox: (!mask).then_some(BoxXywh::new(x, score, 1.0 / 3.0, 1e-7)),
            segmentation: mask.then(|| Rle::from_counts(3, 4, &[2, 3, 7]).unwrap()),
            keypoints: mask.then(|| vec![x, 1.0 / 3.0, 2.0]),
            score,
        }).collect();
        prop_assert_eq!(parse_results(results_json(&records).as_bytes()).unwrap(), records);
    }
}

#[test]
fn an_annotation_file_survives_writing() {
    let rle = Segmentation::Rle(Rle::from_counts(3, 4, &[2, 3, 7]).unwrap());
    let annotation = Annotation {
        id: 0,
        image_id: ImageId(-3),
        category_id: CategoryId(90),
        bbox: Some(BoxXywh::new(0.1, 0.2, 0.3, 0.4)),
        area: None,
        segmentation: Some(rle),
        iscrowd: true,
        ignore: true,
        keypoints: Some(vec![0.1, 2.5, 2.0]),
        num_keypoints: Some(1),
    };
    let dataset = Dataset {
        info: serde_json::json!({"year": 2026}),
        images: vec![Image {
            id: ImageId(-3),
            width: 4,
            height: 3,
            file_name: "a \"b\".jpg".into(),
            neg_category_ids: Some(vec![CategoryId(3), CategoryId(-1)]),
            not_exhaustive_category_ids: Some(Vec::new()),
        }],
        annotations: vec![annotation],
        categories: vec![Category {
            id: CategoryId(90),
            name: "ü".into(),
            supercategory: Some("x".into()),
            frequency: Some(Frequency::Common),
        }],
    };
    let text = serde_json::to_vec(&dataset).unwrap();
    assert_eq!(parse_dataset(&text).unwrap(), dataset);
}

#[test]
fn files_are_named_in_errors() {
    let folder = std::env::temp_dir().join(format!("care-types-readers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let missing = folder.join("missing.json");
    let e = read_dataset(&missing).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(e.to_string().contains("missing.json"));
    let path = folder.join("bad.json");
    std::fs::write(&path, "[{}]").unwrap();
    let e = read_results(&path).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Input);
    assert!(e.to_string().contains("bad.json") && e.to_string().contains("results[0]"), "{e}");
    let records = parse_results(DT.as_bytes()).unwrap();
    write_results(&path, &records).unwrap();
    assert_eq!(read_results(&path).unwrap(), records);
    std::fs::remove_dir_all(&folder).unwrap();
}
