//! `eval coco --data`: detect on a data set, write the results, then score them.

use crate::args::{EvalCoco, IouKind};
use crate::commands::detector;
use crate::commands::eval::{FailedLine, Scores, read_params, report};
use crate::commands::infer::{list_failures, write_json};
use crate::commands::lined_up::require_objects;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::places::OutDir;
use crate::progress::Progress;
use crate::standing::Standing;
use care_engine::evaluate::{Detected, EvalData, Run, detect_all};
use care_engine::journal::{Journal, Subject};
use care_engine::shipped::Wanted;
use care_engine::weights::{Weights, sha256_of};
use care_engine::{RunOptions, Task, classes, machine, shipped};
use care_map::explain::{Options, explain};
use care_map::{IouType, Params};
use care_types::coco_json;
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// Exit 2 for what is not there or cannot be asked, 3 for data that cannot be used, 5 for weights that do not fit it.
pub(super) fn run(args: &EvalCoco, console: Console) -> Result<Exit, Failure> {
    let (Some(folder), Some(weights)) = (&args.data, &args.detector.weights) else {
        return Err(Failure::usage("--data needs --weights"));
    };
    if folder.is_file() {
        return Err(a_file(folder));
    }
    let params = read_params(args)?;
    let (read, overwrite) = (std::slice::from_ref(folder), args.out.overwrite);
    let out = OutDir::check_or_go_on(&args.out.out, overwrite, read, Journal::NAME)?;
    let wanted = if args.iou_type.contains(&IouKind::Segm) { Wanted::Masks } else { Wanted::Boxes };
    let file = shipped::named(weights, wanted);
    let weights = detector::open((weights, wanted), &args.detector.run, None, console)?;
    detector::require_task(&weights, Task::Detection, "care-seg eval ade20k")?;
    refuse_masks(args, &weights)?;
    let has_masks = weights.spec.network.predicts_masks();
    let data = EvalData::open(folder, args.split.as_deref())?;
    classes::in_network_order(&weights.spec.classes, data.labels())?;
    let of_params = |e: Failure| super::eval::in_params(e, args);
    let wanted = params.first().and_then(|p| p.img_ids.as_deref());
    let positions = data.select(wanted, args.limit.map(|n| n as usize));
    let positions = positions.map_err(|e| of_params(e.into()))?;
    introduce(&data, positions.len(), console);
    refuse_nothing(&params, &data, &positions).map_err(of_params)?;
    detector::require_memory(&weights, &args.detector.run, positions.len())?;
    out.clear()?;
    let folder = out.make("")?; // before the work: a folder that cannot be made must not cost its results
    let mut journal = open_journal((&folder, overwrite), &file, &weights, &data, console)?;
    let found = detect(args, weights, (&data, &positions), &mut journal, console)?;
    let mut files = vec![("results.bbox.json", &found.boxes)];
    if has_masks {
        files.push(("results.segm.json", &found.masks));
    }
    for (name, records) in &files {
        coco_json::write_results(&folder.join(name), records)?;
    }
    let interrupted = found.done.len() < positions.len();
    let scores = score(params, (&data, &found), interrupted, args.explain)?;
    write_json(&folder.join("metrics.json"), &scores)?;
    out.remember(files.iter().map(|f| f.0).chain(["metrics.json"]).map(Path::new))?;
    if !interrupted {
        journal.finish()?;
    }
    finish(scores, args, &folder, console, interrupted)
}

/// What somebody who names an annotation file probably wants.
fn a_file(path: &Path) -> Failure {
    let shown = path.display();
    let parent = path.parent().filter(|p| p.file_name().is_some_and(|n| n == "annotations"));
    let folder = parent.unwrap_or(path).parent().map(|p| if p == Path::new("") { Path::new(".") } else { p });
    let folder = folder.map_or(String::new(), |p| format!(", such as --data {}", p.display()));
    Failure::usage(format!(
        "--data {shown}: is a file, expected the folder of a data set, with its pictures{folder}; to score a results \
         file against it, use --gt {shown} --dt RESULTS"
    ))
}

fn refuse_masks(args: &EvalCoco, weights: &Weights) -> Result<(), Failure> {
    if args.iou_type.contains(&IouKind::Segm) && !weights.spec.network.predicts_masks() {
        return Err(Failure::usage(format!(
            "--iou-type segm: {} finds boxes only and has no masks to score; use --iou-type bbox",
            weights.spec.model
        )));
    }
    Ok(())
}

/// Ground truth that cannot be scored, or holds nothing to find, is refused before hours of detecting, not after.
fn refuse_nothing(params: &[Params], data: &EvalData, positions: &[usize]) -> Result<(), Failure> {
    for params in params {
        let params = of_pictures(params.clone(), data, positions);
        let metrics = care_map::evaluate(data.ground_truth(), &[], &params)?;
        require_objects(&metrics, data.ground_truth(), &params).map_err(|e| e.context(data.name()))?;
    }
    Ok(())
}

