//! The evaluators, each from files to figures in a process of its own, so that CPU time and peak memory are its own.
use crate::synthetic::Files;
use care_map::{Error, IouType, Params, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Contestant {
    #[value(name = "care-map")]
    Ours,
    Hotcoco,
}

impl Contestant {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Contestant::Ours => "care-map",
            Contestant::Hotcoco => "hotcoco",
        }
    }

    fn stats(self, gt: &Path, dt: &Path, iou_type: IouType) -> Result<Vec<f64>> {
        match self {
            Contestant::Ours => {
                let params = Params::new(iou_type);
                Ok(care_map::evaluate_files(gt, dt, &params)?.stats)
            }
            Contestant::Hotcoco => {
                hotcoco_stats(gt, dt, iou_type).map_err(|e| Error::internal(format!("hotcoco: {e}")))
            }
        }
    }
}

fn hotcoco_stats(gt: &Path, dt: &Path, iou_type: IouType) -> hotcoco::error::Result<Vec<f64>> {
    let truth = hotcoco::COCO::new(gt)?;
    let found = truth.load_res(dt)?;
    let kind = if iou_type == IouType::Segm { hotcoco::IouType::Segm } else { hotcoco::IouType::Bbox };
    let mut eval = hotcoco::COCOeval::new(truth, found, kind);
    eval.run()?;
    Ok(eval.stats().unwrap_or_default().to_vec())
}

/// What a process used, and what it found.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Seconds of all threads, from the start of the process.
    pub(crate) cpu: f64,
    /// Seconds from outside, start and end of the process included.
    #[serde(default)]
    pub(crate) wall: f64,
    /// MiB; 0 where the system does not tell.
    pub(crate) peak: f64,
    /// The twelve figures.
    pub(crate) stats: Vec<f64>,
}

/// One run, on so many threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) who: Contestant,
    pub(crate) iou_type: IouType,
    pub(crate) threads: usize,
}

impl Job {
    /// Starts this program again with the job's name and waits for its answer, which is its last line.
    pub(crate) fn measure(self, folder: &Path) -> Result<Measured> {
        let program = std::env::current_exe().map_err(|e| Error::internal(e.to_string()))?;
        let mut command = Command::new(program);
        command
            .args(["--child", self.who.name()])
            .args(["--kind", self.iou_type.as_str()])
            .arg("--from")
            .arg(folder);
        command.env("RAYON_NUM_THREADS", self.threads.to_string());
        let start = Instant::now();
        let output = command.output().map_err(|e| Error::internal(e.to_string()))?;
        let wall = start.elapsed().as_secs_f64();
        let text = String::from_utf8_lossy(&output.stdout);
        let answer = text.lines().last().and_then(|line| serde_json::from_str::<Measured>(line).ok());
        let failed = || Error::internal(format!("{self:?}: {}", String::from_utf8_lossy(&output.stderr)));
        answer.map(|m| Measured { wall, ..m }).ok_or_else(failed)
    }
}

/// The other side of [`Job::measure`].
pub(crate) fn run(who: Contestant, iou_type: IouType, folder: &Path) -> Result<Measured> {
    let files = Files::at(folder);
    let found = if iou_type == IouType::Segm { &files.masks } else { &files.boxes };
    let stats = who.stats(&files.truth, found, iou_type)?;
    Ok(Measured { cpu: cpu_seconds(), wall: 0.0, peak: peak_mb().unwrap_or(0.0), stats })
}

#[cfg(unix)]
fn cpu_seconds() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// NaN: a table without figures is better than a wrong one.
#[cfg(not(unix))]
fn cpu_seconds() -> f64 {
    f64::NAN
}

fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
