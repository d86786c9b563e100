//! `eval coco --data`: detect on a data set, write the results, then score them.

use crate::args::{EvalCoco, IouKind};
use crate::commands::eval::{Scores, read_params, report};
use crate::commands::infer::{list_failures, write_json};
use crate::commands::lined_up::require_objects;
use crate::commands::parts::{self, FailedLine, Note};
use crate::commands::{detector, eval_part};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::places::OutDir;
use crate::progress::Progress;
use crate::standing::Standing;
use care_engine::evaluate::{Detected, EvalData, Run, detect_all};
use care_engine::journal::{Journal, Subject};
use care_engine::shipped::Wanted;
use care_engine::weights::{WeightsFile, sha256_of, sha256_of_bytes};
use care_engine::{RunOptions, Task, classes, machine, shipped};
use care_map::explain::explain;
use care_map::{IouType, Params, Shard, Source};
use care_types::ImageId;
use care_types::coco_json::{self, ResultRecord};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

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
    let (params, shard) = (read_params(args)?, parts::shard(args.shard)?);
    let out = parts::folder(&args.out.out, shard);
    let out = OutDir::check_or_go_on(&out, args.out.overwrite, std::slice::from_ref(folder), Journal::NAME)?;
    let of_masks = args.iou_type.iter().any(|kind| kind.of_masks());
    let wanted = if of_masks { Wanted::Masks } else { Wanted::Boxes };
    let file = shipped::named(weights, wanted);
    let weights = detector::open((weights, wanted), &args.detector.run, None, console)?;
    detector::require_task(&weights, Task::Detection, "care-seg eval ade20k")?;
    refuse_masks(args, &weights)?;
    let data = EvalData::open(folder, args.split.as_deref())?;
    classes::in_network_order(&weights.spec.classes, data.labels())?;
    let of_params = |e: Failure| super::eval::in_params(e, args);
    let wanted = params.first().and_then(|p| p.img_ids.as_deref());
    let selected = data.select(wanted, args.limit.map(|n| n as usize));
    let selected = selected.map_err(|e| of_params(e.into()))?;
    introduce(&data, selected.len(), console);
    let params: Vec<Params> = params.into_iter().map(|p| of_pictures(p, &data, &selected)).collect();
    refuse_nothing(&params, &data).map_err(of_params)?;
    let positions = in_part(selected, shard, &data);
    detector::require_memory(&weights, &args.detector.run, positions.len())?;
    out.clear()?;
    let masks = weights.spec.network.predicts_masks();
    let subject = subject(&weights, &file, &data)?;
    let mut journal = open_journal((&out.make("")?, args.out.overwrite), &subject, console)?;
    let job = Job { args, console, out, data, params, shard, source: source(&subject) };
    let found = job.detect(weights, &positions, &mut journal)?;
    let written = job.write_results(&found, masks)?;
    if found.done.len() < positions.len() {
        return job.stopped(&found, written);
    }
    let exit = job.conclude(&found, written)?;
    journal.finish()?; // last: until everything is written, the same command goes on
    Ok(exit)
}

/// What is evaluated, and where to.
struct Job<'a> {
    args: &'a EvalCoco,
    console: Console,
    out: OutDir,
    data: EvalData,
    params: Vec<Params>,
    shard: Option<Shard>,
    source: Source,
}

