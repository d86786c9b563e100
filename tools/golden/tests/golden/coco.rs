//! COCO evaluation, parsing, formatting, RLE.

use super::Runner;
use care_golden::{Case, Checker};
use care_map::{IouType, Params, evaluate};
use care_types::coco_json::{Dataset, ResultRecord, read_dataset, read_results};
use care_types::{
    BoxXywh, BoxXyxy, CategoryId, ClassIndex, Detection, ImageId, LabelMap, Rle, Segmentation, TargetRules,
};
use serde_json::Value;

pub(super) const RUNNERS: &[(&str, Runner)] = &[
    ("coco_eval", eval),
    ("coco_parse", parse),
    ("coco_format", format),
    ("coco_rle", rle),
    ("coco_classes", classes),
];

/// Figures and counts that are not stored tensors: f64 arithmetic in another order.
const TOLERANCE: f64 = 1e-9;

fn same(what: &str, got: f64, want: &Value) -> Result<(), String> {
    let want = want.as_f64().unwrap_or(-1.0); // null: undefined
    if (got - want).abs() <= TOLERANCE { Ok(()) } else { Err(format!("{what}: expected {want}, got {got}")) }
}

fn all<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: expected {want:?}, got {got:?}")) }
}

fn read_value<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|e| e.to_string())
}

fn dataset(case: &Case, key: &str) -> Result<Dataset, String> {
    let file = case.json[key].as_str().ok_or_else(|| format!("no `{key}`"))?;
    read_dataset(&case.root.join(file)).map_err(|e| e.to_string())
}

fn eval(case: &Case) -> Result<(), String> {
    let gt = dataset(case, "gt")?;
    let dt = read_results(&case.root.join(case.json["dt"].as_str().unwrap_or_default()));
    let iou_type: IouType =
        read_value::<String>(&case.json["iou_type"])?.parse().map_err(|e| format!("{e}"))?;
    let params = Params { max_dets: read_value(&case.json["max_dets"])?, ..Params::new(iou_type) };
    let metrics = evaluate(&gt, &dt.map_err(|e| e.to_string())?, &params).map_err(|e| e.to_string())?;
    let names: Vec<String> = read_value(&case.json["stat_names"])?;
    for ((name, got), want) in
        names.iter().zip(metrics.stats.clone()).zip(case.json["stats"].as_array().into_iter().flatten())
    {
        same(name, got, want)?;
    }
    for c in &metrics.per_category {
        same(&format!("AP of category {}", c.id), c.ap, &case.json["per_category_ap"][c.id.to_string()])?;
    }
    let ids: Vec<i64> = read_value(&case.json["category_ids"])?;
    let ks: Vec<usize> =
        ids.iter().filter_map(|&id| metrics.per_category.iter().position(|c| c.id.0 == id)).collect();
    let curves = &metrics.curves;
    let [thresholds, recalls, _, ranges, max_dets] = curves.counts;
    let (mut precision, mut recall) = (Vec::new(), Vec::new());
    for t in 0..thresholds {
        for r in 0..recalls {
            precision.extend(
                ks.iter().map(|&k| curves.precision[curves.precision_index([t, r, k, 0, max_dets - 1])]),
            );
        }
        for &k in &ks {
            for a in 0..ranges {
                recall.extend((0..max_dets).map(|m| curves.recall[curves.recall_index(t, k, a, m)]));
            }
        }
    }
    let mut check = Checker::new(case);
    check.values_f64("precision", &[thresholds, recalls, ks.len()], &precision);
    check.values_f64("recall", &[thresholds, ks.len(), ranges, max_dets], &recall);
    check.finish()
}

fn parse(case: &Case) -> Result<(), String> {
    let data = dataset(case, "ann_file")?;
    let names: Vec<String> = read_value(&case.json["classes"])?;
    let labels = LabelMap::from_categories_named(&data.categories, &names).map_err(|e| e.to_string())?;
    let ids: Vec<CategoryId> = read_value(&case.json["cat_ids"])?;
    all("category ids", labels.entries().iter().map(|l| l.id).collect(), ids)?;
    let of = |id: ImageId| data.annotations.iter().filter(move |a| a.image_id == id);
    let mut image_ids: Vec<i64> = data.images.iter().map(|i| i.id.0).collect();
    image_ids.sort_unstable();
    all("pictures for testing", image_ids, read_value::<Vec<i64>>(&case.json["test_img_ids"])?)?;
    let used: Vec<_> =
        data.images.iter().filter(|i| TargetRules.used_for_training(i, of(i.id), &labels)).collect();
    let expected = case.json["train"].as_array().ok_or("no `train`")?;
    all("pictures for training", used.len(), expected.len())?;
    for (image, expected) in used.iter().zip(expected) {
        let what = format!("picture {}", image.id);
        let size = [&expected["img_id"], &expected["width"], &expected["height"]].map(Value::as_i64);
        all(&what, [image.id.0, image.width.into(), image.height.into()].map(Some), size)?;
        let target = TargetRules.target(image, of(image.id), &labels);
        let instances = expected["instances"].as_array().ok_or("no `instances`")?;
        all(&what, target.len(), instances.len())?;
        for (i, instance) in instances.iter().enumerate() {
            let mask = match &target.masks[i] {
                Some(Segmentation::Polygons(_)) => "polygon",
                Some(Segmentation::Rle(_)) => "rle",
                None => "none",
            };
            all(&what, Some(mask), instance["mask_kind"].as_str())?;
            all(&what, target.classes[i], ClassIndex(read_value(&instance["label"])?))?;
            all(&what, target.ignore[i], instance["ignore"] == 1)?;
            let bbox: [f64; 4] = read_value(&instance["bbox"])?;
            all(&what, target.boxes[i], BoxXyxy::from(bbox.map(|v| v as f32)))?;
        }
    }
    Ok(())
}

