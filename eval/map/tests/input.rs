//! Data that must be refused, each with the record and the field; data that must be accepted, and counted.
use care_map::{ErrorKind, IouType, Params, Result, evaluate};
use care_types::coco_json::{parse_dataset, parse_results};
use serde_json::{Value, json};

fn gt() -> Value {
    json!({
        "images": [{"id": 1, "width": 10, "height": 8}, {"id": 4, "width": 10, "height": 8}],
        "categories": [{"id": 3, "name": "dog"}, {"id": 9, "name": "cat"}],
        "annotations": [
            {"id": 5, "image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "area": 16, "segmentation": [[1, 1, 5, 1, 5, 5, 1, 5]]},
        ],
    })
}

fn run(gt: &Value, dt: &str, iou_type: IouType) -> Result<care_map::CocoMetrics> {
    let gt = parse_dataset(gt.to_string().as_bytes())?;
    evaluate(&gt, &parse_results(dt.as_bytes())?, &Params::new(iou_type))
}

#[test]
fn bad_results_are_refused_with_record_and_field() {
    let mask = |size: &str, counts: &str| {
        format!(
            r#"[{{"image_id":1,"category_id":3,"score":1,"segmentation":{{"size":{size},"counts":{counts}}}}}]"#
        )
    };
    use IouType::{Bbox, Segm};
    let ok = r#"{"image_id":1,"category_id":3,"bbox":[1,1,4,4],"score":0.5}"#;
    let cases: Vec<(&str, IouType, String, &[&str])> = vec![
        (
            "NaN score",
            Bbox,
            format!("[{ok},\n {{\"image_id\":1,\"category_id\":3,\"bbox\":[1,1,4,4],\"score\":NaN}}]"),
            &["line 2", "byte", "NaN"],
        ),
        ("infinite score", Bbox, format!("[{ok},{}]", ok.replace("0.5", "Infinity")), &["byte", "Infinity"]),
        ("huge score", Bbox, format!("[{ok},{}]", ok.replace("0.5", "1e999")), &["out of range"]),
        ("null score", Bbox, format!("[{ok},{}]", ok.replace("0.5", "null")), &["results[1].score", "null"]),
        (
            "text score",
            Bbox,
            format!("[{ok},{}]", ok.replace("0.5", "\"0.5\"")),
            &["results[1].score", "string"],
        ),
        ("no score", Bbox, format!("[{ok},{}]", ok.replace(",\"score\":0.5", "")), &["results[1]", "score"]),
        (
            "no image id",
            Bbox,
            format!("[{ok},{}]", ok.replace("\"image_id\":1,", "")),
            &["results[1]", "image_id"],
        ),
        (
            "unknown image",
            Bbox,
            format!("[{ok},{}]", ok.replace("\"image_id\":1", "\"image_id\":2")),
            &["results[1].image_id", "2"],
        ),
        (
            "image id as text",
            Bbox,
            format!("[{}]", ok.replace("\"image_id\":1", "\"image_id\":\"1\"")),
            &["results[0].image_id", "string"],
        ),
        (
            "three numbers",
            Bbox,
            format!("[{}]", ok.replace("[1,1,4,4]", "[1,1,4]")),
            &["results[0].bbox", "3 numbers"],
        ),
        (
            "no box",
            Bbox,
            format!("[{ok},{}]", ok.replace("\"bbox\":[1,1,4,4],", "")),
            &["results[1]", "bbox"],
        ),
        (
            "text box",
            Bbox,
            format!("[{}]", ok.replace("[1,1,4,4]", "[1,1,4,\"4\"]")),
            &["results[0].bbox", "string"],
        ),
        ("object", Bbox, format!("{{\"results\":[{ok}]}}"), &["object", "list"]),
        ("list in list", Bbox, format!("[[{ok}]]"), &["results[0]"]),
        ("positional record", Bbox, "[[1,3,[1,1,4,4],null,0.5]]".into(), &["results[0]"]),
        ("truncated", Bbox, format!("[{ok},"), &["byte", "EOF"]),
        ("empty file", Bbox, " \n".into(), &["empty"]),
        ("two values", Bbox, format!("[{ok}] []"), &["byte", "trailing"]),
        ("binary", Bbox, "\u{1}\u{2}".into(), &["byte 0"]),
        ("boxes as masks", Segm, format!("[{ok}]"), &["results[0]", "segmentation"]),
        ("other size", Segm, mask("[4,10]", "[40]"), &["results[0]", "[4, 10]", "[8, 10]"]),
        ("transposed", Segm, mask("[10,8]", "[80]"), &["results[0]", "[10, 8]", "[8, 10]", "swapped"]),
        ("too long", Segm, mask("[8,10]", "[0,81]"), &["results[0].segmentation", "81", "80"]),
        ("too short", Segm, mask("[8,10]", "[0,79]"), &["results[0].segmentation", "79", "80"]),
        ("too long text", Segm, mask("[8,10]", "\"0Q3\""), &["results[0].segmentation"]),
        ("unfinished text", Segm, mask("[8,10]", "\"P\""), &["results[0].segmentation", "ends inside"]),
        ("bad character", Segm, mask("[8,10]", "\"é\""), &["results[0].segmentation", "character"]),
        ("negative run", Segm, mask("[8,10]", "[-1,81]"), &["results[0].segmentation"]),
        ("negative run in text", Segm, mask("[8,10]", "\"O\""), &["results[0].segmentation", "-1"]),
        (
            "huge picture",
            Segm,
            mask("[4000000000,4000000000]", "[0]"),
            &["results[0].segmentation", "too large"],
        ),
        (
            "no counts",
            Segm,
            r#"[{"image_id":1,"category_id":3,"score":1,"segmentation":{"size":[8,10]}}]"#.into(),
            &["counts"],
        ),
        (
            "polygons",
            Segm,
            r#"[{"image_id":1,"category_id":3,"score":1,"segmentation":[[1,1,2,2,3,1]]}]"#.into(),
            &["results[0].segmentation", "polygons"],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, iou_type, dt, words) in cases {
        match run(&gt(), &dt, iou_type) {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(e) => {
                let text = e.to_string();
                if e.kind() != ErrorKind::Input || words.iter().any(|w| !text.contains(w)) {
                    wrong.push(format!("{name}: {:?}: {text} (expected {words:?})", e.kind()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn bad_ground_truth_is_refused_with_record_and_field() {
    use IouType::{Bbox, Segm};
    let with = |path: &str, value: Value| {
        let mut gt = gt();
        *gt.pointer_mut(path).unwrap() = value;
        gt
    };
    let cases: Vec<(&str, IouType, Value, &[&str])> = vec![
        ("list", Bbox, json!([{"image_id": 1}]), &["list", "results file"]),
        ("no images", Bbox, json!({"annotations": [], "categories": []}), &["`images`"]),
        ("images empty", Bbox, with("/images", json!([])), &["no images"]),
        ("images an object", Bbox, with("/images", json!({"1": {}})), &["`images`"]),
        ("text id", Bbox, with("/annotations/0/id", json!("a")), &["annotations[0].id", "string"]),
        (
            "fraction id",
            Bbox,
            with("/annotations/0/category_id", json!(1.5)),
            &["annotations[0].category_id", "1.5"],
        ),
        ("null box", Bbox, with("/annotations/0/bbox", Value::Null), &["annotations[0] (id 5)", "bbox"]),
        (
            "short box",
            Bbox,
            with("/annotations/0/bbox", json!([1, 2])),
            &["annotations[0].bbox", "2 numbers"],
        ),
        ("negative width", Bbox, with("/images/1/width", json!(-4)), &["images[1].width", "-4"]),
        ("text area", Bbox, with("/annotations/0/area", json!("big")), &["annotations[0].area", "string"]),
        (
            "no mask",
            Segm,
            with("/annotations/0/segmentation", Value::Null),
            &["annotations[0] (id 5)", "segmentation"],
        ),
        (
            "odd polygon",
            Segm,
            with("/annotations/0/segmentation", json!([[1, 2, 3]])),
            &["annotations[0].segmentation", "odd"],
        ),
        (
            "mixed polygon",
            Segm,
            with("/annotations/0/segmentation", json!([1, [2, 3]])),
            &["annotations[0].segmentation"],
        ),
        (
            "mask of another size",
            Segm,
            with("/annotations/0/segmentation", json!({"size": [2, 2], "counts": [4]})),
            &["annotations[0] (id 5)", "[2, 2]", "[8, 10]"],
        ),
        (
            "runs do not sum",
            Segm,
            with("/annotations/0/segmentation", json!({"size": [8, 10], "counts": [4]})),
            &["annotations[0].segmentation", "4", "80"],
        ),
        ("size unknown", Segm, with("/images/0", json!({"id": 1})), &["annotations[0] (id 5)", "width"]),
    ];
    let mut wrong = Vec::new();
    for (name, iou_type, gt, words) in cases {
        match run(&gt, "[]", iou_type) {
            Ok(_) => wrong.push(format!("{name}: accepted")),
            Err(e) if e.kind() != ErrorKind::Input || words.iter().any(|w| !e.to_string().contains(w)) => {
                wrong.push(format!("{name}: {:?}: {e} (expected {words:?})", e.kind()));
            }
            Err(_) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn not_finite_scores_and_boxes_are_refused_in_memory_too() {
    let gt = parse_dataset(gt().to_string().as_bytes()).unwrap();
    let good = parse_results(br#"[{"image_id":1,"category_id":3,"bbox":[1,1,4,4],"score":0.5}]"#).unwrap();
    for bad in [f64::NAN, f64::INFINITY] {
        let mut scores = good.clone();
        scores[0].score = bad;
        let mut boxes = good.clone();
        boxes[0].bbox.as_mut().unwrap().w = bad;
        for dt in [scores, boxes] {
            let e = evaluate(&gt, &dt, &Params::default()).unwrap_err();
            assert!(e.kind() == ErrorKind::Input && e.to_string().contains("results[0]"), "{e}");
        }
    }
}

#[test]
fn no_detections_score_zero() {
    let metrics = run(&gt(), "[]", IouType::Bbox).unwrap();
    assert_eq!(metrics.stats[..3], [0.0; 3]);
    assert_eq!(metrics.stats[4], -1.0); // no medium object
    assert_eq!(metrics.funnel.images.without_detections, 2);
}

#[test]
fn dialects_of_annotation_files_are_read() {
    let rle = r#"{"size": [8, 10], "counts": [10, 4, 66]}"#;
    let variants = [
        r#""segmentation": null"#.to_string(),
        r#""segmentation": []"#.into(),
        r#""segmentation": [1, 1, 5, 1, 5, 5]"#.into(),
        r#""segmentation": [[1, 1, 5, 1, 5.5, 5], [6, 6, 7, 7, 6, 7]]"#.into(),
        format!(r#""segmentation": {rle}"#),
        r#""segmentation": {"counts": ":4R2", "size": [8, 10]}"#.into(),
        r#""iscrowd": true"#.into(),
        r#""iscrowd": null, "ignore": 1"#.into(),
        r#""keypoints": [1, 2, 3], "attributes": {"occluded": false}"#.into(),
    ];
    for variant in variants {
        let text = format!(
            r#"{{"images": [{{"id": 0.0}}], "categories": [{{"id": 0}}],
                 "annotations": [{{"id": 7, "image_id": 0, "category_id": 0, "bbox": [1, 1, 4, 4.5], {variant}}}]}}"#
        );
        let gt = parse_dataset(text.as_bytes()).unwrap_or_else(|e| panic!("{variant}: {e}"));
        let dt = parse_results(br#"[{"image_id":0,"category_id":0,"bbox":[1,1,4,4],"score":0.5}]"#).unwrap();
        let metrics = evaluate(&gt, &dt, &Params::default()).unwrap();
        assert_eq!(metrics.funnel.annotations.area_missing, 1, "{variant}");
        if variant.contains("segm") {
            let again = parse_dataset(serde_json::to_string(&gt).unwrap().as_bytes()).unwrap();
            assert_eq!(gt, again, "{variant}");
        }
    }
}

#[test]
fn byte_order_marks_and_null_sizes_are_read() {
    let gt = "\u{feff}{\"images\":[{\"id\":1,\"width\":null}],\"categories\":[]}";
    assert_eq!(parse_dataset(gt.as_bytes()).unwrap().images[0].width, 0);
    assert!(parse_results("\u{feff}[]".as_bytes()).unwrap().is_empty());
}

#[test]
fn box_results_are_rectangles_as_masks_only_when_asked_for() {
    let dt = r#"[{"image_id":1,"category_id":3,"bbox":[1,1,4,4],"score":0.5}]"#;
    assert!(run(&gt(), dt, IouType::Segm).is_err());
    let quirky = Params { quirks: true, ..Params::new(IouType::Segm) };
    let gt = parse_dataset(gt().to_string().as_bytes()).unwrap();
    let metrics = evaluate(&gt, &parse_results(dt.as_bytes()).unwrap(), &quirky).unwrap();
    assert!((metrics.stats[0] - 1.0).abs() < 1e-9);
}

#[test]
fn annotation_id_zero_can_be_found_and_pycocotools_figure_is_told() {
    let mut gt = gt();
    gt["annotations"][0]["id"] = json!(0);
    let dt = r#"[{"image_id":1,"category_id":3,"bbox":[1,1,4,4],"score":0.5}]"#;
    let metrics = run(&gt, dt, IouType::Bbox).unwrap();
    assert!((metrics.stats[0] - 1.0).abs() < 1e-9);
    assert_eq!(metrics.pycocotools_stats.unwrap()[0], 0.0);
    let quirky = Params { quirks: true, ..Params::default() };
    let gt = parse_dataset(gt.to_string().as_bytes()).unwrap();
    let metrics = evaluate(&gt, &parse_results(dt.as_bytes()).unwrap(), &quirky).unwrap();
    assert_eq!((metrics.stats[0], metrics.pycocotools_stats), (0.0, None));
}

#[test]
fn the_funnel_accounts_for_every_record() {
    let mut gt = gt();
    for (image, category) in [(77, 3), (1, 77), (4, 3), (1, 9)] {
        let a = json!({"id": 5, "image_id": image, "category_id": category, "bbox": [0, 0, 2, 2], "area": 4});
        gt["annotations"].as_array_mut().unwrap().push(a);
    }
    let record = |image: i64, category: i64, score: f64| json!({"image_id": image, "category_id": category, "bbox": [1, 1, 4, 4], "score": score});
    let dt = json!([
        record(1, 3, 0.5),
        record(1, 3, 0.4),
        record(1, 77, 0.5),
        record(4, 3, 0.5),
        record(1, 9, 0.5)
    ]);
    let params = Params::from_json(br#"{"imgIds":[1],"catIds":[3],"maxDets":[1]}"#, IouType::Bbox).unwrap();
    let (gt, dt) = (
        parse_dataset(gt.to_string().as_bytes()).unwrap(),
        parse_results(dt.to_string().as_bytes()).unwrap(),
    );
    let f = evaluate(&gt, &dt, &params).unwrap().funnel;
    assert_eq!((f.images.in_ground_truth, f.images.evaluated, f.images.not_selected), (2, 1, 1));
    let a = &f.annotations;
    assert_eq!(
        (a.in_ground_truth, a.evaluated, a.unknown_image, a.unknown_category, a.not_selected),
        (5, 1, 1, 1, 2)
    );
    let d = &f.detections;
    assert_eq!(
        (d.in_results, d.used, d.unknown_category, d.not_selected, d.beyond_max_dets),
        (5, 1, 1, 2, 1)
    );
}

#[test]
fn parameters_that_name_nothing_are_refused() {
    let gt = parse_dataset(gt().to_string().as_bytes()).unwrap();
    for bad in [r#"{"imgIds":[2]}"#, r#"{"catIds":[4]}"#] {
        let params = Params::from_json(bad.as_bytes(), IouType::Bbox).unwrap();
        assert_eq!(evaluate(&gt, &[], &params).unwrap_err().kind(), ErrorKind::Config);
    }
}

#[test]
fn json_output_has_the_documented_keys() {
    let dt = r#"[{"image_id":1,"category_id":3,"bbox":[1,1,4,4],"score":0.5}]"#;
    let text = serde_json::to_value(run(&gt(), dt, IouType::Bbox).unwrap()).unwrap();
    for key in care_map::figures(IouType::Bbox).iter().map(|f| &f.name).chain(&[
        "stats",
        "maxDets",
        "per_category",
        "funnel",
        "protocol",
    ]) {
        assert!(text.get(key).is_some(), "{key}");
    }
    assert_eq!(text["per_category"][0]["AP50"], json!(text["AP50"].as_f64().unwrap()));
    assert_eq!(
        text["per_category"][1],
        json!({"id": 9, "name": "cat", "AP": -1.0, "AP50": -1.0, "AR100": -1.0})
    );
}
