//! Panoptic quality of many small sets in one process, for comparison with other tools:
//!
//! `cargo run --release -p care-map --example panoptic < jobs.txt`
//!
//! A job is a line of JSON: `{"categories": [{"id", "name", "isthing"}, …], "pictures": [{"image_id", "truth": {"rgb":
//! [R, G, B, R, …], "segments_info": [{"id", "category_id", "iscrowd"}, …]}, "prediction": {…}}, …]}`; the answer is a
//! line with the figures, or `{"error": …}`.
use care_map::panoptic::{Categories, PanopticQuality, PictureId, Segment, SegmentMap, ids_from_rgb};
use care_map::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use std::io::{BufRead, Write};

#[derive(Deserialize)]
struct Job {
    categories: Categories,
    pictures: Vec<Picture>,
}

#[derive(Deserialize)]
struct Picture {
    image_id: PictureId,
    truth: Side,
    prediction: Side,
}

#[derive(Deserialize)]
struct Side {
    rgb: Vec<u8>,
    segments_info: Vec<Segment>,
}

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        match run(&line?) {
            Ok(quality) => writeln!(out, "{}", json!(quality.summary()))?,
            Err(e) => {
                writeln!(out, "{}", json!({"error": e.to_string(), "kind": format!("{:?}", e.kind())}))?
            }
        }
    }
    Ok(())
}

/// Every second picture goes into a part of its own, which is merged at the end.
fn run(line: &str) -> Result<PanopticQuality> {
    let job: Job = serde_json::from_str(line).map_err(|e| Error::config(format!("job: {e}")))?;
    let new = || PanopticQuality::new(job.categories.clone());
    let mut parts = [new(), new()];
    for (n, picture) in job.pictures.iter().enumerate() {
        let ids = [ids_from_rgb(&picture.truth.rgb)?, ids_from_rgb(&picture.prediction.rgb)?];
        let truth = SegmentMap { ids: &ids[0], segments: &picture.truth.segments_info };
        let prediction = SegmentMap { ids: &ids[1], segments: &picture.prediction.segments_info };
        parts[n % 2].add(&picture.image_id, truth, prediction)?;
    }
    let [mut first, second] = parts;
    first.merge(&second)?;
    Ok(first)
}
