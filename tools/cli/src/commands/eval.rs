//! `eval coco`: score two JSON files, or hand over to `eval_data` to detect first.

use crate::args::{EvalCoco, EvalLvis, IouKind};
use crate::commands::eval_part;
use crate::commands::lined_up::{self, require_common_categories, require_objects};
use crate::commands::parts::{self, FailedLine};
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::explain_text::explanation_text;
use crate::gate::{self, Gate};
use crate::places::require_file;
use crate::standing::Standing;
use crate::table::metrics_text;
use care_engine::weights::sha256_of;
use care_map::explain::{Explanation, explain};
use care_map::{CocoMetrics, IouType, Params};
use care_types::coco_json::{self, Dataset, ResultRecord};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::collections::BTreeMap;
use std::path::Path;

/// Runs the command.
///
/// # Errors
/// Exit 2 for files that are not there and for parameters, 3 for data that cannot be scored.
pub fn run(args: EvalCoco, console: Console) -> Result<Exit, Failure> {
    match (&args.gt, &args.dt) {
        (Some(gt), Some(dt)) => score_files(gt, dt, &args, console),
        _ => super::eval_data::run(&args, console),
    }
}

fn score_files(gt: &Path, dt: &Path, args: &EvalCoco, console: Console) -> Result<Exit, Failure> {
    require_file(gt, "--gt")?;
    require_file(dt, "--dt")?;
    let params = read_params(args)?;
    let shard = parts::shard(args.shard)?;
    if args.explain_options().is_none()
        && shard.is_none()
        && let Some(metrics) = without_records(gt, dt, &params)
    {
        return report_files(gt, Scores { metrics, ..Scores::default() }, args, console);
    }
    let truth = coco_json::read_dataset(gt)?;
    let found = coco_json::read_results(dt)?;
    let mut scores = Scores::default();
    let explained = |e: Failure| match e.exit {
        Exit::Usage => in_params(e, args),
        _ => e.context(format!("{} against {}", dt.display(), gt.display())),
    };
    if let Some(shard) = shard {
        let hashes = [sha256_of(gt)?, sha256_of(dt)?];
        return eval_part::of_files((&truth, &found), (&params, shard, hashes), args, console)
            .map_err(explained);
    }
    for params in params {
        scores.metrics.push(score(&truth, &found, &params).map_err(explained)?);
        if let Some(options) = args.explain_options() {
            scores.explanations.push(explain(&truth, &found, &params, &options)?);
        }
    }
    report_files(gt, scores, args, console)
}

fn report_files(gt: &Path, mut scores: Scores, args: &EvalCoco, console: Console) -> Result<Exit, Failure> {
    let hash = sha256_of(gt)?;
    scores.standing = Some(Standing::new(gt.display().to_string(), None, hash, &scores.metrics));
    report(&scores, (&args.fail_under, args.per_category), console)
}

/// Boxes and masks need no records, as long as there is nothing to explain. `None` also for everything that is wrong: the
/// records say what.
fn without_records(gt: &Path, dt: &Path, params: &[Params]) -> Option<Vec<CocoMetrics>> {
    let score = |params: &Params| match params.iou_type {
        IouType::Bbox | IouType::Segm => {
            care_map::evaluate_files(gt, dt, params).ok().filter(lined_up::is_lined_up)
        }
        IouType::Keypoints | IouType::Boundary => None,
    };
    params.iter().map(score).collect()
}

/// `eval lvis`.
///
/// # Errors
/// As [`run`].
pub fn run_lvis(args: &EvalLvis, console: Console) -> Result<Exit, Failure> {
    require_file(&args.gt, "--gt")?;
    require_file(&args.dt, "--dt")?;
    let params = params_of(&args.iou_type, args.params.as_deref(), Params::lvis)?;
    let (truth, found) = (coco_json::read_dataset(&args.gt)?, coco_json::read_results(&args.dt)?);
    let mut scores = Scores::default();
    for params in params {
        let both = || format!("{} against {}", args.dt.display(), args.gt.display());
        scores.metrics.push(score(&truth, &found, &params).map_err(|e| e.context(both()))?);
    }
    let name = args.gt.display().to_string();
    scores.standing = Some(Standing::new(name, None, sha256_of(&args.gt)?, &scores.metrics));
    report(&scores, (&args.fail_under, args.per_category), console)
}

