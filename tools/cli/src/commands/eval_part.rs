//! `eval coco --shard`: a part of an evaluation, to be merged with the others.

use crate::args::EvalCoco;
use crate::commands::lined_up::{require_common_categories, require_objects};
use crate::commands::parts::{self, FailedLine, Note};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::places::OutDir;
use care_map::{Evaluator, Params, Shard, Source};
use care_types::coco_json::{Dataset, ResultRecord};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The part of `--shard`.
pub(super) fn shard(args: &EvalCoco) -> Result<Option<Shard>, Failure> {
    let resolved = args.shard.map(|s| s.resolve(|name| std::env::var(name).ok())).transpose();
    resolved.map_err(|e| Failure::usage(format!("--shard {e}")))
}

/// The folder of a part: all parts of a run can be told the same folder.
pub(super) fn folder(out: &Path, shard: Option<Shard>) -> PathBuf {
    shard.map_or(out.to_path_buf(), |s| out.join(format!("part-{}-of-{}", s.index + 1, s.count)))
}

/// A part of a results file.
pub(super) fn of_files(
    (truth, found): (&Dataset, &[ResultRecord]),
    (params, shard, [gt, dt]): (&[Params], Shard, [String; 2]),
    args: &EvalCoco,
    console: Console,
) -> Result<Exit, Failure> {
    require_common_categories(truth, found)?;
    let read: Vec<PathBuf> = args.gt.iter().chain(&args.dt).cloned().collect();
    let out = OutDir::check(&folder(&args.out.out, Some(shard)), args.out.overwrite, &read)?;
    let source = Source { ground_truth: gt.clone(), results: dt };
    let mut states = Vec::new();
    for params in params {
        require_objects(&care_map::evaluate(truth, &[], params)?, truth, params)?;
        states.push(parts::evaluator((truth, found), params, shard, &source)?);
    }
    let note = Note {
        part: [shard.index, shard.count],
        data: args.gt.as_deref().unwrap_or(Path::new("")).display().to_string(),
        split: None,
        sha256: gt,
        iou_types: params.iter().map(|p| p.iou_type.as_str().to_owned()).collect(),
        failed: Vec::new(),
    };
    out.clear()?;
    let files = parts::write(&out.make("")?, &note, &states)?;
    out.remember(files.iter())?;
    say(&out, (&note, &states), console)?;
    Ok(Exit::Ok)
}

/// What a part has to say: figures are those of all parts.
pub(super) fn say(
    out: &OutDir,
    (note, states): (&Note, &[Evaluator]),
    console: Console,
) -> Result<(), Failure> {
    let [index, count] = note.part;
    let pictures = states.first().map_or(0, |s| s.images().count());
    let folder = out.path().display();
    console.text(&format!(
        "part {} of {count}: {pictures} pictures in {folder}; when all are there: care-det merge {}\n",
        index + 1,
        out.path().parent().unwrap_or(out.path()).display()
    ))?;
    let (part, folder, failed) = ([index + 1, count], folder.to_string(), note.failed_lines());
    console.json(&PartLine { part, pictures, folder, failed })
}

#[derive(Serialize)]
struct PartLine {
    part: [usize; 2],
    pictures: usize,
    folder: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedLine>,
}
