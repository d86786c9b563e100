//! `care-seg`: label maps scored, segmenters trained, scored and run.

use crate::run::Room;
use serde_json::Value;

/// A network that takes milliseconds per step.
const TINY: &str = r#"
preset = "semantic_fpn_care_xs_scratch"
[network.backbone]
depths = [1, 1, 1, 1]
feat_dims = [12, 12, 24, 24]
mem_dims = [4, 4, 8, 8]
att_head_dim = [1, 1, 8, 8]
[network.neck]
out_channels = 16
[network.head]
channels = 16
[preprocess]
scale = { long = 96, short = 96 }
[train]
epochs = 24
batch = 2
lr = 5e-3
ema = 0.8
snapshot_every = 1
[schedule]
warmup_steps = 3
[validation]
every = 8
[augment]
resize = { ratio = [0.8, 1.2] }
crop = { size = [64, 64], cat_max_ratio = 0.9 }
photometric = {}
"#;

fn room() -> Room {
    let room = Room::new();
    room.scenes("d", 6, 3);
    room.file("tiny.toml", TINY);
    room
}

const TRAIN: &str = "train --data d --config tiny.toml --quiet --out";

#[test]
fn a_segmenter_learns_with_the_same_bits_at_any_thread_count() {
    let room = room();
    let json = room.seg(&format!("{TRAIN} one --threads 1 --json")).exits(0).json();
    assert!(json["best"]["mIoU"].as_f64().is_some_and(|m| m > 0.3), "it learns three colours: {json}");
    room.seg(&format!("{TRAIN} two --threads 2")).exits(0);
    let read = |run: &str, name: &str| std::fs::read(room.path(run).join(name)).unwrap();
    for name in ["metrics.jsonl", "weights/last.safetensors", "weights/best.safetensors", "ap.svg"] {
        assert!(read("one", name) == read("two", name), "{name} at two threads");
    }
    for name in ["predictions.jpg", "loss.svg", "timings.jsonl", "env.json"] {
        assert!(!read("one", name).is_empty(), "{name}");
    }
    // the figure that was printed is the one that `eval` gives for the file
    let args = "eval ade20k --data d --weights one/weights/best.safetensors --json";
    let score = room.seg(args).exits(0).json();
    assert_eq!(score["mIoU"], json["best"]["mIoU"]);
    assert_eq!(score["per_class"].as_array().map(Vec::len), Some(3));
    assert_eq!(score["per_class"][1]["name"], "middle");
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let room = room();
    room.seg(&format!("{TRAIN} whole")).exits(0);
    let mut child = room.spawn_seg(&format!("{TRAIN} cut"));
    while std::fs::read_to_string(room.path("cut/metrics.jsonl")).map_or(0, |t| t.lines().count()) < 20 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    room.seg("resume cut --quiet").exits(0);
    for name in ["metrics.jsonl", "weights/last.safetensors"] {
        let read = |run: &str| std::fs::read(room.path(run).join(name)).unwrap();
        assert!(read("whole") == read("cut"), "{name}");
    }
}

