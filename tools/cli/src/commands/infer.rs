//! `infer`: pictures and folders in; overlays, COCO results and a list of detections out.

use crate::args::{Infer, Save};
use crate::commands::detector;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::places::OutDir;
use crate::progress::Progress;
use care_data::folder::{Found, find_pictures};
use care_engine::evaluate::box_records;
use care_engine::{Outcome, Prediction, Predictor, RunOptions, Source};
use care_report::{OverlayOptions, overlay};
use care_types::coco_json::{self, Category, Dataset, Image, ResultRecord};
use care_types::{BoxXywh, CategoryId, ImageId, LabelMap, xywh_from_xyxy};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Scores must be above this when `--conf` is not given: what people want to see, not what a metric wants.
const DEFAULT_CONF: f64 = 0.3;

/// The JSON line.
#[derive(Serialize)]
struct Report {
    images: Vec<ImageLine>,
    failed: Vec<FailedLine>,
    timings_ms: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
}

#[derive(Serialize)]
struct ImageLine {
    file: String,
    width: u32,
    height: u32,
    detections: Vec<DetectionLine>,
}

#[derive(Serialize)]
struct DetectionLine {
    category_id: CategoryId,
    name: String,
    bbox: BoxXywh,
    /// With the digits of the results file.
    score: f64,
}

#[derive(Serialize)]
struct FailedLine {
    file: String,
    error: String,
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for paths that are not there and folders that may not be written, 3 without pictures, 5 for weights.
pub fn run(args: Infer, console: Console) -> Result<Exit, Failure> {
    let pictures = find_pictures(&args.paths)?;
    let out = out_dir(&args)?;
    let weights = detector::open(&args.weights, &args.run, Some(DEFAULT_CONF))?;
    detector::require_memory(&weights, &args.run, pictures.len())?;
    if let Some(out) = &out {
        out.clear()?;
        out.make("")?; // before the work: a folder that cannot be made must not cost its results
    }
    let predictor = detector::build(weights)?;
    let mut work = Work::new(&args, &pictures, out, predictor.labels());
    let interrupted = work.detect(&predictor, console)?;
    if work.saves(Save::Coco) {
        work.write_coco()?;
    }
    if let Some(out) = &work.out {
        out.remember(work.written.iter())?;
    }
    let exit = work.exit(interrupted);
    work.report(interrupted, console)?;
    Ok(exit)
}

/// The folder for results, if anything is to be written.
fn out_dir(args: &Infer) -> Result<Option<OutDir>, Failure> {
    if args.save.contains(&Save::None) {
        if args.save.len() > 1 {
            return Err(Failure::usage("--save none cannot be combined with others"));
        }
        return Ok(None);
    }
    OutDir::check(&args.out.out, args.out.overwrite, &args.paths).map(Some)
}

/// A run over the pictures and what came of it.
struct Work<'a> {
    args: &'a Infer,
    pictures: &'a [Found],
    out: Option<OutDir>,
    labels: &'a LabelMap,
    done: BTreeMap<usize, Prediction>,
    failed: BTreeMap<usize, String>,
    timings: BTreeMap<&'static str, f64>,
    overlay_names: BTreeSet<PathBuf>,
    /// Files in the folder for results, by their place in it.
    written: Vec<PathBuf>,
}

impl<'a> Work<'a> {
    fn new(args: &'a Infer, pictures: &'a [Found], out: Option<OutDir>, labels: &'a LabelMap) -> Self {
        Self {
            args,
            pictures,
            out,
            labels,
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            timings: BTreeMap::new(),
            overlay_names: BTreeSet::new(),
            written: Vec::new(),
        }
    }

    fn saves(&self, what: Save) -> bool {
        self.args.save.contains(&what)
    }

    /// Detects in all pictures; returns whether it was interrupted.
    fn detect(&mut self, predictor: &Predictor, console: Console) -> Result<bool, Failure> {
        let stop = interrupt::install();
        let source = Source::files(self.pictures.iter().map(|p| p.path.clone()).collect());
        let options =
            RunOptions { batch: usize::from(self.args.run.batch), keep_pictures: self.saves(Save::Overlay) };
        let mut progress = Progress::start(console, "pictures", source.len());
        let start = Instant::now();
        let mut broken: Option<Failure> = None;
        let phases = predictor.run(&source, options, &stop, &mut |Outcome { index, result }| {
            let kept = match result {
                Ok(prediction) => self.keep(index, prediction),
                Err(e) => {
                    self.failed.insert(index, e.to_string());
                    Ok(())
                }
            };
            progress.tick();
            kept.map_err(|failure| {
                let message = failure.message.clone();
                broken = Some(failure);
                care_engine::Error::internal(message)
            })
        });
        progress.finish();
        if let Some(failure) = broken {
            return Err(failure);
        }
        self.timings = phases?.milliseconds().into_iter().collect();
        self.timings.insert("total", 1e3 * start.elapsed().as_secs_f64());
        Ok(self.done.len() + self.failed.len() < self.pictures.len())
    }

