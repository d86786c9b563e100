//! Plain equals general, or gives up.
use super::*;
use crate::coco_json::{Dataset, ResultRecord, parse_dataset, parse_results};
use crate::{MaskFacts, Rle, Segmentation};
use proptest::prelude::*;
use std::path::PathBuf;

/// A file that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("care-types-plain-{name}-{}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn record(r: PlainResult<'_>) -> ResultRecord {
    let segmentation = r.segmentation.map(|(facts, text)| {
        let text = std::str::from_utf8(text).unwrap();
        let rle = Rle::from_compressed_str(facts.size.height, facts.size.width, text).unwrap();
        assert_eq!(MaskFacts::of(&rle), facts, "{text}");
        rle
    });
    ResultRecord {
        image_id: r.image_id,
        category_id: r.category_id,
        bbox: r.bbox,
        segmentation,
        keypoints: r.has_keypoints.then(Vec::new),
        score: r.score,
    }
}

/// A results file in parts of so many bytes.
fn results_in_parts(path: &Path, step: u64) -> Option<Vec<ResultRecord>> {
    let length = path.metadata().unwrap().len();
    let (mut start, mut all) = (Start::Opening(plain_results_opening(path)?), Vec::new());
    let mut to = step;
    loop {
        let mut part = Vec::new();
        let covered = plain_results(path, start, to, |r| part.push(record(r)))?;
        // What a part finds when it has to guess where it begins.
        if let (Start::Record(at), false) = (start, all.is_empty()) {
            let mut guessed = Vec::new();
            let guess = plain_results(path, Start::After(at), to, |r| guessed.push(record(r)));
            assert_eq!((guess, &guessed), (Some(covered), &part), "guessed at {at}");
        }
        all.append(&mut part);
        if covered.closed {
            return plain_end(path, covered.to).then_some(all);
        }
        assert!(covered.to >= to && to <= length);
        (start, to) = (Start::Record(covered.to), covered.to + step);
    }
}

fn without_joints(mut records: Vec<ResultRecord>) -> Vec<ResultRecord> {
    for keypoints in records.iter_mut().filter_map(|r| r.keypoints.as_mut()) {
        keypoints.clear();
    }
    records
}

/// Whether it was read.
fn check_results(name: &str, bytes: &[u8], steps: &[u64]) -> bool {
    let file = Scratch::new(name, bytes);
    let general = parse_results(bytes).map(without_joints).ok();
    let mut is_plain = false;
    for &step in steps {
        if let Some(plain) = results_in_parts(&file.0, step) {
            assert_eq!(Some(&plain), general.as_ref(), "step {step}: {}", String::from_utf8_lossy(bytes));
            is_plain = true;
        }
    }
    is_plain
}

fn plain(path: &Path, masks: bool) -> Option<Dataset> {
    plain_dataset(path, |opening| {
        let mut annotations = Vec::new();
        let covered =
            plain_annotations(path, Start::Opening(opening), u64::MAX, masks, |a| annotations.push(a))?;
        covered.closed.then_some((annotations, covered.to))
    })
}

fn check_dataset(name: &str, bytes: &[u8]) -> bool {
    let file = Scratch::new(name, bytes);
    let general = parse_dataset(bytes).ok();
    let with_masks = plain(&file.0, true);
    if with_masks.is_some() {
        assert_eq!(with_masks, general, "{}", String::from_utf8_lossy(bytes));
    }
    let without = plain(&file.0, false);
    assert_eq!(without.is_some(), with_masks.is_some(), "{}", String::from_utf8_lossy(bytes));
    if let (Some(without), Some(mut general)) = (without, general) {
        general.annotations.iter_mut().for_each(|a| a.segmentation = None);
        assert_eq!(without, general);
    }
    with_masks.is_some()
}

