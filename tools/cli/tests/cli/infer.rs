//! `infer`: files and folders in, overlays and results out, bad pictures listed.

use crate::run::{Room, data};
use serde_json::Value;
use std::time::Instant;

fn room() -> Room {
    let room = Room::new();
    room.weights();
    room
}

#[test]
fn files_and_folders_become_overlays_and_results() {
    let room = room();
    room.pictures("in", 2);
    room.pictures("more", 3);
    let json = room
        .det("infer in more/002.png --weights w.safetensors --imgsz 160 --conf 0.3 --json")
        .exits(0)
        .json();
    let images = json["images"].as_array().expect("images");
    assert_eq!(images.len(), 3);
    assert_eq!(json["failed"], Value::Array(vec![]));
    assert!(json["timings_ms"].as_object().is_some_and(|t| !t.is_empty()), "{json}");
    for image in images {
        assert!(image["file"].is_string() && image["width"].is_u64() && image["height"].is_u64(), "{image}");
        for found in image["detections"].as_array().expect("detections") {
            assert!(found["score"].as_f64().is_some_and(|s| s > 0.3), "{found}");
            assert!(found["category_id"].is_i64() && found["name"].is_string(), "{found}");
            assert_eq!(found["bbox"].as_array().map(Vec::len), Some(4), "{found}");
        }
        let files = image["files"].as_array().expect("files");
        let out = room.path(json["out"].as_str().expect("a folder"));
        assert!(files.len() == 1 && out.join(files[0].as_str().expect("a name")).is_file(), "{image}");
    }
    assert!(images.iter().any(|i| i["detections"].as_array().is_some_and(|d| !d.is_empty())));
    for file in ["results.bbox.json", "images.json"] {
        assert!(room.path("care-out").join(file).is_file(), "{file}");
    }
    let overlays = std::fs::read_dir(room.path("care-out/overlays")).expect("overlays").count();
    assert_eq!(overlays, 3);
}

#[test]
fn text_output_names_every_picture() {
    let room = room();
    room.pictures("in", 2);
    let ran = room.det("infer in --weights w.safetensors --imgsz 96 --save none").exits(0);
    assert!(ran.stdout().contains("in/000.png: ") && ran.stdout().lines().count() == 2, "{}", ran.stdout());
    assert!(!room.path("care-out").exists(), "--save none writes nothing");
}

#[test]
fn bad_pictures_are_listed_and_the_rest_is_done() {
    let room = room();
    room.pictures("in", 1);
    room.file("bad.jpg", "not a picture");
    let args = "infer bad.jpg in/000.png --weights w.safetensors --imgsz 96";
    let ran = room.det(args).exits(1).says(&["1 of 2 pictures failed", "bad.jpg"]);
    assert!(!ran.stdout().contains("bad.jpg"), "{}", ran.stdout());
    let json = room.det(&format!("{args} --save none --json")).exits(1).json();
    assert_eq!(
        (json["images"].as_array().map(Vec::len), json["failed"].as_array().map(Vec::len)),
        (Some(1), Some(1))
    );
    assert_eq!(json["failed"][0]["file"], "bad.jpg");
    assert!(json["failed"][0]["error"].is_string());
}

#[test]
fn nothing_to_look_at_is_an_error() {
    let room = room();
    room.pictures("in", 1);
    room.file("empty/notes.txt", "no pictures");
    room.det("infer empty --weights w.safetensors").exits(3).says(&["empty"]);
    room.det("infer nowhere.jpg --weights w.safetensors").exits(2).says(&["nowhere.jpg"]);
    room.det("infer in --weights nowhere.safetensors").exits(2).says(&["nowhere.safetensors"]);
    room.det("infer in --weights w.safetensors --out in/out").exits(2).says(&["inside"]);
    room.det("infer in --weights w.safetensors --save none,coco").exits(2).says(&["none"]);
}

#[test]
fn two_pictures_of_one_name_keep_their_overlays_apart() {
    let room = room();
    room.pictures("a", 1);
    room.pictures("b", 1);
    room.det("infer a b --weights w.safetensors --imgsz 96 -q").exits(0);
    assert_eq!(std::fs::read_dir(room.path("care-out/overlays")).expect("overlays").count(), 2);
}

