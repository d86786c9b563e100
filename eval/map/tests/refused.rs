//! Files that must be refused, each naming file, record and field; nothing hangs or panics, whatever the bytes are, and both
//! ways from files to figures say the same.
use care_map::{CocoMetrics, ErrorKind, IouType, Params, Result, evaluate, evaluate_files};
use care_types::coco_json::{read_dataset, read_results};
use proptest::prelude::*;
use std::path::Path;
use tempfile::TempDir;

const GT: &str = r#"{"images": [{"id": 1, "width": 10, "height": 8}, {"id": 4, "width": 10, "height": 8}],
 "annotations": [{"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
  "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
 {"id": 6, "image_id": 4, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 1,
  "segmentation": {"size": [8, 10], "counts": [9, 4, 67]}}],
 "categories": [{"id": 3, "name": "dog"}]}"#;

const DT: &str = r#"[{"image_id": 1, "category_id": 3, "bbox": [1.0, 1.0, 4.0, 4.0], "score": 0.5, "segmentation": {"size": [8, 10], "counts": "94400000W1"}},
 {"image_id": 4, "category_id": 3, "bbox": [2.5, 1.0, 4.0, 4.0], "score": 0.25, "segmentation": {"size": [8, 10], "counts": "94S2"}}]"#;

const COUNTS: &str = r#""94S2""#;

/// A folder with both files.
fn folder(gt: &[u8], dt: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gt.json"), gt).unwrap();
    std::fs::write(folder.path().join("dt.json"), dt).unwrap();
    folder
}

/// By files, and by records.
fn both_ways(folder: &Path, iou_type: IouType) -> [Result<CocoMetrics>; 2] {
    let (gt, dt, params) = (folder.join("gt.json"), folder.join("dt.json"), Params::new(iou_type));
    let by_records = || evaluate(&read_dataset(&gt)?, &read_results(&dt)?, &params);
    [evaluate_files(&gt, &dt, &params), by_records()]
}

