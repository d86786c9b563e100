//! Boundary AP: a small case with the numbers of its definition, and what must hold.
//!
//! `compare_boundary.py`, which the numbers are from, compares on thousands of random sets.
use care_map::{CocoMetrics, Error, ErrorKind, Evaluator, IouType, Params, Shard, evaluate, explain};
use care_types::coco_json::{Dataset, ResultRecord, parse_dataset, parse_results};
use serde_json::{Value, json};

const TOLERANCE: f64 = 1e-12;

/// Two objects, a crowd, and one that is marked `ignore`; a picture of 120 x 100.
fn truth() -> Dataset {
    let objects = [
        ([10, 10, 40, 40], 0, 0),
        ([60, 20, 50, 60], 0, 0),
        ([0, 60, 40, 40], 1, 0),
        ([80, 85, 30, 10], 0, 1),
    ];
    let annotation = |(n, (bbox, crowd, ignore)): (usize, ([i64; 4], u8, u8))| {
        let [x, y, w, h] = bbox;
        json!({"id": n + 1, "image_id": 1, "category_id": 1, "bbox": bbox, "area": w * h, "iscrowd": crowd,
            "ignore": ignore, "segmentation": [[x, y, x, y + h, x + w, y + h, x + w, y]]})
    };
    let annotations: Vec<Value> = objects.into_iter().enumerate().map(annotation).collect();
    let data = json!({"images": [{"id": 1, "width": 120, "height": 100}], "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}]});
    parse_dataset(data.to_string().as_bytes()).unwrap()
}

fn found() -> Vec<ResultRecord> {
    let boxes = [
        ([10, 10, 40, 40], 0.9),
        ([62, 22, 46, 56], 0.8),
        ([5, 65, 20, 30], 0.7),
        ([80, 85, 30, 10], 0.6),
        ([10, 11, 41, 40], 0.5),
        ([55, 15, 60, 70], 0.4),
    ];
    let record = |(bbox, score): ([usize; 4], f64)| json!({"image_id": 1, "category_id": 1, "score": score, "segmentation": {"size": [100, 120], "counts": counts(bbox)}});
    let records: Vec<Value> = boxes.map(record).into();
    parse_results(json!(records).to_string().as_bytes()).unwrap()
}

/// Run lengths of a rectangle.
fn counts([x, y, w, h]: [usize; 4]) -> Vec<usize> {
    let mut counts = vec![x * 100 + y];
    (1..w).for_each(|_| counts.extend([h, 100 - h]));
    counts.extend([h, 100 * 120 - (x + w - 1) * 100 - y - h]);
    counts
}

fn run(params: &Params) -> Result<CocoMetrics, Error> {
    evaluate(&truth(), &found(), params)
}

#[test]
fn a_small_case_has_the_numbers_of_the_definition() {
    let wide = Params { dilation_ratio: 0.05, ..Params::new(IouType::Boundary) };
    let cases = [
        (
            Params::new(IouType::Boundary),
            [0.5049504950495048, 0.5049504950495048, 0.5049504950495048, 0.5, 0.5],
        ),
        (wide, [0.6534653465346535, 1.0, 0.5049504950495048, 0.5, 0.65]),
    ];
    for (params, expected) in cases {
        let metrics = run(&params).unwrap();
        let got = ["AP", "AP50", "AP75", "AR1", "AR10"].map(|name| metrics.stat(name).unwrap());
        let near = got.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= TOLERANCE);
        assert!(near, "{got:?} instead of {expected:?}");
        let funnel = &metrics.funnel.annotations;
        assert_eq!((funnel.crowd, funnel.ignored, funnel.ignore_flag_without_effect), (1, 1, 0));
    }
}

#[test]
fn a_wider_band_is_more_lenient_and_the_mask_most() {
    let ap = |ratio| {
        let params = Params { dilation_ratio: ratio, ..Params::new(IouType::Boundary) };
        run(&params).unwrap().stats[0]
    };
    let mask = Params { iou_thrs: Params::default().iou_thrs, ..Params::new(IouType::Segm) };
    // Bands of half the diagonal are the masks; pycocotools does not look at `ignore`.
    let mut truth = truth();
    truth.annotations.iter_mut().for_each(|a| a.ignore = false);
    let masks = evaluate(&truth, &found(), &mask).unwrap();
    let params = Params { dilation_ratio: 0.5, ..Params::new(IouType::Boundary) };
    let bands = evaluate(&truth, &found(), &params).unwrap();
    assert_eq!(bands.curves, masks.curves);
    assert!(ap(0.02) < ap(0.05) && ap(0.05) < ap(0.5), "{} {} {}", ap(0.02), ap(0.05), ap(0.5));
}

#[test]
fn the_width_is_a_parameter_and_part_of_the_protocol() {
    let from = |text: &str| Params::from_json(text.as_bytes(), IouType::Boundary);
    let given = from(r#"{"dilation_ratio": 0.005}"#).unwrap();
    let json = serde_json::to_value(run(&given).unwrap()).unwrap();
    let protocol = &json["protocol"];
    assert!(protocol["iou_type"] == "boundary" && protocol["dilation_ratio"] == 0.005, "{protocol}");
    assert_eq!(protocol["standard"], false);
    assert!(run(&Params::new(IouType::Boundary)).unwrap().protocol.standard);
    for bad in ["0", "-1", "1.5", "null", "\"x\""] {
        let e = from(&format!("{{\"dilation_ratio\": {bad}}}")).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config, "{bad}");
    }
}

#[test]
fn parts_give_the_same_bits_and_there_is_no_explanation() {
    let (gt, dt, params) = (truth(), found(), Params::new(IouType::Boundary));
    let mut part = Evaluator::new(&gt.categories, &params).unwrap();
    part.add_shard(&gt, &dt, Shard { index: 0, count: 1 }).unwrap();
    let part = Evaluator::from_bytes(&part.to_bytes()).unwrap();
    assert_eq!(part.finish().unwrap(), evaluate(&gt, &dt, &params).unwrap());
    let e = explain::explain(&gt, &dt, &params, &explain::Options::default()).unwrap_err();
    assert!(e.kind() == ErrorKind::Config && e.to_string().contains("boundary"), "{e}");
}
