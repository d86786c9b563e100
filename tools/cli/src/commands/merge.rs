//! `merge`: parts of an evaluation, made by `eval … --shard`, become one, with the figures of one run.

use crate::args::{CocoFlags, Merge, MiouFlags};
use crate::commands::eval::{Scores, report};
use crate::commands::eval_part;
use crate::commands::eval_seg::SegLine;
use crate::commands::infer::{list_failures, write_json};
use crate::commands::parts::{self, NOTE, Note, State};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::places::{OutDir, require_exists};
use crate::standing::Standing;
use care_map::Evaluator;
use care_miou::SegEvaluator;
use care_types::coco_json::{self, ResultRecord};
use std::path::{Path, PathBuf};

/// A part that was read.
struct Part {
    folder: PathBuf,
    note: Note,
}

/// `care-det merge`.
///
/// # Errors
/// Exit 2 for folders that are not there or hold no part, 3 for parts that do not belong together or are not all there.
pub fn run(args: Merge<CocoFlags>, console: Console) -> Result<Exit, Failure> {
    let parts = parts_in(&args.parts, "care-det eval coco")?;
    let note = whole(&parts);
    let states: Vec<Evaluator> = merged(&parts)?;
    let mut scores = Scores { failed: note.failed_lines(), ..Scores::default() };
    for state in &states {
        scores.metrics.push(eval_part::metrics(state, note.failed.len())?);
    }
    let (data, split, sha256) = (note.data.clone(), note.split.clone(), note.sha256.clone());
    scores.standing = Some(Standing::new(data, split, sha256, &scores.metrics));
    let out = write(&args, (&note, &states), &scores, |folder| write_results(folder, &parts))?;
    let gate = report(&scores, (&args.flags.fail_under, args.flags.per_category), console)?;
    let of = scores.metrics.first().map_or(0, |m| m.funnel.images.evaluated);
    Ok(ended((&note, of), out, gate, console))
}

/// `care-seg merge`.
///
/// # Errors
/// As [`run`].
pub fn run_seg(args: Merge<MiouFlags>, console: Console) -> Result<Exit, Failure> {
    let parts = parts_in(&args.parts, "care-seg eval ade20k")?;
    let note = whole(&parts);
    let states: Vec<SegEvaluator> = merged(&parts)?;
    let state = states.first().ok_or_else(|| Failure::data("the parts were scored by nothing"))?;
    let line = SegLine::new(state, &note, false)?;
    let out = write(&args, (&note, &states), &line, |_| Ok(Vec::new()))?;
    line.print(console)?;
    let gate = line.judge(&args.flags.fail_under, console);
    let of = state.pictures().count() + note.failed.len();
    Ok(ended((&note, of), out, gate, console))
}

/// The note of all parts together.
fn whole(parts: &[Part]) -> Note {
    let mut failed: Vec<_> = parts.iter().flat_map(|p| p.note.failed.clone()).collect();
    failed.sort_by_key(|f| f.0);
    Note { part: [0, 1], failed, ..parts[0].note.clone() }
}

/// Everything that one run would have written, if a folder was named.
fn write<F: clap::Args, S: State>(
    args: &Merge<F>,
    (note, states): (&Note, &[S]),
    metrics: &impl serde::Serialize,
    results: impl FnOnce(&Path) -> Result<Vec<PathBuf>, Failure>,
) -> Result<Option<PathBuf>, Failure> {
    let Some(out) = &args.out else { return Ok(None) };
    let out = OutDir::check(out, args.overwrite, &args.parts)?;
    out.clear()?;
    let folder = out.make("")?;
    let mut files = parts::write(&folder, note, states)?;
    files.extend(results(&folder)?);
    write_json(&folder.join("metrics.json"), metrics)?;
    files.push("metrics.json".into());
    out.remember(files.iter())?;
    Ok(Some(folder))
}

fn ended((note, of): (&Note, usize), out: Option<PathBuf>, gate: Exit, console: Console) -> Exit {
    if let Some(out) = out {
        console.say(&format!("results are in {}", out.display()));
    }
    list_failures(console, of, note.failed.iter().map(|(_, f)| f.error.as_str()));
    if note.failed.is_empty() { gate } else { Exit::Failed }
}

/// All parts in the folders, in order.
fn parts_in(paths: &[PathBuf], made_by: &str) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for path in paths {
        require_exists(path, "merge")?;
        for folder in folders(path, made_by)? {
            parts.push(Part { note: parts::read_note(&folder)?, folder });
        }
    }
    parts.sort_by_key(|p| p.note.part);
    belong_together(&parts)?;
    Ok(parts)
}

/// The folder itself, or those parts that lie in it.
fn folders(path: &Path, made_by: &str) -> Result<Vec<PathBuf>, Failure> {
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
            "merge {}: holds no finished part of an evaluation; parts are made by `{made_by} … --shard I/N --out DIR`",
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
        if part.note.scored != first.note.scored {
            let [a, b] = [first, part].map(|p| p.note.scored.join(","));
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
            "{} of {count} parts are not there: {}{}; the same commands make them (or go on with them)",
            missing.len(),
            missing[..missing.len().min(8)].join(", "),
            if missing.len() > 8 { ", …" } else { "" }
        ))),
    }
}

/// One state per kind of score.
fn merged<S: State>(parts: &[Part]) -> Result<Vec<S>, Failure> {
    let (first, rest) = (&parts[0], &parts[1..]);
    let read = |part: &Part, kind: &str| {
        let missing = || format!("{}: holds no scores by {kind}", part.folder.display());
        parts::read_state(&part.folder, kind)?.ok_or_else(|| Failure::data(missing()))
    };
    let merge = |kind: &String| {
        let mut sum: S = read(first, kind)?;
        for part in rest {
            sum.merge(read(part, kind)?).map_err(|e| e.context(part.folder.display()))?;
        }
        Ok(sum)
    };
    first.note.scored.iter().map(merge).collect()
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
