//! The complete state of a run in one file: written beside and renamed over, so that it is whole at any moment.

use super::learner::Learner;
use crate::error::{Error, Result};
use crate::weights::read_json;
use candle_core::Device;
use care_nn::ParamStore;
use care_nn::checkpoint::{Checkpoint, Dtype, Select, StoredTensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

const STATE_KEY: &str = "care.train";
/// What the names of the three groups of tensors begin with.
const MODEL: &str = "model.";
const AVERAGE: &str = "average.";
const OPTIMIZER: &str = "optimizer.";

/// What a run knows besides its tensors.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken, those included whose pictures could not be read.
    pub step: u64,
    /// Steps that changed the weights.
    pub updates: u64,
    /// Training pictures that could not be used, and why.
    pub failed: Vec<String>,
    /// Step of the last evaluation.
    pub evaluated: u64,
    /// Best score so far.
    pub best: Option<f64>,
    /// Step of the best score.
    pub best_step: u64,
    /// Evaluations since the best.
    pub stale: u64,
    /// Length of `metrics.jsonl` that belongs to this state.
    pub metrics_bytes: u64,
    /// The run is over.
    pub finished: bool,
}

/// Writes the state.
pub(super) fn save(path: &Path, learner: &Learner, progress: &Progress) -> Result<()> {
    let mut tensors = Vec::new();
    stored(&learner.store, MODEL, &mut tensors)?;
    if let Some(ema) = &learner.ema {
        stored(ema.store(), AVERAGE, &mut tensors)?;
    }
    for (name, shape, values) in learner.optimizer.state() {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        tensors.push(StoredTensor::new(format!("{OPTIMIZER}{name}"), Dtype::F32, &shape, bytes)?);
    }
    let state = serde_json::to_string(progress).map_err(|e| Error::internal(format!("snapshot: {e}")))?;
    let metadata = BTreeMap::from([(STATE_KEY.to_owned(), state)]);
    Ok(Checkpoint { tensors, metadata, ..Checkpoint::default() }.write_safetensors(path)?)
}

fn stored(store: &ParamStore, prefix: &str, tensors: &mut Vec<StoredTensor>) -> Result<()> {
    for param in store.params() {
        tensors.push(StoredTensor::from_tensor(format!("{prefix}{}", param.name), param.var.as_tensor())?);
    }
    Ok(())
}

/// Puts a learner of the same configuration into the saved state.
pub(super) fn load(path: &Path, learner: &mut Learner) -> Result<Progress> {
    let checkpoint = Checkpoint::read(path, &Select::All)?;
    let shown = path.display();
    let progress: Progress = read_json(&checkpoint, STATE_KEY, path)?
        .ok_or_else(|| Error::weights(format!("{shown}: is not a snapshot of a training run")))?;
    let by_name: BTreeMap<&str, &StoredTensor> =
        checkpoint.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let find = |name: &str| {
        let missing = || Error::weights(format!("{shown}: has no tensor {name}; is it of another run?"));
        by_name.get(name).copied().ok_or_else(missing)
    };
    let restore = |store: &ParamStore, prefix: &str| -> Result<()> {
        for param in store.params() {
            let stored = find(&format!("{prefix}{}", param.name))?;
            store.set(&param.name, &stored.to_tensor(param.var.dtype(), &Device::Cpu)?)?;
        }
        Ok(())
    };
    restore(&learner.store, MODEL)?;
    if let Some(ema) = &learner.ema {
        restore(ema.store(), AVERAGE)?;
    }
    let mut get = |name: &str| Ok(find(&format!("{OPTIMIZER}{name}"))?.to_f32()?);
    learner.optimizer.load_state(&mut get, progress.updates)?;
    Ok(progress)
}
