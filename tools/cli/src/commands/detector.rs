//! Opening weights with the flags that `infer` and `eval` share.

use crate::args::RunFlags;
use crate::console::Console;
use crate::exit::Failure;
use crate::places::require_file;
use care_engine::shipped::Wanted;
use care_engine::views::Views;
use care_engine::weights::{Overrides, Spec, WeightsFile};
use care_engine::{Conv3x3, Predictor, Task, memory, shipped};
use std::path::Path;

/// Reads the weights and applies the flags; `conf` counts when `--conf` is not given, and the weights' own after that.
pub(super) fn open(
    (path, wanted): (&Path, Wanted),
    flags: &RunFlags,
    conf: Option<f64>,
    console: Console,
) -> Result<WeightsFile, Failure> {
    let path = &shipped::named(path, wanted);
    let mut weights = read(path)?;
    if weights.provenance.of_demo_set() {
        console.say(&format!("{}: trained on the synthetic demo set, not on photographs", path.display()));
    }
    weights.spec.apply(&Overrides {
        scale: flags.imgsz,
        score_threshold: flags.conf.or(conf).map(|v| v as f32),
        nms_iou: flags.nms_iou.map(|v| v as f32),
        max_per_image: flags.max_det.map(|v| v as usize),
    });
    Ok(weights)
}

/// Reads a weights file, or weights that are part of the program.
pub(super) fn read(path: &Path) -> Result<WeightsFile, Failure> {
    require_weights(path, "--weights")?;
    Ok(WeightsFile::open(path)?)
}

/// The file is there, or is part of the program.
pub(super) fn require_weights(path: &Path, role: &str) -> Result<(), Failure> {
    if shipped::find(path).is_some() { Ok(()) } else { require_file(path, role) }
}

/// Refuses weights for another task; `instead` is the command that takes them.
pub(super) fn require_task(weights: &WeightsFile, task: Task, instead: &str) -> Result<(), Failure> {
    require_spec_task(&weights.spec, task, instead)
}

/// The same for what the weights are of.
pub(super) fn require_spec_task(spec: &Spec, task: Task, instead: &str) -> Result<(), Failure> {
    if spec.network.task() == task {
        return Ok(());
    }
    let what = match spec.network.task() {
        Task::Detection => "finds objects",
        Task::Segmentation => "gives every pixel a class",
    };
    Err(Failure::usage(format!("{} {what}; use `{instead}`", spec.model)))
}

/// Refuses batches that no machine has the memory for; a batch never holds more than there are pictures.
pub(super) fn require_memory(
    weights: &WeightsFile,
    flags: &RunFlags,
    pictures: usize,
) -> Result<(), Failure> {
    let batch = usize::from(flags.batch).min(pictures.max(1));
    let (scale, batch_given) = (weights.spec.preprocess.scale, flags.batch);
    memory::check_batch(&weights.spec.preprocess, batch).map_err(|e| {
        Failure::from(e).context(format!("--imgsz {}x{} --batch {batch_given}", scale.long, scale.short))
    })
}

/// The same for a segmenter that looks at every picture in some way.
pub(super) fn require_memory_of_views(
    weights: &WeightsFile,
    views: &Views,
    flags: &RunFlags,
    pictures: usize,
) -> Result<(), Failure> {
    match views.is_plain() {
        true => require_memory(weights, flags, pictures),
        false => Ok(memory::check_views(&weights.spec.preprocess, views)?),
    }
}

/// Builds the network for the fastest inference.
pub(super) fn build(weights: WeightsFile) -> Result<Predictor, Failure> {
    Ok(weights.into_predictor(Conv3x3::Winograd)?)
}
