//! Semantic segmentation: head, losses, label maps, end to end.

use super::Runner;
use super::care::{PURPOSES, config_of, free_config};
use super::det::nets::{count, image_info, store, text};
use super::det::priors::numbers;
use candle_core::{Tensor, Var};
use care_backbone::BackboneConfig;
use care_data::semantic::open_semantic;
use care_golden::{Case, Checker, Manifest};
use care_heads::seg_loss::{SegLossConfig, accuracy};
use care_heads::semantic_fpn::{SegHead, SegHeadConfig, SemanticFpn, SemanticFpnConfig};
use care_heads::{Images, Segmenter};
use care_kernels::label_map::{Part, Taps, label_map};
use care_kernels::map::Map;
use care_miou::{ConfusionMatrix, SegMap};
use care_nn::Purpose;
use care_types::{LabelMap, SegTarget, Size};
use serde_json::Value;

pub(super) const RUNNERS: &[(&str, Runner)] = &[
    ("seg_head", seg_head),
    ("seg_loss", seg_loss),
    ("seg_predict", seg_predict),
    ("e2e_seg", e2e_seg),
    ("seg_metrics", seg_metrics),
    ("label_map", label_map_values),
    ("ade20k_classes", ade20k_classes),
];

fn seg_head(case: &Case) -> Result<(), String> {
    let c = &case.json["config"];
    let config = SegHeadConfig { channels: count(c, "channels")?, dropout: 0.0 };
    let shape = (count(c, "in_channels")?, numbers(&c["feature_strides"]).len());
    let classes = count(c, "num_classes")?;
    let store = store(case, |s| SegHead::new(&s.root(Purpose::TRAIN), &config, shape, classes))?;
    let maps = (2..6)
        .map(|i| Var::from_tensor(&case.input(&format!("p{i}"))?.nhwc()).map_err(text))
        .collect::<Result<Vec<_>, String>>()?;
    let tensors: Vec<Tensor> = maps.iter().map(|v| v.as_tensor().clone()).collect();
    if case.json["mode"] == "eval" {
        let frozen = [("frozen", Purpose::TRAIN_FROZEN)];
        for (name, purpose) in PURPOSES.iter().copied().filter(|p| !p.1.is_train()).chain(frozen) {
            let head = SegHead::new(&store.root(purpose), &config, shape, classes).map_err(text)?;
            let mut check = Checker::variant(case, name, 1.0);
            check.nhwc("seg_logits", &head.forward(&tensors, None).map_err(text)?);
            check.finish()?;
        }
        return Ok(());
    }
    let root = store.root(Purpose::TRAIN);
    let head = SegHead::new(&root, &config, shape, classes).map_err(text)?;
    let logits = head.forward(&tensors, None).map_err(text)?;
    let total = (&logits * case.input("dy")?.nhwc()).and_then(|t| t.sum_all()).map_err(text)?;
    let grads = total.backward().map_err(text)?;
    store.commit_batch_stats(&root.batch_stats().take(), 0.1).map_err(text)?;
    let mut check = Checker::new(case);
    check.nhwc("seg_logits", &logits);
    for (i, map) in maps.iter().enumerate() {
        check.nhwc(&format!("grad_p{}", i + 2), grads.get(map).ok_or(format!("no gradient of p{}", i + 2))?);
    }
    for param in store.params() {
        let named = |what: &str| format!("{what}/decode_head.{}", param.name);
        if case.has(&named("grad")) {
            check.tensor(&named("grad"), grads.get(&param.var).ok_or(format!("no {}", named("grad")))?);
        }
        if case.has(&named("after")) {
            check.tensor(&named("after"), &param.var.to_dtype(candle_core::DType::F32).map_err(text)?);
        }
    }
    check.finish()
}

pub(super) fn label_maps(case: &Case, name: &str) -> Result<Vec<SegTarget>, String> {
    let array = case.input(name)?;
    let size = Size { height: array.shape[1] as u32, width: array.shape[2] as u32 };
    let values: Vec<u8> = array.data.iter().map(|&v| v as u8).collect();
    values
        .chunks_exact(array.shape[1] * array.shape[2])
        .map(|map| SegTarget::new(size, map.to_vec()).map_err(text))
        .collect()
}

