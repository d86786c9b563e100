//! `eval coco --data`: detect, write results, score them; and what must be refused.

use crate::run::{Room, data};
use serde_json::Value;

/// A room with a small data set `d` and recipe weights for its classes.
fn room(pictures: u32) -> Room {
    let room = Room::new();
    room.weights();
    room.data_set("d", pictures);
    room
}

fn results(room: &Room, path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(room.path(path)).expect("a results file");
    serde_json::from_str::<Value>(&text).expect("JSON").as_array().expect("a list").clone()
}

#[test]
fn results_are_written_and_score_the_same_again() {
    let room = room(5);
    let ran = room.det("eval coco --data d --weights w.safetensors --imgsz 160 --json").exits(0);
    let json = ran.json();
    assert!(ran.stderr().contains("split val, 5 of 5 pictures"), "{}", ran.stderr());
    let found = results(&room, "care-out/results.bbox.json");
    assert!(!found.is_empty(), "recipe weights draw boxes");
    for record in &found {
        assert_eq!(record["bbox"].as_array().map(Vec::len), Some(4), "{record}");
        assert!(record["score"].as_f64().is_some_and(|s| s > 0.05 && s <= 1.0), "{record}");
        assert!([1, 3, 18].contains(&record["category_id"].as_i64().unwrap_or(0)), "{record}");
    }
    assert_eq!(json["iou_type"]["bbox"]["funnel"]["images"]["evaluated"], 5);
    let files = "eval coco --gt d/annotations/instances_val.json --dt care-out/results.bbox.json --json";
    let again = room.det(files).exits(0).json();
    assert_eq!(again["iou_type"]["bbox"], json["iou_type"]["bbox"]);
    let saved: Value =
        serde_json::from_slice(&std::fs::read(room.path("care-out/metrics.json")).expect("metrics"))
            .expect("JSON");
    assert_eq!(saved, json);
}

#[test]
fn the_demo_set_needs_no_files_and_is_the_same_when_written() {
    let room = Room::new();
    room.det("weights init --recipe A/e2e/retina --labels-from demo --out w.safetensors").exits(0);
    let args = "eval coco --data demo --weights w.safetensors --imgsz 96 --limit 2 --json";
    let ran = room.det(args).exits(0).says(&["synthetic", "not COCO"]);
    let json = ran.json();
    room.det("demo --write d").exits(0);
    let again = room.det(&args.replace("--data demo", "--data d --out again")).exits(0).json();
    assert_eq!(again["iou_type"]["bbox"]["stats"], json["iou_type"]["bbox"]["stats"]);
    let bytes = |path| std::fs::read(room.path(path)).expect("results");
    assert!(bytes("care-out/results.bbox.json") == bytes("again/results.bbox.json"));
    room.det("demo --write d").exits(2).says(&["not empty"]);
}

#[test]
fn detections_do_not_depend_on_the_batch() {
    let room = room(7);
    for batch in [1, 3] {
        let args = "eval coco --data d --weights w.safetensors --imgsz 128 -q";
        room.det(&format!("{args} --batch {batch} --out b{batch}")).exits(0);
    }
    let (one, three) = (results(&room, "b1/results.bbox.json"), results(&room, "b3/results.bbox.json"));
    assert!(!one.is_empty());
    assert_eq!(one, three);
}

