//! `infer` of a segmenter: pictures and folders in; overlays and label maps out.

use crate::args::{InferSeg, SaveSeg};
use crate::commands::infer::{list_failures, picture_names};
use crate::commands::{detector, seg_maps};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::places::OutDir;
use crate::progress::Progress;
use care_data::folder::{Found, find_pictures};
use care_engine::shipped::Wanted;
use care_engine::{Error, Outcome, Prediction, Predictor, RunOptions, Source, Task};
use care_report::scene_overlay;
use care_types::{ClassIndex, LabelMap, SegTarget};
use image::DynamicImage;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Share of the class colour in overlays.
const OPACITY: f32 = 0.5;

/// The JSON line.
#[derive(Default, Serialize)]
struct Report {
    /// The folder that files are named in.
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
    images: Vec<ImageLine>,
    failed: Vec<FailedLine>,
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
    /// Share of the picture, largest first.
    classes: Vec<ClassLine>,
}

#[derive(Serialize)]
struct ClassLine {
    class: usize,
    name: String,
    share: f64,
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
pub fn run(args: InferSeg, console: Console) -> Result<Exit, Failure> {
    let pictures = find_pictures(&args.paths)?;
    let out = match args.save.as_slice() {
        [SaveSeg::None] => None,
        save if save.contains(&SaveSeg::None) => {
            return Err(Failure::usage("--save none cannot be combined with others"));
        }
        _ => Some(OutDir::check(&args.out.out, args.out.overwrite, &args.paths)?),
    };
    let weights = detector::open((&args.weights, Wanted::Scenes), &args.run.common(), None, console)?;
    args.views.check(args.run.batch)?;
    detector::require_task(&weights, Task::Segmentation, "care-det infer")?;
    let (views, flags) = (args.views.views(), args.run.common());
    detector::require_memory_of_views(&weights, &views, &flags, pictures.len())?;
    if let Some(out) = &out {
        out.clear()?;
        out.make("")?;
    }
    let predictor = detector::build(weights)?.with_views(views)?;
    let mut work = Work {
        args: &args,
        labels: predictor.labels(),
        out,
        names: picture_names(&pictures),
        written: Vec::new(),
    };
    let mut report = work.segment(&pictures, &predictor, console)?;
    report.out = work.out.as_ref().map(|out| out.path().display().to_string());
    if let Some(out) = &work.out {
        out.remember(work.written.iter())?;
        console.say(&format!("results are in {}", out.path().display()));
    }
    console.text(&text(&report))?;
    list_failures(console, pictures.len(), report.failed.iter().map(|f| f.error.as_str()));
    console.json(&report)?;
    Ok(match (report.interrupted, report.failed.is_empty()) {
        (true, _) => Exit::Interrupted,
        (false, false) => Exit::Failed,
        (false, true) => Exit::Ok,
    })
}

struct Work<'a> {
    args: &'a InferSeg,
    labels: &'a LabelMap,
    out: Option<OutDir>,
    names: Vec<PathBuf>,
    written: Vec<PathBuf>,
}

impl Work<'_> {
    fn segment(
        &mut self,
        pictures: &[Found],
        predictor: &Predictor,
        console: Console,
    ) -> Result<Report, Failure> {
        let stop = interrupt::install();
        let source = Source::files(pictures.iter().map(|p| p.path.clone()).collect());
        let options = RunOptions {
            batch: usize::from(self.args.run.batch),
            keep_pictures: self.args.save.contains(&SaveSeg::Overlay),
        };
        let mut progress = Progress::start(console, "pictures", source.len());
        let (mut broken, mut report) = (None, Report::default());
        let ran = predictor.run(&source, options, &stop, &mut |Outcome { index, result }| {
            progress.tick();
            let file = pictures[index].path.display().to_string();
            match result {
                Err(e) => report.failed.push(FailedLine { file, error: e.to_string() }),
                Ok(prediction) => match self.keep(index, file, prediction) {
                    Ok(line) => report.images.push(line),
                    Err(failure) => {
                        let message = failure.message.clone();
                        broken = Some(failure);
                        return Err(Error::internal(message));
                    }
                },
            }
            Ok(())
        });
        progress.finish();
        if let Some(failure) = broken {
            return Err(failure);
        }
        ran?;
        report.images.sort_by(|a, b| a.file.cmp(&b.file));
        report.interrupted = report.images.len() + report.failed.len() < pictures.len();
        Ok(report)
    }

    fn keep(&mut self, index: usize, file: String, prediction: Prediction) -> Result<ImageLine, Failure> {
        let Prediction { size, labels: Some(map), picture, .. } = prediction else {
            return Err(Failure::runtime(format!("{file}: the network gave no label map")));
        };
        let (name, before) = (self.names[index].clone(), self.written.len());
        if let Some(picture) = picture {
            let drawn = scene_overlay(&picture, &map, self.labels, OPACITY);
            self.save("overlays", &name.with_extension("jpg"), drawn.into())?;
        }
        if self.args.save.contains(&SaveSeg::Mask) {
            self.save("masks", &name.with_extension("png"), seg_maps::indices(&map))?;
        }
        if self.args.save.contains(&SaveSeg::Palette) {
            self.save("palette", &name.with_extension("png"), seg_maps::colors(&map, self.labels))?;
        }
        let (files, classes) = (self.written[before..].to_vec(), shares(&map, self.labels));
        Ok(ImageLine { file, width: size.width, height: size.height, files, classes })
    }

    fn save(&mut self, folder: &str, name: &Path, picture: DynamicImage) -> Result<(), Failure> {
        let Some(out) = &self.out else { return Ok(()) };
        self.written.push(out.save_picture(folder, name, &picture)?);
        Ok(())
    }
}

fn shares(map: &SegTarget, labels: &LabelMap) -> Vec<ClassLine> {
    let counts = map.counts();
    let total = map.classes().len().max(1) as f64;
    let mut lines: Vec<ClassLine> = (0..labels.len())
        .filter(|&class| counts[class] > 0)
        .map(|class| ClassLine {
            class,
            name: labels.name(ClassIndex(class)),
            share: counts[class] as f64 / total,
        })
        .collect();
    lines.sort_by(|a, b| b.share.total_cmp(&a.share));
    lines
}

/// One line per picture: the classes that make up most of it.
fn text(report: &Report) -> String {
    const SHOWN: usize = 6;
    let line = |image: &ImageLine| {
        let named: Vec<String> = image
            .classes
            .iter()
            .take(SHOWN)
            .map(|c| format!("{:.1} % {}", 100.0 * c.share, c.name))
            .collect();
        let more = image.classes.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}: {}{more}\n", image.file, named.join(", "))
    };
    report.images.iter().map(line).collect()
}
