//! Good files, and how they are spoilt.

pub(crate) const GT: &str = r#"{"images": [{"id": 1, "width": 10, "height": 8}, {"id": 4, "width": 10, "height": 8}],
 "annotations": [{"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 0,
  "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
 {"id": 6, "image_id": 4, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "iscrowd": 1,
  "segmentation": {"size": [8, 10], "counts": [9, 4, 67]}}],
 "categories": [{"id": 3, "name": "dog"}]}"#;

pub(crate) const DT: &str = r#"[{"image_id": 1, "category_id": 3, "bbox": [1.0, 1.0, 4.0, 4.0], "score": 0.5, "segmentation": {"size": [8, 10], "counts": "94400000W1"}},
 {"image_id": 4, "category_id": 3, "bbox": [2.5, 1.0, 4.0, 4.0], "score": 0.25, "segmentation": {"size": [8, 10], "counts": "94S2"}}]"#;

const COUNTS: &str = r#""94S2""#;

/// Pieces that keep damaged text close to JSON.
pub(crate) const PIECES: [&str; 20] = [
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

/// What is spoilt, by what it is replaced, and words of the message.
pub(crate) type Row = (&'static str, String, &'static [&'static str]);

fn row(from: &'static str, to: &str, words: &'static [&'static str]) -> Row {
    (from, to.to_string(), words)
}

pub(crate) fn spoilt_results() -> Vec<Row> {
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

/// Of the ground truth.
pub(crate) fn spoilt_annotations() -> Vec<(&'static str, &'static str, &'static [&'static str])> {
    vec![
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
    ]
}
