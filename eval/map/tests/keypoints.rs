//! Keypoints: a small case with pycocotools' numbers, and what must be refused.
//!
//! `compare_keypoints.py` compares with pycocotools on thousands of random sets.
use care_map::{
    CocoMetrics, CompareOptions, ErrorKind, Evaluator, IouType, Params, Result, compare, evaluate,
};
use care_types::coco_json::{parse_dataset, parse_results};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-12;

/// Picture, box, area, crowd, joints.
type Person = (i64, [i64; 4], i64, u8, [i64; 9]);

/// Two people, a crowd, somebody without a labelled joint, and a third one; three joints each.
fn truth() -> Value {
    let people = [
        (1, [10, 10, 60, 80], 3000, 0, [20, 20, 2, 40, 50, 2, 60, 80, 1]),
        (1, [100, 20, 120, 150], 12000, 0, [110, 30, 2, 0, 0, 0, 200, 150, 2]),
        (1, [0, 100, 200, 100], 15000, 1, [0; 9]),
        (2, [20, 20, 50, 50], 2000, 0, [0; 9]),
        (2, [150, 30, 40, 70], 1500, 0, [160, 40, 2, 170, 60, 2, 180, 90, 2]),
    ];
    let annotation = |(n, person): (usize, Person)| {
        let (image, bbox, area, crowd, joints) = person;
        let labelled = joints.chunks(3).filter(|joint| joint[2] > 0).count();
        json!({"id": n + 1, "image_id": image, "category_id": 1, "bbox": bbox, "area": area, "iscrowd": crowd,
            "keypoints": joints, "num_keypoints": labelled})
    };
    let annotations: Vec<Value> = people.into_iter().enumerate().map(annotation).collect();
    json!({"images": [{"id": 1}, {"id": 2}], "categories": [{"id": 1, "name": "person"}], "annotations": annotations})
}

fn found() -> Value {
    let poses = [
        (1, [21, 22, 1, 41, 49, 1, 58, 80, 1], 0.9),
        (1, [26, 20, 1, 46, 50, 1, 66, 83, 1], 0.8),
        (1, [118, 33, 1, 150, 90, 1, 206, 158, 1], 0.7),
        (1, [20, 120, 1, 60, 150, 1, 90, 190, 1], 0.6),
        (1, [30, 120, 1, 60, 150, 1, 95, 190, 1], 0.5),
        (2, [25, 25, 1, 40, 40, 1, 60, 60, 1], 0.95),
        (2, [25, 30, 1, 40, 45, 1, 60, 65, 1], 0.6),
        (2, [162, 41, 1, 172, 63, 1, 183, 86, 1], 0.85),
        (2, [300, 300, 1, 320, 320, 1, 340, 340, 1], 0.3),
    ];
    let record = |(image, joints, score): (i64, [i64; 9], f64)| json!({"image_id": image, "category_id": 1, "keypoints": joints, "score": score});
    poses.map(record).into()
}

fn params() -> Params {
    Params { kpt_oks_sigmas: vec![0.05, 0.08, 0.1], ..Params::new(IouType::Keypoints) }
}

fn run(gt: &Value, dt: &Value, params: &Params) -> Result<CocoMetrics> {
    let gt = parse_dataset(gt.to_string().as_bytes())?;
    evaluate(&gt, &parse_results(dt.to_string().as_bytes())?, params)
}

#[test]
fn a_small_case_has_pycocotools_numbers() {
    let metrics = run(&truth(), &found(), &params()).unwrap();
    let expected = [
        ("AP", 0.800990099009901),
        ("AP50", 1.0),
        ("AP75", 1.0),
        ("APm", 0.8514851485148515),
        ("APl", 0.6999999999999998),
        ("AR", 0.7999999999999999),
        ("AR50", 1.0),
        ("AR75", 1.0),
        ("ARm", 0.85),
        ("ARl", 0.7),
    ];
    let got: Vec<(&str, f64)> = metrics.named().collect();
    let same = got.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= TOLERANCE);
    assert!(got.len() == expected.len() && same, "{got:?} instead of {expected:?}");
    let funnel = &metrics.funnel.annotations;
    assert_eq!((funnel.evaluated, funnel.crowd, funnel.ignored), (5, 1, 1));
    assert_eq!(metrics.max_dets, [20]);
    let json = serde_json::to_value(&metrics).unwrap();
    assert!(json["AR50"] == 1.0 && json["protocol"]["iou_type"] == "keypoints", "{json}");
    assert_eq!(json["protocol"]["kpt_oks_sigmas"], json!([0.05, 0.08, 0.1]));
    assert!(!metrics.protocol.standard, "these are not COCO's joints");
}