fn format(case: &Case) -> Result<(), String> {
    let ids: Vec<CategoryId> = read_value(&case.json["cat_ids"])?;
    let image_id: ImageId = read_value(&case.json["image_id"])?;
    let expected: Vec<ResultRecord> = read_value(&case.json["results"])?;
    let boxes = case.input("bboxes")?.boxes();
    let (classes, scores) = (case.input("labels")?.i64(), case.input("scores")?.f32());
    all("number of results", boxes.len(), expected.len())?;
    for (i, want) in expected.iter().enumerate() {
        let class = ClassIndex(classes[i] as usize);
        let detection = Detection { class, score: scores[i], bbox: boxes[i].into(), mask: None };
        let got = ResultRecord::from_box(image_id, ids[class.0], &detection);
        all(&format!("result {i}"), &got, want)?;
        let text = care_types::coco_json::results_json(std::slice::from_ref(&got));
        let back = care_types::coco_json::parse_results(text.as_bytes()).map_err(|e| e.to_string())?;
        all(&format!("result {i}, written and read"), &back[..], std::slice::from_ref(want))?;
    }
    Ok(())
}

fn rle(case: &Case) -> Result<(), String> {
    let (h, w) = (case.usize("height")? as u32, case.usize("width")? as u32);
    let pixels = case.input("masks")?.data;
    let mut shapes = Vec::new();
    for (i, (entry, mask)) in list(case, "masks").zip(pixels.chunks((h * w) as usize)).enumerate() {
        let mask: Vec<u8> = mask.iter().map(|&v| v as u8).collect();
        let rle = Rle::from_mask(&mask, h, w).map_err(|e| e.to_string())?;
        all(&format!("mask {i}"), rle.to_mask(), mask)?;
        all(&format!("runs of mask {i}"), rle.counts().to_vec(), read_value(&entry["uncompressed_counts"])?)?;
        shapes.push((format!("mask {i}"), rle, entry));
    }
    for (i, entry) in list(case, "polygons").enumerate() {
        let rings: Vec<Vec<f64>> = read_value(&entry["polygons"])?;
        let rle = Rle::from_polygons(&rings, h, w).map_err(|e| e.to_string())?;
        shapes.push((format!("polygons {i}"), rle, entry));
    }
    for (what, rle, entry) in &shapes {
        all(what, rle, &read_value::<Rle>(&entry["rle"])?)?;
        all(what, Some(rle.to_compressed_string().as_str()), entry["rle"]["counts"].as_str())?;
        all(what, u64::from(rle.area()), entry["area"].as_u64().unwrap_or(u64::MAX))?;
        all(what, rle.bbox(), read_value::<BoxXywh>(&entry["bbox"])?)?;
    }
    let masks = list(case, "masks").count();
    let columns: Vec<&Rle> = [0, 1, 2, masks, masks + 1].map(|i| &shapes[i].1).into();
    let crowd: Vec<u8> = read_value(&case.json["iou"]["iscrowd"])?;
    for (row, want) in case.json["iou"]["values"].as_array().into_iter().flatten().enumerate() {
        for (column, truth) in columns.iter().enumerate() {
            let iou = shapes[row].1.iou(truth, crowd[column] != 0).map_err(|e| e.to_string())?;
            same(&format!("IoU {row} {column}"), iou, &want[column])?;
        }
    }
    box_iou(&case.json["bbox_iou"])
}

fn box_iou(json: &Value) -> Result<(), String> {
    let boxes: Vec<BoxXywh> = read_value(&json["boxes"])?;
    let crowd: Vec<u8> = read_value(&json["iscrowd"])?;
    for (row, a) in boxes.iter().enumerate() {
        for (column, b) in boxes.iter().enumerate() {
            let what = format!("IoU of boxes {row} {column}");
            same(&what, a.iou(b, crowd[column] != 0), &json["values"][row][column])?;
        }
    }
    Ok(())
}

fn list<'a>(case: &'a Case, key: &str) -> impl Iterator<Item = &'a Value> {
    case.json[key].as_array().into_iter().flatten()
}

fn classes(case: &Case) -> Result<(), String> {
    let labels = LabelMap::coco();
    let expected = case.extra()?;
    let expected = expected.as_array().ok_or("not a list")?;
    all("number of classes", labels.len(), expected.len())?;
    for (label, want) in labels.entries().iter().zip(expected) {
        let index = labels.index_of_id(label.id).ok_or("an id that is not found")?;
        let want = (want["label"].as_u64(), want["id"].as_i64(), want["name"].as_str());
        all("class", (Some(index.0 as u64), Some(label.id.0), Some(label.name.as_str())), want)?;
    }
    Ok(())
}
