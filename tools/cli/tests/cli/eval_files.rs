//! `eval coco --gt --dt`: pycocotools' numbers, the JSON schema, and what must be refused.

use crate::run::{Ran, Room, data, golden};
use serde_json::{Value, json};
use std::path::Path;

const STATS: [&str; 12] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

/// Two pictures, two categories, three objects.
const GT: &str = r#"{"images":[{"id":1,"file_name":"a.jpg","width":100,"height":80},{"id":2,"file_name":"b.jpg","width":100,"height":80}],
"annotations":[{"id":1,"image_id":1,"category_id":1,"bbox":[10,10,20,20],"area":400,"iscrowd":0,"segmentation":[[10,10,30,10,30,30,10,30]]},
{"id":2,"image_id":1,"category_id":3,"bbox":[50,10,40,40],"area":1600,"iscrowd":0,"segmentation":[[50,10,90,10,90,50,50,50]]},
{"id":3,"image_id":2,"category_id":1,"bbox":[5,5,60,60],"area":3600,"iscrowd":0,"segmentation":[[5,5,65,5,65,65,5,65]]}],
"categories":[{"id":1,"name":"person"},{"id":3,"name":"car"}]}"#;

const DT: &str = r#"[{"image_id":1,"category_id":1,"bbox":[10,10,20,20],"score":0.9},
{"image_id":1,"category_id":3,"bbox":[52,12,40,40],"score":0.8},
{"image_id":2,"category_id":1,"bbox":[40,40,20,20],"score":0.7}]"#;

fn room() -> Room {
    let room = Room::new();
    room.file("gt.json", GT);
    room.file("dt.json", DT);
    room
}

fn eval(room: &Room, flags: &str) -> Ran {
    room.det(&format!("eval coco --gt gt.json --dt dt.json {flags}"))
}

#[track_caller]
fn assert_close(got: &Value, want: f64, what: &str) {
    let got = got.as_f64().unwrap_or(f64::NAN);
    assert!((got - want).abs() <= 1e-9, "{what}: got {got}, want {want}");
}

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_table_is_the_one_people_know() {
    let text = eval(&room(), "--iou-type bbox").exits(0).stdout();
    let lines = [
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = ",
        " Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = ",
        " Average Precision  (AP) @[ IoU=0.75      | area=   all | maxDets=100 ] = ",
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = ",
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area=medium | maxDets=100 ] = ",
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000",
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=  1 ] = ",
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets= 10 ] = ",
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = ",
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = ",
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=medium | maxDets=100 ] = ",
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area= large | maxDets=100 ] = -1.000",
    ];
    let mut rest = text.as_str();
    for line in lines {
        let at =
            rest.find(line).unwrap_or_else(|| panic!("{line:?} is not in, or not in this order:\n{text}"));
        rest = &rest[at + line.len()..];
    }
    assert!(rest.contains("images") && rest.contains('2'), "the funnel stands under the table:\n{text}");
}

#[test]
fn json_has_the_documented_keys_in_order() {
    let ran = eval(&room(), "--json").exits(0);
    let json = ran.json();
    let bbox = &json["iou_type"]["bbox"];
    for key in STATS {
        assert!(bbox[key].is_number(), "{key}: {bbox}");
    }
    assert_eq!(bbox["stats"].as_array().map(Vec::len), Some(12));
    for (i, key) in STATS.iter().enumerate() {
        assert_eq!(bbox["stats"][i], bbox[key], "{key}");
    }
    assert_eq!(bbox["maxDets"], json!([1, 10, 100]));
    assert_eq!(bbox["APl"], json!(-1.0), "undefined is -1");
    let categories = bbox["per_category"].as_array().expect("a list");
    assert_eq!(categories.len(), 2);
    for key in ["id", "name", "AP", "AP50", "AR100"] {
        assert!(!categories[0][key].is_null(), "{key}: {}", categories[0]);
    }
    assert!(bbox["funnel"].is_object() && bbox["protocol"].is_object());
    let text = ran.stdout();
    let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}"));
    let order = [&STATS[..], &["stats", "maxDets", "per_category", "funnel", "protocol"]].concat();
    assert!(order.windows(2).all(|w| at(w[0]) < at(w[1])), "{text}");
}

