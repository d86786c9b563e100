//! What an evaluation leaves for `merge` and `compare`: `evaluation.json`, which says what was evaluated, and a state per
//! kind of comparison.

use crate::commands::infer::write_json;
use crate::exit::Failure;
use care_map::{CocoMetrics, Evaluator, Params, Shard, Source};
use care_types::coco_json::{Dataset, ResultRecord};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file beside the states.
pub(super) const NOTE: &str = "evaluation.json";

/// What was evaluated, and how much of it here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Position, from 0, and number of parts.
    pub(super) part: [usize; 2],
    /// The annotations, as reports call them.
    pub(super) data: String,
    /// The part of the data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) split: Option<String>,
    /// Of the annotations.
    pub(super) sha256: String,
    /// Kinds of comparison, in the order in which they were asked for.
    pub(super) iou_types: Vec<String>,
    /// Pictures that could not be looked at, with their positions in the data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) failed: Vec<(usize, FailedLine)>,
}

/// A picture that could not be looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct FailedLine {
    /// As the annotations call it.
    pub(super) file: String,
    /// Why.
    pub(super) error: String,
}

/// The whole, where no part was asked for.
pub(super) const WHOLE: Shard = Shard { index: 0, count: 1 };

impl Note {
    /// The lines about failed pictures.
    pub(super) fn failed_lines(&self) -> Vec<FailedLine> {
        self.failed.iter().map(|(_, line)| line.clone()).collect()
    }
}

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

/// The file of a kind of comparison.
fn state_name(kind: &str) -> String {
    format!("{kind}.state")
}

/// Writes note and states; returns their names.
pub(super) fn write(folder: &Path, note: &Note, states: &[Evaluator]) -> Result<Vec<PathBuf>, Failure> {
    let mut names = vec![PathBuf::from(NOTE)];
    for state in states {
        let name = state_name(state.params().iou_type.as_str());
        let path = folder.join(&name);
        std::fs::write(&path, state.to_bytes())
            .map_err(|e| Failure::runtime(format!("{}: could not be written: {e}", path.display())))?;
        names.push(name.into());
    }
    // Last: a folder with a note is complete.
    write_json(&folder.join(NOTE), note)?;
    Ok(names)
}

/// Reads what [`write`] left.
pub(super) fn read_note(folder: &Path) -> Result<Note, Failure> {
    let path = folder.join(NOTE);
    let bytes = std::fs::read(&path).map_err(|_| {
        Failure::usage(format!("{}: holds no {NOTE}, so no finished evaluation", folder.display()))
    })?;
    serde_json::from_slice(&bytes).map_err(|e| Failure::data(format!("{}: damaged: {e}", path.display())))
}

/// The state of a kind of comparison, if the folder has it.
pub(super) fn read_state(folder: &Path, kind: &str) -> Result<Option<Evaluator>, Failure> {
    let path = folder.join(state_name(kind));
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::data(format!("{}: cannot be read: {e}", path.display()))),
        Ok(bytes) => {
            let state = Evaluator::from_bytes(&bytes).map_err(|e| e.context(path.display()))?;
            Ok(Some(state))
        }
    }
}

/// The figures of a state, failed pictures counted.
pub(super) fn metrics(state: &Evaluator, failed: usize) -> Result<CocoMetrics, Failure> {
    let mut metrics = state.finish()?;
    metrics.funnel = metrics.funnel.with_failed(failed);
    Ok(metrics)
}