fn seg_loss(case: &Case) -> Result<(), String> {
    let manifest = Manifest::read(&case.root)?;
    let source = match case.json["inputs_from"].as_str() {
        None => case,
        Some(name) => manifest.cases.iter().find(|c| c.name == name).ok_or("inputs_from names no case")?,
    };
    let logits = Var::from_tensor(&source.input("logits")?.nhwc()).map_err(text)?;
    let mut targets = label_maps(source, "labels")?;
    if case.name.ends_with("all_ignored") {
        let blank = |t: &SegTarget| SegTarget::new(t.size(), vec![SegTarget::IGNORE; t.classes().len()]);
        targets = targets.iter().map(blank).collect::<Result<_, _>>().map_err(text)?;
    }
    let p = &case.json["params"];
    let config = SegLossConfig {
        class_weight: numbers(&p["class_weight"]).into_iter().map(|w| w as f32).collect(),
        avg_non_ignore: p["avg_non_ignore"] == true,
        weight: p["loss_weight"].as_f64().unwrap_or(1.0),
    };
    let loss = config.of(logits.as_tensor(), &targets).map_err(text)?;
    let mut check = Checker::new(case);
    check.tensor("loss", &loss);
    let grads = loss.backward().map_err(text)?;
    check.nhwc("grad_logits", grads.get(&logits).ok_or("no gradient")?);
    if case.has("acc_seg") {
        let right = accuracy(logits.as_tensor(), &targets).map_err(text)?;
        check.values("acc_seg", &[1], &[right as f32]);
    }
    check.finish()
}

fn seg_predict(case: &Case) -> Result<(), String> {
    let logits = case.input("logits")?;
    let (n, classes, h, w) = (logits.shape[0], logits.shape[1], logits.shape[2], logits.shape[3]);
    let values = logits.nhwc().flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(text)?;
    let pad = numbers(&case.json["pad_shape"]);
    let mut check = Checker::new(case);
    for i in 0..n {
        let valid = numbers(&case.json["img_shapes"][i]);
        let ori = numbers(&case.json["ori_shapes"][i]);
        let map = Map::dense(&values[i * h * w * classes..][..h * w * classes], [1, h, w, classes]);
        let axis =
            |cells: usize, k: usize| Taps::axis(cells, pad[k] as usize, valid[k] as usize, ori[k] as usize);
        let mut out = vec![0; (ori[0] * ori[1]) as usize];
        label_map(&Part { logits: map, rows: &axis(h, 0), columns: &axis(w, 1) }, &mut out);
        let wide: Vec<f64> = out.iter().map(|&v| f64::from(v)).collect();
        check.values_f64(&format!("argmax/{i}"), &[ori[0] as usize, ori[1] as usize], &wide);
        // logits of the picture's size are never made; the map of their best classes is exact
        check.compared_otherwise(&format!("resized/{i}"));
    }
    check.compared_otherwise("upsampled");
    check.finish()
}

/// The network of a case.
pub(super) fn semantic_fpn_config(case: &Case) -> Result<SemanticFpnConfig, String> {
    let backbone = &case.json["backbone"];
    let named = serde_json::json!({"model": backbone});
    let (care, _) = if backbone.is_string() { config_of(&named)? } else { free_config(backbone)? };
    let mut config = SemanticFpnConfig::new(BackboneConfig::Care(care), case.usize("num_classes")?);
    let number = |key: &str| case.json[key].as_u64().map(|n| n as usize);
    config.neck.out_channels = number("fpn_out_channels").unwrap_or(config.neck.out_channels);
    config.head.channels = number("head_channels").unwrap_or(config.head.channels);
    config.head.dropout = 0.0;
    Ok(config)
}

fn e2e_seg(case: &Case) -> Result<(), String> {
    let config = semantic_fpn_config(case)?;
    let store = store(case, |s| SemanticFpn::new(&s.root(Purpose::TRAIN), &config))?;
    let meta: &Value = &case.json["meta"];
    let images = Images::new(case.input("input")?.nhwc(), vec![image_info(meta)]).map_err(text)?;
    let [valid, pad, ori] = ["img_shape", "pad_shape", "ori_shape"].map(|k| numbers(&meta[k]));
    let frozen = [("frozen", Purpose::TRAIN_FROZEN)];
    for (name, purpose) in PURPOSES.iter().copied().filter(|p| !p.1.is_train()).chain(frozen) {
        let net = SemanticFpn::new(&store.root(purpose), &config).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        check.nhwc("seg_logits", &net.forward(&images.pixels, None).map_err(text)?);
        let raw = net.segment(&images).map_err(text)?.swap_remove(0);
        let map = Map::dense(&raw.logits, [1, raw.height, raw.width, raw.classes]);
        let axis =
            |cells: usize, k: usize| Taps::axis(cells, pad[k] as usize, valid[k] as usize, ori[k] as usize);
        let mut out = vec![0; (ori[0] * ori[1]) as usize];
        label_map(&Part { logits: map, rows: &axis(raw.height, 0), columns: &axis(raw.width, 1) }, &mut out);
        let wide: Vec<f64> = out.iter().map(|&v| f64::from(v)).collect();
        check.values_f64("argmax", &[ori[0] as usize, ori[1] as usize], &wide);
        check.finish()?;
    }
    Ok(())
}

