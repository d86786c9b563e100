//! `demo`: the synthetic data set as files.

use crate::args::Demo;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use care_data::demo::{self, DemoSemantic, DemoSplit};
use care_data::semantic::SegDataset;
use care_data::{Dataset, DemoDataset};
use care_engine::Task;
use serde::Serialize;
use std::sync::Mutex;

#[derive(Serialize)]
struct Written {
    folder: String,
    splits: Vec<Split>,
    classes: Vec<String>,
}

#[derive(Serialize)]
struct Split {
    name: &'static str,
    images: usize,
}

/// Runs the command.
///
/// # Errors
/// Exit 2 when the folder holds something already.
pub fn run(args: Demo, task: Task, console: Console) -> Result<Exit, Failure> {
    require_empty(&args)?;
    let splits: Vec<Split> = DemoSplit::ALL
        .iter()
        .map(|&split| Split { name: split.name(), images: DemoDataset::new(split).len() })
        .collect();
    let progress = Mutex::new(Progress::start(console, "pictures", splits.iter().map(|s| s.images).sum()));
    let tick = || lock(&progress).tick();
    let (written, labels, what) = match task {
        Task::Detection => (
            demo::write(&args.write, &tick),
            DemoDataset::new(DemoSplit::Val).labels().clone(),
            "synthetic pictures in COCO format; this is not COCO",
        ),
        Task::Segmentation => (
            demo::write_scenes(&args.write, &tick),
            DemoSemantic::new(DemoSplit::Val).labels().clone(),
            "synthetic pictures with a label map each; this is not ADE20K",
        ),
    };
    progress.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).finish();
    written?;
    let classes = labels.names().into_iter().map(str::to_owned).collect();
    let folder = args.write.display().to_string();
    for split in &splits {
        console.text(&format!("{folder}: split {}, {} pictures\n", split.name, split.images))?;
    }
    console.say(what);
    console.json(&Written { folder, splits, classes })?;
    Ok(Exit::Ok)
}

/// Before the first line of progress.
fn require_empty(args: &Demo) -> Result<(), Failure> {
    let (path, shown) = (&args.write, args.write.display());
    if path.exists() && !path.is_dir() {
        return Err(Failure::usage(format!("--write {shown}: is a file, expected a folder")));
    }
    let filled = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    match filled && !args.overwrite {
        true => Err(Failure::usage(format!(
            "--write {shown}: the folder is not empty; name a new one, or add --overwrite"
        ))),
        false => Ok(()),
    }
}

fn lock(progress: &Mutex<Progress>) -> std::sync::MutexGuard<'_, Progress> {
    progress.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
