//! Boxes without networks: anchors, coder, overlaps, assignment.

use care_golden::{Case, Checker};
use care_heads::anchors::{AnchorConfig, AnchorGenerator, Grid};
use care_heads::box_coder::BoxCoder;
use care_heads::iou::Overlap;
use care_heads::matcher::{Match, Matcher};
use care_types::{BoxXyxy, Size};
use serde_json::Value;

pub(in super::super) fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

/// (height, width) pairs are how mmdetection writes sizes.
pub(super) fn size(v: &Value) -> Size {
    let hw = numbers(v);
    Size { height: hw[0] as u32, width: hw[1] as u32 }
}

fn grids(v: &Value) -> Vec<Grid> {
    let grid = |v: &Value| Grid { height: size(v).height as usize, width: size(v).width as usize };
    v.as_array().into_iter().flatten().map(grid).collect()
}

pub(in super::super) fn boxes(case: &Case, name: &str) -> Result<Vec<BoxXyxy>, String> {
    Ok(case.input(name)?.boxes().into_iter().map(BoxXyxy::from).collect())
}

fn flat(boxes: impl IntoIterator<Item = BoxXyxy>) -> Vec<f32> {
    boxes.into_iter().flat_map(BoxXyxy::to_array).collect()
}

/// mmdetection's `AnchorGenerator` arguments; `scales: [8]` is one scale per octave of base 8.
pub(super) fn anchor_config(config: &Value) -> AnchorConfig {
    let strides = numbers(&config["strides"]).into_iter().map(|s| s as u32).collect();
    let scales = numbers(&config["scales"]);
    AnchorConfig {
        strides,
        ratios: numbers(&config["ratios"]),
        base_scale: config["octave_base_scale"].as_f64().unwrap_or_else(|| scales[0]),
        scales_per_octave: config["scales_per_octave"].as_u64().unwrap_or(1) as usize,
    }
}

pub(super) fn anchors(case: &Case) -> Result<(), String> {
    let config = anchor_config(&case.json["config"]);
    let generator = AnchorGenerator::new(&config).map_err(|e| e.to_string())?;
    let padded = size(&case.json["pad_shape_valid"]);
    let mut check = Checker::new(case);
    for (l, grid) in grids(&case.json["featmap_sizes"]).into_iter().enumerate() {
        let base = generator.base(l);
        check.values(&format!("base_anchors{l}"), &[base.len(), 4], &flat(base.iter().copied()));
        let all = generator.grid_anchors(l, grid);
        check.values(&format!("anchors{l}"), &[all.len(), 4], &flat(all.iter().copied()));
        let valid: Vec<i64> = generator.valid_flags(l, grid, padded).into_iter().map(i64::from).collect();
        check.integers(&format!("valid{l}"), &valid);
    }
    check.finish()
}

pub(super) fn box_coder(case: &Case) -> Result<(), String> {
    let list = |key: &str| -> [f32; 4] {
        let v = numbers(&case.json["config"][key]);
        std::array::from_fn(|i| v[i] as f32)
    };
    let coder = BoxCoder { means: list("target_means"), stds: list("target_stds") };
    let max = size(&case.json["max_shape"]);
    let (priors, gts) = (boxes(case, "priors")?, boxes(case, "gts")?);
    let mut check = Checker::new(case);
    let deltas: Vec<f32> = priors.iter().zip(&gts).flat_map(|(p, g)| coder.encode(p, g)).collect();
    check.values("deltas", &[priors.len(), 4], &deltas);
    let deltas_in = case.input("deltas_in")?.boxes();
    let decoded: Vec<BoxXyxy> = priors.iter().zip(&deltas_in).map(|(p, d)| coder.decode(p, *d)).collect();
    check.values("decoded", &[priors.len(), 4], &flat(decoded.iter().copied()));
    check.values("decoded_clipped", &[priors.len(), 4], &flat(decoded.iter().map(|b| b.clipped(max))));
    let multi = case.input("deltas_in_multi")?;
    let rows = multi.f32();
    let rows = rows.chunks_exact(multi.shape[1]);
    let decoded: Vec<BoxXyxy> =
        priors.iter().zip(rows).flat_map(|(p, d)| coder.decode_classes(p, d)).collect();
    check.values("decoded_multi", &multi.shape, &flat(decoded.iter().copied()));
    check.values("decoded_multi_clipped", &multi.shape, &flat(decoded.iter().map(|b| b.clipped(max))));
    check.finish()
}

pub(super) fn iou(case: &Case) -> Result<(), String> {
    let (a, b) = (boxes(case, "a")?, boxes(case, "b")?);
    let mut check = Checker::new(case);
    for (name, kind) in [("iou", Overlap::Iou), ("iof", Overlap::Iof), ("giou", Overlap::Giou)] {
        check.values(name, &[a.len(), b.len()], &kind.matrix(&a, &b));
    }
    check.finish()
}

fn matcher(config: &Value) -> Matcher {
    let number = |key: &str| config[key].as_f64().unwrap_or(0.0) as f32;
    let range = numbers(&config["neg_iou_thr"]);
    Matcher {
        pos_iou: number("pos_iou_thr"),
        neg_iou: if range.is_empty() {
            (0.0, number("neg_iou_thr"))
        } else {
            (range[0] as f32, range[1] as f32)
        },
        min_pos_iou: number("min_pos_iou"),
        match_low_quality: config["match_low_quality"].as_bool().unwrap_or(true),
        ignore_iof: Some(number("ignore_iof_thr")).filter(|&t| t > 0.0),
    }
}

fn priors(case: &Case) -> Result<Vec<BoxXyxy>, String> {
    if case.has("priors") {
        return boxes(case, "priors");
    }
    let from = &case.json["priors"];
    let config = match from["anchor_generator"].as_str() {
        Some("retina") => AnchorConfig::retinanet(),
        Some("rpn") => AnchorConfig::rpn(),
        other => return Err(format!("unknown anchor generator {other:?}")),
    };
    let generator = AnchorGenerator::new(&config).map_err(|e| e.to_string())?;
    let grids = grids(&from["featmap_sizes"]).into_iter().enumerate();
    Ok(grids.flat_map(|(level, grid)| generator.grid_anchors(level, grid)).collect())
}

pub(super) fn assigner(case: &Case) -> Result<(), String> {
    let objects = boxes(case, "gt_bboxes")?;
    let labels = case.input("gt_labels")?.i64();
    let name = "gt_bboxes_ignore";
    let ignore = if case.has(name) { boxes(case, name)? } else { Vec::new() };
    let got = matcher(&case.json["config"]).assign(&priors(case)?, &objects, &ignore);
    let index = |m: &Match| match m {
        Match::Ignore => -1,
        Match::Background => 0,
        Match::Object(i) => *i as i64 + 1,
    };
    let label = |m: &Match| if let Match::Object(i) = m { labels[*i] } else { -1 };
    let mut check = Checker::new(case);
    check.integers("gt_inds", &got.matches.iter().map(index).collect::<Vec<_>>());
    check.integers("labels", &got.matches.iter().map(label).collect::<Vec<_>>());
    check.values("max_overlaps", &[got.max_overlap.len()], &got.max_overlap);
    check.finish()
}
