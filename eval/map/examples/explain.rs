//! Explains many pairs of files in one process, for comparison with other tools:
//!
//! `cargo run --release -p care-map --example explain < jobs.txt`
//!
//! A job is a line of JSON: `{"gt": FILE, "dt": FILE, "iou_type": "bbox" | "segm", "params": {…}, "iou": …, "score": …,
//! "background_iou": …, "bins": …}`, the last five optional; the answer is a line with all analyses, or `{"error": …}`.
use care_map::explain::{Explanation, Options, explain};
use care_map::{Params, Result};
use care_types::coco_json::{read_dataset, read_results};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        match run(&line?) {
            Ok(explanation) => writeln!(out, "{}", json!(explanation))?,
            Err(e) => {
                writeln!(out, "{}", json!({"error": e.to_string(), "kind": format!("{:?}", e.kind())}))?
            }
        }
    }
    Ok(())
}

fn run(line: &str) -> Result<Explanation> {
    let bad = |e: serde_json::Error| care_map::Error::config(format!("job: {e}"));
    let job: Value = serde_json::from_str(line).map_err(bad)?;
    let path = |key: &str| Path::new(job[key].as_str().unwrap_or_default()).to_path_buf();
    let params = if job["params"].is_null() { "{}".to_string() } else { job["params"].to_string() };
    let params = Params::from_json(params.as_bytes(), job["iou_type"].as_str().unwrap_or("bbox").parse()?)?;
    let usual = Options::default();
    let options = Options {
        iou: job["iou"].as_f64().unwrap_or(usual.iou),
        score: job["score"].as_f64(),
        background_iou: job["background_iou"].as_f64().unwrap_or(usual.background_iou),
        bins: job["bins"].as_u64().map_or(usual.bins, |n| n as usize),
    };
    explain(&read_dataset(&path("gt"))?, &read_results(&path("dt"))?, &params, &options)
}
