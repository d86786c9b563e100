//! `weights init | inspect | convert`.

use crate::args::{Weights as Args, WeightsInit};
use crate::commands::detector::require_weights;
use crate::console::Console;
use crate::exit::{Exit, Failure};
use crate::places::{require_exists, require_file, writable_file};
use care_engine::evaluate::{DEMO, labels_of};
use care_engine::inspect::{Inspection, TensorLine, convert, inspect};
use care_engine::segment::scene_labels_of;
use care_engine::shipped::{self, Wanted};
use care_engine::weights::{Provenance, Spec, Start, Weights};
use care_engine::{NetworkConfig, Task, weights};
use care_types::LabelMap;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// Classes listed before "and N more".
const SHOWN_CLASSES: usize = 10;

/// Runs the command.
///
/// # Errors
/// Exit 2 for files and models that are not there, 3 for data without classes, 5 for weights that cannot be read.
pub fn run(args: Args, task: Task, console: Console) -> Result<Exit, Failure> {
    match args {
        Args::Inspect { file, tensors } => {
            let wanted = if task == Task::Detection { Wanted::Boxes } else { Wanted::Scenes };
            show(&shipped::named(&file, wanted), tensors, console)
        }
        Args::Convert { input, out, key, half, overwrite } => {
            require_file(&input, "weights")?;
            writable_file(&out, overwrite)?;
            let done = convert(&input, &out, key.as_deref(), half)?;
            let from = done.selected.as_ref().map_or(String::new(), |key| format!(" of its entry `{key}`"));
            console.text(&format!(
                "{}: {} tensors{from}, {} parameters\n",
                out.display(),
                done.tensors,
                thousands(done.parameters)
            ))?;
            if !done.skipped.is_empty() {
                console.say(&format!("left out, not tensors: {}", done.skipped.join(", ")));
            }
            console.json(&done)?;
            Ok(Exit::Ok)
        }
        Args::Init(args) => init(&args, task, console),
    }
}

#[derive(Serialize)]
struct Made {
    file: String,
    model: String,
    classes: usize,
    parameters: u64,
    provenance: Provenance,
}

fn init(args: &WeightsInit, task: Task, console: Console) -> Result<Exit, Failure> {
    writable_file(&args.out, args.overwrite)?;
    let default = match task {
        Task::Detection => "retinanet_care_s0",
        Task::Segmentation => "semantic_fpn_care_s0",
    };
    let model = args.model.as_deref().unwrap_or(default);
    let task = NetworkConfig::preset(model).map_err(care_engine::Error::from)?.task();
    let start = match &args.recipe {
        Some(salt) => Start::Recipe(salt.clone()),
        None => {
            if let Some(path) = &args.backbone {
                require_weights(path, "--backbone")?;
            }
            Start::Seed { seed: args.seed, backbone: args.backbone.clone() }
        }
    };
    let weights = Weights::init(model, labels(args, task)?, &start)?;
    weights.save(&args.out)?;
    let made = Made {
        file: args.out.display().to_string(),
        model: weights.spec.model.clone(),
        classes: weights.spec.classes.len(),
        parameters: weights.store.weight_count() as u64,
        provenance: weights.provenance.clone(),
    };
    console.text(&format!(
        "{}: {}, {} classes, {} parameters, {}\n",
        made.file,
        made.model,
        made.classes,
        thousands(made.parameters),
        origin(&made.provenance)
    ))?;
    console.say("these weights have not been trained");
    console.json(&made)?;
    Ok(Exit::Ok)
}

/// `--classes 80` means COCO's too (150 ADE20K's): the number alone names nothing better.
fn labels(args: &WeightsInit, task: Task) -> Result<LabelMap, Failure> {
    let usual = match task {
        Task::Detection => LabelMap::coco(),
        Task::Segmentation => LabelMap::ade20k(),
    };
    match (&args.labels_from, args.classes) {
        (Some(data), _) => {
            if data != Path::new(DEMO) {
                require_exists(data, "--labels-from")?;
            }
            match task {
                Task::Detection => Ok(labels_of(data)?),
                Task::Segmentation => Ok(scene_labels_of(data)?),
            }
        }
        (None, Some(n)) if n as usize != usual.len() => {
            let names: Vec<String> = (1..=n).map(|i| format!("class_{i}")).collect();
            Ok(LabelMap::from_names(&names, 1))
        }
        _ => Ok(usual),
    }
}