/// The parameters for these pictures; COCO's own when they are all.
fn of_pictures(mut params: Params, data: &EvalData, positions: &[usize]) -> Params {
    let all = positions.len() == data.ground_truth().images.len();
    params.img_ids = (!all).then(|| positions.iter().map(|&p| data.image(p).0).collect());
    params
}

/// What will be looked at, and what the reader found odd.
fn introduce(data: &EvalData, selected: usize, console: Console) {
    let total = data.ground_truth().images.len();
    console.say(&format!("{}: split {}, {selected} of {total} pictures", data.name(), data.split()));
    let Some(f) = data.funnel() else { return };
    let notes = [
        (f.missing_files, "listed pictures have no file"),
        (f.unknown_image, "annotations are of a picture that is not listed"),
        (f.unknown_category, "annotations are of an unknown category"),
    ];
    for (count, what) in notes.iter().filter(|n| n.0 > 0) {
        console.say(&format!("  {count} {what}"));
    }
}

/// What was found before, when the folder holds an evaluation of the same that was stopped or killed.
fn open_journal(
    (folder, overwrite): (&Path, bool),
    file: &Path,
    weights: &Weights,
    data: &EvalData,
    console: Console,
) -> Result<Journal, Failure> {
    if overwrite && folder.join(Journal::NAME).is_file() {
        std::fs::remove_file(folder.join(Journal::NAME)).map_err(Failure::runtime)?;
    }
    let subject = Subject {
        program: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
        isa: machine::instruction_set()?,
        weights: sha256_of(file)?,
        settings: serde_json::to_string(&weights.spec).map_err(Failure::runtime)?,
        data: data.fingerprint(),
    };
    let journal = Journal::open(folder, &subject)?;
    if !journal.is_empty() {
        console.say(&format!("{}: going on; {} pictures are done", folder.display(), journal.len()));
    }
    Ok(journal)
}

fn detect(
    args: &EvalCoco,
    weights: Weights,
    (data, positions): (&EvalData, &[usize]),
    journal: &mut Journal,
    console: Console,
) -> Result<Detected, Failure> {
    let predictor = detector::build(weights)?;
    let stop = interrupt::install();
    let options = RunOptions { batch: usize::from(args.detector.run.batch), keep_pictures: false };
    let left = positions.iter().filter(|&&p| !journal.contains(data.image(p).0)).count();
    let mut progress = Progress::start(console, "pictures", left);
    let run = Run { options, stop: &stop, journal: Some(journal), tick: &mut || progress.tick() };
    let found = detect_all(&predictor, data, positions, run);
    progress.finish();
    let found = found?;
    for (phase, ms) in found.phases.milliseconds() {
        console.detail(&format!("  {phase:<12} {:9.1} ms per picture", ms / left.max(1) as f64));
    }
    Ok(found)
}

/// Scores what is done: all pictures, or those that were selected or reached. A picture that failed stays in, without
/// detections: leaving it out would flatter the detector.
fn score(
    params: Vec<Params>,
    (data, found): (&EvalData, &Detected),
    interrupted: bool,
    explained: bool,
) -> Result<Scores, Failure> {
    let failed = found
        .failed
        .iter()
        .map(|(position, e)| FailedLine { file: data.image(*position).1.to_owned(), error: e.to_string() });
    let mut scores = Scores { failed: failed.collect(), interrupted, ..Scores::default() };
    if found.done.is_empty() {
        return Ok(scores);
    }
    for params in params {
        let params = of_pictures(params, data, &found.done);
        let records = if params.iou_type == IouType::Segm { &found.masks } else { &found.boxes };
        let mut metrics = care_map::evaluate(data.ground_truth(), records, &params)?;
        metrics.funnel = metrics.funnel.with_failed(found.failed.len());
        scores.metrics.push(metrics);
        if explained {
            scores.explanations.push(explain(data.ground_truth(), records, &params, &Options::default())?);
        }
    }
    let (name, split) = (data.name().to_owned(), Some(data.split().to_owned()));
    scores.standing = Some(Standing::new(name, split, data.fingerprint(), &scores.metrics));
    Ok(scores)
}

fn finish(
    scores: Scores,
    args: &EvalCoco,
    folder: &Path,
    console: Console,
    interrupted: bool,
) -> Result<Exit, Failure> {
    let gate = report(&scores, args, console)?;
    console.say(&format!("results are in {}", folder.display()));
    let of = scores.metrics.first().map_or(scores.failed.len(), |m| m.funnel.images.evaluated);
    list_failures(console, of, scores.failed.iter().map(|f| f.error.as_str()));
    Ok(match (interrupted, scores.failed.is_empty()) {
        (true, _) => {
            let again = if args.out.overwrite { " without --overwrite" } else { "" };
            console.warn(&format!(
                "interrupted: the figures are over the {of} pictures that were done; the same command{again} goes on"
            ));
            Exit::Interrupted
        }
        (false, false) => Exit::Failed,
        (false, true) => gate,
    })
}
