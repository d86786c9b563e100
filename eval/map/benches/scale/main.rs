//! From files to the twelve figures at the size of COCO val2017, beside hotcoco: CPU seconds, wall seconds, peak memory.
//!
//! `cargo bench -p care-map --bench scale [-- --rounds 5] [-- --write DIR] [-- --from DIR]`
//!
//! Each run is a process of its own; rounds are interleaved, and medians shown. The figures of all runs must agree to 1e-9.
//! `--write` only writes the files (`gt.json`, `boxes.json`, `masks.json`), for `compare_others.py` beside this folder;
//! `--from` uses written ones.
mod contestant;
mod detections;
mod draws;
mod synthetic;
mod truth;

use care_map::{Error, IouType, Result};
use clap::Parser;
use contestant::{Contestant, Job, Measured};
use std::path::{Path, PathBuf};

const TOLERANCE: f64 = 1e-9;

#[derive(Parser)]
struct Arguments {
    /// Rounds over all runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Write the set to this folder and stop.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Use the set in this folder.
    #[arg(long)]
    from: Option<PathBuf>,
    /// One run, for the process that measures.
    #[arg(long, hide = true)]
    child: Option<Contestant>,
    #[arg(long, hide = true, default_value = "bbox")]
    kind: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let (Some(who), Some(folder)) = (arguments.child, &arguments.from) {
        let measured = contestant::run(who, arguments.kind.parse()?, folder)?;
        println!("\n{}", serde_json::json!(measured));
        return Ok(());
    }
    if let Some(folder) = arguments.write {
        return synthetic::write(&folder).map(|_| ());
    }
    match arguments.from {
        Some(folder) => compare(&folder, arguments.rounds.max(1)),
        None => {
            let folder = tempfile::tempdir().map_err(|e| Error::internal(e.to_string()))?;
            synthetic::write(folder.path())?;
            compare(folder.path(), arguments.rounds.max(1))
        }
    }
}

fn compare(folder: &Path, rounds: usize) -> Result<()> {
    let jobs: Vec<Job> = [IouType::Bbox, IouType::Segm]
        .into_iter()
        .flat_map(|iou_type| [1, 2].map(|threads| (iou_type, threads)))
        .flat_map(|(iou_type, threads)| {
            [Contestant::Ours, Contestant::Hotcoco].map(|who| Job { who, iou_type, threads })
        })
        .collect();
    let mut runs: Vec<Vec<Measured>> = vec![Vec::new(); jobs.len()];
    for _ in 0..rounds {
        for (job, runs) in jobs.iter().zip(&mut runs) {
            runs.push(job.measure(folder)?);
        }
    }
    agree(&jobs, &runs)?;
    let medians: Vec<Measured> = runs.iter().map(|runs| median(runs)).collect();
    print!("{}", table(&jobs, &medians));
    Ok(())
}

/// Every run must have the figures of the first one of its kind: ours to the bit, hotcoco's to the tolerance.
fn agree(jobs: &[Job], all: &[Vec<Measured>]) -> Result<()> {
    for (job, runs) in jobs.iter().zip(all) {
        let first = jobs.iter().position(|j| j.iou_type == job.iou_type).unwrap_or(0);
        let want = &all[first][0].stats;
        let tolerance = if job.who == Contestant::Ours { 0.0 } else { TOLERANCE };
        for got in runs.iter().map(|m| &m.stats) {
            let same = got.len() == 12 && got.iter().zip(want).all(|(a, b)| (a - b).abs() <= tolerance);
            if !same {
                return Err(Error::internal(format!("{job:?}: figures {got:?} instead of {want:?}")));
            }
        }
    }
    Ok(())
}

/// The median of each column.
fn median(runs: &[Measured]) -> Measured {
    let of = |column: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(column).collect();
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
    };
    Measured { cpu: of(|m| m.cpu), wall: of(|m| m.wall), peak: of(|m| m.peak), stats: runs[0].stats.clone() }
}

fn table(jobs: &[Job], medians: &[Measured]) -> String {
    let median = |job: Job| jobs.iter().position(|j| *j == job).map(|at| &medians[at]);
    let mut text = format!(
        "{:<6} {:>7}  {:<9} {:>7} {:>7} {:>8} {:>11} {:>12}\n",
        "kind", "threads", "", "CPU s", "wall s", "peak MB", "CPU/hotcoco", "wall 1 / n"
    );
    for (&job, m) in jobs.iter().zip(medians) {
        let against = |other: Job, of: fn(&Measured) -> f64| median(other).map_or(f64::NAN, of);
        let ratio = m.cpu / against(Job { who: Contestant::Hotcoco, ..job }, |m| m.cpu);
        let gain = against(Job { threads: 1, ..job }, |m| m.wall) / m.wall;
        text += &format!(
            "{:<6} {:>7}  {:<9} {:>7.3} {:>7.3} {:>8.0} {ratio:>11.2} {gain:>12.2}\n",
            job.iou_type.as_str(),
            job.threads,
            job.who.name(),
            m.cpu,
            m.wall,
            m.peak
        );
    }
    text
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::internal(format!("{}: {error}", path.display()))
}
