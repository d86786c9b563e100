//! LVIS' rules: small cases with lvis-api's numbers, and what must be refused.
//!
//! `compare_lvis.py` compares with lvis-api on thousands of random sets.
use care_map::{
    Benchmark, CocoMetrics, CompareOptions, ErrorKind, Evaluator, IouType, Params, Result, Shard, compare,
    evaluate, explain,
};
use care_types::coco_json::{parse_dataset, parse_results};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-12;

/// A frequent, a common and a rare category. The first picture has no owl; in the second, dogs may lack a label.
fn truth() -> Value {
    let objects = [
        (1, 1, [10, 10, 40, 40], 0),
        (1, 2, [100, 100, 120, 120], 0),
        (2, 1, [20, 20, 30, 20], 0),
        (2, 2, [60, 60, 80, 50], 0),
        (2, 3, [200, 10, 10, 10], 0),
        (2, 1, [300, 300, 50, 50], 1),
    ];
    let annotation = |(n, (image, category, bbox, ignore)): (usize, (i64, i64, [i64; 4], u8))| {
        json!({"id": n + 1, "image_id": image, "category_id": category, "bbox": bbox, "area": bbox[2] * bbox[3],
            "ignore": ignore})
    };
    let annotations: Vec<Value> = objects.into_iter().enumerate().map(annotation).collect();
    json!({
        "images": [
            {"id": 1, "neg_category_ids": [3], "not_exhaustive_category_ids": []},
            {"id": 2, "neg_category_ids": [], "not_exhaustive_category_ids": [2]},
        ],
        "categories": [
            {"id": 1, "name": "cat", "frequency": "f"},
            {"id": 2, "name": "dog", "frequency": "c"},
            {"id": 3, "name": "owl", "frequency": "r"},
        ],
        "annotations": annotations,
    })
}

fn found() -> Value {
    let boxes = [
        (1, 1, [10, 10, 40, 38], 0.9),
        (1, 3, [10, 10, 40, 40], 0.8),
        (1, 2, [105, 100, 120, 118], 0.7),
        (2, 1, [22, 20, 30, 20], 0.85),
        (2, 1, [300, 300, 50, 50], 0.95),
        (2, 2, [400, 400, 20, 20], 0.9),
        (2, 2, [60, 62, 80, 50], 0.6),
        (2, 3, [200, 10, 10, 9], 0.5),
        (2, 3, [20, 20, 30, 20], 0.7),
        (1, 2, [400, 10, 20, 20], 0.3),
    ];
    let record = |(image, category, bbox, score): (i64, i64, [i64; 4], f64)| json!({"image_id": image, "category_id": category, "bbox": bbox, "score": score});
    boxes.map(record).into()
}

fn run(gt: &Value, dt: &Value, params: &Params) -> Result<CocoMetrics> {
    let gt = parse_dataset(gt.to_string().as_bytes())?;
    evaluate(&gt, &parse_results(dt.to_string().as_bytes())?, params)
}

fn check(metrics: &CocoMetrics, expected: [f64; 13]) {
    const NAMES: [&str; 13] = [
        "AP", "AP50", "AP75", "APs", "APm", "APl", "APr", "APc", "APf", "AR@300", "ARs@300", "ARm@300",
        "ARl@300",
    ];
    let got: Vec<(&str, f64)> = metrics.named().collect();
    let same =
        got.iter().zip(NAMES).zip(expected).all(|((a, n), b)| a.0 == n && (a.1 - b).abs() <= TOLERANCE);
    assert!(got.len() == expected.len() && same, "{got:?} instead of {expected:?}");
}

#[test]
fn small_cases_have_lvis_apis_numbers() {
    let all = run(&truth(), &found(), &Params::lvis(IouType::Bbox)).unwrap();
    check(
        &all,
        [
            0.7003300330033003,
            0.7777777777777778,
            0.7777777777777778,
            0.625,
            0.9499999999999998,
            0.8999999999999999,
            0.29999999999999993,
            0.9,
            0.900990099009901,
            0.9,
            0.85,
            0.95,
            0.9,
        ],
    );
    assert_eq!((all.funnel.annotations.ignored, all.funnel.detections.unverified), (1, 0));
    assert!(all.protocol.standard && all.protocol.benchmark == Benchmark::Lvis);
    // Nothing is known about owls in the first picture: what claims to be one is left out.
    let mut gt = truth();
    gt["images"][0]["neg_category_ids"] = json!([]);
    let unknown = run(&gt, &found(), &Params::lvis(IouType::Bbox)).unwrap();
    check(
        &unknown,
        [
            0.7503300330033004,
            0.8333333333333334,
            0.8333333333333334,
            0.625,
            0.9499999999999998,
            0.8999999999999999,
            0.45,
            0.9,
            0.900990099009901,
            0.9,
            0.85,
            0.95,
            0.9,
        ],
    );
    assert_eq!((unknown.funnel.detections.unverified, unknown.funnel.detections.used), (1, 9));
    // At most four per picture: two of the second one are left out, whatever their categories.
    let four = Params { max_dets: vec![4], ..Params::lvis(IouType::Bbox) };
    let few = run(&gt, &found(), &four).unwrap();
    check(
        &few,
        [
            0.4518151815181518,
            0.5016501650165016,
            0.5016501650165016,
            0.39999999999999997,
            0.4999999999999999,
            0.8999999999999999,
            0.0,
            0.45445544554455436,
            0.900990099009901,
            0.45,
            0.4,
            0.5,
            0.9,
        ],
    );
    assert_eq!((few.funnel.detections.beyond_max_dets, few.protocol.standard), (2, false));
}

