//! `train` and `resume`: from pictures to a detector, in a folder that says everything about the run.

use crate::args::{Resume, Train};
use crate::commands::detector;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::places::{require_exists, require_file, require_outside};
use crate::train_view::View;
use care_engine::config::{Layer, Preset, RunConfig, preset_names, resolve};
use care_engine::evaluate::DEMO;
use care_engine::shipped::Wanted;
use care_engine::train::{Ending, Plan, Probe, Run, RunSummary, probe};
use care_engine::{Task, program, run_dir, shipped};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Preset for numbers that come from somewhere, and for numbers that are drawn.
fn default_presets(task: Task) -> [&'static str; 2] {
    match task {
        Task::Detection => ["retinanet_care_s0_custom", "retinanet_care_xs_scratch"],
        Task::Segmentation => ["semantic_fpn_care_s0_custom", "semantic_fpn_care_xs_scratch"],
    }
}

/// `train`.
///
/// # Errors
/// Exit 2 for settings that cannot be, 3 for data that cannot be used, 5 for weights that do not fit.
pub fn run(args: Train, task: Task, console: Console) -> Result<Exit, Failure> {
    let config = configuration(&args, task, console)?;
    if !args.probe && args.out.exists() {
        let out = args.out.display();
        let program = program(task);
        return Err(Failure::usage(format!(
            "--out {out}: exists already; name a new folder, or go on with `{program} resume {out}`"
        )));
    }
    require_outside(&args.out, "--out", std::slice::from_ref(&args.data))?;
    let plan = Plan::new(config)?;
    if args.probe {
        return run_probe(plan, console);
    }
    let run = Run::create(&args.out, plan)?;
    console.say(&format!("run folder {}", args.out.display()));
    go_on(run, console)
}

/// `resume`.
///
/// # Errors
/// Exit 2 when the folder is not one of a run, 3 when its data changed.
pub fn resume(args: Resume, console: Console) -> Result<Exit, Failure> {
    require_exists(&args.run, "run")?;
    if args.replay {
        for line in Run::replay(&args.run)? {
            console.text(&format!("{line}\n"))?;
        }
        return Ok(Exit::Ok);
    }
    go_on(Run::resume(&args.run)?, console)
}

/// Preset → file → `--set` → flags.
fn configuration(args: &Train, task: Task, console: Console) -> Result<RunConfig, Failure> {
    let wanted = if task == Task::Detection { Wanted::Boxes } else { Wanted::Scenes };
    let weights = args.weights.as_deref().map(|path| shipped::named(path, wanted));
    let starts = args.weights.is_some() || args.backbone.is_some();
    let mut layers = Vec::new();
    let [fine_tune, from_scratch] = default_presets(task);
    let mut preset = Preset::named(if starts { fine_tune } else { from_scratch })?;
    if let Some(named) = &args.config {
        match preset_names().find(|name| named == Path::new(name)) {
            Some(name) => preset = Preset::named(name)?,
            None => {
                require_config(named)?;
                let text = std::fs::read_to_string(named)
                    .map_err(|e| Failure::usage(format!("--config {}: {e}", named.display())))?;
                let (chosen, layer) = Layer::with_preset(&named.display().to_string(), &text)?;
                preset = chosen.unwrap_or(preset);
                layers.push(layer);
            }
        }
    } else {
        console.say(&format!(
            "preset {} ({}); another with --config {}",
            preset.name(),
            if starts { "numbers are given" } else { "numbers are drawn" },
            preset_names()
                .filter(|n| n.starts_with("semantic") == (task == Task::Segmentation))
                .collect::<Vec<_>>()
                .join("|")
        ));
    }
    for assignment in &args.set {
        layers.push(Layer::from_assignment(assignment)?);
    }
    layers.extend(flags(args, weights.as_deref())?);
    if args.imgsz.is_some() && task == Task::Detection {
        layers.push(Layer::from_flag("--imgsz", "augment", "scales", Vec::<u8>::new())?);
    }
    let given = match &weights {
        Some(path) => Some(detector::read(path)?.spec),
        None => None,
    };
    if let Some(spec) = &given {
        detector::require_spec_task(spec, task, &format!("{} train", program(spec.network.task())))?;
    }
    let given = given.as_ref().map(|s| (s.model.as_str(), &s.network, &s.preprocess));
    let config = resolve(&preset, given, &layers)?;
    if config.network.task() != task {
        let (model, instead) = (&config.model, program(config.network.task()));
        return Err(Failure::usage(format!("{model} is for another task; use `{instead} train`")));
    }
    Ok(config)
}

fn require_config(named: &Path) -> Result<(), Failure> {
    if named.exists() || named.extension().is_some() {
        return require_file(named, "--config");
    }
    // no such file and no ending: it was meant as the name of a preset
    Ok(Preset::named(&named.display().to_string()).map(drop)?)
}