/// Values of fields: `(name, value)`; the first ones of each name are plain.
const RESULT_FIELDS: [(&str, &[&str]); 6] = [
    (
        "image_id",
        &["1", "397133", "-3", "7.0", "1e2", "-0", "123456789012345678", "99999999999999999999", "\"1\""],
    ),
    ("category_id", &["1", "90", "0", " 18 ", "01", "null"]),
    (
        "score",
        &["0.5", "1", "0.9635767869848385", "-0", "1E+3", "1e-7", "0.1234567890123456789012", "1e999", "NaN"],
    ),
    (
        "bbox",
        &[
            "[1, 2,3 ,4]",
            "[0.1,-2.5e1,44.87064762372274,1E3]",
            "null",
            "[]",
            "[1,2,3]",
            "[1,2,3,4,5]",
            "[1,2,null,4]",
        ],
    ),
    (
        "segmentation",
        &[
            r#"{"size": [3, 4], "counts": "0<"}"#,
            r#"{"counts":"237","size":[3,4]}"#,
            "null",
            r#"{"size":[3,4],"counts":[2,3,7]}"#,
            r#"{"size":[3,4],"counts":[2,0,0,3,7,0]}"#,
            r#"{"size":[3,4],"counts":"0<","more":[{}]}"#,
            r#"{"size":[3,4],"counts":"\u0030<"}"#,
            r#"{"size":[3,4],"size":[4,3],"counts":"0<"}"#,
            r#"{"size":[3,4],"counts":"0;"}"#,
            r#"{"size":[100,100],"counts":"\\9n2\\m"}"#,
            "[[1,2,3,4,5,6]]",
        ],
    ),
    (
        "other",
        &[
            "1",
            "\"},{\"",
            "\"a\\\"b\"",
            "true",
            "null",
            "[{},{}, {\"a\": [1]}]",
            "{\"x\":1}",
            "1e999",
            "[1,]",
            "\"\u{e9}\"",
        ],
    ),
];

const ANNOTATION_FIELDS: [(&str, &[&str]); 12] = [
    ("id", &["1", "0", "-5", "2.0", "1e999"]),
    ("image_id", &["1", "9007199254740993", "1.5"]),
    ("category_id", &["1", "1e1"]),
    ("bbox", &["[0,0,2,2]", "[1.25, 2.5, 3e0, 4]", "null", "[]", "[1]"]),
    ("area", &["4", "12.75", "null", "1e400"]),
    ("iscrowd", &["0", "1", "true", "null", "2", "0.5", "\"1\""]),
    ("ignore", &["0", "false", "1"]),
    (
        "segmentation",
        &[
            "[[0,0,2,0,2,2]]",
            "[[0.5,0.25,2,0,2,2.125],[1,1,3,1,3,3]]",
            "[]",
            "null",
            "[[]]",
            "[0,0,2,0,2,2]",
            "[[0,0,2]]",
            "[[0,0,2,0,2,1e999]]",
            "[[1e0,-0,2.5E-1,0,2,2]]",
            r#"{"size":[3,4],"counts":[0,12]}"#,
            r#"{"size":[3,4],"counts":"0<"}"#,
            r#"{"size":[3,4],"counts":[0,11]}"#,
            r#"{"size":[3,4]}"#,
        ],
    ),
    ("keypoints", &["[]", "[1,2,2, 0,0,0]", "null", "[1,\"2\"]"]),
    ("num_keypoints", &["0", "17", "null", "-1"]),
    ("attributes", &["{\"occluded\": false}", "\"x\"", "[", "3"]),
    ("id", &["7"]),
];

const SPACES: [&str; 4] = ["", " ", "\n\t", " \r\n  "];

/// Text of a record: which fields in which order, which values, white space.
fn object(fields: &[(&str, &[&str])], choices: &[(usize, u8, u8)]) -> String {
    let mut text = String::from("{");
    for (i, &(field, value, space)) in choices.iter().enumerate() {
        let (name, values) = fields[field % fields.len()];
        // Low numbers are plain values, most of the time.
        let value =
            if value < 200 { value as usize % values.len().min(3) } else { value as usize % values.len() };
        let space = if space < 200 { "" } else { SPACES[space as usize % 4] };
        let comma = if i == 0 { "" } else { "," };
        text += &format!("{comma}{space}\"{name}\"{space}:{space}{}{space}", values[value]);
    }
    text + "}"
}

