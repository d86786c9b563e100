//! `train` and `resume`: same seed, same bits; killed and resumed, same bits; settings and data that cannot be are refused.

use crate::run::{Room, data};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// A network that takes milliseconds per step, with everything a run can have: batch statistics, accumulation, EMA,
/// augmentation, evaluations between snapshots.
const TINY: &str = r#"
preset = "retinanet_care_xs_scratch"
[network.backbone]
depths = [1, 1, 1, 1]
feat_dims = [12, 12, 24, 24]
mem_dims = [4, 4, 8, 8]
att_head_dim = [1, 1, 8, 8]
[network.neck]
out_channels = 16
[network.head]
feat_channels = 16
[preprocess]
scale = { long = 96, short = 96 }
[train]
epochs = 4
batch = 2
accum = 2
snapshot_every = 1
[schedule]
warmup_steps = 3
[augment]
scales = [{ long = 64, short = 64 }, { long = 96, short = 96 }]
crop = { probability = 0.5, min_overlap = [0.1, 0.5], min_size = 0.5 }
mosaic = { probability = 0.3 }
"#;

/// A data set of 10 pictures to learn from and 3 to be scored on, and [`TINY`] as `tiny.toml`.
fn room() -> Room {
    let room = Room::new();
    room.data_set("d", 10);
    std::fs::rename(room.path("d/val"), room.path("d/train")).unwrap();
    let annotations = room.path("d/annotations");
    std::fs::rename(annotations.join("instances_val.json"), annotations.join("instances_train.json"))
        .unwrap();
    room.data_set("v", 3);
    std::fs::rename(room.path("v/val"), room.path("d/val")).unwrap();
    let val = room.path("v/annotations/instances_val.json");
    std::fs::rename(val, annotations.join("instances_val.json")).unwrap();
    room.file("tiny.toml", TINY);
    room
}

const TRAIN: &str = "train --data d --config tiny.toml --quiet --out";

/// Everything that must be the same to the byte.
fn results(run: &Path) -> Vec<(String, Vec<u8>)> {
    let names =
        ["metrics.jsonl", "weights/last.safetensors", "weights/best.safetensors", "loss.svg", "ap.svg"];
    names.iter().map(|n| ((*n).to_owned(), std::fs::read(run.join(n)).unwrap_or_default())).collect()
}

#[track_caller]
fn same(room: &Room, a: &str, b: &str) {
    for ((name, a), (_, b)) in results(&room.path(a)).into_iter().zip(results(&room.path(b))) {
        assert!(!a.is_empty(), "{name} is missing");
        assert!(a == b, "{name} differs: {} and {} bytes", a.len(), b.len());
    }
}

#[test]
fn one_two_and_four_threads_give_the_same_bits() {
    let room = room();
    for threads in [1, 2, 4] {
        room.det(&format!("{TRAIN} t{threads} --threads {threads}")).exits(0);
    }
    same(&room, "t1", "t2");
    same(&room, "t1", "t4");
    room.det(&format!("{TRAIN} other --seed 1")).exits(0);
    assert_ne!(results(&room.path("t1"))[1], results(&room.path("other"))[1], "the seed matters");
}

#[test]
fn killed_at_any_moment_and_resumed_gives_the_same_bits() {
    let room = room();
    room.det(&format!("{TRAIN} whole")).exits(0);
    let steps = lines(&room, "whole");
    const RUNS: usize = 6;
    let mut killed = 0;
    for k in 0..RUNS {
        let name = format!("k{k}");
        // twice per run: in its first half and some way into what is left; the first one perhaps before there is a folder
        let first = if k == 0 { 0 } else { steps * (2 * k + 1) / (4 * RUNS) };
        killed += u32::from(kill_at(&room, &format!("{TRAIN} {name}"), &name, (first, 7 * k as u64)));
        if !room.path(&name).join("config.resolved.toml").exists() {
            room.det(&format!("{TRAIN} {name}")).exits(0); // killed before the folder was there
        } else {
            let second = first + steps * (k + 1) / (3 * RUNS);
            let again = format!("resume {name} --quiet");
            killed += u32::from(kill_at(&room, &again, &name, (second, 11 * k as u64)));
            room.det(&again).exits(0);
        }
        same(&room, "whole", &name);
        let left = std::fs::read_dir(room.path(&name).join("checkpoints")).unwrap();
        let names: Vec<_> = left.map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["last.safetensors"], "nothing half-written is left");
    }
    assert!(killed >= 10, "only {killed} of {} kills hit a running process", 2 * RUNS);
}

