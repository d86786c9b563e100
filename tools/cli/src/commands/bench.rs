//! `bench`: one line of JSON (or a small table) with the cost of a pass, and how close each phase comes to what the processor can do.

use crate::args::Bench;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use care_engine::bench::{self, Request};
use care_engine::measure::{Cost, PhaseCost};
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
    /// Of a pass; the backward kernels of a training step are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    roofline: Option<Roofline>,
}

/// The arithmetic of a pass beside what the processor can do.
#[derive(Serialize)]
struct Roofline {
    /// Of one thread, measured.
    peak_gflops: f64,
    /// Of the whole pass.
    gmacs: f64,
    phases: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    cost: PhaseCost,
    gflops: f64,
    peak_percent: f64,
}

impl Roofline {
    fn of(cost: &Cost) -> Self {
        let peak_gflops = machine::peak_gflops();
        // Phases are in CPU time, a thread's; where the system tells only wall time all threads share it.
        let could =
            if cost.cpu_ms.is_some() { 1.0 } else { rayon::current_num_threads() as f64 } * peak_gflops;
        let row = |cost: PhaseCost| Row {
            cost,
            gflops: cost.gflops(),
            peak_percent: 100.0 * cost.gflops() / could,
        };
        let phases: Vec<Row> = cost.phases.iter().copied().chain([whole(&cost.phases)]).map(row).collect();
        Self { peak_gflops, gmacs: cost.phases.iter().map(|p| p.gmacs).sum(), phases }
    }
}

/// All phases together.
fn whole(phases: &[PhaseCost]) -> PhaseCost {
    let sum = |part: fn(&PhaseCost) -> f64| phases.iter().map(part).sum();
    PhaseCost { phase: "whole", ms: sum(|p| p.ms), percent: sum(|p| p.percent), gmacs: sum(|p| p.gmacs) }
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
        share_percent: cost.phases.iter().map(|p| (p.phase, p.percent)).collect(),
        roofline: (!request.train).then(|| Roofline::of(&cost)),
        model: request.model,
    };
    console.text(&text(&line, &cost.phases))?;
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

fn text(line: &Line, phases: &[PhaseCost]) -> String {
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
    match &line.roofline {
        Some(roofline) => text.push_str(&table(roofline)),
        None => {
            for p in phases {
                let _ = writeln!(text, "  {:<12} {:9.2} ms {:5.1} %", p.phase, p.ms, p.percent);
            }
        }
    }
    text
}

fn table(roofline: &Roofline) -> String {
    let mut text = format!(
        "  {:<12} {:>9} {:>7} {:>8} {:>9} {:>8}\n",
        "phase", "ms", "share", "GMACs", "GFLOP/s", "of peak"
    );
    for Row { cost, gflops, peak_percent } in &roofline.phases {
        let PhaseCost { phase, ms, percent, gmacs } = cost;
        let _ = writeln!(
            text,
            "  {phase:<12} {ms:9.2} {percent:6.1}% {gmacs:8.2} {gflops:9.1} {peak_percent:7.1}%"
        );
    }
    let _ = writeln!(
        text,
        "  (peak of one thread: {:.0} GFLOP/s, measured; times are CPU times of all threads; 3x3 convolutions count as direct ones, \
         so that Winograd's can exceed the peak)",
        roofline.peak_gflops
    );
    text
}