/// All of the first `needed` fields in some order, then perhaps others, perhaps repeated.
fn choices(fields: usize, needed: usize) -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    let once = Just((0..fields).collect::<Vec<_>>()).prop_shuffle();
    (once, 0..=fields, proptest::collection::vec((any::<u8>(), any::<u8>()), fields + 1), 0..12usize)
        .prop_map(move |(order, keep, values, repeat)| {
            let mut order: Vec<usize> = order
                .into_iter()
                .enumerate()
                .filter(|&(i, f)| f < needed || i < keep)
                .map(|(_, f)| f)
                .collect();
            if repeat == 0 && !order.is_empty() {
                order.push(order[0]);
            }
            order.into_iter().zip(values).map(|(f, (v, s))| (f, v, s)).collect()
        })
}

fn results_text() -> impl Strategy<Value = String> {
    (proptest::collection::vec(choices(6, 3), 0..6), 0..4usize).prop_map(|(records, space)| {
        let records: Vec<String> = records.iter().map(|c| object(&RESULT_FIELDS, c)).collect();
        let space = SPACES[space];
        format!("{space}[{space}{}{space}]{space}", records.join(&format!("{space},{space}")))
    })
}

fn dataset_text() -> impl Strategy<Value = String> {
    let sections = Just(vec![0, 1, 2, 3, 4]).prop_shuffle();
    let annotations = proptest::collection::vec(choices(11, 3), 0..4);
    (annotations, sections, 0..6usize, 0..4usize).prop_map(|(annotations, order, keep, space)| {
        let annotations: Vec<String> = annotations.iter().map(|c| object(&ANNOTATION_FIELDS, c)).collect();
        let sections = [
            format!("\"annotations\": [{}]", annotations.join(" , ")),
            r#""images":[{"id":1,"width":4,"height":3,"file_name":"é\"}, {"},{"id":2.0,"x":[{}]}]"#
                .to_owned(),
            r#""categories": [ {"id":1,"name":"a]","supercategory":null,"frequency":"r"} ]"#.to_owned(),
            r#""info": {"year": 2017, "a": [1, {"b": "]"}]}"#.to_owned(),
            r#""licenses":[{"id":1},{"id":2}]"#.to_owned(),
        ];
        let kept: Vec<&str> = order
            .iter()
            .enumerate()
            .filter(|&(i, &s)| s < 3 || i < keep)
            .map(|(_, &s)| sections[s].as_str())
            .collect();
        let space = SPACES[space];
        format!("{space}{{{space}{}{space}}}{space}", kept.join(&format!("{space},")))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn results_are_read_as_the_general_reader_does(text in results_text(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        check_results("results", text.as_bytes(), &[1, 7, 1 << 20]);
        let mut damaged = text.clone().into_bytes();
        let at = cut.index(damaged.len());
        damaged[at] = byte;
        check_results("results-damaged", &damaged, &[1 << 20]);
        check_results("results-cut", &text.as_bytes()[..at], &[1 << 20]);
    }

    #[test]
    fn datasets_are_read_as_the_general_reader_does(text in dataset_text(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        check_dataset("dataset", text.as_bytes());
        let mut damaged = text.clone().into_bytes();
        let at = cut.index(damaged.len());
        damaged[at] = byte;
        check_dataset("dataset-damaged", &damaged);
        check_dataset("dataset-cut", &text.as_bytes()[..at]);
    }

    #[test]
    fn masks_are_judged_as_the_general_reader_does(
        (h, w) in (0..9u32, 0..9u32),
        counts in proptest::collection::vec(0..30i64, 0..12),
        text in "[0-o]{0,30}",
        noise in any::<bool>(),
    ) {
        let text = if noise {
            text
        } else {
            // Runs that are not canonical and fill the mask.
            let (mut left, mut runs) = (i64::from(h * w), Vec::new());
            for count in counts {
                runs.push(count.min(left));
                left -= count.min(left);
            }
            runs.push(left);
            let mut text = String::new();
            for (i, run) in runs.iter().enumerate() {
                crate::mask::append_compressed(run - if i > 2 { runs[i - 2] } else { 0 }, &mut text);
            }
            text
        };
        let wanted = Rle::from_compressed_str(h, w, &text);
        prop_assert_eq!(MaskFacts::of_compressed(h, w, text.as_bytes()), wanted.as_ref().ok().map(MaskFacts::of));
        if let Ok(wanted) = wanted {
            let mut spans = Vec::new();
            Rle::append_compressed_spans(text.as_bytes(), &mut spans);
            let pixels: Vec<u32> = spans.iter().flat_map(|&(from, to)| from..to).collect();
            let inside = wanted.to_mask();
            let wanted: Vec<u32> = (0..h * w).filter(|p| inside[(p % h * w + p / h) as usize] == 1).collect();
            prop_assert_eq!(pixels, wanted);
        }
    }
}

/// Every byte of a file that has everything is once the end of a part and once the end of the file.
#[test]
fn parts_and_files_end_at_every_byte() {
    let text = br#" [ {"image_id": 1, "category_id": 2, "bbox": [0.5, 1, 2.25, 3e1], "score": 0.25} ,
{"score":1e-3,"segmentation":{"size":[3,4],"counts":"237"},"a":{"b":["},{",{}, {}]},"category_id":2,"image_id":1}
,{"image_id":3,"category_id":2,"segmentation":{"counts":"\\9n2\\m","size":[100,100]},"score":-0.5},{"image_id":1,"category_id":7,"bbox":[],"score":2,"keypoints":[1,2,3]}]  "#;
    // The `\\9n2\\m` is no mask, so the whole is refused; with a right one it is read.
    assert!(!check_results("refused", text, &[1 << 20]));
    let mut masks =
        (1..10_000).map(|n| Rle::from_counts(100, 100, &[n, 10_000 - n]).unwrap().to_compressed_string());
    let mask = masks.find(|text| text.contains('\\')).unwrap().replace('\\', r"\\");
    let text = String::from_utf8(text.to_vec()).unwrap().replace(r"\\9n2\\m", &mask);
    let (good, steps) = (text.as_bytes(), (1..text.len() as u64).collect::<Vec<_>>());
    assert!(check_results("good", good, &steps));
    for length in 0..good.trim_ascii_end().len() {
        assert!(!check_results("short", &good[..length], &[1 << 20]), "{length}");
    }
}

/// What tools write is not left to the general reader.
#[test]
fn the_usual_files_are_plain() {
    let blank = "\u{feff}[ ]\n";
    assert!(check_results("blank", blank.as_bytes(), &[1 << 20]));
    let images = r#""images":[{"id":1,"width":4,"height":3,"file_name":"a.jpg"}],"categories":[{"id":2,"name":"dog"}]"#;
    assert!(check_dataset("only-images", format!("{{{images}}}").as_bytes()));
    let annotation = r#"{"segmentation": [[0,0,2.5,0,2,2]], "area": 4.5, "iscrowd": 0, "image_id": 1, "bbox": [0,0,2,2], "category_id": 2, "id": 1}"#;
    let crowd = r#"{"segmentation":{"counts":[0,12],"size":[3,4]},"area":4,"iscrowd":1,"image_id":1,"bbox":[0,0,2,2],"category_id":2,"id":2,"attributes":{"a":1}}"#;
    let text = format!("{{\"annotations\":[{annotation}, {crowd}],{images}}}");
    assert!(check_dataset("usual", text.as_bytes()));
    assert!(matches!(
        parse_dataset(text.as_bytes()).unwrap().annotations[1].segmentation,
        Some(Segmentation::Rle(_))
    ));
    // Longer than several blocks, with a record that is longer than one.
    let long = format!(r#"{{"image_id":1,"category_id":2,"score":1,"x":"{}"}}"#, "y".repeat(600_000));
    let short = r#"{"image_id":1,"category_id":2,"score":0.5,"bbox":[1,2,3,4]}"#;
    let text = format!("[{long},{}{long}]", format!("{short},\n").repeat(20_000));
    assert!(check_results("long", text.as_bytes(), &[100_000, 1 << 30]));
}
