//! What an evaluation leaves for `merge` and `compare`: `evaluation.json`, which says what was evaluated, and a state per
//! kind of score.

use crate::commands::infer::write_json;
use crate::console::Console;
use crate::exit::Failure;
use crate::places::OutDir;
use crate::shard::ShardArg;
use care_map::{Evaluator, Shard};
use care_miou::SegEvaluator;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The file beside the states.
pub(super) const NOTE: &str = "evaluation.json";

/// The whole, where no part was asked for.
pub(super) const WHOLE: Shard = Shard { index: 0, count: 1 };

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
    /// Kinds of score, in the order in which they were asked for; there is a state for each.
    pub(super) scored: Vec<String>,
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

impl Note {
    /// The lines about failed pictures.
    pub(super) fn failed_lines(&self) -> Vec<FailedLine> {
        self.failed.iter().map(|(_, line)| line.clone()).collect()
    }
}

/// What is kept of an evaluation, whatever is scored.
pub(super) trait State: Sized {
    /// From a file.
    fn from_bytes(bytes: &[u8]) -> care_types::Result<Self>;
    /// Into a file.
    fn to_bytes(&self) -> Vec<u8>;
    /// Together with another part.
    fn merge(&mut self, other: Self) -> care_types::Result<()>;
    /// How many pictures it knows.
    fn pictures(&self) -> usize;
}

impl State for Evaluator {
    fn from_bytes(bytes: &[u8]) -> care_types::Result<Self> {
        Evaluator::from_bytes(bytes)
    }
    fn to_bytes(&self) -> Vec<u8> {
        Evaluator::to_bytes(self)
    }
    fn merge(&mut self, other: Self) -> care_types::Result<()> {
        Evaluator::merge(self, other)
    }
    fn pictures(&self) -> usize {
        self.images().count()
    }
}

impl State for SegEvaluator {
    fn from_bytes(bytes: &[u8]) -> care_types::Result<Self> {
        SegEvaluator::from_bytes(bytes)
    }
    fn to_bytes(&self) -> Vec<u8> {
        SegEvaluator::to_bytes(self)
    }
    fn merge(&mut self, other: Self) -> care_types::Result<()> {
        SegEvaluator::merge(self, other)
    }
    fn pictures(&self) -> usize {
        SegEvaluator::pictures(self).count()
    }
}

/// The part that `--shard` asks for.
pub(super) fn shard(arg: Option<ShardArg>) -> Result<Option<Shard>, Failure> {
    let resolved = arg.map(|s| s.resolve(|name| std::env::var(name).ok())).transpose();
    resolved.map_err(|e| Failure::usage(format!("--shard {e}")))
}

/// The folder of a part: all parts of a run can be told the same folder.
pub(super) fn folder(out: &Path, shard: Option<Shard>) -> PathBuf {
    shard.map_or(out.to_path_buf(), |s| out.join(format!("part-{}-of-{}", s.index + 1, s.count)))
}

/// Writes note and states; returns their names.
pub(super) fn write<S: State>(folder: &Path, note: &Note, states: &[S]) -> Result<Vec<PathBuf>, Failure> {
    let mut names = vec![PathBuf::from(NOTE)];
    for (kind, state) in note.scored.iter().zip(states) {
        let path = folder.join(state_name(kind));
        std::fs::write(&path, state.to_bytes())
            .map_err(|e| Failure::runtime(format!("{}: could not be written: {e}", path.display())))?;
        names.push(state_name(kind).into());
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

/// The state of a kind of score, if the folder has it.
pub(super) fn read_state<S: State>(folder: &Path, kind: &str) -> Result<Option<S>, Failure> {
    let path = folder.join(state_name(kind));
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Failure::data(format!("{}: cannot be read: {e}", path.display()))),
        Ok(bytes) => Ok(Some(S::from_bytes(&bytes).map_err(|e| e.context(path.display()))?)),
    }
}

fn state_name(kind: &str) -> String {
    format!("{kind}.state")
}

/// What a part has to say: figures are those of all parts.
pub(super) fn say<S: State>(
    out: &OutDir,
    (note, states): (&Note, &[S]),
    program: &str,
    console: Console,
) -> Result<(), Failure> {
    let [index, count] = note.part;
    let pictures = states.first().map_or(0, S::pictures);
    let folder = out.path().display();
    let parts = out.path().parent().unwrap_or(out.path()).display();
    console.text(&format!(
        "part {} of {count}: {pictures} pictures in {folder}; when all are there: {program} merge {parts}\n",
        index + 1
    ))?;
    let (part, folder, failed) = ([index + 1, count], folder.to_string(), note.failed_lines());
    console.json(&PartLine { part, pictures, folder, failed })
}

#[derive(Serialize)]
struct PartLine {
    part: [usize; 2],
    pictures: usize,
    folder: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedLine>,
}
