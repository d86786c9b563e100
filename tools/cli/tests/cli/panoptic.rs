//! `eval panoptic`.

use crate::run::Room;
use serde_json::json;

/// Two pictures of 4×2: a dog (5) on grass (9), and grass alone; predictions find the dog a column too wide, and all grass.
fn room() -> Room {
    let room = Room::new();
    let id = |v: u32| image::Rgb([v as u8, 0, 0]);
    let draw = |name: &str, dog_until: u32, dog: u32, grass: u32| {
        let path = room.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        image::RgbImage::from_fn(4, 2, |x, _| id(if x < dog_until { dog } else { grass }))
            .save(path)
            .expect("a PNG");
    };
    draw("gt/1.png", 2, 5, 9);
    draw("gt/2.png", 0, 5, 9);
    draw("found/1.png", 3, 70, 80);
    draw("found/2.png", 0, 70, 80);
    let annotation = |picture: u32, segments: serde_json::Value| json!({"image_id": picture, "file_name": format!("{picture}.png"), "segments_info": segments});
    let both = |dog: u32, grass: u32| json!([{"id": dog, "category_id": 1}, {"id": grass, "category_id": 2}]);
    let one = |grass: u32| json!([{"id": grass, "category_id": 2}]);
    let categories =
        json!([{"id": 1, "name": "dog", "isthing": 1}, {"id": 2, "name": "grass", "isthing": 0}]);
    let truth =
        json!({"annotations": [annotation(1, both(5, 9)), annotation(2, one(9))], "categories": categories});
    room.file("gt.json", truth.to_string());
    let found = json!({"annotations": [annotation(2, one(80)), annotation(1, both(70, 80))]});
    room.file("found.json", found.to_string());
    room
}

const EVAL: &str = "eval panoptic --gt gt.json --pred found.json";

#[test]
fn quality_is_that_of_the_definition() {
    let room = room();
    let json = room.det(&format!("{EVAL} --json")).exits(0).json();
    // dog: IoU 4/6, so PQ = 2/3; grass: IoU 2/4 is no match (one miss, one false), 8/8 is, so PQ = 1 / (1 + 1) = 1/2
    let near = |value: &serde_json::Value, expected: f64| {
        value.as_f64().is_some_and(|v| (v - expected).abs() < 1e-12)
    };
    assert!(near(&json["things"]["pq"], 2.0 / 3.0), "{json}");
    assert!(near(&json["stuff"]["pq"], 0.5) && near(&json["stuff"]["sq"], 1.0), "{json}");
    assert!(near(&json["all"]["pq"], 7.0 / 12.0), "{json}");
    let text = room.det(&format!("{EVAL} --per-category")).exits(0).stdout();
    assert!(text.contains("58.3") && text.contains("dog") && text.contains("2 pictures"), "{text}");
    room.det(&format!("{EVAL} --fail-under 0.5 --fail-under PQst=0.6"))
        .exits(4)
        .says(&["PQst 0.5000 is below"]);
    room.det(&format!("{EVAL} --fail-under AP=0.5")).exits(2).says(&["PQ, SQ, RQ"]);
}

#[test]
fn what_cannot_be_scored_is_refused_by_name() {
    let room = room();
    room.det("eval panoptic --gt gt.json --pred nothing.json").exits(2).says(&["nothing.json"]);
    room.det(&format!("{EVAL} --pred-dir nowhere")).exits(2).says(&["nowhere", "PNGs"]);
    std::fs::remove_file(room.path("found/2.png")).expect("a file");
    room.det(EVAL).exits(3).says(&["2.png"]);
    image::RgbImage::new(5, 2).save(room.path("found/2.png")).expect("a PNG");
    room.det(EVAL).exits(3).says(&["2.png"]);
    room.file("found.json", r#"{"annotations": []}"#);
    room.det(EVAL).exits(3).says(&["picture 1 has no prediction"]);
    room.file("found.json", r#"{"annotations": ["#);
    room.det(EVAL).exits(3).says(&["found.json"]);
}