#[test]
fn pictures_become_label_maps_and_overlays() {
    let room = room();
    room.seg("weights init --model semantic_fpn_care_xs --labels-from d --out w.safetensors").exits(0);
    let args = "infer d/images/validation --weights w.safetensors --imgsz 96";
    let json = room.seg(&format!("{args} --save overlay,mask,palette --json")).exits(0).json();
    let images = json["images"].as_array().unwrap();
    assert_eq!(images.len(), 3);
    for image in images {
        let shares: f64 =
            image["classes"].as_array().unwrap().iter().filter_map(|c| c["share"].as_f64()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{image}");
    }
    let mask = image::open(room.path("care-out/masks/000.png")).unwrap().to_luma8();
    assert_eq!(mask.dimensions(), (96, 64));
    assert!(mask.pixels().all(|p| p.0[0] < 3));
    for file in ["overlays/001.jpg", "palette/002.png"] {
        assert!(room.path("care-out").join(file).is_file(), "{file}");
    }
    // other ways of looking give label maps of the same size
    for views in ["--slide 64/40", "--tta"] {
        room.seg(&format!("{args} {views} --save mask --overwrite")).exits(0);
        let other = image::open(room.path("care-out/masks/000.png")).unwrap();
        assert_eq!((other.width(), other.height()), (96, 64), "{views}");
    }
    room.seg(&format!("{args} --slide 64")).exits(2).says(&["CROP/STRIDE"]);
}

#[test]
fn batches_and_windows_of_the_whole_picture_change_nothing() {
    let room = room();
    room.seg("weights init --model semantic_fpn_care_xs --labels-from d --recipe x --out w.safetensors")
        .exits(0);
    let maps = |flags: &str| -> Vec<Vec<u8>> {
        let args = "infer d/images/training --weights w.safetensors --imgsz 96 --save mask --overwrite";
        room.seg(&format!("{args} {flags}")).exits(0);
        (0..6).map(|i| std::fs::read(room.path(&format!("care-out/masks/{i:03}.png"))).unwrap()).collect()
    };
    let plain = maps("");
    assert_eq!(maps("--batch 4"), plain);
    assert_eq!(maps("--slide 96/96"), plain, "one window holds the whole picture");
}

#[test]
fn folders_of_label_maps_are_scored_like_the_reference() {
    let room = Room::new();
    let write = |name: &str, values: &[u8]| {
        let path = room.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::GrayImage::from_raw(4, 2, values.to_vec()).unwrap().save(path).unwrap();
    };
    write("gt/a.png", &[0, 0, 1, 1, 2, 2, 255, 255]);
    write("pred/a.png", &[0, 1, 1, 1, 2, 0, 0, 9]);
    let args = "eval --gt gt --pred pred --classes 4";
    let json = room.seg(&format!("{args} --json")).exits(0).json();
    let close = |v: &Value, want: f64| (v.as_f64().unwrap() - want).abs() < 1e-12;
    // intersections 1, 2, 1; unions 3, 3, 2; class 3 is nowhere
    assert!(close(&json["mIoU"], (1.0 / 3.0 + 2.0 / 3.0 + 0.5) / 3.0), "{json}");
    assert!(close(&json["aAcc"], 4.0 / 6.0) && close(&json["mAcc"], (0.5 + 1.0 + 0.5) / 3.0), "{json}");
    assert_eq!(json["per_class"][3]["IoU"], Value::from(-1.0));
    room.seg(&format!("{args} --fail-under 0.6")).exits(4).says(&["below --fail-under"]);
    room.seg(&format!("{args} --fail-under 0.4 --fail-under aAcc=0.7")).exits(4).says(&["aAcc=0.7"]);
    // every pixel counts: 255 is no class
    room.seg(&format!("{args} --ignore-index none")).exits(3).says(&["a.png", "255"]);
    write("zero/a.png", &[1, 1, 2, 2, 3, 3, 0, 0]);
    let reduced =
        room.seg("eval --gt zero --pred pred --classes 4 --reduce-zero-label --json").exits(0).json();
    assert_eq!(reduced["mIoU"], json["mIoU"]);
    write("gt/b.png", &[0; 8]);
    room.seg(args).exits(3).says(&["b.png", "no prediction"]);
    room.seg("eval --gt nowhere --pred pred --classes 4").exits(2).says(&["no such folder"]);
    room.seg("eval").exits(2).says(&["eval ade20k"]);
}

#[test]
fn weights_and_data_for_another_task_are_refused_with_the_right_command() {
    let room = room();
    room.weights();
    room.seg("infer d/images --weights w.safetensors").exits(2).says(&["finds objects", "care-det infer"]);
    room.seg("weights init --model semantic_fpn_care_xs --classes 2 --out s.safetensors").exits(0);
    room.det("infer d/images --weights s.safetensors").exits(2).says(&["care-seg infer"]);
    room.seg("eval ade20k --data d --weights s.safetensors")
        .exits(5)
        .says(&["class names", "dark, middle, bright"]);
    room.seg("train --data d --config retinanet_care_xs_scratch --out no").exits(2).says(&["care-det train"]);
    let bad = room.path("d/annotations/training/000.png");
    image::GrayImage::from_pixel(96, 64, image::Luma([77])).save(bad).unwrap();
    room.seg(&format!("{TRAIN} run --steps 6")).exits(1).says(&["left out", "000.png", "77"]);
    let log = std::fs::read_to_string(room.path("run/log.txt")).unwrap();
    for words in ["1 label maps cannot be used", "pixels of 5 label maps", "% dark"] {
        assert!(log.contains(words), "{log}");
    }
    room.seg(&format!("{TRAIN} run")).exits(2).says(&["care-seg resume run"]);
    room.seg(&format!("{TRAIN} no --set augment.crop.size=[16,16]")).exits(2).says(&["16x16", "32 to"]);
}

#[test]
fn the_demo_set_has_scenes_too() {
    let room = Room::new();
    room.seg("weights init --model semantic_fpn_care_xs --labels-from demo --out w.safetensors").exits(0);
    let json = room.seg("eval ade20k --data demo --weights w.safetensors --limit 3 --json").exits(0).json();
    assert_eq!(json["per_class"].as_array().map(Vec::len), Some(10));
    assert_eq!((json["images"].as_u64(), json["per_class"][9]["name"].as_str()), (Some(3), Some("stripes")));
    room.seg("demo --write d").exits(0).says(&["label map"]);
    let again = "eval ade20k --data d --weights w.safetensors --limit 3 --json --out again";
    let again = room.seg(again).exits(0).json();
    for key in ["per_class", "images", "labelled", "mIoU"] {
        assert_eq!(again[key], json[key], "{key}: as files it is the same set");
    }
}

#[test]
fn the_segmenter_that_ships_scores_without_any_file() {
    let room = Room::new();
    let ran = room.seg("eval ade20k --data demo --weights demo --json").exits(0).says(&["synthetic"]);
    let miou = ran.json()["mIoU"].as_f64().unwrap();
    assert!((miou - MIOU).abs() < 0.02, "docs/demo.md says {MIOU}, got {miou}");
    let seen = room.seg("weights inspect demo-scenes --json").exits(0).json();
    assert_eq!(
        (&seen["model"], &seen["classes"][9]["name"]),
        (&"semantic_fpn_care_xs".into(), &"stripes".into())
    );
    room.seg("demo --write d").exits(0);
    room.seg("infer d/images/val --weights demo --out seen -q").exits(0);
    let overlays = std::fs::read_dir(room.path("seen/overlays")).expect("a folder").count();
    assert_eq!(overlays, 100);
}

/// Of the weights inside the program, on the demo set.
const MIOU: f64 = 0.788;