#[test]
fn what_has_no_area_is_left_out() {
    let (mut gt, mut dt) = (truth(), found());
    gt["annotations"][4]["area"] = json!(0);
    dt[0]["bbox"] = json!([10, 10, 40, 0]);
    let metrics = run(&gt, &dt, &Params::lvis(IouType::Bbox)).unwrap();
    let (objects, found) = (&metrics.funnel.annotations, &metrics.funnel.detections);
    assert_eq!((objects.without_area, objects.evaluated), (1, 5));
    // With it, the owl of the second picture is not known to be there.
    assert_eq!((found.without_area, found.unverified, found.used), (1, 2, 7));
    assert_eq!(metrics.stat("APr"), Some(-1.0));
}

#[test]
fn files_that_are_not_lvis_are_refused_by_name() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 5] = [
        (
            |gt| gt["images"][1]["neg_category_ids"] = json!(null),
            "images[1] (id 2): neg_category_ids: missing",
        ),
        (
            |gt| gt["images"][0]["not_exhaustive_category_ids"] = json!(null),
            "images[0] (id 1): not_exhaustive_category_ids: missing",
        ),
        (|gt| gt["images"][0]["neg_category_ids"] = json!(["owl"]), "images[0].neg_category_ids"),
        (|gt| gt["categories"][2]["frequency"] = json!("often"), "categories[2] (id 3): frequency: missing"),
        (|gt| gt["annotations"][3]["area"] = json!(null), "annotations[3] (id 4): area: missing"),
    ];
    let mut wrong = Vec::new();
    for (change, message) in cases {
        let mut gt = truth();
        change(&mut gt);
        match run(&gt, &found(), &Params::lvis(IouType::Bbox)) {
            Err(e) if e.kind() == ErrorKind::Input && e.to_string().contains(message) => {}
            other => wrong.push(format!("{message}: {:?}", other.map(|m| m.stats))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let mut gt = truth();
    gt["categories"][2]["frequency"] = json!(0.5);
    assert!(run(&gt, &found(), &Params::new(IouType::Bbox)).is_ok(), "COCO's rules do not look at it");
}

#[test]
fn parameters_that_lvis_does_not_have_are_refused() {
    let lvis = Params::lvis;
    let bad = [
        lvis(IouType::Keypoints),
        Params { quirks: true, ..lvis(IouType::Bbox) },
        Params { max_dets: vec![100, 300], ..lvis(IouType::Bbox) },
    ];
    for params in bad {
        assert_eq!(run(&truth(), &found(), &params).unwrap_err().kind(), ErrorKind::Config, "{params:?}");
    }
    let (gt, dt) = (truth().to_string(), found().to_string());
    let (gt, dt) = (parse_dataset(gt.as_bytes()).unwrap(), parse_results(dt.as_bytes()).unwrap());
    let e = explain::explain(&gt, &dt, &lvis(IouType::Bbox), &explain::Options::default()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert_eq!(lvis(IouType::Segm).with_json(br#"{"useCats": 0}"#).unwrap().max_dets, [300]);
}

#[test]
fn parts_give_the_same_bits() {
    let (gt, dt) = (truth().to_string(), found().to_string());
    let (mut gt, dt) = (parse_dataset(gt.as_bytes()).unwrap(), parse_results(dt.as_bytes()).unwrap());
    for params in [
        Params::lvis(IouType::Bbox),
        Params { max_dets: vec![3], ..Params::lvis(IouType::Bbox) },
        Params { use_cats: false, ..Params::lvis(IouType::Bbox) },
    ] {
        let mut all = Evaluator::new(&gt.categories, &params).unwrap();
        for index in [1, 0] {
            let mut part = Evaluator::new(&gt.categories, &params).unwrap();
            part.add_shard(&gt, &dt, Shard { index, count: 2 }).unwrap();
            all.merge(Evaluator::from_bytes(&part.to_bytes()).unwrap()).unwrap();
        }
        let metrics = all.finish().unwrap();
        assert_eq!(metrics, evaluate(&gt, &dt, &params).unwrap());
        let options = CompareOptions { resamples: 20, ..CompareOptions::default() };
        let comparison = compare(&all, &all, &options).unwrap();
        let compared: Vec<_> = comparison.figures.iter().map(|f| (f.name, f.a)).collect();
        assert_eq!(compared, metrics.named().filter(|f| f.1 >= 0.0).collect::<Vec<_>>());
    }
    let before = Evaluator::new(&gt.categories, &Params::lvis(IouType::Bbox)).unwrap();
    gt.categories[0].frequency = gt.categories[1].frequency;
    let mut after = Evaluator::new(&gt.categories, &Params::lvis(IouType::Bbox)).unwrap();
    assert!(after.merge(before).unwrap_err().to_string().contains("categories[0]"));
}
