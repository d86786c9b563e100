//! Keypoints, boundaries, and LVIS' rules through the command line; the figures themselves are tested in `care-map`.

use crate::run::Room;
use serde_json::{Value, json};

const PERSON: &str = "eval coco --gt gt.json --dt dt.json --iou-type keypoints";

/// Two people of 40×80 in one picture, and detections: the first one exactly, the second with all joints 200 pixels off.
fn people() -> Room {
    let room = Room::new();
    let joints = |x: f64, v: f64| -> Vec<f64> {
        (0..17).flat_map(|k| [x + 2.0 * f64::from(k), 10.0 + 4.0 * f64::from(k), v]).collect()
    };
    let person = |id: i64, x: f64| {
        json!({"id": id, "image_id": 1, "category_id": 1, "bbox": [x, 10.0, 40.0, 80.0], "area": 2000.0, "iscrowd": 0,
               "num_keypoints": 17, "keypoints": joints(x, 2.0)})
    };
    let truth = json!({
        "images": [{"id": 1, "width": 640, "height": 480}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [person(1, 20.0), person(2, 300.0)],
    });
    room.file("gt.json", truth.to_string());
    let found = |x: f64, score: f64| json!({"image_id": 1, "category_id": 1, "keypoints": joints(x, 1.0), "score": score});
    room.file("dt.json", json!([found(20.0, 0.9), found(500.0, 0.8)]).to_string());
    room
}

#[test]
fn keypoints_have_the_ten_figures_by_name() {
    let room = people();
    let json = room.det(&format!("{PERSON} --json")).exits(0).json();
    let figures = &json["iou_type"]["keypoints"];
    for name in ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"] {
        assert!(figures[name].is_number(), "{name}: {figures}");
    }
    assert_eq!((&figures["AR"], &figures["maxDets"]), (&json!(0.5), &json!([20])));
    let text = room.det(PERSON).exits(0).stdout();
    assert!(text.contains("keypoints") && text.contains("maxDets= 20"), "{text}");
    room.det(&format!("{PERSON} --fail-under AR50=0.6")).exits(4).says(&["AR50 0.5000"]);
    let short = json!([{"image_id": 1, "category_id": 1, "keypoints": [1, 2], "score": 0.5}]);
    room.file("dt.json", short.to_string());
    room.det(PERSON).exits(3).says(&["dt.json", "[0]", "keypoints"]);
    let boxes = json!([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]);
    room.file("dt.json", boxes.to_string());
    room.det(PERSON).exits(3).says(&["keypoints"]);
}

#[test]
fn parts_of_keypoints_merge_and_compare() {
    let room = people();
    let whole = room.det(&format!("{PERSON} --json")).exits(0).json();
    for part in ["1/2", "2/2"] {
        room.det(&format!("{PERSON} --shard {part} --out parts -q")).exits(0);
    }
    assert_eq!(room.det("merge parts --json").exits(0).json(), whole);
}

#[test]
fn boundaries_are_scored_from_masks() {
    let room = Room::new();
    let square = |x: u32| json!([[x, 10, x + 60, 10, x + 60, 70, x, 70]]);
    let truth = json!({
        "images": [{"id": 1, "width": 200, "height": 200}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": square(20), "area": 3600, "bbox": [20, 10, 60, 60]}],
    });
    room.file("gt.json", truth.to_string());
    // A box as mask, three pixels to the right: IoU 0.905, but of bands of about six pixels much less.
    let polygon: Value = square(23);
    room.file(
        "dt.json",
        json!([{"image_id": 1, "category_id": 1, "segmentation": rle(&polygon), "score": 0.5}]).to_string(),
    );
    let eval = "eval coco --gt gt.json --dt dt.json --iou-type segm,boundary --json";
    let json = room.det(eval).exits(0).json();
    let ap = |kind: &str| json["iou_type"][kind]["AP"].as_f64().expect("a number");
    assert!(ap("boundary") < ap("segm") && ap("boundary") > 0.0, "{json}");
    assert_eq!(json["standing"]["comparable_with_leaderboard"], false);
}

/// Uncompressed run lengths of an upright rectangle in 200×200 pixels.
fn rle(polygon: &Value) -> Value {
    let at = |k: usize| polygon[0][k].as_u64().expect("a number");
    let [x0, y0, x1, y1] = [at(0), at(1), at(2), at(5)];
    let mut counts = vec![x0 * 200 + y0];
    for _ in x0..x1 - 1 {
        counts.extend([y1 - y0, 200 - (y1 - y0)]);
    }
    counts.push(y1 - y0);
    counts.push(200 * 200 - counts.iter().sum::<u64>());
    json!({"size": [200, 200], "counts": counts})
}

#[test]
fn lvis_leaves_out_categories_that_nobody_looked_for() {
    let room = Room::new();
    let category =
        |id: i64, frequency: &str| json!({"id": id, "name": format!("c{id}"), "frequency": frequency});
    let truth = json!({
        "images": [{"id": 1, "width": 100, "height": 100, "neg_category_ids": [2], "not_exhaustive_category_ids": []}],
        "categories": [category(1, "f"), category(2, "r"), category(3, "c")],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500}],
    });
    room.file("gt.json", truth.to_string());
    let found = |category: i64, score: f64| json!({"image_id": 1, "category_id": category, "bbox": [10, 10, 50, 50], "score": score});
    // category 3 was neither found nor looked for: its detection does not count
    room.file("dt.json", json!([found(1, 0.9), found(3, 0.95)]).to_string());
    let json = room.det("eval lvis --gt gt.json --dt dt.json --json").exits(0).json();
    let figures = &json["iou_type"]["bbox"];
    let near = |name: &str, value: f64| (figures[name].as_f64().expect("a number") - value).abs() < 1e-9;
    assert!(near("AP", 1.0) && near("APf", 1.0) && near("APr", -1.0), "{json}");
    let text = room.det("eval lvis --gt gt.json --dt dt.json").exits(0).stdout();
    assert!(text.contains("LVIS boxes") && text.contains("LVIS's leaderboard: no"), "{text}");
    room.det("eval lvis --gt gt.json --dt dt.json --fail-under APf=0.5").exits(0);
    room.det("eval lvis --gt gt.json --dt dt.json --iou-type keypoints").exits(2).says(&["keypoints"]);
    // The same file by COCO's rules: three categories, none told apart by who looked.
    room.det("eval coco --gt gt.json --dt dt.json -q").exits(0);
}