#[test]
fn overwriting_leaves_no_overlay_of_an_earlier_run() {
    let room = room();
    room.pictures("a", 3);
    room.pictures("b", 1);
    let infer = "--weights w.safetensors --imgsz 96 -q --overwrite";
    room.det(&format!("infer a {infer}")).exits(0);
    room.file("care-out/overlays/mine.jpg", "the user's own");
    room.det(&format!("infer b {infer} --save overlay")).exits(0);
    let mut names: Vec<String> = std::fs::read_dir(room.path("care-out/overlays"))
        .expect("overlays")
        .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["000.jpg", "mine.jpg"], "what others wrote stays");
    assert!(!room.path("care-out/results.bbox.json").exists(), "results of other pictures");
    // A list that was tampered with never reaches outside of the folder.
    room.file("mine.txt", "mine");
    room.file("care-out/.care-det.json", r#"{"files":["../mine.txt","/etc/hostname","overlays"]}"#);
    room.det(&format!("infer b {infer}")).exits(0);
    assert!(room.path("mine.txt").is_file());
}

#[test]
fn the_folder_one_stands_in_needs_another_place_for_results() {
    let room = room();
    room.pictures("in", 1);
    let ran = room.det("infer . --weights w.safetensors").exits(2);
    ran.says(&["--out care-out", "such as --out"]);
}

#[test]
fn scores_have_the_same_digits_everywhere() {
    let room = room();
    room.pictures("in", 1);
    let json = room.det("infer in --weights w.safetensors --imgsz 160 --json").exits(0).json();
    let printed: Vec<&Value> =
        json["images"][0]["detections"].as_array().expect("detections").iter().map(|d| &d["score"]).collect();
    let text = std::fs::read(room.path("care-out/results.bbox.json")).expect("results");
    let records: Vec<Value> = serde_json::from_slice(&text).expect("JSON");
    let written: Vec<&Value> = records.iter().map(|r| &r["score"]).collect();
    assert!(!printed.is_empty());
    assert_eq!(printed, written);
}

/// Every odd file is decoded or listed as its manifest says; no panic, no hang.
#[test]
fn odd_pictures_behave_as_their_manifest_says() {
    let Some(data) = data() else { return };
    let odd = data.join("odd_images");
    let manifest = std::fs::read_to_string(odd.join("manifest.json")).expect("manifest");
    let manifest: Value = serde_json::from_str(&manifest).expect("JSON");
    let room = room();
    let started = Instant::now();
    let args = format!("infer {} --weights w.safetensors --imgsz 64 --save none --json", odd.display());
    let json = room.det(&args).exits(1).json();
    let has = |list: &str, name: &str| {
        let rows = json[list].as_array().expect(list);
        rows.iter().any(|r| r["file"].as_str().is_some_and(|f| f.ends_with(&format!("odd_images/{name}"))))
    };
    let mut wrong = Vec::new();
    for (name, entry) in manifest["files"].as_object().expect("files") {
        let (decoded, failed) = (has("images", name), has("failed", name));
        let fine = match entry["expect"].as_str().expect("expect") {
            "decode" => decoded,
            "error" => failed && !decoded,
            "skip" => !decoded && !failed,
            _ => !(decoded && failed),
        };
        if !fine {
            wrong.push(format!("{name}: expected {}, decoded {decoded}, failed {failed}", entry["expect"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// Ctrl-C ends a run between two pictures, with everything that is done saved.
#[cfg(unix)]
#[test]
fn an_interrupt_saves_what_is_done() {
    let room = room();
    let names = room.pictures("in", 60);
    let mut child = room.spawn("infer in --weights w.safetensors --imgsz 256 --json");
    let overlays = room.path("care-out/overlays");
    let started = Instant::now();
    while std::fs::read_dir(&overlays).map_or(0, Iterator::count) < 2 {
        assert!(started.elapsed().as_secs() < 60, "no overlay was written");
        assert!(child.try_wait().expect("a child").is_none(), "the run ended before it could be interrupted");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.is_ok_and(|s| s.success()), "kill -INT");
    let output = child.wait_with_output().expect("a finished child");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    let json: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    let done = json["images"].as_array().map_or(0, Vec::len);
    assert!((2..names.len()).contains(&done), "{done} of {}", names.len());
    assert_eq!(json["interrupted"], true);
    let saved: Value =
        serde_json::from_slice(&std::fs::read(room.path("care-out/images.json")).expect("images.json"))
            .expect("JSON");
    assert_eq!(saved["images"].as_array().map_or(0, Vec::len), done);
}