#[test]
fn stdout_holds_only_results() {
    let quiet = eval(&room(), "-q").exits(0);
    assert_eq!(quiet.stderr(), "");
    assert_eq!(quiet.stdout(), eval(&room(), "-v").exits(0).stdout());
}

#[test]
fn parameters_take_pycocotools_names() {
    let room = room();
    room.file("p.json", r#"{"maxDets":[1,2,3],"iouThrs":[0.5,0.75],"imgIds":[1],"useCats":1}"#);
    let json = eval(&room, "--params p.json --json").exits(0).json();
    assert_eq!(json["iou_type"]["bbox"]["maxDets"], json!([1, 2, 3]));
    room.file("p.json", r#"{"maxDet":[1,2,3]}"#);
    eval(&room, "--params p.json").exits(2).says(&["p.json", "maxDet", "maxDets"]);
    room.file("p.json", r#"{"maxDets":[1,2"#);
    eval(&room, "--params p.json").exits(2).says(&["p.json"]);
}

#[test]
fn a_score_is_explained_when_asked_for() {
    let room = room();
    let ran = eval(&room, "--explain").exits(0);
    for words in ["where F1 is best", "would rise by (TIDE)", "Miss", "pictures with most mistakes"] {
        assert!(ran.stdout().contains(words), "{}", ran.stdout());
    }
    let json = eval(&room, "--explain --json").exits(0).json();
    let explained = &json["explain"]["bbox"];
    assert_eq!(explained["tide"]["errors"].as_array().map(Vec::len), Some(6), "{explained}");
    assert!(explained["per_image"].as_array().is_some_and(|p| !p.is_empty()), "{explained}");
    assert!(eval(&room, "--json").exits(0).json()["explain"].is_null());
    let ran = eval(&room, "--explain=0.95").exits(0);
    assert!(ran.stdout().contains("at IoU 0.50 and score 0.950:"), "{}", ran.stdout());
    assert!(ran.stdout().contains("best F1"), "{}", ran.stdout());
    let explained = eval(&room, "--explain=0.95 --json").exits(0).json();
    assert_eq!(explained["explain"]["bbox"]["f1"]["overall"]["at_score"]["score"], 0.95);
    eval(&room, "--explain=nan").exits(2).says(&["score"]);
}

#[test]
fn a_gate_that_is_not_met_ends_with_four() {
    let ran = eval(&room(), "").exits(0);
    assert!(ran.stdout().contains("comparable with COCO's leaderboard: no"), "{}", ran.stdout());
    eval(&room(), "--fail-under 0.9").exits(4).says(&["0.9"]);
    eval(&room(), "--fail-under 0.01 --fail-under AR100=0.01").exits(0);
    eval(&room(), "--fail-under 0.01 --fail-under AP50=1").exits(4).says(&["AP50=1"]);
    eval(&room(), "--fail-under mAP=0.3").exits(2).says(&["AP, AP50, AP75"]);
}

#[test]
fn files_that_are_not_there_end_with_two() {
    let room = room();
    room.det("eval coco --gt no.json --dt dt.json").exits(2).says(&["no.json"]);
    room.det("eval coco --gt gt.json --dt no.json").exits(2).says(&["no.json"]);
    room.det("eval coco --gt gt.json --dt dt.json --params no.json").exits(2).says(&["no.json"]);
    room.det("eval coco --gt . --dt dt.json").exits(2).says(&["folder"]);
}

#[test]
fn bad_detections_are_refused_with_file_and_record() {
    let nan = r#"[{"image_id":1,"category_id":1,"bbox":[1,1,2,2],"score":NaN}]"#;
    let table = [
        (DT[..DT.len() - 20].to_owned(), vec!["dt.json"]),
        (r#"{"not":"a list"}"#.to_owned(), vec!["dt.json"]),
        (nan.to_owned(), vec!["dt.json", "NaN"]),
        (DT.replace("\"score\":0.8", "\"score\":1e999"), vec!["dt.json"]),
        (DT.replace("\"image_id\":2", "\"image_id\":77"), vec!["dt.json", "77"]),
        (DT.replace("[52,12,40,40]", "[52,12,40]"), vec!["dt.json"]),
        (DT.replace(",\"score\":0.8", ""), vec!["dt.json", "score"]),
        (String::new(), vec!["dt.json"]),
    ];
    for (dt, texts) in table {
        let room = room();
        room.file("dt.json", &dt);
        let ran = eval(&room, "").exits(3).says(&texts);
        assert_eq!(ran.stdout(), "", "no numbers for refused data");
    }
}

#[test]
fn a_mask_of_the_wrong_size_is_refused() {
    let room = room();
    let mask = r#"[{"image_id":1,"category_id":1,"segmentation":{"size":[80,100],"counts":[100,20,7880]},"score":0.5}]"#;
    room.file("dt.json", mask);
    eval(&room, "--iou-type segm").exits(0);
    room.file("dt.json", mask.replace("[80,100]", "[100,80]"));
    eval(&room, "--iou-type segm").exits(3).says(&["dt.json", "[100, 80]", "[height, width]", "swapped"]);
    room.file("dt.json", mask.replace("7880", "7000"));
    eval(&room, "--iou-type segm").exits(3).says(&["dt.json"]);
}

#[test]
fn bad_ground_truth_is_refused() {
    for (from, to, text) in [
        (r#""categories":"#, r#""categorys":"#, "categories"),
        (r#""bbox":[50,10,40,40]"#, r#""bbox":"x""#, "gt.json"),
    ] {
        let room = room();
        room.file("gt.json", GT.replace(from, to));
        eval(&room, "").exits(3).says(&["gt.json", text]);
    }
}

#[test]
fn objects_of_unknown_pictures_and_categories_are_dropped_and_counted() {
    let room = room();
    room.file(
        "gt.json",
        GT.replace(r#""image_id":2"#, r#""image_id":9"#).replace(r#""category_id":3"#, r#""category_id":8"#),
    );
    let ran = eval(&room, "").exits(0);
    let text = ran.stdout();
    assert!(text.contains("of an unknown image") && text.contains("of an unknown category"), "{text}");
}

#[test]
fn an_empty_result_list_scores_zero() {
    let room = room();
    room.file("dt.json", "[]");
    let json = eval(&room, "--json").exits(0).json();
    assert_eq!(json["iou_type"]["bbox"]["AP"], json!(0.0));
}

#[test]
fn the_stored_samples_equal_pycocotools() {
    let Some(data) = data() else { return };
    for case in ["coco_ccby_val", "nuclei_val_threshold"] {
        let dir = data.join("coco_eval_sample").join(case);
        let file = read(&dir.join("case.json"));
        let text = |v: &Value| v.as_str().expect("text").to_owned();
        let gt = dir.join(text(&file["gt"]));
        for run in file["runs"].as_array().expect("runs") {
            let (kind, dt) = (text(&run["iou_type"]), dir.join(text(&run["dt"])));
            let expected = read(&dir.join(text(&run["expected"])));
            let args =
                format!("eval coco --gt {} --dt {} --iou-type {kind} --json", gt.display(), dt.display());
            let got = Room::new().det(&args).exits(0).json();
            for key in STATS {
                let want = expected["stats"][key].as_f64().expect(key);
                assert_close(&got["iou_type"][&kind][key], want, &format!("{case} {kind} {key}"));
            }
            compare_categories(&got["iou_type"][&kind], &expected["per_category"], case);
        }
    }
}

fn compare_categories(got: &Value, expected: &Value, case: &str) {
    let rows = got["per_category"].as_array().expect("a list");
    for (id, want) in expected.as_object().expect("by id") {
        let id: i64 = id.parse().expect("a category id");
        let row = rows.iter().find(|r| r["id"] == id).unwrap_or_else(|| panic!("{case}: {id}"));
        for key in ["AP", "AP50", "AR100"] {
            assert_close(&row[key], want[key].as_f64().expect(key), &format!("{case} category {id} {key}"));
        }
    }
}

#[test]
fn golden_evaluations_hold_through_the_command_line() {
    let Some(golden) = golden() else { return };
    let manifest = read(&golden.join("manifest.json"));
    let mut checked = 0;
    for (name, case) in manifest["cases"].as_object().expect("cases") {
        if case["kind"] != "coco_eval" {
            continue;
        }
        let room = Room::new();
        room.file("p.json", json!({ "maxDets": case["max_dets"] }).to_string());
        let kind = case["iou_type"].as_str().expect("iou_type");
        let path = |key: &str| golden.join(case[key].as_str().expect(key)).display().to_string();
        let (gt, dt) = (path("gt"), path("dt"));
        let ran =
            room.det(&format!("eval coco --gt {gt} --dt {dt} --iou-type {kind} --params p.json --json"));
        let got = ran.exits(0).json();
        for (i, want) in case["stats"].as_array().expect("stats").iter().enumerate() {
            let what = format!("{name} stats[{i}]");
            assert_close(&got["iou_type"][kind]["stats"][i], want.as_f64().expect("a number"), &what);
        }
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[test]
fn nothing_to_score_is_an_error_that_says_what_was_found() {
    let annotations = GT.find("\"annotations\":[").expect("annotations") + 15;
    let end = GT.find("],\n\"categories\"").expect("their end");
    let none = format!("{}{}", &GT[..annotations], &GT[end..]);
    let of_another_category = DT.replace("\"category_id\":1", "\"category_id\":0").replace(":3,", ":91,");
    let crowds = GT.replace("\"iscrowd\":0", "\"iscrowd\":1");
    let table: [(&str, &str, &str, &[&str]); 5] = [
        (&none, DT, "{}", &["gt.json", "no objects", "2 pictures", "0 annotations"]),
        (
            &GT.replace("\"image_id\":", "\"image_id\":9"),
            DT,
            "{}",
            &["3 are of a picture", "1 person, 3 car"],
        ),
        (&crowds, DT, "{}", &["3 are crowds"]),
        (GT, DT, r#"{"catIds":[3],"imgIds":[2]}"#, &["not selected", "imgIds", "catIds"]),
        (GT, &of_another_category, "{}", &["dt.json", "1 person, 3 car", "results: 0, 91", "category_id"]),
    ];
    for (gt, dt, params, texts) in table {
        let room = room();
        room.file("gt.json", gt);
        room.file("dt.json", dt);
        room.file("p.json", params);
        let ran = eval(&room, "--params p.json").exits(3).says(texts);
        assert_eq!(ran.stdout(), "", "no figures over nothing");
    }
    // Detections of one category that is chosen and never found: an AP of 0, not an error.
    let room = room();
    room.file("p.json", r#"{"catIds":[3]}"#);
    room.file("dt.json", DT.replace("\"category_id\":3", "\"category_id\":1"));
    assert_eq!(eval(&room, "--params p.json --json").exits(0).json()["iou_type"]["bbox"]["AP"], json!(0.0));
}

#[test]
fn messages_speak_of_the_file_and_not_of_rust() {
    let table = [
        (
            DT.replace("\"score\":0.8", "\"score\":\"high\""),
            "results[1].score: expected a number, got string",
        ),
        (DT.replace("[52,12,40,40]", "[52,12,40,\"a\"]"), "results[1].bbox: expected a number"),
        (DT.replace("\"image_id\":2", "\"image_id\":2.5"), "results[2].image_id: 2.5 is not a whole number"),
        (DT.replace("\"image_id\":", "\"image_id\":7"), "(3 of 3 results: are they of another split?)"),
    ];
    for (dt, text) in table {
        let room = room();
        room.file("dt.json", dt);
        eval(&room, "").exits(3).says(&["dt.json", text]);
    }
    let room = room();
    for (params, text) in [
        (r#"{"maxdets":[1]}"#, "did you mean `maxDets`?"),
        (r#"{"iou_thrs":[0.5]}"#, "did you mean `iouThrs`?"),
        (r#"{"category_ids":[1]}"#, "did you mean `catIds`?"),
        (r#"{"catIds":[7]}"#, "--params p.json: evaluation parameters: catIds has 7"),
    ] {
        room.file("p.json", params);
        eval(&room, "--params p.json").exits(2).says(&["p.json", text]);
    }
}

#[test]
fn boxes_of_negative_size_are_counted() {
    let room = room();
    room.file("dt.json", DT.replace("[52,12,40,40]", "[52,12,-40,40]"));
    let ran = eval(&room, "").exits(0);
    assert!(ran.stdout().contains("1 with a negative width or height"), "{}", ran.stdout());
}
