//! Mask R-CNN: trained, scored and run like every detector, with masks.

use crate::run::Room;
use serde_json::{Value, json};

/// A network that takes milliseconds per step.
const TINY: &str = r#"
preset = "mask_rcnn_care_xs_scratch"
[network.backbone]
depths = [1, 1, 1, 1]
feat_dims = [12, 12, 24, 24]
mem_dims = [4, 4, 8, 8]
att_head_dim = [1, 1, 8, 8]
[network.neck]
out_channels = 16
[network.rpn]
feat_channels = 16
[network.roi.bbox_head]
fc_channels = 32
[network.roi.mask_head]
conv_channels = 16
[network.roi.sampler]
num = 32
[preprocess]
scale = { long = 96, short = 96 }
[train]
epochs = 3
batch = 2
snapshot_every = 1
[schedule]
warmup_steps = 3
"#;

/// A data set of 6 pictures to learn from and 2 to be scored on; objects are triangles.
fn room() -> Room {
    let room = Room::new();
    for (name, part, count) in [("a", "train", 6), ("b", "val", 2)] {
        room.data_set(name, count);
        let file = room.path(name).join("annotations/instances_val.json");
        let mut truth: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        for annotation in truth["annotations"].as_array_mut().unwrap() {
            let b: Vec<f64> =
                annotation["bbox"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
            annotation["segmentation"] = json!([[b[0], b[1], b[0] + b[2], b[1], b[0], b[1] + b[3]]]);
        }
        room.file(&format!("d/annotations/instances_{part}.json"), truth.to_string());
        std::fs::rename(room.path(name).join("val"), room.path("d").join(part)).unwrap();
    }
    room.file("tiny.toml", TINY);
    room
}

const TRAIN: &str = "train --data d --config tiny.toml --quiet --out";

#[test]
fn masks_are_learnt_with_the_same_bits_at_any_thread_count_and_after_a_stop() {
    let room = room();
    room.det(&format!("{TRAIN} one --threads 1")).exits(0);
    room.det(&format!("{TRAIN} two --threads 2")).exits(0);
    let mut child = room.spawn(&format!("{TRAIN} cut"));
    while std::fs::read_to_string(room.path("cut/metrics.jsonl")).map_or(0, |t| t.lines().count()) < 3 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    room.det("resume cut --quiet").exits(0);
    let read = |run: &str, name: &str| std::fs::read(room.path(run).join(name)).unwrap();
    for name in ["metrics.jsonl", "weights/last.safetensors", "weights/best.safetensors"] {
        assert!(read("one", name) == read("two", name), "{name} at two threads");
        assert!(read("one", name) == read("cut", name), "{name} killed and resumed");
    }
    let metrics = String::from_utf8(read("one", "metrics.jsonl")).unwrap();
    for name in ["loss_rpn_cls", "loss_rpn_bbox", "loss_cls", "loss_bbox", "loss_mask", "segm_AP50"] {
        assert!(metrics.contains(&format!("\"{name}\":")), "{name}: {metrics}");
    }
}

#[test]
fn boxes_and_masks_are_scored_and_drawn() {
    let room = room();
    room.det(&format!("{TRAIN} run")).exits(0);
    let weights = "--weights run/weights/last.safetensors --conf 0";
    let json = room.det(&format!("eval coco --data d {weights} --iou-type bbox,segm --json")).exits(0).json();
    assert!(
        json["iou_type"]["bbox"]["AP"].is_number() && json["iou_type"]["segm"]["AP"].is_number(),
        "{json}"
    );
    let records = |name: &str| -> Vec<Value> {
        serde_json::from_slice(&std::fs::read(room.path("care-out").join(name)).unwrap()).unwrap()
    };
    let (boxes, masks) = (records("results.bbox.json"), records("results.segm.json"));
    assert!(!boxes.is_empty() && boxes.len() == masks.len());
    assert!(masks.iter().all(|m| m["segmentation"]["counts"].is_string() && m.get("bbox").is_none()));
    // scoring the files again gives the same figure
    let again = "eval coco --gt d/annotations/instances_val.json --dt care-out/results.segm.json --iou-type segm --json";
    let again = room.det(again).exits(0).json();
    assert_eq!(again["iou_type"]["segm"]["AP"], json["iou_type"]["segm"]["AP"]);
    room.det(&format!("infer d/val {weights} --save overlay,coco,masks --out seen")).exits(0);
    let numbers = image::open(room.path("seen/masks/000.png")).unwrap();
    assert_eq!((numbers.width(), numbers.height()), (96, 64));
    for file in ["results.bbox.json", "results.segm.json", "overlays/001.jpg"] {
        assert!(room.path("seen").join(file).is_file(), "{file}");
    }
}

#[test]
fn data_without_masks_and_networks_without_masks_are_refused() {
    let room = room();
    let file = "d/annotations/instances_train.json";
    let mut truth: Value = serde_json::from_slice(&std::fs::read(room.path(file)).unwrap()).unwrap();
    for annotation in truth["annotations"].as_array_mut().unwrap() {
        annotation.as_object_mut().unwrap().remove("segmentation");
    }
    room.file(file, truth.to_string());
    room.det(&format!("{TRAIN} no")).exits(3).says(&["no object has a mask", "segmentation"]);
    room.weights();
    room.det("infer d/val --weights w.safetensors --save masks").exits(2).says(&["finds boxes only"]);
    room.det("eval coco --data d --weights w.safetensors --iou-type segm").exits(2).says(&["boxes only"]);
}
