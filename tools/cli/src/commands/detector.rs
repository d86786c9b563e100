//! Opening weights with the flags that `infer` and `eval` share.

use crate::args::RunFlags;
use crate::exit::Failure;
use crate::places::require_file;
use care_engine::weights::{Overrides, Weights};
use care_engine::{Conv3x3, Predictor, memory};
use std::path::Path;

/// Reads the weights and applies the flags; `conf` counts when `--conf` is not given, and the weights' own after that.
pub(super) fn open(path: &Path, flags: &RunFlags, conf: Option<f64>) -> Result<Weights, Failure> {
    require_file(path, "--weights")?;
    let mut weights = Weights::open(path)?;
    weights.apply(&Overrides {
        scale: flags.imgsz,
        score_threshold: flags.conf.or(conf).map(|v| v as f32),
        nms_iou: flags.nms_iou.map(|v| v as f32),
        max_per_image: flags.max_det.map(|v| v as usize),
    });
    Ok(weights)
}

/// Refuses batches that no machine has the memory for; a batch never holds more than there are pictures.
pub(super) fn require_memory(weights: &Weights, flags: &RunFlags, pictures: usize) -> Result<(), Failure> {
    let batch = usize::from(flags.batch).min(pictures.max(1));
    let (scale, batch_given) = (weights.spec.preprocess.scale, flags.batch);
    memory::check_batch(&weights.spec.preprocess, batch).map_err(|e| {
        Failure::from(e).context(format!("--imgsz {}x{} --batch {batch_given}", scale.long, scale.short))
    })
}

/// Builds the network for the fastest inference.
pub(super) fn build(weights: Weights) -> Result<Predictor, Failure> {
    Ok(weights.into_predictor(Conv3x3::Winograd)?)
}
