//! `eval ade20k`: segment a data set, then score.

use crate::args::EvalAde20k;
use crate::commands::detector;
use crate::commands::eval_seg::SegLine;
use crate::commands::infer::{list_failures, write_json};
use crate::commands::parts::{self, FailedLine, Note};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::places::OutDir;
use crate::progress::Progress;
use care_engine::segment::{SegData, Segmented, segment_all};
use care_engine::shipped::{self, Wanted};
use care_engine::weights::{WeightsFile, sha256_of, sha256_of_bytes};
use care_engine::{Predictor, RunOptions, Task};
use care_map::Shard;
use care_miou::{SegEvaluator, SegSource};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What was counted before a run was stopped or killed.
const UNFINISHED: &str = "unfinished.state";

/// At most this much work is done again after a kill.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What is evaluated, and where to.
struct Job<'a> {
    args: &'a EvalAde20k,
    console: Console,
    out: OutDir,
    data: SegData,
    shard: Option<Shard>,
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for what is not there, 3 for data that cannot be used, 5 for weights that do not fit it.
pub(super) fn run(args: &EvalAde20k, console: Console) -> Result<Exit, Failure> {
    let format = args.format.as_deref().map(str::parse).transpose()?;
    let shard = parts::shard(args.shard)?;
    let (out, read) = (parts::folder(&args.out.out, shard), std::slice::from_ref(&args.data));
    let out = OutDir::check_or_go_on(&out, args.out.overwrite, read, UNFINISHED)?;
    let weights = detector::open((&args.weights, Wanted::Scenes), &args.run.common(), None, console)?;
    args.views.check(args.run.batch)?;
    detector::require_task(&weights, Task::Segmentation, "care-det eval coco")?;
    let data =
        SegData::open(&args.data, args.split.as_deref(), format)?.in_order_of(&weights.spec.classes)?;
    let selected = data.select(args.limit.map(|n| n as usize));
    let total = data.pictures().len();
    console.say(&format!("{}: split {}, {} of {total} pictures", data.name(), data.split(), selected.len()));
    data.notes().iter().for_each(|note| console.say(&format!("  {note}")));
    let positions: Vec<usize> = match shard {
        None => selected,
        Some(Shard { index, count }) => selected.into_iter().skip(index).step_by(count).collect(),
    };
    let (views, flags) = (args.views.views(), args.run.common());
    detector::require_memory_of_views(&weights, &views, &flags, positions.len())?;
    out.clear()?;
    let source = source(args, &weights, &data)?;
    let known = known(&out.make("")?, args.out.overwrite, data.evaluator()?.with_source(source), console)?;
    let predictor = detector::build(weights)?.with_views(views)?;
    let job = Job { args, console, out, data, shard };
    let found = job.segment(&predictor, &positions, known)?;
    job.conclude(found, positions.len())
}

