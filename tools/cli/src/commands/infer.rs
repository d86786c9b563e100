//! `infer`: pictures and folders in; overlays, COCO results and a list of detections out.

use crate::args::{Infer, Save};
use crate::commands::detector;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::places::OutDir;
use crate::progress::Progress;
use care_data::folder::{Found, find_pictures};
use care_engine::evaluate::Records;
use care_engine::shipped::Wanted;
use care_engine::{Outcome, Prediction, Predictor, RunOptions, Source, Task};
use care_report::{OverlayOptions, overlay};
use care_types::coco_json::{self, Category, Dataset, Image};
use care_types::{BoxXywh, CategoryId, ImageId, LabelMap, Size, xywh_from_xyxy};
use image::DynamicImage;
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
    /// The folder that files are named in.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
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
    /// What was written for this picture.
    files: Vec<PathBuf>,
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
    let wanted = if args.save.contains(&Save::Masks) { Wanted::Masks } else { Wanted::Boxes };
    let weights = detector::open((&args.weights, wanted), &args.run, Some(DEFAULT_CONF), console)?;
    detector::require_memory(&weights, &args.run, pictures.len())?;
    detector::require_task(&weights, Task::Detection, "care-seg infer")?;
    let has_masks = weights.spec.network.predicts_masks();
    if args.save.contains(&Save::Masks) && !has_masks {
        return Err(Failure::usage(format!("--save masks: {} finds boxes only", weights.spec.model)));
    }
    if let Some(out) = &out {
        out.clear()?;
        out.make("")?; // before the work: a folder that cannot be made must not cost its results
    }
    let predictor = detector::build(weights)?;
    let mut work = Work::new(&args, &pictures, out, (predictor.labels(), has_masks));
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
    has_masks: bool,
    done: BTreeMap<usize, Prediction>,
    failed: BTreeMap<usize, String>,
    timings: BTreeMap<&'static str, f64>,
    /// Where what is written of each picture goes, without an ending.
    names: Vec<PathBuf>,
    /// Files of all pictures in the folder for results, by their place in it.
    written: Vec<PathBuf>,
    /// Those of each picture.
    of_picture: BTreeMap<usize, Vec<PathBuf>>,
}

