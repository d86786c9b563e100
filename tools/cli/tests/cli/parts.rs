//! `eval coco --shard`, `merge` and `compare`.

use crate::run::Room;
use serde_json::{Value, json};

const EVAL: &str = "eval coco --data d --weights w.safetensors --imgsz 96 -q";

fn room(pictures: u32) -> Room {
    let room = Room::new();
    room.weights();
    room.data_set("d", pictures);
    room
}

fn bytes(room: &Room, path: &str) -> Vec<u8> {
    std::fs::read(room.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn read(room: &Room, path: &str) -> Value {
    serde_json::from_slice(&bytes(room, path)).expect("JSON")
}

#[test]
fn parts_merge_to_the_bytes_of_one_run() {
    let room = room(7);
    std::fs::write(room.path("d/val/004.png"), "not a picture").expect("a file");
    room.det(&format!("{EVAL} --out whole")).exits(1);
    for (part, code) in [("3/3", 0), ("1/3", 0), ("2/3", 1)] {
        room.det(&format!("{EVAL} --shard {part} --out parts")).exits(code);
    }
    let merged =
        room.det("merge parts --out merged --json").exits(1).says(&["1 of 7 pictures failed", "004.png"]);
    assert_eq!(merged.json(), read(&room, "whole/metrics.json"));
    for file in ["metrics.json", "bbox.state", "evaluation.json", "results.bbox.json"] {
        assert!(bytes(&room, &format!("whole/{file}")) == bytes(&room, &format!("merged/{file}")), "{file}");
    }
    // The folders may be named one by one, in any order.
    let named = "merge parts/part-2-of-3 parts/part-3-of-3 parts/part-1-of-3 --json";
    assert_eq!(room.det(named).exits(1).json(), read(&room, "whole/metrics.json"));
}

#[test]
fn parts_of_chosen_pictures_merge_too() {
    let room = room(6);
    room.file("p.json", r#"{"imgIds":[5,2,3]}"#);
    room.det(&format!("{EVAL} --params p.json --out whole")).exits(0);
    for i in 1..=4 {
        room.det(&format!("{EVAL} --params p.json --shard {i}/4 --out parts")).exits(0);
    }
    assert_eq!(room.det("merge parts --json").exits(0).json(), read(&room, "whole/metrics.json"));
}

#[test]
fn parts_of_a_results_file_merge_to_its_figures() {
    let room = room(5);
    room.det(&format!("{EVAL} --out run")).exits(0);
    let eval = "eval coco --gt d/annotations/instances_val.json --dt run/results.bbox.json -q";
    let whole = room.det(&format!("{eval} --json")).exits(0).json();
    let said = room.det(&format!("{eval} --shard 1/2 --out parts --json")).exits(0).json();
    assert_eq!((&said["part"], &said["pictures"]), (&json!([1, 2]), &json!(3)));
    let slurm =
        |id| [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_MIN", "10"), ("SLURM_ARRAY_TASK_COUNT", "2")];
    room.det_with(&format!("{eval} --shard auto --out parts"), &slurm("11")).exits(0);
    assert_eq!(room.det("merge parts --json").exits(0).json(), whole);
    room.det(&format!("{eval} --shard auto --out more")).exits(2).says(&["neither", "--shard I/N"]);
    room.det(&format!("{eval} --shard 3/2 --out more")).exits(2).says(&["from 1/N to N/N"]);
}

#[test]
fn parts_that_are_not_all_there_or_do_not_belong_together_are_refused() {
    let room = room(4);
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(room.path(to)).expect("a folder");
        for file in ["evaluation.json", "bbox.state"] {
            std::fs::copy(room.path(&format!("{from}/{file}")), room.path(&format!("{to}/{file}")))
                .expect("a copy");
        }
    };
    room.det(&format!("{EVAL} --shard 1/2 --out parts")).exits(0);
    room.det("merge parts").exits(3).says(&["1 of 2 parts", "2/2"]);
    room.det("merge d").exits(2).says(&["--shard"]);
    room.det("merge nowhere").exits(2).says(&["nowhere"]);
    copy("parts/part-1-of-2", "twice");
    room.det("merge parts twice").exits(3).says(&["both part 1 of 2"]);
    room.det(&format!("{EVAL} --shard 1/3 --out parts")).exits(0);
    room.det("merge parts").exits(3).says(&["different evaluations"]);
    // other thresholds are another detector
    room.det(&format!("{EVAL} --max-det 3 --shard 2/2 --out other")).exits(0);
    room.det("merge parts/part-1-of-2 other").exits(3).says(&["cannot be merged", "results"]);
    let state = bytes(&room, "parts/part-1-of-2/bbox.state");
    room.file("twice/bbox.state", &state[..state.len() / 2]);
    room.det(&format!("{EVAL} --shard 2/2 --out rest")).exits(0);
    room.det("merge twice rest").exits(3).says(&["twice", "bbox.state"]);
}

#[test]
fn a_comparison_says_which_is_better_and_how_sure_that_is() {
    let room = room(12);
    // All objects against every other one: no draw of pictures can make the second better.
    let truth = read(&room, "d/annotations/instances_val.json");
    let record = |object: &Value| json!({"image_id": object["image_id"], "category_id": object["category_id"], "bbox": object["bbox"], "score": 0.5});
    let all: Vec<Value> = truth["annotations"].as_array().expect("a list").iter().map(record).collect();
    let half: Vec<&Value> = all.iter().step_by(2).collect();
    room.file("all.json", json!(all).to_string());
    room.file("half.json", json!(half).to_string());
    let compare = "compare all.json half.json --gt d/annotations/instances_val.json --resamples 200";
    let json = room.det(&format!("{compare} --json")).exits(0).json();
    let ap = &json["figures"][0];
    assert_eq!((&ap["name"], &ap["a"], &ap["verdict"]), (&json!("AP"), &json!(1.0), &json!("a")), "{json}");
    assert!(ap["low"].as_f64() > Some(0.0) && ap["high"].as_f64() <= Some(1.0), "{ap}");
    assert_eq!(room.det(&format!("{compare} --json")).json(), json, "the same draws");
    let text = room.det(&format!("{compare} --per-category")).exits(0).stdout();
    assert!(text.contains("A is better than B") && text.contains("person"), "{text}");
    room.det("compare all.json half.json").exits(2).says(&["--gt"]);
}

#[test]
fn finished_evaluations_compare_without_their_data() {
    let room = room(5);
    room.det(&format!("{EVAL} --out one")).exits(0);
    room.det(&format!("{EVAL} --max-det 2 --out two")).exits(0);
    std::fs::rename(room.path("d"), room.path("elsewhere")).expect("a folder");
    let json = room.det("compare one two --json --resamples 20").exits(0).json();
    assert_eq!(json["pictures"], 5);
    assert_eq!(json["figures"][0]["a"], read(&room, "one/metrics.json")["iou_type"]["bbox"]["AP"]);
    let same = room.det("compare one one --json --resamples 20").exits(0).json();
    assert_eq!(
        (&same["figures"][0]["verdict"], &same["figures"][0]["high"]),
        (&json!("undecided"), &json!(0.0))
    );
    room.det("compare one two --iou-type segm").exits(2).says(&["not scored by segm"]);
    room.data_set("d", 4);
    room.det(&format!("{EVAL} --out three")).exits(0);
    room.det("compare one three").exits(3).says(&["cannot be compared", "ground truth"]);
}

/// A segmenter that says something of each class, and scenes to score it on.
fn scenes() -> Room {
    let room = Room::new();
    room.scenes("d", 2, 7);
    let init = "weights init --model semantic_fpn_care_xs --labels-from d --seed 3 --out s.safetensors";
    room.seg(init).exits(0);
    room
}

#[test]
fn parts_of_scenes_merge_to_the_bytes_of_one_run() {
    let room = scenes();
    room.file("d/images/validation/004.png", "not a picture");
    let eval = "eval ade20k --data d --weights s.safetensors --imgsz 64 -q";
    room.seg(&format!("{eval} --out whole")).exits(1);
    for (part, code) in [("2/2", 0), ("1/2", 1)] {
        room.seg(&format!("{eval} --shard {part} --out parts")).exits(code);
    }
    let merged = room.seg("merge parts --out merged --json").exits(1).says(&["1 of 7 pictures failed"]);
    assert_eq!(merged.json(), read(&room, "whole/metrics.json"));
    for file in ["metrics.json", "miou.state", "evaluation.json"] {
        assert!(bytes(&room, &format!("whole/{file}")) == bytes(&room, &format!("merged/{file}")), "{file}");
    }
    room.seg("merge parts --fail-under 1").exits(1).says(&["below --fail-under"]);
    room.det("merge parts").exits(3).says(&["miou.state"]);
}

#[test]
fn a_stopped_evaluation_of_scenes_goes_on() {
    let room = scenes();
    let eval = "eval ade20k --data d --weights s.safetensors --imgsz 64";
    room.seg(&format!("{eval} --out whole -q")).exits(0);
    // what a run leaves that was killed after three pictures: the state of its first part, under the name of the unfinished
    room.seg(&format!("{eval} --limit 3 --out some -q")).exits(0);
    std::fs::create_dir(room.path("rest")).expect("a folder");
    std::fs::copy(room.path("some/miou.state"), room.path("rest/unfinished.state")).expect("a copy");
    let ran = room.seg(&format!("{eval} --out rest")).exits(0);
    ran.says(&["3 pictures are done", "4 of 4 pictures in"]);
    for file in ["metrics.json", "miou.state"] {
        assert!(bytes(&room, &format!("whole/{file}")) == bytes(&room, &format!("rest/{file}")), "{file}");
    }
    assert!(!room.path("rest/unfinished.state").exists());
    std::fs::create_dir(room.path("other")).expect("a folder");
    std::fs::copy(room.path("some/miou.state"), room.path("other/unfinished.state")).expect("a copy");
    let other = eval.replace("--imgsz 64", "--imgsz 96");
    room.seg(&format!("{other} --out other")).exits(2).says(&["something else", "--overwrite"]);
    room.seg(&format!("{other} --out other --overwrite")).exits(0);
}