    /// Draws the overlay, if asked for, and lets the picture go.
    fn keep(&mut self, index: usize, mut prediction: Prediction) -> Result<(), Failure> {
        if let (Some(picture), Some(out)) = (prediction.picture.take(), &self.out) {
            let name = overlay_name(&self.pictures[index].relative, &mut self.overlay_names);
            let path = out.make("overlays")?.join(&name);
            self.written.push(Path::new("overlays").join(name));
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)
                    .map_err(|e| Failure::runtime(format!("{}: {e}", parent.display())))?;
            }
            let options = OverlayOptions { min_score: 0.0, ..OverlayOptions::default() };
            overlay(&picture, &prediction.detections, self.labels, &options)
                .save(&path)
                .map_err(|e| Failure::runtime(format!("{}: could not be written: {e}", path.display())))?;
        }
        self.done.insert(index, prediction);
        Ok(())
    }

    /// Results under ids, and the list of pictures that the ids stand for.
    fn write_coco(&mut self) -> Result<(), Failure> {
        let Some(out) = &self.out else { return Ok(()) };
        let folder = out.make("")?;
        self.written.extend(["results.bbox.json", "images.json"].map(PathBuf::from));
        let id = |index: usize| ImageId(index as i64 + 1);
        let mut records: Vec<ResultRecord> = Vec::new();
        let mut listed = Dataset::default();
        for (&index, prediction) in &self.done {
            records.extend(box_records(id(index), &prediction.detections, self.labels));
            let file_name = self.pictures[index].path.display().to_string();
            let (width, height) = (prediction.size.width, prediction.size.height);
            listed.images.push(Image { id: id(index), width, height, file_name });
        }
        let category =
            |l: &care_types::Label| Category { id: l.id, name: l.name.clone(), supercategory: None };
        listed.categories = self.labels.entries().iter().map(category).collect();
        coco_json::write_results(&folder.join("results.bbox.json"), &records)?;
        write_json(&folder.join("images.json"), &listed)
    }

    fn exit(&self, interrupted: bool) -> Exit {
        match (interrupted, self.failed.is_empty()) {
            (true, _) => Exit::Interrupted,
            (false, false) => Exit::Failed,
            (false, true) => Exit::Ok,
        }
    }

    fn report(self, interrupted: bool, console: Console) -> Result<(), Failure> {
        console.text(&self.text())?;
        if let Some(out) = &self.out {
            console.say(&format!("results are in {}", out.path().display()));
        }
        let file = |index: usize| self.pictures[index].path.display().to_string();
        let failed: Vec<FailedLine> =
            self.failed.iter().map(|(&i, e)| FailedLine { file: file(i), error: e.clone() }).collect();
        list_failures(console, self.pictures.len(), failed.iter().map(|f| f.error.as_str()));
        let line = |(&index, p): (&usize, &Prediction)| ImageLine {
            file: file(index),
            width: p.size.width,
            height: p.size.height,
            detections: self.detections(p),
        };
        let images = self.done.iter().map(line).collect();
        console.json(&Report { images, failed, timings_ms: self.timings, interrupted })
    }

    fn detections(&self, prediction: &Prediction) -> Vec<DetectionLine> {
        let line = |d: &care_types::Detection| {
            let label = self.labels.get(d.class)?;
            let (category_id, name) = (label.id, label.name.clone());
            Some(DetectionLine { category_id, name, bbox: xywh_from_xyxy(d.bbox), score: d.score.into() })
        };
        prediction.detections.iter().filter_map(line).collect()
    }

    /// One line per picture: how many of which class.
    fn text(&self) -> String {
        let mut text = String::new();
        for (&index, prediction) in &self.done {
            let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
            for d in &prediction.detections {
                *counts.entry(d.class.0).or_default() += 1;
            }
            let found: Vec<String> = counts
                .iter()
                .map(|(&c, n)| format!("{n} {}", self.labels.name(care_types::ClassIndex(c))))
                .collect();
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            let _ = writeln!(text, "{}: {found}", self.pictures[index].path.display());
        }
        text
    }
}

/// The picture's place below the folder that was searched, as .jpg, with a number where two would be the same.
fn overlay_name(relative: &Path, taken: &mut BTreeSet<PathBuf>) -> PathBuf {
    let plain: PathBuf =
        relative.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect();
    let stem = plain.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    for n in 1.. {
        let name = if n == 1 { format!("{stem}.jpg") } else { format!("{stem}-{n}.jpg") };
        let candidate = plain.with_file_name(name);
        if taken.insert(candidate.clone()) {
            return candidate;
        }
    }
    plain
}

/// Says how many pictures failed and why, one line each.
pub(super) fn list_failures<'e>(console: Console, of: usize, errors: impl ExactSizeIterator<Item = &'e str>) {
    if errors.len() == 0 {
        return;
    }
    console.warn(&format!("{} of {of} pictures failed:", errors.len()));
    for error in errors {
        console.warn(&format!("  {}", error.split_whitespace().collect::<Vec<_>>().join(" ")));
    }
}

/// Writes a value as JSON.
pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let failed = |e: &dyn std::fmt::Display| {
        Failure::runtime(format!("{}: could not be written: {e}", path.display()))
    };
    let json = serde_json::to_vec(value).map_err(|e| failed(&e))?;
    std::fs::write(path, json).map_err(|e| failed(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_never_share_a_name_or_leave_their_folder() {
        let mut taken = BTreeSet::new();
        let mut name = |p: &str| overlay_name(Path::new(p), &mut taken).display().to_string();
        assert_eq!(name("a/x.png"), "a/x.jpg");
        assert_eq!(name("a/x.jpeg"), "a/x-2.jpg");
        assert_eq!(name("x.png"), "x.jpg");
        assert_eq!(name("../x"), "x-2.jpg");
    }
}