impl<'a> Work<'a> {
    fn new(
        args: &'a Infer,
        pictures: &'a [Found],
        out: Option<OutDir>,
        (labels, has_masks): (&'a LabelMap, bool),
    ) -> Self {
        Self {
            args,
            pictures,
            out,
            labels,
            has_masks,
            done: BTreeMap::new(),
            failed: BTreeMap::new(),
            timings: BTreeMap::new(),
            names: picture_names(pictures),
            written: Vec::new(),
            of_picture: BTreeMap::new(),
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

    /// Writes the pictures that are asked for, and lets the picture itself go.
    fn keep(&mut self, index: usize, mut prediction: Prediction) -> Result<(), Failure> {
        let picture = prediction.picture.take();
        let name = self.names[index].clone();
        if let Some(picture) = picture {
            let options = OverlayOptions { min_score: 0.0, ..OverlayOptions::default() };
            let drawn = overlay(&picture, &prediction.detections, self.labels, &options);
            self.save(index, "overlays", (&name.with_extension("jpg"), drawn.into()))?;
        }
        if self.saves(Save::Masks) {
            let numbers = mask_numbers(prediction.size, &prediction.detections);
            self.save(index, "masks", (&name.with_extension("png"), numbers))?;
        }
        self.done.insert(index, prediction);
        Ok(())
    }

    /// Writes a picture below a folder of the results.
    fn save(
        &mut self,
        index: usize,
        folder: &str,
        (name, picture): (&Path, DynamicImage),
    ) -> Result<(), Failure> {
        let Some(out) = &self.out else { return Ok(()) };
        let place = out.save_picture(folder, name, &picture)?;
        self.of_picture.entry(index).or_default().push(place.clone());
        self.written.push(place);
        Ok(())
    }

    /// Results under ids, and the list of pictures that the ids stand for.
    fn write_coco(&mut self) -> Result<(), Failure> {
        let Some(out) = &self.out else { return Ok(()) };
        let folder = out.make("")?;
        let id = |index: usize| ImageId(index as i64 + 1);
        let mut all = Records::default();
        let mut listed = Dataset::default();
        for (&index, prediction) in &self.done {
            let records = Records::of(id(index), &prediction.detections, self.labels);
            all.boxes.extend(records.boxes);
            all.masks.extend(records.masks);
            let file_name = self.pictures[index].path.display().to_string();
            let (width, height) = (prediction.size.width, prediction.size.height);
            listed.images.push(Image { id: id(index), width, height, file_name, ..Default::default() });
        }
        let category =
            |l: &care_types::Label| Category { id: l.id, name: l.name.clone(), ..Default::default() };
        listed.categories = self.labels.entries().iter().map(category).collect();
        let mut files = vec![("results.bbox.json", &all.boxes)];
        if self.has_masks {
            files.push(("results.segm.json", &all.masks));
        }
        for (name, records) in files {
            self.written.push(name.into());
            coco_json::write_results(&folder.join(name), records)?;
        }
        self.written.push("images.json".into());
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
            files: self.of_picture.get(&index).cloned().unwrap_or_default(),
            detections: self.detections(p),
        };
        let images = self.done.iter().map(line).collect();
        let out = self.out.as_ref().map(|out| out.path().display().to_string());
        console.json(&Report { out, images, failed, timings_ms: self.timings, interrupted })
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

/// A place for what is written of each picture; it depends on the pictures that were named, not on what becomes of them.
pub(super) fn picture_names(pictures: &[Found]) -> Vec<PathBuf> {
    let mut taken = BTreeSet::new();
    pictures.iter().map(|p| picture_name(&p.relative, &mut taken)).collect()
}

/// The picture's place below the folder that was searched, with a number where two would be the same, without an ending.
fn picture_name(relative: &Path, taken: &mut BTreeSet<PathBuf>) -> PathBuf {
    let plain: PathBuf =
        relative.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect();
    let stem = plain.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    for n in 1.. {
        // an ending that `with_extension` replaces, so that dots of the name stay
        let name = if n == 1 { format!("{stem}.out") } else { format!("{stem}-{n}.out") };
        let candidate = plain.with_file_name(name);
        if taken.insert(candidate.clone()) {
            return candidate;
        }
    }
    plain
}

/// The number of the detection at each pixel, from 1, and 0 for none; the surest is on top. 8 bits where they suffice.
fn mask_numbers(size: Size, detections: &[care_types::Detection]) -> DynamicImage {
    let mut numbers = vec![0u16; size.width as usize * size.height as usize];
    for (i, detection) in detections.iter().enumerate().rev() {
        let Some(mask) = &detection.mask else { continue };
        for (number, _) in numbers.iter_mut().zip(mask.to_mask()).filter(|(_, inside)| *inside != 0) {
            *number = u16::try_from(i + 1).unwrap_or(u16::MAX);
        }
    }
    let (w, h) = (size.width, size.height);
    if detections.len() <= usize::from(u8::MAX) {
        let bytes = numbers.into_iter().map(|n| n as u8).collect();
        return image::GrayImage::from_raw(w, h, bytes).map(DynamicImage::from).unwrap_or_default();
    }
    image::ImageBuffer::<image::Luma<u16>, _>::from_raw(w, h, numbers)
        .map(DynamicImage::from)
        .unwrap_or_default()
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
    fn pictures_never_share_a_name_or_leave_their_folder() {
        let mut taken = BTreeSet::new();
        let mut name =
            |p: &str| picture_name(Path::new(p), &mut taken).with_extension("jpg").display().to_string();
        assert_eq!(name("a/x.png"), "a/x.jpg");
        assert_eq!(name("a/x.jpeg"), "a/x-2.jpg");
        assert_eq!(name("x.png"), "x.jpg");
        assert_eq!(name("../x"), "x-2.jpg");
    }
}