#[test]
fn areas_of_detections_come_from_the_first_record() {
    // The first pose finds nothing: a mistake of 1,600 square pixels by its joints, and whatever its box says.
    let with = |bbox: Option<Value>| {
        let mut dt = found();
        dt[0]["keypoints"] = json!([500, 500, 1, 520, 530, 1, 540, 540, 1]);
        dt[0]["score"] = json!(0.99);
        dt.as_array_mut().unwrap().iter_mut().for_each(|r| r["bbox"] = json!(bbox));
        let curves = run(&truth(), &dt, &params()).unwrap().curves;
        [1, 2].map(|range| curves.precision[curves.precision_index([0, 0, 0, range, 0])])
    };
    let (joints, medium) = (with(None), with(Some(json!([500, 500, 40, 40]))));
    let large = with(Some(json!([500, 500, 100, 100])));
    assert_eq!(joints, medium);
    assert!(medium[0] < large[0] && medium[1] > large[1], "medium, large: {medium:?} and {large:?}");
}

#[test]
fn records_without_sound_joints_are_refused_by_name() {
    type Change = fn(&mut Value, &mut Value);
    let cases: [(Change, &str); 9] = [
        (
            |gt, _| gt["annotations"][1]["keypoints"] = json!([1, 2, 2]),
            "annotations[1] (id 2): keypoints: 3 numbers",
        ),
        (|gt, _| gt["annotations"][1]["keypoints"] = json!([1, 2, "x"]), "annotations[1].keypoints"),
        (
            |gt, _| gt["annotations"][2]["keypoints"] = json!(null),
            "annotations[2] (id 3): keypoints: missing",
        ),
        (
            |gt, _| gt["annotations"][2]["num_keypoints"] = json!(null),
            "annotations[2] (id 3): num_keypoints: missing",
        ),
        (|gt, _| gt["annotations"][2]["num_keypoints"] = json!(-1), "annotations[2].num_keypoints"),
        (|gt, _| gt["annotations"][0]["area"] = json!(null), "annotations[0] (id 1): area: missing"),
        (|gt, _| gt["annotations"][3]["bbox"] = json!(null), "annotations[3] (id 4): bbox: missing"),
        (|_, dt| dt[4]["keypoints"] = json!([1, 2]), "results[4]: keypoints: 2 numbers"),
        (|_, dt| dt[4]["keypoints"] = json!(null), "results[4]: keypoints: missing"),
    ];
    let mut wrong = Vec::new();
    for (change, message) in cases {
        let (mut gt, mut dt) = (truth(), found());
        change(&mut gt, &mut dt);
        match run(&gt, &dt, &params()) {
            Err(e) if e.kind() == ErrorKind::Input && e.to_string().contains(message) => {}
            other => wrong.push(format!("{message}: {:?}", other.map(|m| m.stats))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let gt = parse_dataset(truth().to_string().as_bytes()).unwrap();
    let mut dt = parse_results(found().to_string().as_bytes()).unwrap();
    dt[3].keypoints = Some(vec![f64::NAN; 9]);
    let e = evaluate(&gt, &dt, &params()).unwrap_err();
    assert!(e.to_string().contains("results[3]: keypoints[0]: NaN"), "{e}");
}

#[test]
fn sigmas_are_a_parameter() {
    let seventeen = run(&truth(), &found(), &Params::new(IouType::Keypoints)).unwrap_err();
    assert!(seventeen.to_string().contains("expected 51"), "{seventeen}");
    let from = |text: &str| Params::from_json(text.as_bytes(), IouType::Keypoints);
    let given = from(r#"{"kpt_oks_sigmas": [0.05, 0.08, 0.1]}"#).unwrap();
    assert_eq!(given, params());
    assert_eq!((given.max_dets, given.area_rng_lbl.len()), (vec![20], 3));
    for bad in [r#"{"kpt_oks_sigmas": []}"#, r#"{"kpt_oks_sigmas": [0.1, 0]}"#, r#"{"kpt_oks_sigmas": null}"#]
    {
        assert_eq!(from(bad).unwrap_err().kind(), ErrorKind::Config, "{bad}");
    }
    assert!(from(r#"{"kptOksSigma": [1]}"#).unwrap_err().to_string().contains("`kpt_oks_sigmas`"));
}

#[test]
fn parts_give_the_same_bits() {
    let gt = parse_dataset(truth().to_string().as_bytes()).unwrap();
    let dt = parse_results(found().to_string().as_bytes()).unwrap();
    let mut all = Evaluator::new(&gt.categories, &params()).unwrap();
    for index in [1, 0] {
        let mut part = Evaluator::new(&gt.categories, &params()).unwrap();
        part.add_shard(&gt, &dt, care_map::Shard { index, count: 2 }).unwrap();
        all.merge(Evaluator::from_bytes(&part.to_bytes()).unwrap()).unwrap();
    }
    assert_eq!(all.finish().unwrap(), evaluate(&gt, &dt, &params()).unwrap());
    let options = CompareOptions { resamples: 20, ..CompareOptions::default() };
    let names = |c: &care_map::Comparison| c.figures.iter().map(|f| (f.name, f.a)).collect::<Vec<_>>();
    let metrics = all.finish().unwrap();
    assert_eq!(names(&compare(&all, &all, &options).unwrap()), metrics.named().collect::<Vec<_>>());
    let other = Params { kpt_oks_sigmas: vec![0.05, 0.08, 0.2], ..params() };
    let e = all.merge(Evaluator::new(&gt.categories, &other).unwrap()).unwrap_err();
    assert!(e.to_string().contains("kpt_oks_sigmas[2]"), "{e}");
}