/// Lines that a run has written so far.
fn lines(room: &Room, run: &str) -> usize {
    std::fs::read_to_string(room.path(run).join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// SIGKILL some milliseconds after a run has written so many lines; whether it was still running.
fn kill_at(room: &Room, args: &str, run: &str, (written, later): (usize, u64)) -> bool {
    let mut child = room.spawn(args);
    while lines(room, run) < written && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(1 + later));
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

#[test]
fn a_finished_run_has_its_papers() {
    let room = room();
    let json = room.det(&format!("{TRAIN} run --json")).exits(0).json();
    assert_eq!((&json["finished"], &json["step"]), (&Value::Bool(true), &Value::from(12)));
    assert!(json["best"]["AP"].is_number(), "{json}");
    let papers = ["env.json", "log.txt", "timings.jsonl", "checkpoints/last.safetensors", "predictions.jpg"];
    for name in papers {
        assert!(room.path("run").join(name).is_file(), "{name}");
    }
    // the figure that was printed is the one that `eval` gives for the file
    let score = room.det("eval coco --data d --weights run/weights/best.safetensors --json").exits(0).json();
    assert_eq!(score["iou_type"]["bbox"]["AP"], json["best"]["AP"]);
    let metrics = std::fs::read_to_string(room.path("run/metrics.jsonl")).unwrap();
    let lines: Vec<Value> = metrics.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines.iter().filter(|l| l.get("grad_norm").is_some()).count(), 12);
    assert_eq!(lines.iter().filter(|l| l.get("val_loss").is_some()).count(), 4);
    // going on where nothing is left changes nothing, and an existing folder is never written into
    let before = results(&room.path("run"));
    room.det("resume run --quiet").exits(0);
    assert!(before == results(&room.path("run")));
    room.det(&format!("{TRAIN} run")).exits(2).says(&["exists already", "care-det resume run"]);
}

#[test]
fn training_goes_on_from_weights_and_says_which_layers_start_anew() {
    let room = room();
    room.det(&format!("{TRAIN} first")).exits(0);
    let args = "train --data d --weights first/weights/last.safetensors --epochs 1 --out";
    room.det(&format!("{args} same")).exits(0).says(&[
        "knows the same 3 classes",
        "retinanet_care_s0_custom",
        "objects: 7 person, 7 car, 6 dog",
    ]);
    let rename = |from: &str, to: &str| {
        for split in ["train", "val"] {
            let name = format!("d/annotations/instances_{split}.json");
            let text = std::fs::read_to_string(room.path(&name)).unwrap();
            room.file(&name, text.replace(from, to));
        }
    };
    rename("\"dog\"", "\"cat\"");
    room.det(&format!("{args} other")).exits(0).says(&[
        "retina_cls",
        "start anew",
        "person, car, dog",
        "person, car, cat",
    ]);
    // the first run's data is not what it was
    rename("\"cat\"", "\"dog\"");
    room.det("resume other").exits(3).says(&["changed since the run began"]);
}

#[test]
fn classes_in_another_order_are_still_the_same_classes() {
    let room = room();
    room.det(&format!("{TRAIN} first")).exits(0);
    let args =
        "train --data d --weights first/weights/last.safetensors --epochs 1 --set train.lr=1e-12 --out";
    let losses = |run: &str| {
        room.det(&format!("{args} {run}")).exits(0).says(&["knows the same 3 classes"]);
        let metrics = std::fs::read_to_string(room.path(run).join("metrics.jsonl")).unwrap();
        let last: Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        last["val_losses"].clone()
    };
    let before = losses("before");
    for split in ["train", "val"] {
        let name = format!("d/annotations/instances_{split}.json");
        let mut truth: Value = serde_json::from_slice(&std::fs::read(room.path(&name)).unwrap()).unwrap();
        let turned = |id: &mut Value| *id = Value::from(10 - id.as_i64().unwrap());
        truth["categories"].as_array_mut().unwrap().iter_mut().for_each(|c| turned(&mut c["id"]));
        truth["annotations"].as_array_mut().unwrap().iter_mut().for_each(|a| turned(&mut a["category_id"]));
        room.file(&name, truth.to_string());
    }
    assert_eq!(losses("after"), before, "the ids turn the order around, the classes keep their outputs");
}

#[test]
fn settings_that_cannot_be_are_refused_with_the_nearest_key() {
    let room = room();
    let table = [
        ("--set train.lrr=1", "did you mean `lr`"),
        ("--set trian.lr=1", "did you mean `train`"),
        ("--set train.lr=fast", "train.lr"),
        ("--set train.lr=-1", "train.lr is -1"),
        ("--set train", "expected KEY=VALUE"),
        ("--set augment.flip=2", "augment.flip is 2"),
        ("--set network.select.nms_pre=0", "select.nms_pre is 0"),
        ("--set optimizer.betas=[0.9,1.0]", "optimizer.betas is 1"),
        ("--set schedule.warmup_factor=3", "schedule.warmup_factor is 3"),
        ("--set schedule.decay.min_lr=-1", "schedule.decay.min_lr is -1"),
        ("--imgsz 8192 --batch 64", "GB of memory"),
        ("--set optimizer.kind=adam", "did you mean `adamw`"),
        ("--set network.head.norm=bach", "did you mean `batch`"),
        ("--val-split tset", "no part \"tset\""),
        ("--format yollo", "known are coco"),
    ];
    for (args, words) in table {
        room.det(&format!("{TRAIN} no {args}")).exits(2).says(&[words]);
    }
    room.det("train --data d --config retinanet_care_xs_scrach --out no")
        .exits(2)
        .says(&["did you mean `retinanet_care_xs_scratch`"]);
    assert!(!room.path("no").exists(), "nothing is left of a run that could not begin");
}

#[test]
fn data_that_cannot_be_learnt_from_is_refused_with_the_classes() {
    let room = room();
    room.det("train --data nowhere --out no").exits(2).says(&["no such folder"]);
    room.det("train --data demo --val-fraction 0.5 --out no").exits(2).says(&["two parts", "--val-fraction"]);
    room.pictures("plain", 2);
    room.det("train --data plain --out no").exits(3).says(&["no data set that is known", "data.yaml"]);
    let name = "d/annotations/instances_train.json";
    let mut truth: Value = serde_json::from_slice(&std::fs::read(room.path(name)).unwrap()).unwrap();
    for annotation in truth["annotations"].as_array_mut().unwrap() {
        annotation["category_id"] = Value::from(99);
    }
    room.file(name, truth.to_string());
    room.det(&format!("{TRAIN} no --set train.keep_empty=false"))
        .exits(3)
        .says(&["no picture is left to train on", "person, car, dog"]);
}

#[test]
fn a_picture_that_breaks_is_left_out_and_told() {
    let room = room();
    room.file("d/train/004.png", "not a picture");
    room.det("train --data d --config tiny.toml --steps 6 --no-val --out run")
        .exits(1)
        .says(&["left out", "004.png"]);
    assert!(room.path("run/weights/last.safetensors").is_file());
}

#[test]
fn a_loss_that_is_not_finite_stops_with_a_dump_that_replays() {
    let room = room();
    let ran = room.det(&format!(
        "{TRAIN} run --set train.lr=1e30 --set train.clip_norm=0 --set schedule.warmup_steps=0"
    ));
    let ran = ran.exits(1).says(&["the loss loss_", "--replay", "train.lr"]);
    let told = ran.stderr();
    let step = told.split("step ").nth(1).and_then(|t| t.split(':').next()).unwrap().to_owned();
    let replay = room.det("resume run --replay").exits(0);
    assert!(replay.stdout().contains(&format!("step {step}: ")), "{told}\n{}", replay.stdout());
    assert!(!replay.stdout().contains("finite this time"), "{}", replay.stdout());
    assert_eq!(replay.stdout().lines().count(), 5, "four pictures and the outcome");
}

#[test]
fn interrupted_training_saves_and_tells_how_to_go_on() {
    let room = room();
    room.det(&format!("{TRAIN} whole --epochs 40")).exits(0);
    let child = room.spawn("train --data d --config tiny.toml --epochs 40 --out run");
    while !room.path("run/metrics.jsonl").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    let output = child.wait_with_output().unwrap();
    if !sent.is_ok_and(|s| s.success()) {
        eprintln!("SKIPPED: no kill command to send SIGINT with");
        return;
    }
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("care-det resume run"));
    room.det("resume run --quiet").exits(0);
    same(&room, "whole", "run");
}

#[test]
fn a_probe_tells_whether_it_learns_and_what_it_costs() {
    let room = room();
    let json = room.det("train --data d --config tiny.toml --probe --json").exits(0).json();
    assert_eq!(json["without_gradient"], Value::Array(vec![]));
    let losses: Vec<f64> = json["losses"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(losses.last() < losses.first(), "{losses:?}");
    assert!(json["total_seconds"].as_f64().is_some_and(|s| s > 0.0));
    assert!(!room.path("care-run").exists(), "a probe writes nothing");
}

#[test]
fn real_voc_and_yolo_folders_train_as_delivered() {
    let Some(data) = data() else { return };
    let room = room();
    for (name, rule, extra) in
        [("bccd", "Pascal VOC", "--format voc"), ("microcontroller", "YOLO", "--format yolo")]
    {
        let folder = data.join(name).display().to_string();
        room.det(&format!(
            "train --data {folder} --config tiny.toml {extra} --steps 2 --val-limit 2 --out {name}"
        ))
        .exits(0)
        .says(&[rule]);
    }
}
