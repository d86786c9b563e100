//! Charts and pictures of a training run: redrawn after every evaluation, from what is in the folder.

use care_engine::evaluate::EvalData;
use care_engine::run_dir::{METRICS, RunDir};
use care_engine::train::{MetricsLine, Validation};
use care_engine::{Error, Result};
use care_report::{Chart, Series, line_chart_svg, mosaic, side_by_side};
use care_types::coco_json::ResultRecord;
use care_types::{DetTarget, Detection, LabelMap};
use std::fs;

/// Points of a chart, at most: more cannot be told apart.
const POINTS: usize = 400;
/// Pictures in the mosaic.
const TILES: usize = 8;
/// Width of one of them, pixels.
const TILE_WIDTH: u32 = 640;
/// Detections below this are not drawn: 0.05, the usual threshold for scoring, would cover the picture.
const SHOWN_SCORE: f32 = 0.3;
/// Of the JPEG.
const QUALITY: u8 = 88;

/// `loss.svg` and `ap.svg` from `metrics.jsonl`.
pub fn charts(dir: &RunDir) -> Result<()> {
    let text = fs::read_to_string(dir.file(METRICS)).map_err(|e| failed(dir, METRICS, &e))?;
    let lines: Vec<MetricsLine> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let (mut train, mut val, mut ap, mut ap50) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for line in &lines {
        match line {
            MetricsLine::Step { step, loss, .. } => train.push((*step as f64, *loss)),
            MetricsLine::Validation { step, val_loss, val: figures, .. } => {
                let at = *step as f64;
                val.push((at, *val_loss));
                for (name, points) in [("AP", &mut ap), ("AP50", &mut ap50)] {
                    points.extend(figures.get(name).map(|v| (at, *v)));
                }
            }
        }
    }
    let series = |name: &str, points: Vec<(f64, f64)>| Series { name: name.to_owned(), points };
    let chart = |title: &str, y: &str, series: Vec<Series>| {
        line_chart_svg(&Chart { title: title.into(), x_label: "step".into(), y_label: y.into(), series })
    };
    let losses = chart("Loss", "loss", vec![series("training", thinned(&train)), series("validation", val)]);
    let scores = chart("Validation", "AP", vec![series("AP", ap), series("AP50", ap50)]);
    for (name, svg) in [("loss.svg", losses), ("ap.svg", scores)] {
        fs::write(dir.file(name), svg).map_err(|e| failed(dir, name, &e))?;
    }
    Ok(())
}

/// Means of consecutive points, so that at most [`POINTS`] are left.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(POINTS).max(1);
    let mean = |part: &[(f64, f64)]| {
        let sum = part.iter().fold((0.0, 0.0), |s, p| (s.0 + p.0, s.1 + p.1));
        (sum.0 / part.len() as f64, sum.1 / part.len() as f64)
    };
    points.chunks(size).map(mean).collect()
}

fn failed(dir: &RunDir, name: &str, e: &dyn std::fmt::Display) -> Error {
    Error::config(format!("{}: {e}", dir.file(name).display()))
}

/// `predictions.jpg`: pictures of the validation part, what is there on the left, what is found on the right.
pub fn predictions(dir: &RunDir, data: &EvalData, validation: &Validation) -> Result<()> {
    let mut tiles = Vec::new();
    for &position in &spread(&validation.positions) {
        // pictures that cannot be read are reported with the scores
        let Ok(example) = data.pictures().example(position) else { continue };
        let id = data.image(position).0;
        let records = validation.boxes.iter().filter(|r| r.image_id == id);
        let found: Vec<Detection> = records.filter_map(|r| detection(r, data.labels())).collect();
        tiles.push(side_by_side(&example.picture, &truth(&example.target), &found, data.labels()));
    }
    let name = "predictions.jpg";
    let encoded = jpeg(&mosaic(&tiles, 2, TILE_WIDTH)).map_err(|e| failed(dir, name, &e))?;
    fs::write(dir.file(name), encoded).map_err(|e| failed(dir, name, &e))
}

/// A few positions, evenly over the part.
fn spread(positions: &[usize]) -> Vec<usize> {
    let count = TILES.min(positions.len());
    (0..count).map(|k| positions[k * positions.len() / count]).collect()
}

fn truth(target: &DetTarget) -> Vec<Detection> {
    let one =
        |k: usize| Detection { class: target.classes[k], score: 1.0, bbox: target.boxes[k], mask: None };
    (0..target.len()).filter(|&k| !target.ignore[k]).map(one).collect()
}

fn detection(record: &ResultRecord, labels: &LabelMap) -> Option<Detection> {
    let score = record.score as f32;
    let bbox = care_types::xyxy_from_xywh(record.bbox?);
    let class = labels.index_of_id(record.category_id)?;
    (score >= SHOWN_SCORE).then_some(Detection { class, score, bbox, mask: None })
}

fn jpeg(picture: &image::RgbImage) -> image::ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture)?;
    Ok(bytes)
}