impl Job<'_> {
    fn segment(
        &self,
        predictor: &Predictor,
        positions: &[usize],
        known: SegEvaluator,
    ) -> Result<Segmented, Failure> {
        let stop = interrupt::install();
        let options = RunOptions { batch: usize::from(self.args.run.batch), keep_pictures: false };
        let left = positions.iter().filter(|&&p| !known.contains(&self.data.pictures().file_name(p))).count();
        let mut progress = Progress::start(self.console, "pictures", left);
        let mut kept = Instant::now();
        let found = segment_all(predictor, (&self.data, positions), known, (options, &stop), &mut |seen| {
            progress.tick();
            if kept.elapsed() >= KEEP_EVERY {
                keep(self.out.path(), seen.counted)?;
                kept = Instant::now();
            }
            Ok(())
        });
        progress.finish();
        let found = found?;
        for (phase, ms) in found.phases.milliseconds() {
            self.console.detail(&format!("  {phase:<12} {:9.1} ms per picture", ms / left.max(1) as f64));
        }
        Ok(found)
    }

    fn conclude(&self, found: Segmented, of: usize) -> Result<Exit, Failure> {
        let folder = self.out.path();
        let (interrupted, note) = (found.done.len() < of, self.note(&found));
        let line = SegLine::new(&found.evaluator, &note, interrupted);
        let (states, done) = ([found.evaluator], found.done.len());
        let mut written: Vec<PathBuf> = Vec::new();
        if interrupted {
            keep(folder, &states[0])?;
        } else {
            written.extend(parts::write(folder, &note, &states)?);
        }
        let exit = match self.shard {
            Some(_) if interrupted => Exit::Ok,
            Some(_) => {
                parts::say(&self.out, (&note, &states), "care-seg", self.console)?;
                Exit::Ok
            }
            None => {
                let line = line?;
                write_json(&folder.join("metrics.json"), &line)?;
                written.push("metrics.json".into());
                line.print(self.console)?;
                self.console.say(&format!("results are in {}", folder.display()));
                line.judge(&self.args.fail_under, self.console)
            }
        };
        self.out.remember(written.iter())?;
        list_failures(self.console, done, note.failed.iter().map(|(_, f)| f.error.as_str()));
        if interrupted {
            let again = if self.args.out.overwrite { " without --overwrite" } else { "" };
            self.console.warn(&format!(
                "interrupted: {done} of {of} pictures are done; the same command{again} goes on"
            ));
            return Ok(Exit::Interrupted);
        }
        let _ = std::fs::remove_file(folder.join(UNFINISHED)); // there is none when it was over in a second
        Ok(if note.failed.is_empty() { exit } else { Exit::Failed })
    }

    fn note(&self, found: &Segmented) -> Note {
        let Shard { index, count } = self.shard.unwrap_or(parts::WHOLE);
        let line = |position: usize, error: &care_engine::Error| FailedLine {
            file: self.data.pictures().file_name(position),
            error: error.to_string(),
        };
        Note {
            part: [index, count],
            data: self.data.name().to_owned(),
            split: Some(self.data.split().to_owned()),
            sha256: self.data.fingerprint(),
            scored: vec!["miou".to_owned()],
            failed: found.failed.iter().map(|(p, e)| (*p, line(*p, e))).collect(),
        }
    }
}

/// What predictions follow from; parts may come from machines with different instruction sets.
fn source(args: &EvalAde20k, weights: &WeightsFile, data: &SegData) -> Result<SegSource, Failure> {
    let settings = serde_json::to_string(&weights.spec).map_err(Failure::runtime)?;
    let settings = sha256_of_bytes(format!("{settings} {:?}", args.views.views()).as_bytes());
    let file = sha256_of(&shipped::named(&args.weights, Wanted::Scenes))?;
    let program = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    Ok(SegSource {
        ground_truth: data.fingerprint(),
        results: format!("weights {file}, settings {settings}, {program}"),
    })
}

/// What was counted when the folder holds an evaluation of the same that was stopped or killed; else `fresh`.
fn known(
    folder: &Path,
    overwrite: bool,
    mut fresh: SegEvaluator,
    console: Console,
) -> Result<SegEvaluator, Failure> {
    let path = folder.join(UNFINISHED);
    if overwrite && path.is_file() {
        std::fs::remove_file(&path).map_err(Failure::runtime)?;
    }
    let Ok(bytes) = std::fs::read(&path) else { return Ok(fresh) };
    let shown = folder.display();
    SegEvaluator::from_bytes(&bytes).and_then(|kept| fresh.merge(kept)).map_err(|e| {
        Failure::usage(format!(
            "{shown}: the folder holds an unfinished evaluation of something else ({e}); name another folder, or start \
             again with --overwrite"
        ))
    })?;
    console.say(&format!("{shown}: going on; {} pictures are done", fresh.pictures().count()));
    Ok(fresh)
}

/// Keeps what was counted: beside the file, then renamed over it.
fn keep(folder: &Path, counted: &SegEvaluator) -> care_engine::Result<()> {
    let (path, beside) = (folder.join(UNFINISHED), folder.join(format!("{UNFINISHED}.tmp")));
    std::fs::write(&beside, counted.to_bytes())
        .and_then(|()| std::fs::rename(&beside, &path))
        .map_err(|e| care_engine::Error::internal(format!("{}: could not be written: {e}", path.display())))
}