/// Names the file where a mistake in the parameters came from it.
pub(super) fn in_params(e: Failure, args: &EvalCoco) -> Failure {
    match (&args.params, e.exit) {
        (Some(path), Exit::Usage) => e.context(format!("--params {}", path.display())),
        _ => e,
    }
}

fn score(truth: &Dataset, found: &[ResultRecord], params: &Params) -> Result<CocoMetrics, Failure> {
    let metrics = care_map::evaluate(truth, found, params)?;
    require_objects(&metrics, truth, params)?;
    require_common_categories(truth, found)?;
    Ok(metrics)
}

/// One set of parameters per `--iou-type`, from `--params` or COCO's own.
pub(super) fn read_params(args: &EvalCoco) -> Result<Vec<Params>, Failure> {
    let coco = |kind| Params { quirks: args.pycocotools_quirks, ..Params::new(kind) };
    params_of(&args.iou_type, args.params.as_deref(), coco)
}

/// One set of parameters per kind: the benchmark's own, with those of a file in their place.
pub(super) fn params_of(
    asked: &[IouKind],
    file: Option<&Path>,
    own: impl Fn(IouType) -> Params,
) -> Result<Vec<Params>, Failure> {
    let json = match file {
        None => None,
        Some(path) => {
            require_file(path, "--params")?;
            let unreadable = |e| Failure::usage(format!("--params {}: {e}", path.display()));
            Some((path, std::fs::read(path).map_err(unreadable)?))
        }
    };
    let mut kinds: Vec<IouKind> = Vec::new();
    for kind in asked {
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    let params = |kind: IouKind| match &json {
        None => Ok(own(kind.into())),
        Some((path, bytes)) => own(kind.into())
            .with_json(bytes)
            .map_err(|e| Failure::from(e).context(format!("--params {}", path.display()))),
    };
    kinds.into_iter().map(params).collect()
}

/// What the command has to say.
#[derive(Default)]
pub(super) struct Scores {
    /// By kind of comparison, in the order in which they were asked for.
    pub(super) metrics: Vec<CocoMetrics>,
    /// Why, when that was asked for.
    pub(super) explanations: Vec<Explanation>,
    /// What was evaluated.
    pub(super) standing: Option<Standing>,
    /// Pictures that could not be looked at.
    pub(super) failed: Vec<FailedLine>,
    /// The metrics are over a part only.
    pub(super) interrupted: bool,
}

/// `{"iou_type": {"bbox": {…}, "segm": {…}}, "standing": {…}}`, with `failed` and `interrupted` where there is something to say.
impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        struct ByKind<'a>(&'a [CocoMetrics]);
        impl Serialize for ByKind<'_> {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_map(self.0.iter().map(|m| (m.protocol.iou_type.as_str(), m)))
            }
        }
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("iou_type", &ByKind(&self.metrics))?;
        if !self.explanations.is_empty() {
            let by_kind = self.explanations.iter().map(|e| (e.iou_type.as_str(), e));
            map.serialize_entry("explain", &by_kind.collect::<BTreeMap<_, _>>())?;
        }
        if let Some(standing) = &self.standing {
            map.serialize_entry("standing", standing)?;
        }
        if !self.failed.is_empty() {
            map.serialize_entry("failed", &self.failed)?;
        }
        if self.interrupted {
            map.serialize_entry("interrupted", &true)?;
        }
        map.end()
    }
}

/// Prints metrics and judges `--fail-under`.
pub(super) fn report(
    scores: &Scores,
    (gates, per_category): (&[Gate], bool),
    console: Console,
) -> Result<Exit, Failure> {
    for metrics in &scores.metrics {
        console.text(&metrics_text(metrics, per_category))?;
        let kind = metrics.protocol.iou_type;
        for explanation in scores.explanations.iter().filter(|e| e.iou_type == kind) {
            console.text(&explanation_text(explanation))?;
        }
    }
    if let Some(standing) = scores.standing.as_ref().filter(|_| !scores.metrics.is_empty()) {
        console.text(&standing.text())?;
    }
    console.json(scores)?;
    let mut exit = Exit::Ok;
    for metrics in &scores.metrics {
        let kind = format!("{} ", metrics.protocol.iou_type.as_str());
        exit = exit.or(gate::judge(gates, &kind, |name| metrics.stat(name), console));
    }
    Ok(exit)
}