fn flags(args: &Train, weights: Option<&Path>) -> Result<Vec<Layer>, Failure> {
    let mut layers = vec![Layer::from_flag("--data", "data", "path", lasting(&args.data))?];
    let mut flag = |name: &str, section: &str, key: &str, value: Option<toml_value::Value>| {
        if let Some(value) = value {
            layers.push(Layer::from_flag(name, section, key, value)?);
        }
        Ok::<(), Failure>(())
    };
    use toml_value::{number, text};
    flag("--train-split", "data", "train_split", args.train_split.as_deref().map(text))?;
    flag("--val-split", "data", "val_split", args.val_split.as_deref().map(text))?;
    flag("--val-fraction", "data", "val_fraction", args.val_fraction.map(toml_value::Value::Real))?;
    flag("--format", "data", "format", args.format.as_deref().map(text))?;
    let path = |p: &Path| text(&lasting(p));
    flag("--weights", "start", "weights", weights.map(path))?;
    flag("--backbone", "start", "backbone", args.backbone.as_deref().map(path))?;
    flag("--epochs", "train", "epochs", args.epochs.map(|v| number(v.into())))?;
    flag("--steps", "train", "steps", args.steps.map(|v| number(v.into())))?;
    flag("--batch", "train", "batch", args.batch.map(|v| number(v.into())))?;
    flag("--accum", "train", "accum", args.accum.map(|v| number(v.into())))?;
    flag("--seed", "train", "seed", args.seed.map(|v| number(v.into())))?;
    flag("--no-val", "validation", "every", args.no_val.then(|| number(0)))?;
    flag("--val-every", "validation", "every", args.val_every.map(|v| number(v.into())))?;
    flag("--val-limit", "validation", "limit", args.val_limit.map(|v| number(v.into())))?;
    if let Some(scale) = args.imgsz {
        layers.push(Layer::from_flag("--imgsz", "preprocess", "scale", scale)?);
    }
    Ok(layers)
}

/// A path that means the same from any folder: a run may be resumed from another. Names of ours stay what they are.
fn lasting(path: &Path) -> String {
    let ours = path == Path::new(DEMO) || shipped::find(path).is_some();
    if ours && !path.exists() {
        return path.display().to_string();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Values that flags stand for.
mod toml_value {
    #[derive(serde::Serialize)]
    #[serde(untagged)]
    pub(super) enum Value {
        Text(String),
        Number(u64),
        Real(f64),
    }

    pub(super) fn text(v: &str) -> Value {
        Value::Text(v.to_owned())
    }

    pub(super) fn number(v: u64) -> Value {
        Value::Number(v)
    }
}

fn run_probe(plan: Plan, console: Console) -> Result<Exit, Failure> {
    let stop = interrupt::install();
    for note in &plan.notes {
        console.say(note);
    }
    let found = probe(plan, &stop, &mut |step, loss| console.say(&format!("step {step}: loss {loss:.4}")))?;
    console.text(&words(&found))?;
    console.json(&found)?;
    Ok(match (found.interrupted, found.learns()) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Ok,
        (false, false) => Exit::Failed,
    })
}

fn words(p: &Probe) -> String {
    let (first, last) = (p.losses.first().copied().unwrap_or(0.0), p.losses.last().copied().unwrap_or(0.0));
    let verdict = match (&p.diverged, p.learns()) {
        (Some(what), _) => format!("NOT FINITE after {} steps: {what}", p.losses.len()),
        (None, true) => {
            format!("falls from {first:.3} to {last:.3} in {} steps on one batch", p.losses.len())
        }
        (None, false) => {
            format!("DOES NOT FALL: {first:.3}, {last:.3} after {} steps on one batch", p.losses.len())
        }
    };
    let gradients = match p.without_gradient.as_slice() {
        [] => "every trained parameter gets one".to_owned(),
        names => format!("{} parameters get NONE: {}", names.len(), names.join(", ")),
    };
    let memory = p.peak_mb.map_or("unknown".into(), |mb| format!("{mb:.0} MB so far"));
    format!(
        "loss        {verdict}\ngradients   {gradients}\ntime        {} for {} steps of {:.2} s and {} of validation\n\
         memory      {memory}\n",
        crate::progress::clock(p.total_seconds),
        p.steps,
        p.seconds_per_step,
        crate::progress::clock(p.validation_seconds),
    )
}

#[derive(Serialize)]
struct Report<'a> {
    run: String,
    finished: bool,
    step: u64,
    steps: u64,
    best: Option<BTreeMap<&'static str, f64>>,
    weights: String,
    failed: &'a [String],
}

fn go_on(mut run: Run, console: Console) -> Result<Exit, Failure> {
    let stop = interrupt::install();
    let mut view = View::new(console);
    let ending = run.train(&stop, &mut view);
    view.finish();
    let ending = ending?;
    let folder = run.dir().path().display().to_string();
    let (finished, summary) = match &ending {
        Ending::Finished(s) => (true, s),
        Ending::Interrupted(s) => (false, s),
    };
    let name = if summary.best.is_some() { run_dir::BEST } else { run_dir::LAST };
    let weights = format!("{folder}/{name}");
    console.text(&match finished {
        true => done(summary, &weights),
        false => to_be_continued(summary, &folder, run.task()),
    })?;
    console.json(&Report {
        run: folder,
        finished,
        step: summary.step,
        steps: summary.total,
        best: summary.best.map(|(score, step)| [(summary.score_name, score), ("step", step as f64)].into()),
        weights,
        failed: &summary.failed,
    })?;
    for failed in &summary.failed {
        console.warn(&format!("left out: {failed}"));
    }
    Ok(match (finished, summary.failed.is_empty()) {
        (false, _) => Exit::Interrupted,
        (true, false) => Exit::Failed,
        (true, true) => Exit::Ok,
    })
}

fn to_be_continued(RunSummary { step, total, .. }: &RunSummary, folder: &str, task: Task) -> String {
    format!("stopped after step {step} of {total}; go on with\n  {} resume {folder}\n", program(task))
}

fn done(RunSummary { step, total, best, score_name, .. }: &RunSummary, weights: &str) -> String {
    let score =
        best.map_or(String::new(), |(best, at)| format!(", best {score_name} {best:.3} at step {at}"));
    format!("{step} of {total} steps{score}\nweights: {weights}\n")
}
