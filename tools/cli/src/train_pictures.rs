//! Charts and pictures of a training run: redrawn after every evaluation, from what is in the folder.

use care_engine::evaluate::EvalData;
use care_engine::run_dir::{METRICS, RunDir};
use care_engine::segment::SegData;
use care_engine::train::{MetricsLine, Scores, ValData, Validation};
use care_engine::{Error, Result};
use care_report::{Chart, Series, beside, line_chart_svg, mosaic, scene_overlay, side_by_side};
use care_types::coco_json::ResultRecord;
use care_types::{DetTarget, Detection, LabelMap, SegTarget, Size};
use image::RgbImage;
use std::collections::BTreeMap;
use std::fs;

/// Points of a chart, at most: more cannot be told apart.
const POINTS: usize = 400;
/// Pictures in the mosaic.
const TILES: usize = 8;
/// Width of one of them, pixels.
const TILE_WIDTH: u32 = 640;
/// Detections below this are not drawn: 0.05, the usual threshold for scoring, would cover the picture.
const SHOWN_SCORE: f32 = 0.3;
/// Share of the class colours in label maps.
const SCENE_OPACITY: f32 = 0.6;
/// Of the JPEG.
const QUALITY: u8 = 88;

/// `loss.svg` and `ap.svg` from `metrics.jsonl`.
pub fn charts(dir: &RunDir) -> Result<()> {
    let text = fs::read_to_string(dir.file(METRICS)).map_err(|e| failed(dir, METRICS, &e))?;
    let lines: Vec<MetricsLine> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let (mut train, mut val) = (Vec::new(), Vec::new());
    let mut scores = ["AP", "AP50", "segm_AP", "segm_AP50", "mIoU", "aAcc"].map(|name| (name, Vec::new()));
    for line in &lines {
        match line {
            MetricsLine::Step { step, loss, .. } => train.push((*step as f64, *loss)),
            MetricsLine::Validation { step, val_loss, val: figures, .. } => {
                let at = *step as f64;
                val.push((at, *val_loss));
                for (name, points) in &mut scores {
                    points.extend(figures.get(*name).map(|v| (at, *v)));
                }
            }
        }
    }
    let series = |name: &str, points: Vec<(f64, f64)>| Series { name: name.to_owned(), points };
    let chart = |title: &str, y: &str, series: Vec<Series>| {
        line_chart_svg(&Chart { title: title.into(), x_label: "step".into(), y_label: y.into(), series })
    };
    let losses = chart("Loss", "loss", vec![series("training", thinned(&train)), series("validation", val)]);
    let names = [("segm_AP", "mask AP"), ("segm_AP50", "mask AP50")];
    let shown = |name| names.iter().find(|n| n.0 == name).map_or(name, |n| n.1);
    let curves = scores.into_iter().filter(|(_, points)| !points.is_empty());
    let curves = curves.map(|(name, points)| series(shown(name), points)).collect();
    let scores = chart("Validation", "score", curves);
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
pub fn predictions(dir: &RunDir, data: &ValData, validation: &Validation) -> Result<()> {
    let tiles = match (data, &validation.scores) {
        (ValData::Objects(data), Scores::Objects { boxes, masks, .. }) => {
            object_tiles(data, &validation.positions, (boxes, masks))
        }
        (ValData::Labels(data), Scores::Labels { maps, .. }) => label_tiles(data, maps),
        _ => return Err(Error::internal("scores of another task than the data's")),
    };
    let name = "predictions.jpg";
    let encoded = jpeg(&mosaic(&tiles, 2, TILE_WIDTH)).map_err(|e| failed(dir, name, &e))?;
    fs::write(dir.file(name), encoded).map_err(|e| failed(dir, name, &e))
}

fn object_tiles(
    data: &EvalData,
    positions: &[usize],
    (boxes, masks): (&[ResultRecord], &[ResultRecord]),
) -> Vec<RgbImage> {
    let mut tiles = Vec::new();
    for &position in &spread(positions) {
        // pictures that cannot be read are reported with the scores
        let Ok(example) = data.pictures().example(position) else { continue };
        let id = data.image(position).0;
        let of_picture = |records: &[ResultRecord]| -> Vec<ResultRecord> {
            records.iter().filter(|r| r.image_id == id).cloned().collect()
        };
        let own_masks = of_picture(masks);
        let own_masks = own_masks.iter().map(Some).chain(std::iter::repeat(None));
        let found: Vec<Detection> = of_picture(boxes)
            .iter()
            .zip(own_masks)
            .filter_map(|(b, m)| detection(b, m, data.labels()))
            .collect();
        let truth = truth(&example.target, example.picture.dimensions(), !masks.is_empty());
        tiles.push(side_by_side(&example.picture, &truth, &found, data.labels()));
    }
    tiles
}

fn label_tiles(data: &SegData, maps: &BTreeMap<usize, SegTarget>) -> Vec<RgbImage> {
    let mut tiles = Vec::new();
    for (&position, map) in maps {
        let Ok(example) = data.pictures().example(position) else { continue };
        let half = |map: &SegTarget| scene_overlay(&example.picture, map, data.labels(), SCENE_OPACITY);
        tiles.push(beside([half(&example.target), half(map)], ["truth".to_owned(), "found".to_owned()]));
    }
    tiles
}

/// A few positions, evenly over the part.
fn spread(positions: &[usize]) -> Vec<usize> {
    let count = TILES.min(positions.len());
    (0..count).map(|k| positions[k * positions.len() / count]).collect()
}

fn truth(target: &DetTarget, (width, height): (u32, u32), with_masks: bool) -> Vec<Detection> {
    let mask = |k: usize| target.masks[k].as_ref()?.to_rle(Size { width, height }).ok();
    let one = |k: usize| Detection {
        class: target.classes[k],
        score: 1.0,
        bbox: target.boxes[k],
        mask: mask(k).filter(|_| with_masks),
    };
    (0..target.len()).filter(|&k| !target.ignore[k]).map(one).collect()
}

/// A box record and the mask record of the same detection.
fn detection(record: &ResultRecord, mask: Option<&ResultRecord>, labels: &LabelMap) -> Option<Detection> {
    let mask = mask.and_then(|r| r.segmentation.clone());
    let score = record.score as f32;
    let bbox = care_types::xyxy_from_xywh(record.bbox?);
    let class = labels.index_of_id(record.category_id)?;
    (score >= SHOWN_SCORE).then_some(Detection { class, score, bbox, mask })
}

fn jpeg(picture: &image::RgbImage) -> image::ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(picture)?;
    Ok(bytes)
}
