//! Non-maximum suppression: plain, class-wise, and the RoI head's selection around it.

use super::Runner;
use care_golden::{Case, Checker};
use care_heads::ImageInfo;
use care_heads::select::{Candidate, SelectConfig, detections};
use care_kernels::nms::{batched_nms, nms};
use care_types::BoxXyxy;

pub(super) const RUNNERS: &[(&str, Runner)] = &[("nms", run)];

fn run(case: &Case) -> Result<(), String> {
    match (case.has("keep"), case.has("dets")) {
        (true, _) => keep(case),
        (_, true) => multiclass(case),
        _ => nothing(case),
    }
}

/// `keep`: indices in descending order of score, with `ids` class-wise.
fn keep(case: &Case) -> Result<(), String> {
    let (boxes, scores) = (case.input("boxes")?.boxes(), case.input("scores")?.f32());
    let threshold = case.f64("iou_threshold")? as f32;
    let kept = if case.has("ids") {
        let ids: Vec<u32> = case.input("ids")?.i64().into_iter().map(|id| id as u32).collect();
        batched_nms(&boxes, &scores, &ids, threshold)
    } else {
        nms(&boxes, &scores, threshold)
    };
    let mut check = Checker::new(case);
    check.integers("keep", &kept.into_iter().map(|i| i as i64).collect::<Vec<_>>());
    check.finish()
}

/// Scores `[n, classes + 1]` (the last is the background), boxes `[n, classes · 4]`.
fn multiclass(case: &Case) -> Result<(), String> {
    let (boxes, scores) = (case.input("boxes")?, case.input("scores")?);
    let classes = scores.shape[1] - 1;
    let (boxes, scores) = (boxes.f32(), scores.f32());
    let config = config(case)?;
    let mut candidates = Vec::new();
    for (of_box, scores) in boxes.chunks_exact(4 * classes).zip(scores.chunks_exact(classes + 1)) {
        for (class, (b, &score)) in of_box.chunks_exact(4).zip(scores).enumerate() {
            if score > config.score_threshold {
                candidates.push(Candidate { bbox: BoxXyxy::from([b[0], b[1], b[2], b[3]]), score, class });
            }
        }
    }
    let found = detections(&candidates, &ImageInfo::whole(1, 1), &config);
    let rows: Vec<f32> = found.iter().flat_map(|d| [&d.bbox.to_array()[..], &[d.score]].concat()).collect();
    let mut check = Checker::new(case);
    check.values("dets", &[found.len(), 5], &rows);
    check.integers("labels", &found.iter().map(|d| d.class.0 as i64).collect::<Vec<_>>());
    check.finish()
}

/// No candidate at all is not an error.
fn nothing(case: &Case) -> Result<(), String> {
    let found = detections(&[], &ImageInfo::whole(1, 1), &config(case)?).len()
        + batched_nms(&[], &[], &[], 0.5).len();
    if found == case.usize("kept")? { Ok(()) } else { Err(format!("{found} detections out of nothing")) }
}

fn config(case: &Case) -> Result<SelectConfig, String> {
    Ok(SelectConfig {
        score_threshold: case.f64("score_thr")? as f32,
        nms_pre: usize::MAX,
        nms_iou: case.f64("iou_threshold")? as f32,
        max_per_image: case.usize("max_per_img").unwrap_or(100),
        min_box_size: f32::NEG_INFINITY, // the RoI head keeps boxes of any size
    })
}
