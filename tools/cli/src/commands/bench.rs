//! `bench`: one line of JSON (or a small table) with the cost of a pass.

use crate::args::Bench;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use care_engine::bench::{self, Request};
use care_engine::{Conv3x3, machine};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Serialize)]
struct Line {
    model: String,
    size: [usize; 2],
    batch: usize,
    threads: usize,
    repeat: usize,
    train: bool,
    isa: String,
    conv3x3: &'static str,
    cpu_ms: Option<f64>,
    wall_ms: f64,
    peak_mb: Option<f64>,
    share_percent: BTreeMap<&'static str, f64>,
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for a model or a size that there is not.
pub fn run(args: Bench, console: Console) -> Result<Exit, Failure> {
    let (height, width) = args.size;
    let conv3x3 = if args.direct { Conv3x3::Direct } else { Conv3x3::Winograd };
    let request = Request {
        model: args.model,
        height,
        width,
        batch: usize::from(args.batch),
        repeat: usize::from(args.repeat),
        train: args.train,
        conv3x3,
    };
    let cost = bench::run(&request).map_err(as_usage)?;
    let line = Line {
        isa: machine::instruction_set()?,
        threads: rayon::current_num_threads(),
        conv3x3: if args.direct { "direct" } else { "winograd" },
        size: [height, width],
        batch: request.batch,
        repeat: request.repeat,
        train: request.train,
        cpu_ms: cost.cpu_ms,
        wall_ms: cost.wall_ms,
        peak_mb: cost.peak_mb,
        share_percent: cost.shares.iter().copied().collect(),
        model: request.model,
    };
    console.text(&text(&line, &cost.shares))?;
    console.json(&line)?;
    Ok(Exit::Ok)
}

/// The only input is the command line, so whatever is wrong with it is a usage error.
fn as_usage(e: care_engine::Error) -> Failure {
    match e.kind() {
        care_engine::ErrorKind::Input => Failure::usage(e),
        _ => Failure::from(e),
    }
}

fn text(line: &Line, shares: &[(&'static str, f64)]) -> String {
    let what = if line.train { "training step" } else { "pass" };
    let or_unknown = |v: Option<f64>, unit| v.map_or("unknown".to_owned(), |v| format!("{v:.1} {unit}"));
    let mut text = format!(
        "{} {}x{} batch {}, {} threads, {}: {} CPU, {:.1} ms wall per {what} (median of {}), peak {}\n",
        line.model,
        line.size[0],
        line.size[1],
        line.batch,
        line.threads,
        line.isa,
        or_unknown(line.cpu_ms, "ms"),
        line.wall_ms,
        line.repeat,
        or_unknown(line.peak_mb, "MB"),
    );
    for (phase, percent) in shares {
        let _ = writeln!(text, "  {phase:<12} {percent:5.1} %");
    }
    text
}
