//! `compare`: two results for the same pictures, and whether the difference could be chance.

use crate::args::Compare;
use crate::commands::eval::params_of;
use crate::commands::{eval_part, parts};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::places::{require_exists, require_file};
use care_engine::weights::sha256_of;
use care_map::{
    CompareOptions, Comparison, Difference, Evaluator, IouType, Params, Source, Verdict, compare,
};
use care_types::coco_json::{self, Dataset};
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Line<'a> {
    a: &'a Path,
    b: &'a Path,
    iou_type: &'static str,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

/// Runs the command.
///
/// # Errors
/// Exit 2 for what is not there, 3 for results that cannot be scored or compared.
pub fn run(args: Compare, console: Console) -> Result<Exit, Failure> {
    for path in [&args.a, &args.b] {
        require_exists(path, "compare")?;
    }
    let params = params_of(&[args.iou_type], args.params.as_deref(), Params::new)?.swap_remove(0);
    let [a, b] = match &args.gt {
        Some(gt) => of_files(gt, [&args.a, &args.b], &params)?,
        None => [of_folder(&args.a, &params)?, of_folder(&args.b, &params)?],
    };
    let options = CompareOptions { resamples: args.resamples as usize, seed: args.seed, level: args.level };
    let comparison = compare(&a, &b, &options)?;
    console.text(&text(&args, &comparison))?;
    let iou_type = params.iou_type.as_str();
    console.json(&Line { a: &args.a, b: &args.b, iou_type, comparison: &comparison })?;
    Ok(Exit::Ok)
}

/// Results files, or those in folders, against a ground truth.
fn of_files(gt: &Path, [a, b]: [&PathBuf; 2], params: &Params) -> Result<[Evaluator; 2], Failure> {
    require_file(gt, "--gt")?;
    let (truth, hash) = (coco_json::read_dataset(gt)?, sha256_of(gt)?);
    let one = |path: &PathBuf| of_file((&truth, &hash), path, params);
    Ok([one(a)?, one(b)?])
}

fn of_file((truth, hash): (&Dataset, &str), path: &Path, params: &Params) -> Result<Evaluator, Failure> {
    let file = match path.is_dir() {
        true => path.join(format!("results.{}.json", records_of(params.iou_type))),
        false => path.to_path_buf(),
    };
    let found = coco_json::read_results(&file)?;
    let source = Source { ground_truth: hash.to_owned(), results: sha256_of(&file)? };
    eval_part::evaluator((truth, &found), params, parts::WHOLE, &source)
        .map_err(|e| e.context(file.display()))
}

/// The results file whose records are compared.
fn records_of(kind: IouType) -> &'static str {
    if kind == IouType::Boundary { IouType::Segm.as_str() } else { kind.as_str() }
}

/// What `eval coco` or `merge` left.
fn of_folder(path: &Path, params: &Params) -> Result<Evaluator, Failure> {
    if path.is_file() {
        return Err(Failure::usage(format!(
            "compare {}: a results file needs the ground truth that it is scored against: --gt FILE",
            path.display()
        )));
    }
    let [index, count] = parts::read_note(path)?.part;
    if count > 1 {
        return Err(Failure::usage(format!(
            "compare {}: holds part {} of {count}; merge the parts first",
            path.display(),
            index + 1
        )));
    }
    let kind = params.iou_type.as_str();
    parts::read_state(path, kind)?.ok_or_else(|| {
        Failure::usage(format!("compare {}: was not scored by {kind}; see --iou-type", path.display()))
    })
}

fn text(args: &Compare, comparison: &Comparison) -> String {
    let (a, b) = (args.a.display(), args.b.display());
    let Comparison { pictures, resamples, level, .. } = comparison;
    let percent = (level * 1e4).round() / 1e2;
    let mut text = format!(
        " A {a}\n B {b}\n {pictures} pictures, drawn {resamples} times with replacement, intervals of {percent} %\n\n"
    );
    let _ = writeln!(text, " {:<8}{:>8}{:>8}{:>9}   {:<18}", "", "A", "B", "A - B", "interval");
    comparison.figures.iter().for_each(|d| line(&mut text, d.name, d));
    if args.per_category {
        for category in &comparison.per_category {
            let _ = writeln!(text, "\n {} {}", category.id, category.name);
            category.figures.iter().for_each(|d| line(&mut text, d.name, d));
        }
    }
    if let Some(ap) = comparison.figures.first() {
        let _ = writeln!(text, "\n {}", comparison.statement(ap, "A", "B"));
    }
    text
}

fn line(text: &mut String, name: &str, d: &Difference) {
    let verdict = match d.verdict {
        Verdict::A => "A is better",
        Verdict::B => "B is better",
        Verdict::Undecided => "",
    };
    let row = format!(
        " {name:<8}{:>8.3}{:>8.3}{:>+9.3}   [{:+.3}, {:+.3}]  {verdict}",
        d.a, d.b, d.delta, d.low, d.high
    );
    let _ = writeln!(text, "{}", row.trim_end());
}
