//! Necks, heads and whole detectors: as `Train`, and as `Infer` with direct and with Winograd convolutions.

use super::super::care::{self, PURPOSES};
use super::losses::box_loss;
use super::priors::{boxes, numbers, size};
use candle_core::{Device, Tensor, Var};
use care_backbone::{BackboneConfig, FeatureInfo};
use care_golden::{Case, Checker, Manifest};
use care_heads::anchors::{AnchorConfig, AnchorGenerator};
use care_heads::box_coder::BoxCoder;
use care_heads::dense_loss::{DenseLoss, DenseLossConfig, LevelLoss};
use care_heads::dense_select::DenseSelect;
use care_heads::matcher::Matcher;
use care_heads::neck::fpn::{ExtraLevels, Fpn, FpnConfig};
use care_heads::retina_head::{HeadOutputs, RetinaHead, RetinaHeadConfig};
use care_heads::retinanet::{RetinaNet, RetinaNetConfig};
use care_heads::rpn::RpnHead;
use care_heads::select::SelectConfig;
use care_heads::{Detector, ImageInfo, Images, NormKind};
use care_nn::{ParamStore, Purpose};
use care_types::{BoxXyxy, ClassIndex, DetTarget, RawDetection};
use serde_json::Value;

pub(in super::super) fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// A store filled by the case's recipe; `declare` builds the network once so that its parameters exist.
pub(in super::super) fn store<T>(
    case: &Case,
    declare: impl Fn(&ParamStore) -> care_nn::Result<T>,
) -> Result<ParamStore, String> {
    let store = ParamStore::new(Device::Cpu, 0);
    declare(&store).map_err(text)?;
    case.fill(&store)?;
    same_keys(case, &store)?;
    Ok(store)
}

/// The parameters are those of the reference, by name and shape. (Where the case lists none, nothing is
/// checked.)
pub(super) fn same_keys(case: &Case, store: &ParamStore) -> Result<(), String> {
    let prefix = case.json["weights"]["key_prefix"].as_str().unwrap_or_default();
    let got: Vec<String> =
        store.params().iter().map(|p| format!("{prefix}{} {:?}", p.name, p.shape())).collect();
    for key in case.json["keys"].as_array().into_iter().flatten() {
        let shape: Vec<usize> = numbers(&key[1]).into_iter().map(|d| d as usize).collect();
        let want = format!("{} {shape:?}", key[0].as_str().unwrap_or_default());
        if !got.contains(&want) {
            return Err(format!("the reference has a parameter {want}, the network has not"));
        }
    }
    Ok(())
}

pub(in super::super) fn count(v: &Value, name: &str) -> Result<usize, String> {
    v[name].as_u64().map(|n| n as usize).ok_or_else(|| format!("`{name}` is not a count"))
}

pub(super) fn neck_fpn(case: &Case) -> Result<(), String> {
    let c = &case.json["config"];
    let names = ["c2", "c3", "c4", "c5"];
    let levels: Vec<FeatureInfo> = names
        .iter()
        .zip(numbers(&c["in_channels"]))
        .zip([4, 8, 16, 32])
        .map(|((name, channels), stride)| FeatureInfo { name, channels: channels as usize, stride })
        .collect();
    let config = FpnConfig {
        out_channels: count(c, "out_channels")?,
        start_level: c["start_level"].as_u64().unwrap_or(0) as usize,
        num_outs: count(c, "num_outs")?,
        extra_levels: match c["add_extra_convs"].as_str() {
            Some("on_input") => ExtraLevels::OnInput,
            Some("on_output") => ExtraLevels::OnOutput,
            _ => ExtraLevels::MaxPool,
        },
        relu_before_extra_convs: c["relu_before_extra_convs"] == true,
        norm: NormKind::None,
    };
    let maps = names.iter().map(|n| Ok(case.input(n)?.nhwc())).collect::<Result<Vec<_>, String>>()?;
    let store = store(case, |s| Fpn::new(&s.root(Purpose::TRAIN), &config, &levels))?;
    for (name, purpose) in PURPOSES {
        let neck = Fpn::new(&store.root(purpose), &config, &levels).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        for (i, out) in neck.forward(&maps).map_err(text)?.iter().enumerate() {
            check.nhwc(&format!("p{}", i + config.start_level + 2), out);
        }
        check.finish()?;
    }
    Ok(())
}

