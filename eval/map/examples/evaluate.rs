//! Evaluates many pairs of files in one process, for comparison with another evaluator:
//!
//! `cargo run --release -p care-map --example evaluate < jobs.txt`
//!
//! A job is a line of JSON: `{"gt": FILE, "dt": FILE, "iou_type": "bbox" | "segm" | "keypoints" |
//! "boundary", "benchmark": "coco" | "lvis", "quirks": bool, "params": {…}}`; the
//! answer is a line with the figures and, unless `"curves": false`, the arrays behind them, or `{"error": …}`. With `"both": true` it is an error
//! if `evaluate` gives other figures than `evaluate_files`.
use care_map::{Benchmark, CocoMetrics, Error, Params, Result, evaluate, evaluate_files};
use care_types::coco_json::{read_dataset, read_results};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let answer = match run(&line?) {
            Ok((m, false)) => json!({"metrics": m}),
            Ok((m, true)) => {
                let curves = json!({"precision": m.curves.precision, "recall": m.curves.recall, "scores": m.curves.scores});
                json!({"metrics": m, "curves": curves})
            }
            Err(e) => json!({"error": e.to_string(), "kind": format!("{:?}", e.kind())}),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

/// The metrics, and whether the arrays are asked for.
fn run(line: &str) -> Result<(CocoMetrics, bool)> {
    let bad = |e: serde_json::Error| Error::config(format!("job: {e}"));
    let job: Value = serde_json::from_str(line).map_err(bad)?;
    let path = |key: &str| Path::new(job[key].as_str().unwrap_or_default()).to_path_buf();
    let params = if job["params"].is_null() { "{}".to_string() } else { job["params"].to_string() };
    let kind = job["iou_type"].as_str().unwrap_or("bbox").parse()?;
    let base = match job["benchmark"].as_str().unwrap_or("coco").parse()? {
        Benchmark::Coco => Params::new(kind),
        Benchmark::Lvis => Params::lvis(kind),
    };
    let mut params = base.with_json(params.as_bytes())?;
    params.quirks = job["quirks"].as_bool().unwrap_or(false);
    let metrics = evaluate_files(&path("gt"), &path("dt"), &params)?;
    if job["both"] == true
        && metrics != evaluate(&read_dataset(&path("gt"))?, &read_results(&path("dt"))?, &params)?
    {
        return Err(Error::internal("evaluate_files and evaluate differ"));
    }
    Ok((metrics, job["curves"].as_bool().unwrap_or(true)))
}