fn replaced(text: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn the_files_before_they_are_spoilt_are_scored() {
    for iou_type in [IouType::Bbox, IouType::Segm] {
        let [by_files, by_records] = both_ways(folder(GT.as_bytes(), DT.as_bytes()).path(), iou_type);
        let metrics = by_files.unwrap();
        assert!((metrics.stats[1] - 1.0).abs() < 1e-9, "{:?}", metrics.stats);
        assert_eq!(metrics, by_records.unwrap());
    }
}

/// What is spoilt, by what it is replaced, and words of the message.
type Row = (&'static str, String, &'static [&'static str]);

fn row(from: &'static str, to: &str, words: &'static [&'static str]) -> Row {
    (from, to.to_string(), words)
}

fn spoilt_results() -> Vec<Row> {
    let counts = |to: &str, words: &'static [&'static str]| row(COUNTS, to, words);
    let second: &'static [&'static str] = &["results[1].score"];
    let mask: &'static [&'static str] = &["results[1].segmentation"];
    vec![
        row(r#""score": 0.25, "#, "", &["results[1]", "score"]),
        row("0.25", "null", second),
        row("0.25", "\"0.25\"", second),
        row("0.25", "[0.25]", second),
        row("0.25", "true", second),
        row("0.25", "NaN", &["line 2", "byte", "NaN"]),
        row("0.25", "-Infinity", &["line 2", "byte", "Infinity"]),
        row("0.25", "1e999", &["results[1].score", "out of range"]),
        row("0.25", "0.25.5", &["line 2", "byte"]),
        row("0.25", "0x1", &["line 2", "byte"]),
        row("0.25", "0.25, \"score\": 0.5", &["results[1]", "score"]),
        row("{\"image_id\": 4, ", "{", &["results[1]", "image_id"]),
        row("\"image_id\": 4", "\"image_id\": \"4\"", &["results[1].image_id", "string"]),
        row("\"image_id\": 4", "\"image_id\": 4.5", &["results[1].image_id", "4.5"]),
        row("\"image_id\": 4", "\"image_id\": 99999999999999999999", &["results[1].image_id"]),
        row("[2.5, 1.0, 4.0, 4.0]", "[2.5, 1.0, 4.0]", &["results[1].bbox", "3 numbers"]),
        row("[2.5, 1.0, 4.0, 4.0]", "[2.5, 1.0, 4.0, 4.0, 1.0]", &["results[1].bbox"]),
        row("[2.5, 1.0, 4.0, 4.0]", "[[2.5, 1.0, 4.0, 4.0]]", &["results[1].bbox"]),
        row("[2.5, 1.0, 4.0, 4.0]", "{\"x\": 2.5}", &["results[1].bbox"]),
        row("[2.5, 1.0, 4.0, 4.0]", "[2.5, 1.0, 4.0, \"4\"]", &["results[1].bbox", "string"]),
        row("[2.5, 1.0, 4.0, 4.0]", "[2.5, 1.0, 4.0, 1e400]", &["results[1].bbox", "out of range"]),
        counts("\"94T2\"", &["results[1].segmentation", "81", "80"]),
        counts("\"94R2\"", &["results[1].segmentation", "79", "80"]),
        counts("\"94\"", mask),
        counts("\"\"", mask),
        counts("\"P\"", &["results[1].segmentation", "ends inside"]),
        counts("\"94S2é\"", &["results[1].segmentation", "character"]),
        counts("\"9 4S2\"", &["results[1].segmentation", "character"]),
        counts("\"O\"", &["results[1].segmentation", "-1"]),
        counts(&format!("\"{}0\"", "o".repeat(40)), mask),
        counts("[9, 4, -1, 68]", mask),
        counts("[9, 4, 67.5]", mask),
        counts("[9, 4, 4294967295]", mask),
        counts("[9, 4, 4294967296]", mask),
        counts("[4294967295, 4294967295, 4294967295]", mask),
        counts("null", mask),
        counts("80", mask),
    ]
}

#[test]
fn spoilt_records_of_results_are_refused_with_file_record_and_field() {
    let mut wrong = Vec::new();
    for (from, to, words) in spoilt_results() {
        // An unknown field is skipped, a known one is checked, whatever is evaluated; only a box evaluation may pass by a mask.
        let folder = folder(GT.as_bytes(), &replaced(DT, from, &to));
        wrong.extend(
            complaint(folder.path(), IouType::Segm, &[words, &["dt.json"]].concat())
                .map(|c| format!("{to}: {c}")),
        );
    }
    for size in ["[10, 8]", "[4, 10]", "[0, 0]", "[-8, 10]", "[8]", "[8, 10, 1]", "[4000000000, 4000000000]"]
    {
        let counts = r#""size": [8, 10], "counts": "94S2""#;
        let folder = folder(GT.as_bytes(), &replaced(DT, counts, &counts.replace("[8, 10]", size)));
        wrong
            .extend(complaint(folder.path(), IouType::Segm, &["results[1]"]).map(|c| format!("{size}: {c}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The caller knows the files of a record that is good by itself, but belongs to nothing.
#[test]
fn results_of_other_pictures_are_refused_with_record_and_field() {
    let folder = folder(GT.as_bytes(), &replaced(DT, "\"image_id\": 4", "\"image_id\": 2"));
    for iou_type in [IouType::Bbox, IouType::Segm] {
        assert_eq!(complaint(folder.path(), iou_type, &["results[1].image_id", "2", "1 of 2"]), None);
    }
}

#[test]
fn spoilt_annotation_files_are_refused_with_file_record_and_field() {
    let rows: Vec<(&str, &str, &[&str])> = vec![
        (
            r#""width": 10, "height": 8}, {"id": 4"#,
            r#""width": -10, "height": 8}, {"id": 4"#,
            &["images[0].width", "-10"],
        ),
        (r#"{"id": 4, "#, r#"{"id": "4", "#, &["images[1].id", "string"]),
        (r#"{"id": 4, "#, r#"{"#, &["images[1]", "id"]),
        (r#""area": 16, "iscrowd": 0"#, r#""area": 1e999, "iscrowd": 0"#, &["number out of range"]),
        (r#""area": 16, "iscrowd": 0"#, r#""area": "16", "iscrowd": 0"#, &["annotations[0].area", "string"]),
        (r#""area": 16, "iscrowd": 0"#, r#""area": 16, "iscrowd": "no""#, &["annotations[0].iscrowd"]),
        (r#"{"id": 6, "image_id": 4"#, r#"{"id": 6, "image_id": null"#, &["annotations[1].image_id"]),
        (r#"{"id": 6, "image_id": 4"#, r#"{"id": 6"#, &["annotations[1]", "image_id"]),
        ("[[1, 1, 5, 1, 5, 5, 1, 5]]", "[[1, 1, 5, 1, 5, 5, 1]]", &["annotations[0].segmentation", "odd"]),
        ("[[1, 1, 5, 1, 5, 5, 1, 5]]", "[[1, 1, 5, 1, 5, 5, 1, \"5\"]]", &["annotations[0].segmentation"]),
        ("[[1, 1, 5, 1, 5, 5, 1, 5]]", "[[[1, 1, 5, 1, 5, 5, 1, 5]]]", &["annotations[0].segmentation"]),
        ("[[1, 1, 5, 1, 5, 5, 1, 5]]", "[[1, 1, 1e999, 1, 5, 5, 1, 5]]", &["annotations[0]", "segmentation"]),
        ("[9, 4, 67]", "[9, 4, 68]", &["annotations[1].segmentation", "81", "80"]),
        ("[9, 4, 67]", "[9, 4]", &["annotations[1].segmentation", "13", "80"]),
        ("[9, 4, 67]", "\"94\"", &["annotations[1].segmentation"]),
        (r#"{"id": 3, "name": "dog"}"#, r#"{"name": "dog"}"#, &["categories[0]", "id"]),
        (r#"{"id": 3, "name": "dog"}"#, r#"{"id": 3, "name": 7}"#, &["categories[0].name"]),
        (r#"[{"id": 3, "name": "dog"}]"#, r#"{"id": 3, "name": "dog"}"#, &["categories"]),
    ];
    let mut wrong = Vec::new();
    for (from, to, words) in rows {
        let folder = folder(&replaced(GT, from, to), DT.as_bytes());
        wrong.extend(
            complaint(folder.path(), IouType::Segm, &[words, &["gt.json"]].concat())
                .map(|c| format!("{to}: {c}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_are_something_else_are_refused_by_name() {
    let deep = "[".repeat(100_000);
    let rows: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("empty", Vec::new(), &["empty"]),
        ("white space", b" \n\t".to_vec(), &["empty"]),
        ("object", format!("{{\"results\": {DT}}}").into_bytes(), &["object", "list"]),
        ("annotations", GT.into(), &["object", "annotation file"]),
        ("number", b"1".to_vec(), &["results"]),
        ("text", b"\"[]\"".to_vec(), &["results"]),
        ("null", b"null".to_vec(), &["results"]),
        ("nested list", format!("[{DT}]").into_bytes(), &["results[0]"]),
        ("deep list", deep.into_bytes(), &["byte"]),
        ("two values", format!("{DT} []").into_bytes(), &["byte", "trailing"]),
        ("JSON lines", DT.replace("},\n", "}\n").into_bytes(), &["line 2", "byte"]),
        ("comma at the end", DT.replace("}}]", "}},]").into_bytes(), &["byte"]),
        ("no UTF-8", b"[\xff\xfe]".to_vec(), &["byte"]),
        ("UTF-16", DT.encode_utf16().flat_map(u16::to_le_bytes).collect(), &["byte"]),
        ("zeros", vec![0; 1000], &["byte 0"]),
        ("compressed", b"\x1f\x8b\x08\x00\x00".to_vec(), &["byte 0"]),
    ];
    let mut wrong = Vec::new();
    for (name, dt, words) in rows {
        let folder = folder(GT.as_bytes(), &dt);
        wrong.extend(
            complaint(folder.path(), IouType::Bbox, &[words, &["dt.json"]].concat())
                .map(|c| format!("{name}: {c}")),
        );
    }
    for name in ["gt.json", "dt.json"] {
        let folder = folder(GT.as_bytes(), DT.as_bytes());
        std::fs::remove_file(folder.path().join(name)).unwrap();
        let missing = both_ways(folder.path(), IouType::Bbox).map(|r| r.unwrap_err());
        assert!(missing.iter().all(|e| e.kind() == ErrorKind::Config && e.to_string().contains(name)));
        std::fs::create_dir(folder.path().join(name)).unwrap();
        wrong.extend(complaint(folder.path(), IouType::Bbox, &[name]).map(|c| format!("folder {name}: {c}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_end_anywhere_are_refused() {
    for iou_type in [IouType::Bbox, IouType::Segm] {
        for end in 0..GT.len() {
            let folder = folder(&GT.as_bytes()[..end], DT.as_bytes());
            assert_eq!(complaint(folder.path(), iou_type, &["gt.json"]), None, "ground truth ends at {end}");
        }
        for end in 0..DT.len() {
            let folder = folder(GT.as_bytes(), &DT.as_bytes()[..end]);
            assert_eq!(complaint(folder.path(), iou_type, &["dt.json"]), None, "results end at {end}");
        }
    }
}

/// What is wrong with the refusal; `None` when both ways refuse with the same message, which has all words.
fn complaint(folder: &Path, iou_type: IouType, words: &[&str]) -> Option<String> {
    let errors = match both_ways(folder, iou_type) {
        [Err(a), Err(b)] => [a, b],
        [a, b] => return Some(format!("accepted by files: {}, by records: {}", a.is_ok(), b.is_ok())),
    };
    let [text, other] = errors.each_ref().map(ToString::to_string);
    let good =
        text == other && errors[0].kind() == ErrorKind::Input && words.iter().all(|w| text.contains(w));
    (!good).then(|| format!("{:?}: {text} / {other} (expected {words:?})", errors[0].kind()))
}

/// Pieces that keep damaged text close to JSON.
const PIECES: [&str; 20] = [
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
    "\\u0069",
    "18446744073709551616",
    "0.5",
    "\u{0}",
    "true",
    ",",
    "1e-5",
    "{\"image_id\":",
    "\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn damaged_files_end_the_same_way_by_files_and_by_records(
        results in any::<bool>(), masks in any::<bool>(), from in 0..700usize, length in 0..30usize, piece in 0..PIECES.len(),
    ) {
        let mut files = [GT.as_bytes().to_vec(), DT.as_bytes().to_vec()];
        let text = &mut files[usize::from(results)];
        let from = from.min(text.len());
        let to = (from + length).min(text.len());
        text.splice(from..to, PIECES[piece].bytes());
        let folder = folder(&files[0], &files[1]);
        let [a, b] = both_ways(folder.path(), if masks { IouType::Segm } else { IouType::Bbox });
        match (a, b) {
            (Ok(a), Ok(b)) => prop_assert_eq!(a, b),
            (Err(a), Err(b)) => {
                prop_assert_eq!(a.to_string(), b.to_string());
                prop_assert_eq!(a.kind(), ErrorKind::Input);
            }
            (a, b) => prop_assert!(false, "{:?} / {:?}", a.map(|m| m.stats), b.map(|m| m.stats)),
        }
    }
}