/// Either dense head, by its forward pass.
type Forward = Box<dyn Fn(&[Tensor]) -> care_nn::Result<HeadOutputs>>;

fn dense_head_of(case: &Case, store: &ParamStore, purpose: Purpose) -> care_nn::Result<Forward> {
    let c = &case.json["config"];
    let number = |name: &str| count(c, name).map_err(care_nn::Error::internal);
    let (ci, width, b) = (number("in_channels")?, number("feat_channels")?, store.root(purpose));
    if c["type"] == "RPNHead" {
        let head = RpnHead::new(&b, ci, width, AnchorConfig::rpn().per_cell())?;
        return Ok(Box::new(move |levels| head.forward(levels)));
    }
    let config = RetinaHeadConfig {
        stacked_convs: number("stacked_convs")?,
        feat_channels: width,
        ..RetinaHeadConfig::default()
    };
    let head =
        RetinaHead::new(&b, &config, ci, AnchorConfig::retinanet().per_cell(), number("num_classes")?)?;
    Ok(Box::new(move |levels| head.forward(levels)))
}

pub(super) fn dense_head(case: &Case) -> Result<(), String> {
    let levels = case.json["recipe_inputs"].as_object().map_or(0, |o| o.len());
    let maps = (0..levels)
        .map(|i| Ok(case.input(&format!("feat{i}"))?.nhwc()))
        .collect::<Result<Vec<_>, String>>()?;
    let store = store(case, |s| dense_head_of(case, s, Purpose::TRAIN))?;
    for (name, purpose) in PURPOSES {
        let head = dense_head_of(case, &store, purpose).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        check_outputs(&mut check, &head(&maps).map_err(text)?);
        check.finish()?;
    }
    Ok(())
}

fn check_outputs(check: &mut Checker<'_>, outputs: &HeadOutputs) {
    for (i, (logits, deltas)) in outputs.logits.iter().zip(&outputs.deltas).enumerate() {
        check.nhwc(&format!("cls_score{i}"), logits);
        check.nhwc(&format!("bbox_pred{i}"), deltas);
    }
}

pub(super) fn stored_outputs(case: &Case) -> Result<HeadOutputs, String> {
    let maps = |name: &str| {
        (0..5).map(|i| Ok(case.input(&format!("{name}{i}"))?.nhwc())).collect::<Result<Vec<_>, String>>()
    };
    Ok(HeadOutputs { logits: maps("cls_score")?, deltas: maps("bbox_pred")? })
}

pub(in super::super) fn image_info(meta: &Value) -> ImageInfo {
    let scale = numbers(&meta["scale_factor"]);
    let scale = if scale.is_empty() { (1.0, 1.0) } else { (scale[0], scale[1]) };
    ImageInfo { valid: size(&meta["img_shape"]), padded: size(&meta["pad_shape"]), scale }
}

/// The division of `Geometry::to_original`.
pub(super) fn original(d: &RawDetection, (sw, sh): (f64, f64)) -> BoxXyxy {
    let over = |v: f32, by: f64| (f64::from(v) / by) as f32;
    BoxXyxy::new(over(d.bbox.x0, sw), over(d.bbox.y0, sh), over(d.bbox.x1, sw), over(d.bbox.y1, sh))
}