impl Job<'_> {
    fn detect(
        &self,
        weights: WeightsFile,
        positions: &[usize],
        journal: &mut Journal,
    ) -> Result<Detected, Failure> {
        let predictor = detector::build(weights)?;
        let stop = interrupt::install();
        let options = RunOptions { batch: usize::from(self.args.detector.run.batch), keep_pictures: false };
        let left = positions.iter().filter(|&&p| !journal.contains(self.data.image(p).0)).count();
        let mut progress = Progress::start(self.console, "pictures", left);
        let run = Run { options, stop: &stop, journal: Some(journal), tick: &mut || progress.tick() };
        let found = detect_all(&predictor, &self.data, positions, run);
        progress.finish();
        let found = found?;
        for (phase, ms) in found.phases.milliseconds() {
            self.console.detail(&format!("  {phase:<12} {:9.1} ms per picture", ms / left.max(1) as f64));
        }
        Ok(found)
    }

    /// The results files; returns their names.
    fn write_results(&self, found: &Detected, masks: bool) -> Result<Vec<PathBuf>, Failure> {
        let mut files = vec![("results.bbox.json", &found.boxes)];
        if masks {
            files.push(("results.segm.json", &found.masks));
        }
        for (name, records) in &files {
            coco_json::write_results(&self.out.path().join(name), records)?;
        }
        Ok(files.iter().map(|f| f.0.into()).collect())
    }

    /// All pictures are done: what is left for `merge` and `compare`, and the figures where this is not a part.
    fn conclude(&self, found: &Detected, mut written: Vec<PathBuf>) -> Result<Exit, Failure> {
        let shard = self.shard.unwrap_or(parts::WHOLE);
        let state = |params: &Params| {
            let records = (self.data.ground_truth(), of_kind(found, params.iou_type));
            eval_part::evaluator(records, params, shard, &self.source)
        };
        let states = self.params.iter().map(state).collect::<Result<Vec<_>, _>>()?;
        let note = self.note(found, shard);
        written.extend(parts::write(self.out.path(), &note, &states)?);
        if self.shard.is_some() {
            self.out.remember(written.iter())?;
            parts::say(&self.out, (&note, &states), "care-det", self.console)?;
            return Ok(self.list_failures(found, found.done.len()));
        }
        let scores = self.score(found, &self.params)?;
        self.write_metrics(&scores, written)?;
        let gate = report(&scores, (&self.args.fail_under, self.args.per_category), self.console)?;
        self.console.say(&format!("results are in {}", self.out.path().display()));
        Ok(self.list_failures(found, found.done.len()).or(gate))
    }

    /// Ctrl-C: the figures of what is done, and how to go on.
    fn stopped(&self, found: &Detected, written: Vec<PathBuf>) -> Result<Exit, Failure> {
        let done = |p: &Params| of_pictures(p.clone(), &self.data, &found.done);
        let of_done: Vec<Params> = self.params.iter().map(done).collect();
        let whole = self.shard.is_none() && !found.done.is_empty();
        let mut scores = self.score(found, if whole { &of_done } else { &[] })?;
        scores.interrupted = true;
        self.write_metrics(&scores, written)?;
        report(&scores, (&self.args.fail_under, self.args.per_category), self.console)?;
        self.console.say(&format!("results are in {}", self.out.path().display()));
        self.list_failures(found, found.done.len());
        let again = if self.args.out.overwrite { " without --overwrite" } else { "" };
        let done = found.done.len();
        self.console.warn(&match whole {
            true => format!(
                "interrupted: the figures are over the {done} pictures that were done; the same command{again} goes on"
            ),
            false => format!("interrupted: {done} pictures are done; the same command{again} goes on"),
        });
        Ok(Exit::Interrupted)
    }

    /// A picture that failed stays in, without detections: leaving it out would flatter the detector.
    fn score(&self, found: &Detected, params: &[Params]) -> Result<Scores, Failure> {
        let failed = self.failed(found).into_iter().map(|(_, line)| line).collect();
        let mut scores = Scores { failed, ..Scores::default() };
        let truth = self.data.ground_truth();
        for params in params {
            let records = of_kind(found, params.iou_type);
            let mut metrics = care_map::evaluate(truth, records, params)?;
            metrics.funnel = metrics.funnel.with_failed(found.failed.len());
            scores.metrics.push(metrics);
            if let Some(options) = self.args.explain_options() {
                scores.explanations.push(explain(truth, records, params, &options)?);
            }
        }
        let (name, split) = (self.data.name().to_owned(), Some(self.data.split().to_owned()));
        let standing = |s: &Scores| Standing::new(name, split, self.data.fingerprint(), &s.metrics);
        scores.standing = (!scores.metrics.is_empty()).then(|| standing(&scores));
        Ok(scores)
    }

    fn write_metrics(&self, scores: &Scores, mut written: Vec<PathBuf>) -> Result<(), Failure> {
        written.push("metrics.json".into());
        write_json(&self.out.path().join("metrics.json"), scores)?;
        self.out.remember(written.iter())
    }

    fn note(&self, found: &Detected, shard: Shard) -> Note {
        Note {
            part: [shard.index, shard.count],
            data: self.data.name().to_owned(),
            split: Some(self.data.split().to_owned()),
            sha256: self.data.fingerprint(),
            scored: self.params.iter().map(|p| p.iou_type.as_str().to_owned()).collect(),
            failed: self.failed(found),
        }
    }

    fn failed(&self, found: &Detected) -> Vec<(usize, FailedLine)> {
        let line = |position: usize, e: &care_engine::Error| FailedLine {
            file: self.data.image(position).1.to_owned(),
            error: e.to_string(),
        };
        found.failed.iter().map(|(position, e)| (*position, line(*position, e))).collect()
    }

    fn list_failures(&self, found: &Detected, of: usize) -> Exit {
        let errors: Vec<String> = found.failed.iter().map(|f| f.1.to_string()).collect();
        list_failures(self.console, of, errors.iter().map(String::as_str));
        if errors.is_empty() { Exit::Ok } else { Exit::Failed }
    }
}

