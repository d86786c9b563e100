//! `eval coco --shard`: a part of an evaluation, to be merged with the others.

use crate::args::EvalCoco;
use crate::commands::lined_up::{require_common_categories, require_objects};
use crate::commands::parts::{self, Note};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::places::OutDir;
use care_map::{CocoMetrics, Evaluator, Params, Shard, Source};
use care_types::coco_json::{Dataset, ResultRecord};
use std::path::{Path, PathBuf};

/// A state that holds the detections of a part.
pub(super) fn evaluator(
    (truth, found): (&Dataset, &[ResultRecord]),
    params: &Params,
    shard: Shard,
    source: &Source,
) -> Result<Evaluator, Failure> {
    let mut evaluator = Evaluator::new(&truth.categories, params)?.with_source(source.clone());
    evaluator.add_shard(truth, found, shard)?;
    Ok(evaluator)
}

/// The figures of a state, failed pictures counted.
pub(super) fn metrics(state: &Evaluator, failed: usize) -> Result<CocoMetrics, Failure> {
    let mut metrics = state.finish()?;
    metrics.funnel = metrics.funnel.with_failed(failed);
    Ok(metrics)
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
    let out = OutDir::check(&parts::folder(&args.out.out, Some(shard)), args.out.overwrite, &read)?;
    let source = Source { ground_truth: gt.clone(), results: dt };
    let mut states = Vec::new();
    for params in params {
        require_objects(&care_map::evaluate(truth, &[], params)?, truth, params)?;
        states.push(evaluator((truth, found), params, shard, &source)?);
    }
    let note = Note {
        part: [shard.index, shard.count],
        data: args.gt.as_deref().unwrap_or(Path::new("")).display().to_string(),
        split: None,
        sha256: gt,
        scored: params.iter().map(|p| p.iou_type.as_str().to_owned()).collect(),
        failed: Vec::new(),
    };
    out.clear()?;
    let files = parts::write(&out.make("")?, &note, &states)?;
    out.remember(files.iter())?;
    parts::say(&out, (&note, &states), "care-det", console)?;
    Ok(Exit::Ok)
}
