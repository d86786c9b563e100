//! `eval ade20k` and `eval --gt --pred`: label maps against label maps.

use crate::args::{EvalMaps, EvalSeg, SegProtocol};
use crate::commands::parts::{FailedLine, Note};
use crate::commands::seg_maps::Raw;
use crate::commands::{eval_scenes, seg_maps};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::gate::{self, Gate};
use crate::progress::Progress;
use crate::standing::Standing;
use care_miou::{ConfusionMatrix, SegEvaluator, SegReport};
use care_types::LabelMap;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Runs the command.
///
/// # Errors
/// Exit 2 for what is not there, 3 for data that cannot be used, 5 for weights that do not fit it.
pub fn run(args: EvalSeg, console: Console) -> Result<Exit, Failure> {
    match args.protocol {
        Some(SegProtocol::Ade20k(args)) => eval_scenes::run(&args, console),
        None => of_maps(&args.maps, console),
    }
}

/// What the command has to say of a data set.
#[derive(Serialize)]
pub(super) struct SegLine {
    #[serde(flatten)]
    report: SegReport,
    standing: Standing,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedLine>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
}

impl SegLine {
    /// The figures of what was counted.
    ///
    /// # Errors
    /// Exit 3 when no pixel counts though everything was done.
    pub(super) fn new(counted: &SegEvaluator, note: &Note, interrupted: bool) -> Result<Self, Failure> {
        let report = counted.matrix().metrics().report(&LabelMap::from_names(counted.classes(), 0))?;
        if report.labelled == 0 && note.failed.is_empty() && !interrupted {
            return Err(nothing_counts());
        }
        let data = (note.data.clone(), note.split.clone(), note.sha256.clone());
        let counts = [counted.pictures().count() + note.failed.len(), note.failed.len()];
        let standing = Standing::of_scenes(data, counted.classes().len(), counts);
        Ok(Self { report, standing, failed: note.failed_lines(), interrupted })
    }

    /// Prints the figures.
    pub(super) fn print(&self, console: Console) -> Result<(), Failure> {
        console.text(&(text(&self.report) + &self.standing.text()))?;
        console.json(self)
    }

    /// Judges `--fail-under`.
    pub(super) fn judge(&self, gates: &[Gate], console: Console) -> Exit {
        gated(&self.report, gates, console)
    }
}

fn nothing_counts() -> Failure {
    Failure::data(
        "no pixel counts: every label is ignored; is the ignored value the right one (--ignore-index)?",
    )
}

fn gated(report: &SegReport, gates: &[Gate], console: Console) -> Exit {
    let figure = |name| match name {
        "mIoU" => Some(report.m_iou),
        "aAcc" => Some(report.a_acc),
        "mAcc" => Some(report.m_acc),
        "mDice" => Some(report.m_dice),
        "mFscore" => Some(report.m_fscore),
        "mPrecision" => Some(report.m_precision),
        "mRecall" => Some(report.m_recall),
        _ => None,
    };
    gate::judge(gates, "", figure, console)
}

/// The label map of a file: values as they are stored.
struct Pair {
    name: String,
    truth: PathBuf,
    found: PathBuf,
}

fn of_maps(args: &EvalMaps, console: Console) -> Result<Exit, Failure> {
    let (Some(truth), Some(found), Some(classes)) = (&args.gt, &args.pred, args.classes) else {
        return Err(Failure::usage(
            "what is compared? `eval --gt DIR --pred DIR --classes N` for label maps, `eval ade20k --data DIR --weights W` \
             for a segmenter",
        ));
    };
    let pairs = pairs(truth, found)?;
    let progress = Mutex::new(Progress::start(console, "pairs", pairs.len()));
    let empty = ConfusionMatrix::new(classes as usize)?;
    let ignore = args.ignore_index.0;
    if args.reduce_zero_label && ignore.is_none_or(|v| u32::from(v) < classes) {
        return Err(Failure::usage(
            "--reduce-zero-label makes 0 the ignored value: --ignore-index must name one that is no class, such as 255",
        ));
    }
    // sums of whole numbers: the order in which threads add them does not matter
    let count = |pair: &Pair, sum: &mut ConfusionMatrix| -> Result<(), Failure> {
        let (label, found) = (Raw::read(&pair.truth)?, Raw::read(&pair.found)?);
        let label = if args.reduce_zero_label { label.reduce_zero_label(ignore) } else { label };
        label.count(&found, ignore, sum).map_err(|e| Failure::from(e).context(&pair.name))?;
        progress.lock().unwrap_or_else(|p| p.into_inner()).tick();
        Ok(())
    };
    let sum = pairs.par_chunks(16).map(|chunk| {
        let mut sum = empty.clone();
        for pair in chunk {
            count(pair, &mut sum)?;
        }
        Ok::<_, Failure>(sum)
    });
    // in order, so that of several errors the first is told
    let parts: Vec<Result<ConfusionMatrix, Failure>> = sum.collect();
    let mut total = empty.clone();
    let merged = parts.into_iter().try_for_each(|part| Ok::<_, Failure>(total.merge(&part?)?));
    progress.into_inner().unwrap_or_else(|p| p.into_inner()).finish();
    let names: Vec<String> = (0..classes).map(|i| format!("class_{i}")).collect();
    merged?;
    let report = total.metrics().report(&LabelMap::from_names(&names, 0))?;
    if report.labelled == 0 {
        return Err(nothing_counts());
    }
    console.text(&text(&report))?;
    console.json(&report)?;
    Ok(gated(&report, &args.fail_under, console))
}

/// Label maps of the same name in both folders; one without a prediction is an error, a prediction more is not.
fn pairs(truth: &Path, found: &Path) -> Result<Vec<Pair>, Failure> {
    for (path, role) in [(truth, "--gt"), (found, "--pred")] {
        if !path.is_dir() {
            return Err(Failure::usage(format!("{role} {}: there is no such folder", path.display())));
        }
    }
    let names = seg_maps::list(truth)?;
    if names.is_empty() {
        return Err(Failure::data(format!("{}: holds no PNG file", truth.display())));
    }
    let pair = |name: PathBuf| {
        let (truth, found) = (truth.join(&name), found.join(&name));
        match found.is_file() {
            true => Ok(Pair { name: name.display().to_string(), truth, found }),
            false => Err(Failure::data(format!(
                "{}: there is no prediction {}; names must be the same in both folders",
                truth.display(),
                found.display()
            ))),
        }
    };
    names.into_iter().map(pair).collect()
}

fn text(report: &SegReport) -> String {
    let percent = |v: f64| if v < 0.0 { "     –".to_owned() } else { format!("{:6.2}", 100.0 * v) };
    let width = report.per_class.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(5);
    let mut text = format!(" {:<width$} {:>6} {:>6} {:>6}\n", "class", "IoU", "Acc", "Dice");
    for c in &report.per_class {
        let _ =
            writeln!(text, " {:<width$} {} {} {}", c.name, percent(c.iou), percent(c.acc), percent(c.dice));
    }
    let _ = writeln!(
        text,
        "mIoU {}   mAcc {}   aAcc {}   over {} pictures",
        percent(report.m_iou).trim(),
        percent(report.m_acc).trim(),
        percent(report.a_acc).trim(),
        report.images
    );
    text
}
