//! `merge`: parts of an evaluation, made by `eval coco --shard`, become one, with the figures of one run.

use crate::args::Merge;
use crate::commands::eval::{Scores, report};
use crate::commands::infer::{list_failures, write_json};
use crate::commands::parts::{self, NOTE, Note};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::places::{OutDir, require_exists};
use crate::standing::Standing;
use care_map::Evaluator;
use care_types::coco_json::{self, ResultRecord};
use std::path::{Path, PathBuf};

/// A part that was read.
struct Part {
    folder: PathBuf,
    note: Note,
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for folders that are not there or hold no part, 3 for parts that do not belong together or are not all there.
pub fn run(args: Merge, console: Console) -> Result<Exit, Failure> {
    let mut parts = Vec::new();
    for path in &args.parts {
        require_exists(path, "merge")?;
        for folder in folders(path)? {
            parts.push(Part { note: parts::read_note(&folder)?, folder });
        }
    }
    parts.sort_by_key(|p| p.note.part);
    belong_together(&parts)?;
    let out = args.out.as_ref().map(|out| OutDir::check(out, args.overwrite, &args.parts)).transpose()?;
    let mut note = Note { part: [0, 1], ..parts[0].note.clone() };
    note.failed = parts.iter().flat_map(|p| p.note.failed.clone()).collect();
    note.failed.sort_by_key(|f| f.0);
    let states = merged(&parts)?;
    let mut scores = Scores { failed: note.failed_lines(), ..Scores::default() };
    for state in &states {
        scores.metrics.push(parts::metrics(state, note.failed.len())?);
    }
    let (data, split, sha256) = (note.data.clone(), note.split.clone(), note.sha256.clone());
    scores.standing = Some(Standing::new(data, split, sha256, &scores.metrics));
    if let Some(out) = &out {
        out.clear()?;
        let folder = out.make("")?;
        let mut files = parts::write(&folder, &note, &states)?;
        files.extend(write_results(&folder, &parts)?);
        write_json(&folder.join("metrics.json"), &scores)?;
        out.remember(files.iter().map(PathBuf::as_path).chain([Path::new("metrics.json")]))?;
    }
    let gate = report(&scores, (&args.fail_under, args.per_category), console)?;
    if let Some(out) = &out {
        console.say(&format!("results are in {}", out.path().display()));
    }
    let of = scores.metrics.first().map_or(0, |m| m.funnel.images.evaluated);
    list_failures(console, of, scores.failed.iter().map(|f| f.error.as_str()));
    Ok(if scores.failed.is_empty() { gate } else { Exit::Failed })
}

/// The folder itself, or those parts that lie in it.
fn folders(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    if path.join(NOTE).is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let unreadable = |e| Failure::usage(format!("merge {}: cannot be read as a folder: {e}", path.display()));
    let mut inside = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?.path();
        if entry.join(NOTE).is_file() {
            inside.push(entry);
        }
    }
    inside.sort();
    if inside.is_empty() {
        return Err(Failure::usage(format!(
            "merge {}: holds no finished part of an evaluation; parts are made by `care-det eval coco … --shard I/N --out DIR`",
            path.display()
        )));
    }
    Ok(inside)
}

/// All parts of one evaluation, each once.
fn belong_together(parts: &[Part]) -> Result<(), Failure> {
    let (first, count) = (&parts[0], parts[0].note.part[1]);
    for part in parts {
        let (here, there) = (first.folder.display(), part.folder.display());
        if part.note.part[1] != count {
            let of = part.note.part[1];
            return Err(Failure::data(format!(
                "{here} is one of {count} parts, {there} one of {of}: they are of different evaluations"
            )));
        }
        if part.note.iou_types != first.note.iou_types {
            let [a, b] = [first, part].map(|p| p.note.iou_types.join(","));
            return Err(Failure::data(format!("{here} was scored by {a}, {there} by {b}")));
        }
    }
    let same = parts.windows(2).find(|pair| pair[0].note.part == pair[1].note.part);
    if let Some([a, b]) = same {
        return Err(Failure::data(format!(
            "{} and {} are both part {} of {count}",
            a.folder.display(),
            b.folder.display(),
            a.note.part[0] + 1
        )));
    }
    let there = |i: &usize| parts.iter().any(|p| p.note.part[0] == *i);
    let missing: Vec<String> =
        (0..count).filter(|i| !there(i)).map(|i| format!("{}/{count}", i + 1)).collect();
    match missing.as_slice() {
        [] => Ok(()),
        [..] => Err(Failure::data(format!(
            "{} of {count} parts are not there: {}{}; the same `eval coco --shard` commands make them (or go on with them)",
            missing.len(),
            missing[..missing.len().min(8)].join(", "),
            if missing.len() > 8 { ", …" } else { "" }
        ))),
    }
}

/// One state per kind of comparison.
fn merged(parts: &[Part]) -> Result<Vec<Evaluator>, Failure> {
    let (first, rest) = (&parts[0], &parts[1..]);
    let read = |part: &Part, kind: &str| {
        let missing = || format!("{}: holds no scores by {kind}", part.folder.display());
        parts::read_state(&part.folder, kind)?.ok_or_else(|| Failure::data(missing()))
    };
    let merge = |kind: &String| {
        let mut sum = read(first, kind)?;
        for part in rest {
            sum.merge(read(part, kind)?).map_err(|e| e.context(part.folder.display()))?;
        }
        Ok(sum)
    };
    first.note.iou_types.iter().map(merge).collect()
}

/// The records of all parts, by picture id, where every part has kept some.
fn write_results(folder: &Path, parts: &[Part]) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    for name in ["results.bbox.json", "results.segm.json"] {
        if !parts.iter().all(|p| p.folder.join(name).is_file()) {
            continue;
        }
        let mut records: Vec<ResultRecord> = Vec::new();
        for part in parts {
            records.extend(coco_json::read_results(&part.folder.join(name))?);
        }
        records.sort_by_key(|r| r.image_id.0); // stable: best first within each
        coco_json::write_results(&folder.join(name), &records)?;
        written.push(name.into());
    }
    Ok(written)
}