/// mmsegmentation's figures are f32; a mean of seven adds a few of their roundings.
const FIGURES: f64 = 5e-7;

fn seg_metrics(case: &Case) -> Result<(), String> {
    let mut matrix = ConfusionMatrix::new(case.usize("num_classes")?).map_err(text)?;
    for (label, found) in label_maps(case, "label")?.iter().zip(label_maps(case, "pred")?) {
        let map = |t: &SegTarget| t.size();
        let label = SegMap::new(label.classes(), map(label)).map_err(text)?;
        let found = SegMap::new(found.classes(), map(&found)).map_err(text)?;
        matrix.update(label, found, Some(case.usize("ignore_index")? as u16)).map_err(text)?;
    }
    let m = matrix.metrics();
    let mut rows = vec![("aAcc", m.a_acc(), &case.json["aAcc"]), ("mIoU", m.m_iou(), &case.json["mIoU"])];
    rows.push(("mAcc", m.m_acc(), &case.json["mAcc"]));
    for c in &m.per_class {
        let of = |name: &str| &case.json["per_class"][name][c.class.0];
        rows.extend([
            ("IoU", c.iou(), of("IoU")),
            ("Acc", c.acc(), of("Acc")),
            ("Dice", c.dice(), of("Dice")),
        ]);
        rows.extend([("Fscore", c.fscore(), of("Fscore")), ("Precision", c.precision(), of("Precision"))]);
        rows.push(("Recall", c.recall(), of("Recall")));
        let area = |name: &str| &case.json["areas"][name][c.class.0];
        let counts = [
            ("intersect", c.intersection),
            ("union", c.union()),
            ("pred", c.predicted),
            ("label", c.labelled),
        ];
        rows.extend(counts.map(|(name, count)| (name, Some(count as f64), area(name))));
    }
    let differs = |got: Option<f64>, want: &Value| match (got, want.as_f64()) {
        (Some(got), Some(want)) => (got - want).abs() > FIGURES,
        (got, want) => got.is_some() || want.is_some(),
    };
    match rows.iter().find(|(_, got, want)| differs(*got, want)) {
        Some((name, got, want)) => Err(format!("{name} is {got:?}, expected {want}")),
        None => Ok(()),
    }
}

/// A label file of ADE20K's layout with every value, read as the data set's reader does.
fn label_map_values(case: &Case) -> Result<(), String> {
    let raw: Vec<u8> = case.input("raw")?.data.iter().map(|&v| v as u8).collect();
    let dir = tempfile::tempdir().map_err(text)?;
    let file = |folder: &str| -> Result<std::path::PathBuf, String> {
        let folder = dir.path().join(folder).join("training");
        std::fs::create_dir_all(&folder).map_err(text)?;
        Ok(folder.join("a.png"))
    };
    let width = raw.len() as u32;
    image::RgbImage::new(width, 1).save(file("images")?).map_err(text)?;
    let grey = image::GrayImage::from_raw(width, 1, raw).ok_or("no picture")?;
    grey.save(file("annotations")?).map_err(text)?;
    let opened = open_semantic(dir.path(), None, &["training"], None).map_err(text)?;
    let found = opened.set.example(0).map_err(text)?.target;
    let mut check = Checker::new(case);
    check.integers("label", &found.classes().iter().map(|&c| i64::from(c)).collect::<Vec<_>>());
    check.finish()
}

fn ade20k_classes(case: &Case) -> Result<(), String> {
    let facts = case.extra()?;
    let labels = LabelMap::ade20k();
    let row = |i: usize| {
        let label = &labels.entries()[i];
        // the reference has "bed " with a blank
        let name = facts["classes"][i].as_str().map(str::trim);
        name == Some(&label.name) && facts["palette"][i] == serde_json::json!(label.color)
    };
    match (0..150).find(|&i| labels.len() != 150 || !row(i)) {
        Some(i) => {
            Err(format!("class {i}: {:?} instead of {}", labels.entries().get(i), facts["classes"][i]))
        }
        None => Ok(()),
    }
}