#[test]
fn a_limit_and_chosen_pictures_restrict_what_is_scored() {
    let room = room(4);
    room.file("p.json", r#"{"imgIds":[4,2]}"#);
    let args = "eval coco --data d --weights w.safetensors --imgsz 96 --json -q --params p.json";
    let json = room.det(&format!("{args} --out a")).exits(0).json();
    assert_eq!(json["iou_type"]["bbox"]["funnel"]["images"]["evaluated"], 2);
    let ids: std::collections::BTreeSet<i64> =
        results(&room, "a/results.bbox.json").iter().filter_map(|r| r["image_id"].as_i64()).collect();
    assert!(ids.is_subset(&[2, 4].into()), "{ids:?}");
    let json = room.det(&format!("{args} --limit 1 --out b")).exits(0).json();
    assert_eq!(json["iou_type"]["bbox"]["funnel"]["images"]["evaluated"], 1);
    // As with --gt and --dt: an id in the parameters that no picture has is a mistake in them.
    room.file("p.json", r#"{"imgIds":[2,99]}"#);
    room.det(&format!("{args} --out c")).exits(2);
}

#[test]
fn class_names_that_do_not_match_are_refused() {
    let room = room(1);
    let ran = room.det("eval coco --data demo --weights w.safetensors").exits(5);
    ran.says(&["only in the weights", "only in the data", "person", "disc"]);
    assert!(!room.path("care-out").exists(), "nothing is written before the checks");
}

#[test]
fn weights_that_do_not_fit_are_refused() {
    let room = room(1);
    room.file("text.safetensors", b"not weights at all");
    room.det("eval coco --data d --weights text.safetensors").exits(5).says(&["text.safetensors"]);
    room.det("eval coco --data d --weights no.safetensors").exits(2).says(&["no.safetensors"]);
    // the same architecture, but the file says that it has another width
    let mut bytes = std::fs::read(room.path("w.safetensors")).expect("weights");
    let text = br#"\"out_channels\":256"#;
    let at = bytes.windows(text.len()).position(|w| w == text).expect("the neck's width in the metadata");
    bytes[at..at + text.len()].copy_from_slice(br#"\"out_channels\":255"#);
    room.file("wide.safetensors", bytes);
    room.det("eval coco --data d --weights wide.safetensors").exits(5).says(&["wide.safetensors", "255"]);
}

#[test]
fn masks_are_not_asked_of_a_box_only_model() {
    let room = room(1);
    room.det("eval coco --data d --weights w.safetensors --iou-type bbox,segm").exits(2).says(&["mask"]);
}

#[test]
fn the_folder_for_results_must_be_empty_and_elsewhere() {
    let room = room(1);
    room.file("full/x", "x");
    let eval = "eval coco --data d --weights w.safetensors --imgsz 96 -q";
    room.det(&format!("{eval} --out full")).exits(2).says(&["full", "--overwrite"]);
    room.det(&format!("{eval} --out full --overwrite")).exits(0);
    assert!(room.path("full/x").exists(), "other files stay");
    room.det(&format!("{eval} --out d/out")).exits(2).says(&["inside"]);
}

#[test]
fn folders_without_a_data_set_are_refused() {
    let room = room(1);
    room.file("empty/readme.txt", "nothing here");
    room.det("eval coco --data empty --weights w.safetensors").exits(3).says(&["empty"]);
    room.det("eval coco --data nowhere --weights w.safetensors").exits(2).says(&["nowhere"]);
    room.det("eval coco --data d --split nope --weights w.safetensors").exits(2).says(&["nope", "val"]);
    std::fs::remove_file(room.path("d/val/000.png")).expect("the only picture");
    room.det("eval coco --data d --weights w.safetensors").exits(3).says(&["000.png"]);
    room.file("d/annotations/instances_val.json", "{\"images\": [");
    room.det("eval coco --data d --weights w.safetensors").exits(3).says(&["instances_val.json"]);
}

#[test]
fn pictures_that_are_missing_or_corrupt_are_listed_at_the_end() {
    let room = room(4);
    std::fs::remove_file(room.path("d/val/002.png")).expect("a picture");
    room.file("d/val/001.png", "not a picture");
    let ran = room.det("eval coco --data d --weights w.safetensors --imgsz 96 --json").exits(1);
    let json = ran.json();
    assert_eq!(json["failed"].as_array().map(Vec::len), Some(2), "{json}");
    assert_eq!(json["iou_type"]["bbox"]["funnel"]["images"]["evaluated"], 4, "they count as not found");
    assert_eq!(json["iou_type"]["bbox"]["funnel"]["images"]["failed"], 2);
    ran.says(&["2 of 4 pictures failed", "001.png", "002.png"]);
    let text =
        room.det("eval coco --data d --weights w.safetensors --imgsz 96 --out again").exits(1).stdout();
    assert!(text.contains("images     2 of 4 used (2 failed, scored as finding nothing"), "{text}");
}

#[test]
fn ground_truth_without_objects_is_refused_before_detecting() {
    let room = room(2);
    let path = room.path("d/annotations/instances_val.json");
    let mut truth: Value = serde_json::from_slice(&std::fs::read(&path).expect("truth")).expect("JSON");
    truth["annotations"] = serde_json::json!([]);
    room.file("d/annotations/instances_val.json", truth.to_string());
    let ran = room.det("eval coco --data d --weights w.safetensors --imgsz 96").exits(3);
    ran.says(&["instances_val.json", "no objects to score against", "2 pictures", "0 annotations"]);
    assert!(!room.path("care-out").exists(), "nothing is written");
}

#[test]
fn a_file_where_a_folder_is_meant_is_told_what_to_do() {
    let room = room(1);
    let ran = room.det("eval coco --data d/annotations/instances_val.json --weights w.safetensors").exits(2);
    ran.says(&["is a file", "--gt d/annotations/instances_val.json", "--data d"]);
}

#[test]
fn a_batch_beyond_any_memory_is_refused_at_once() {
    let room = room(1);
    for command in ["eval coco --data d", "infer d/val"] {
        room.det(&format!("{command} --weights w.safetensors --imgsz 16384"))
            .exits(2)
            .says(&["--imgsz", "GB"]);
        assert!(!room.path("care-out").exists(), "nothing is written");
    }
    // One picture never makes a batch of a thousand.
    room.det("infer d/val --weights w.safetensors --imgsz 96 --batch 1024 --save none").exits(0);
}

#[test]
fn real_pictures_run_in_the_layout_of_the_data_folder() {
    let Some(data) = data() else { return };
    let room = Room::new();
    let coco = data.join("coco_ccby").display().to_string();
    room.det("weights init --recipe A/e2e/retina --out w.safetensors").exits(0);
    let args = format!("eval coco --data {coco} --weights w.safetensors --imgsz 128 --limit 3");
    let ran = room.det(&args).exits(0).says(&["split val"]);
    assert!(
        ran.stdout().contains("Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all"),
        "{}",
        ran.stdout()
    );
}

#[test]
fn the_detector_that_ships_scores_without_any_file() {
    let room = Room::new();
    let ran = room.det("eval coco --data demo --weights demo --json").exits(0).says(&["synthetic"]);
    let ap = ran.json()["iou_type"]["bbox"]["AP"].as_f64().unwrap();
    assert!((ap - 0.708).abs() < 0.02, "docs/demo.md says 0.708, got {ap}");
    let seen = room.det("weights inspect demo --json").exits(0).json();
    assert_eq!((&seen["model"], &seen["classes"][4]["name"]), (&"retinanet_care_xs".into(), &"star".into()));
    // where masks are asked for, `demo` is the detector that has some
    let both = "eval coco --data demo --weights demo --iou-type bbox,segm --out masks --json";
    let json = room.det(both).exits(0).json();
    let ap = |kind: &str| json["iou_type"][kind]["AP"].as_f64().unwrap();
    let [bbox, segm] = ["bbox", "segm"].map(ap);
    assert!(
        (bbox - 0.758).abs() < 0.02 && (segm - 0.688).abs() < 0.02,
        "docs/demo.md says otherwise: {json}"
    );
    // a file of that name goes before what is inside
    room.file("demo", "not weights");
    room.det("weights inspect demo").exits(5);
}

#[test]
fn a_killed_evaluation_goes_on_and_ends_with_the_same_bytes() {
    let room = room(9);
    let eval = "eval coco --data d --weights w.safetensors --imgsz 320 --json";
    room.det(&format!("{eval} --out whole")).exits(0);
    let lines = |room: &Room| {
        std::fs::read_to_string(room.path("parts/unfinished.tsv")).map_or(0, |t| t.lines().count())
    };
    let mut child = room.spawn(&format!("{eval} --out parts"));
    while lines(&room) < 3 {
        assert!(child.try_wait().expect("a process").is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().expect("a process");
    child.wait().expect("a process");
    let done = lines(&room) - 1;
    // another question does not take these answers
    room.det(&format!("{eval} --out parts --max-det 5")).exits(2).says(&["other settings", "--overwrite"]);
    let ran = room.det(&format!("{eval} --out parts")).exits(0);
    let ran = ran.says(&[&format!("{done} pictures are done"), &format!("{0} of {0} pictures in", 9 - done)]);
    for file in ["results.bbox.json", "metrics.json"] {
        let bytes = |folder: &str| std::fs::read(room.path(&format!("{folder}/{file}"))).expect(file);
        assert!(bytes("whole") == bytes("parts"), "{file} differs");
    }
    assert_eq!(lines(&room), 0, "nothing is unfinished");
    drop(ran);
    room.det(&format!("{eval} --out parts")).exits(2).says(&["not empty"]);
}