#[derive(Serialize)]
struct Seen<'a> {
    file: &'a str,
    bytes: u64,
    sha256: &'a str,
    model: Option<&'a str>,
    classes: Option<&'a LabelMap>,
    preprocess: Option<&'a care_data::Preprocess>,
    provenance: Option<&'a Provenance>,
    config: Option<&'a Spec>,
    selected: &'a Option<String>,
    metadata: &'a std::collections::BTreeMap<String, String>,
    parameters: u64,
    buffers: u64,
    tensors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor_list: Option<&'a [TensorLine]>,
}

fn show(file: &Path, list: bool, console: Console) -> Result<Exit, Failure> {
    require_weights(file, "weights")?;
    let seen = inspect(file)?;
    console.text(&text(&seen, list))?;
    let spec = seen.spec.as_ref();
    console.json(&Seen {
        file: &seen.file,
        bytes: seen.bytes,
        sha256: &seen.sha256,
        model: spec.map(|s| s.model.as_str()),
        classes: spec.map(|s| &s.classes),
        preprocess: spec.map(|s| &s.preprocess),
        provenance: seen.provenance.as_ref(),
        config: spec,
        selected: &seen.selected,
        metadata: &seen.metadata,
        parameters: seen.parameters,
        buffers: seen.buffers,
        tensors: seen.tensors.len(),
        tensor_list: list.then_some(&seen.tensors),
    })?;
    Ok(Exit::Ok)
}

fn text(seen: &Inspection, list: bool) -> String {
    let mut text = String::new();
    let mut line = |what: &str, value: &str| {
        let _ = writeln!(text, "{what:<15}{value}");
    };
    line("file", &format!("{} ({} bytes)", seen.file, thousands(seen.bytes)));
    line("sha256", &seen.sha256);
    match &seen.spec {
        None => line("model", "not said: a file of another program"),
        Some(spec) => {
            line("model", &spec.model);
            line("classes", &classes(&spec.classes));
            let p = &spec.preprocess;
            line(
                "preprocessing",
                &format!(
                    "fit into {}x{} keeping the ratio, mean {:?}, std {:?}, pad to multiples of {}",
                    p.scale.long, p.scale.short, p.mean, p.std, p.pad_divisor
                ),
            );
        }
    }
    if let Some(provenance) = &seen.provenance {
        line("made by", &format!("{}, {}", provenance.created_by, origin(provenance)));
    }
    if let Some(key) = &seen.selected {
        line("entry", key);
    }
    for (key, value) in seen.metadata.iter().take(SHOWN_CLASSES) {
        line("metadata", &format!("{key} = {}", value.chars().take(100).collect::<String>()));
    }
    line(
        "tensors",
        &format!(
            "{}, {} parameters, {} values of running statistics",
            seen.tensors.len(),
            thousands(seen.parameters),
            thousands(seen.buffers)
        ),
    );
    if list {
        for t in &seen.tensors {
            let _ = writeln!(text, "  {} {} {:?}", t.name, t.dtype, t.shape);
        }
    }
    text
}

fn classes(labels: &LabelMap) -> String {
    let names = labels.names();
    let shown = names.len().min(SHOWN_CLASSES);
    let more = names.len() - shown;
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}: {}{tail}", names.len(), names[..shown].join(", "))
}

fn origin(provenance: &weights::Provenance) -> String {
    let start = match (&provenance.recipe, &provenance.backbone, provenance.seed) {
        (Some(salt), ..) => format!("golden recipe {salt:?}"),
        (None, Some(file), _) => {
            format!("backbone from {} (sha256 {}…)", file.name, &file.sha256[..12.min(file.sha256.len())])
        }
        (None, None, Some(seed)) => format!("random values, seed {seed}"),
        _ => "origin not said".to_owned(),
    };
    let learnt =
        provenance.trained_on.as_ref().map_or(String::new(), |t| format!(" on {} pictures", t.pictures));
    let score = provenance.score.map_or(String::new(), |ap| format!(", validation score {ap:.3}"));
    format!("{start}, {} training steps{learnt}{score}", provenance.steps)
}

/// `16781060` as `16,781,060`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_separated() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (16_781_060, "16,781,060")] {
            assert_eq!(thousands(n), text);
        }
    }
}