pub(super) fn retina_predict(case: &Case) -> Result<(), String> {
    let t = &case.json["test_cfg"];
    let number = |name: &str| t[name].as_f64().ok_or_else(|| format!("`{name}` is not a number"));
    let config = SelectConfig {
        score_threshold: number("score_thr")? as f32,
        nms_pre: count(t, "nms_pre")?,
        nms_iou: number("nms_iou")? as f32,
        max_per_image: count(t, "max_per_img")?,
        min_box_size: number("min_bbox_size")? as f32,
    };
    let anchors = AnchorGenerator::new(&AnchorConfig::retinanet()).map_err(text)?;
    let num_classes = case.usize("num_classes")?;
    let select = DenseSelect { anchors, coder: BoxCoder::UNIT, config, num_classes };
    let outputs = stored_outputs(case)?;
    let metas = case.json["metas"].as_array().cloned().unwrap_or_default();
    let mut check = Checker::new(case);
    for (suffix, rescale) in [("", true), ("_noscale", false)] {
        let mut info: Vec<ImageInfo> = metas.iter().map(image_info).collect();
        if !rescale {
            info.iter_mut().for_each(|i| i.scale = (1.0, 1.0));
        }
        for (i, found) in select.detections(&outputs, &info).map_err(text)?.iter().enumerate() {
            let boxes: Vec<f32> = found.iter().flat_map(|d| original(d, info[i].scale).to_array()).collect();
            let scores: Vec<f32> = found.iter().map(|d| d.score).collect();
            let labels: Vec<i64> = found.iter().map(|d| d.class.0 as i64).collect();
            check.values(&format!("bboxes{suffix}/{i}"), &[found.len(), 4], &boxes);
            check.values(&format!("scores{suffix}/{i}"), &[found.len()], &scores);
            check.integers(&format!("labels{suffix}/{i}"), &labels);
        }
    }
    check.finish()
}

pub(super) fn retina_loss(case: &Case) -> Result<(), String> {
    let outputs = match case.json["inputs_from"].as_str() {
        None => stored_outputs(case)?,
        Some(name) => {
            let manifest = Manifest::read(&case.root)?;
            stored_outputs(
                manifest.cases.iter().find(|c| c.name == name).ok_or("inputs_from names no case")?,
            )?
        }
    };
    let metas = case.json["metas"].as_array().cloned().unwrap_or_default();
    let info: Vec<ImageInfo> = metas.iter().map(image_info).collect();
    let target = |i: usize| -> Result<DetTarget, String> {
        let mut target = DetTarget::default();
        let labels = case.input(&format!("gt_labels/{i}"))?.i64();
        for (bbox, label) in boxes(case, &format!("gt_bboxes/{i}"))?.into_iter().zip(labels) {
            target.push(bbox, ClassIndex(label as usize), false, None);
        }
        Ok(target)
    };
    let targets = (0..info.len()).map(target).collect::<Result<Vec<_>, _>>()?;
    let loss = DenseLoss {
        anchors: AnchorGenerator::new(&AnchorConfig::retinanet()).map_err(text)?,
        coder: BoxCoder::UNIT,
        matcher: Matcher::RETINANET,
        config: DenseLossConfig { bbox: box_loss(&case.json["loss_bbox"])?, ..DenseLossConfig::default() },
        num_classes: case.usize("num_classes")?,
    };
    let mut check = Checker::new(case);
    check_loss(&mut check, case, &loss, &outputs, &targets, &info).map_err(text)?;
    check.finish()
}

fn check_loss(
    check: &mut Checker<'_>,
    case: &Case,
    loss: &DenseLoss,
    outputs: &HeadOutputs,
    targets: &[DetTarget],
    info: &[ImageInfo],
) -> care_nn::Result<()> {
    let vars = |maps: &[Tensor]| maps.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>();
    let (logits, deltas) = (vars(&outputs.logits)?, vars(&outputs.deltas)?);
    let tensors = |vars: &[Var]| vars.iter().map(|v| v.as_tensor().clone()).collect();
    let tracked = HeadOutputs { logits: tensors(&logits), deltas: tensors(&deltas) };
    let levels = loss.by_level(&tracked, targets, info)?;
    let stack =
        |part: fn(&LevelLoss) -> &Tensor| Tensor::stack(&levels.iter().map(part).collect::<Vec<_>>(), 0);
    let (cls, bbox) = (stack(|l| &l.cls)?, stack(|l| &l.bbox)?);
    let total = (cls.sum_all()? + bbox.sum_all()?)?;
    check.tensor("loss_cls", &cls);
    check.tensor("loss_bbox", &bbox);
    check.tensor("total", &total);
    let grads = total.backward()?;
    for (prefix, vars) in [("grad_cls_score", &logits), ("grad_bbox_pred", &deltas)] {
        for (i, var) in vars.iter().enumerate().filter(|(i, _)| case.has(&format!("{prefix}{i}"))) {
            let grad = grads.get(var).ok_or_else(|| care_nn::Error::internal(format!("no {prefix}{i}")))?;
            check.nhwc(&format!("{prefix}{i}"), grad);
        }
    }
    Ok(())
}