/// The records that are compared.
fn of_kind(found: &Detected, kind: IouType) -> &[ResultRecord] {
    match kind {
        IouType::Segm | IouType::Boundary => &found.masks,
        IouType::Bbox | IouType::Keypoints => &found.boxes,
    }
}

/// Those positions that are in the part.
fn in_part(positions: Vec<usize>, shard: Option<Shard>, data: &EvalData) -> Vec<usize> {
    let Some(shard) = shard else { return positions };
    let own: BTreeSet<ImageId> = shard.images(data.ground_truth()).collect();
    positions.into_iter().filter(|&p| own.contains(&data.image(p).0)).collect()
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

fn refuse_masks(args: &EvalCoco, weights: &WeightsFile) -> Result<(), Failure> {
    if args.iou_type.contains(&IouKind::Keypoints) {
        return Err(Failure::usage(format!(
            "--iou-type keypoints: {} finds no joints; score a results file with --gt and --dt",
            weights.spec.model
        )));
    }
    if args.iou_type.iter().any(|kind| kind.of_masks()) && !weights.spec.network.predicts_masks() {
        return Err(Failure::usage(format!(
            "--iou-type segm: {} finds boxes only and has no masks to score; use --iou-type bbox",
            weights.spec.model
        )));
    }
    Ok(())
}

/// Ground truth that cannot be scored, or holds nothing to find, is refused before hours of detecting, not after.
fn refuse_nothing(params: &[Params], data: &EvalData) -> Result<(), Failure> {
    for params in params {
        let metrics = care_map::evaluate(data.ground_truth(), &[], params)?;
        require_objects(&metrics, data.ground_truth(), params).map_err(|e| e.context(data.name()))?;
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

/// What records of pictures follow from.
fn subject(weights: &WeightsFile, file: &Path, data: &EvalData) -> Result<Subject, Failure> {
    Ok(Subject {
        program: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
        isa: machine::instruction_set()?,
        weights: sha256_of(file)?,
        settings: serde_json::to_string(&weights.spec).map_err(Failure::runtime)?,
        data: data.fingerprint(),
    })
}

/// The same in the words of an evaluation; parts may come from machines with different instruction sets.
fn source(subject: &Subject) -> Source {
    let settings = sha256_of_bytes(subject.settings.as_bytes());
    let results = format!("weights {}, settings {settings}, {}", subject.weights, subject.program);
    Source { ground_truth: subject.data.clone(), results }
}

/// What was found before, when the folder holds an evaluation of the same that was stopped or killed.
fn open_journal(
    (folder, overwrite): (&Path, bool),
    subject: &Subject,
    console: Console,
) -> Result<Journal, Failure> {
    if overwrite && folder.join(Journal::NAME).is_file() {
        std::fs::remove_file(folder.join(Journal::NAME)).map_err(Failure::runtime)?;
    }
    let journal = Journal::open(folder, subject)?;
    if !journal.is_empty() {
        console.say(&format!("{}: going on; {} pictures are done", folder.display(), journal.len()));
    }
    Ok(journal)
}
