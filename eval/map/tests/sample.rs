//! The stored numbers of pycocotools on real annotations, to 1e-9.
use care_map::{CocoMetrics, Params, evaluate};
use care_types::coco_json::{read_dataset, read_results};
use serde_json::Value;
use std::path::{Path, PathBuf};

const TOLERANCE: f64 = 1e-9;

/// The folder of test data, or `None` with one loud line.
fn data() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("CARE_DATA").map_or_else(beside, PathBuf::from);
    if data.join("coco_eval_sample").is_dir() {
        return Some(data);
    }
    eprintln!("SKIPPED: no coco_eval_sample in {} (set CARE_DATA)", data.display());
    None
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn real_samples_give_the_stored_numbers_of_pycocotools() {
    let Some(data) = data() else { return };
    let mut wrong = Vec::new();
    for name in ["coco_ccby_val", "nuclei_val_threshold"] {
        let folder = data.join("coco_eval_sample").join(name);
        let case = json(&folder.join("case.json"));
        let gt = read_dataset(&folder.join(case["gt"].as_str().unwrap())).unwrap();
        for run in case["runs"].as_array().unwrap() {
            let iou_type = run["iou_type"].as_str().unwrap();
            let dt = read_results(&folder.join(run["dt"].as_str().unwrap())).unwrap();
            let metrics = evaluate(&gt, &dt, &Params::new(iou_type.parse().unwrap())).unwrap();
            let expected = json(&folder.join(run["expected"].as_str().unwrap()));
            compare(&format!("{name} {iou_type}"), &metrics, &expected, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn compare(case: &str, metrics: &CocoMetrics, expected: &Value, wrong: &mut Vec<String>) {
    let mut check = |what: String, got: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap_or(f64::NAN);
        if (got - expected).abs() > TOLERANCE || expected.is_nan() {
            wrong.push(format!("{case}: {what}: {got}, expected {expected}"));
        }
    };
    for (name, value) in metrics.named() {
        check(name.to_string(), value, &expected["stats"][name]);
    }
    let categories = expected["per_category"].as_object().unwrap();
    assert!(!categories.is_empty());
    for (id, figures) in categories {
        let found = metrics.per_category.iter().find(|c| c.id.to_string() == *id).unwrap();
        check(format!("category {id} AP"), found.ap, &figures["AP"]);
        check(format!("category {id} AP50"), found.ap50, &figures["AP50"]);
        check(format!("category {id} AR100"), found.ar100, &figures["AR100"]);
    }
}
