//! Files that must be refused, each naming file, record and field; nothing hangs or panics, whatever the bytes are, and both
//! ways from files to figures say the same.
mod rows;

use care_map::{CocoMetrics, ErrorKind, IouType, Params, Result, evaluate, evaluate_files};
use care_types::coco_json::{read_dataset, read_results};
use proptest::prelude::*;
use rows::{DT, GT, PIECES, spoilt_annotations, spoilt_results};
use std::path::Path;
use tempfile::TempDir;

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
fn ids_that_mean_two_things_are_refused_with_both_records() {
    let rows = [
        (r#"{"id": 4, "width": 10, "height": 8}"#, r#"{"id": 1, "width": 10, "height": 9}"#, "images"),
        (
            r#"{"id": 3, "name": "dog"}"#,
            r#"{"id": 3, "name": "dog"}, {"id": 3, "name": "cat"}"#,
            "categories",
        ),
    ];
    for (from, to, list) in rows {
        let (first, second) = (format!("{list}[0]"), format!("{list}[1].id"));
        let folder = folder(&replaced(GT, from, to), b"[]");
        assert_eq!(complaint(folder.path(), IouType::Bbox, &[&first, &second]), None);
    }
    let twice =
        replaced(GT, r#"{"id": 3, "name": "dog"}"#, r#"{"id": 3, "name": "dog"}, {"id": 3, "name": "dog"}"#);
    let [by_files, by_records] = both_ways(folder(&twice, DT.as_bytes()).path(), IouType::Bbox);
    assert_eq!(by_files.unwrap(), by_records.unwrap());
}

#[test]
fn spoilt_annotation_files_are_refused_with_file_record_and_field() {
    let mut wrong = Vec::new();
    for (from, to, words) in spoilt_annotations() {
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