pub(in super::super) fn retinanet_config(case: &Case) -> Result<RetinaNetConfig, String> {
    let backbone = &case.json["backbone"];
    let named = serde_json::json!({"model": backbone});
    let (care, _) =
        if backbone.is_string() { care::config_of(&named)? } else { care::free_config(backbone)? };
    let mut config = RetinaNetConfig::new(BackboneConfig::Care(care), case.usize("num_classes")?);
    config.neck.out_channels = case.usize("fpn_out_channels")?;
    config.head.feat_channels = config.neck.out_channels;
    Ok(config)
}

pub(super) fn e2e_det(case: &Case) -> Result<(), String> {
    if case.json["model"] != "retinanet" {
        return Err(format!("no runner for model {}", case.json["model"]));
    }
    let config = retinanet_config(case)?;
    let store = store(case, |s| RetinaNet::new(&s.root(Purpose::TRAIN), &config))?;
    let images =
        Images::new(case.input("input")?.nhwc(), vec![image_info(&case.json["meta"])]).map_err(text)?;
    for (name, purpose) in PURPOSES {
        let net = RetinaNet::new(&store.root(purpose), &config).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        let (levels, outputs) = net.forward(&images.pixels).map_err(text)?;
        for (i, level) in levels.iter().enumerate() {
            check.nhwc(&format!("p{}", i + 3), level);
        }
        check_outputs(&mut check, &outputs);
        let found = net.detect(&images).map_err(text)?;
        match_detections(&mut check, case, &found[0], images.info[0].scale)?;
        check.finish()?;
    }
    Ok(())
}

/// In original pixels.
const MAX_CORNER_OFFSET: f32 = 0.05;

fn same_corners(a: &BoxXyxy, b: &BoxXyxy) -> bool {
    let offsets = [a.x0 - b.x0, a.y0 - b.y0, a.x1 - b.x1, a.y1 - b.y1];
    offsets.iter().all(|offset| offset.abs() <= MAX_CORNER_OFFSET) // not for NaN
}

/// Every detection by label, |score difference| < 1e-3 and with corners within 0.05 px, also with Winograd's convolutions. (The set's own rule asks for an IoU
/// above .99 and 95 % of them.)
pub(super) fn match_detections(
    check: &mut Checker<'_>,
    case: &Case,
    found: &[RawDetection],
    scale: (f64, f64),
) -> Result<(), String> {
    let want_boxes = boxes(case, "bboxes")?;
    let (want_scores, want_labels) = (case.input("scores")?.f32(), case.input("labels")?.i64());
    let mut free: Vec<&RawDetection> = found.iter().collect();
    let mut matched = 0;
    for ((bbox, score), label) in want_boxes.iter().zip(want_scores).zip(want_labels) {
        let same = |d: &&RawDetection| {
            d.class.0 as i64 == label
                && (d.score - score).abs() < 1e-3
                && same_corners(&original(d, scale), bbox)
        };
        if let Some(i) = free.iter().position(same) {
            free.remove(i);
            matched += 1;
        }
    }
    let all = want_boxes.len().max(found.len());
    if matched < all {
        let (want, got) = (want_boxes.len(), found.len());
        check.fail(f64::INFINITY, format!("detections: {matched} match, of {want} expected and {got} found"));
    }
    ["bboxes", "scores", "labels"].iter().for_each(|name| check.compared_otherwise(name));
    Ok(())
}
