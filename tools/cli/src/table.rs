//! Metrics as text: the table people know from pycocotools, the funnel under it, and a table per category.

use care_map::{Benchmark, CocoMetrics, Funnel, IouType};
use std::fmt::Write;

/// The whole text for one kind of comparison.
pub fn metrics_text(metrics: &CocoMetrics, per_category: bool) -> String {
    let mut text = format!("{}\n", title(metrics));
    text += &stats_text(&metrics.stats, metrics);
    if let Some(stats) = &metrics.pycocotools_stats {
        text += "annotation ids that pycocotools stumbles over (0, or used twice): it would print\n";
        text += &stats_text(stats, metrics);
    }
    text += &funnel_text(&metrics.funnel);
    if per_category {
        text += &category_text(metrics);
    }
    text
}

fn title(metrics: &CocoMetrics) -> String {
    let protocol = &metrics.protocol;
    let what = match protocol.iou_type {
        IouType::Bbox => "COCO boxes (bbox)",
        IouType::Segm => "COCO masks (segm)",
        IouType::Keypoints => "COCO keypoints (keypoints)",
        IouType::Boundary => "COCO masks by their boundaries (boundary)",
    };
    let what = match protocol.benchmark {
        Benchmark::Coco => what.to_owned(),
        Benchmark::Lvis => what.replace("COCO", "LVIS"),
    };
    let mut notes = Vec::new();
    if !protocol.standard {
        notes.push("not the standard evaluation: parameters or pictures were chosen");
    }
    if protocol.pycocotools_quirks {
        notes.push("with pycocotools' quirks");
    }
    if notes.is_empty() { what } else { format!("{what}, {}", notes.join(", ")) }
}

fn stats_text(stats: &[f64], metrics: &CocoMetrics) -> String {
    let thresholds = &metrics.protocol.iou_thrs;
    let range = match (thresholds.first(), thresholds.last()) {
        (Some(first), Some(last)) => format!("{first:.2}:{last:.2}"),
        _ => String::new(),
    };
    let mut text = String::new();
    for (figure, value) in metrics.protocol.figures().iter().zip(stats) {
        let (name, short) =
            if figure.precision { ("Average Precision", "(AP)") } else { ("Average Recall", "(AR)") };
        let iou = figure.iou.map_or_else(|| range.clone(), |t| format!("{t:.2}"));
        let (area, max_dets) = (figure.area, figure.dets.of(&metrics.max_dets));
        let cats = figure.frequency.map_or(String::new(), |f| format!(" | categories={}", f.letter()));
        let _ = writeln!(
            text,
            " {name:<18} {short} @[ IoU={iou:<9} | area={area:>6} | maxDets={max_dets:>3}{cats} ] = {value:.3}"
        );
    }
    text
}

/// What went in and what was dropped; zeros that say nothing are left out.
fn funnel_text(funnel: &Funnel) -> String {
    let (images, truths, found) = (&funnel.images, &funnel.annotations, &funnel.detections);
    let mut text = String::new();
    let mut line = |what: &str, used: usize, of: usize, notes: &[(usize, &str)]| {
        let notes: Vec<String> =
            notes.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}")).collect();
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        let _ = writeln!(text, " {what:<10} {used} of {of} used{notes}");
    };
    line(
        "images",
        images.evaluated - images.failed,
        images.in_ground_truth,
        &[
            (images.not_selected, "not selected"),
            (images.failed, "failed, scored as finding nothing"),
            (images.without_objects, "without objects"),
            (images.without_detections, "without detections"),
        ],
    );
    line(
        "objects",
        truths.evaluated,
        truths.in_ground_truth,
        &[
            (truths.not_selected, "not selected"),
            (truths.unknown_image, "of an unknown image"),
            (truths.unknown_category, "of an unknown category"),
            (truths.crowd, "crowds, which count neither way"),
            (truths.ignore_flag_without_effect, "marked ignore, which COCO does not look at"),
            (truths.area_missing, "without area, taken from box or mask"),
            (truths.duplicate_ids, "with an id that is used twice"),
            (truths.id_zero, "with id 0"),
        ],
    );
    line(
        "detections",
        found.used,
        found.in_results,
        &[
            (found.not_selected, "not selected"),
            (found.unknown_category, "of an unknown category"),
            (found.beyond_max_dets, "beyond maxDets"),
            (found.negative_size, "with a negative width or height, which overlap nothing"),
        ],
    );
    text
}

fn category_text(metrics: &CocoMetrics) -> String {
    let width = metrics.per_category.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(8);
    let mut text = format!(" {:>6} {:<width$} {:>7} {:>7} {:>7}\n", "id", "category", "AP", "AP50", "AR");
    for c in &metrics.per_category {
        let _ = writeln!(
            text,
            " {:>6} {:<width$} {:>7.3} {:>7.3} {:>7.3}",
            c.id.to_string(),
            c.name,
            c.ap,
            c.ap50,
            c.ar100
        );
    }
    text
}
