//! Looking into weights files of any origin, and rewriting them.

use crate::error::Result;
use crate::shipped;
use crate::weights::{self, PROVENANCE_KEY, Provenance, SPEC_KEY, SourceFile, Spec, read_json, sha256_of};
use care_nn::checkpoint::{Checkpoint, Select};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Metadata key of the file that a converted file was made from.
pub const CONVERTED_FROM_KEY: &str = "care.converted_from";

/// Ends of the names of tensors that are state, not weights.
const BUFFERS: [&str; 3] = [".running_mean", ".running_var", ".num_batches_tracked"];

/// What a weights file holds.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// Path as given.
    pub file: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// What the detector is, in files of this project.
    pub spec: Option<Spec>,
    /// Where the numbers come from, in files of this project.
    pub provenance: Option<Provenance>,
    /// The entry of a nested checkpoint that the tensors were found under.
    pub selected: Option<String>,
    /// Keys of the outermost dict of a PyTorch file.
    pub top_level_keys: Vec<String>,
    /// Entries of the state dict that are not tensors.
    pub skipped: Vec<String>,
    /// Other things that the file says about itself.
    pub metadata: BTreeMap<String, String>,
    /// Elements of weights.
    pub parameters: u64,
    /// Elements of running statistics and counters.
    pub buffers: u64,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorLine>,
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorLine {
    /// Its name.
    pub name: String,
    /// Its element type as PyTorch calls it.
    pub dtype: &'static str,
    /// Its shape in PyTorch layout.
    pub shape: Vec<usize>,
}

/// Reads what a file holds.
///
/// # Errors
/// `Config` when there is no such file, `Weights` when it cannot be read.
pub fn inspect(path: &Path) -> Result<Inspection> {
    let checkpoint = weights::read(path)?;
    let (spec, provenance) =
        (read_json(&checkpoint, SPEC_KEY, path)?, read_json(&checkpoint, PROVENANCE_KEY, path)?);
    let count = |buffers: bool| -> u64 {
        let of_kind = checkpoint.tensors.iter().filter(|t| is_buffer(&t.name) == buffers);
        of_kind.map(|t| t.count() as u64).sum()
    };
    let (parameters, buffers) = (count(false), count(true));
    let tensors = lines(&checkpoint);
    let mut metadata = checkpoint.metadata;
    metadata.retain(|key, _| key != SPEC_KEY && key != PROVENANCE_KEY);
    Ok(Inspection {
        file: path.display().to_string(),
        bytes: shipped::find(path)
            .map_or_else(|| std::fs::metadata(path).map_or(0, |m| m.len()), |bytes| bytes.len() as u64),
        sha256: sha256_of(path)?,
        spec,
        provenance,
        selected: checkpoint.selected,
        top_level_keys: checkpoint.top_level_keys,
        skipped: checkpoint.skipped,
        metadata,
        parameters,
        buffers,
        tensors,
    })
}

/// What [`convert`] did.
#[derive(Clone, Debug, Serialize)]
pub struct Conversion {
    /// The file that was read.
    pub source: SourceFile,
    /// The entry of a nested checkpoint that was taken.
    pub selected: Option<String>,
    /// Entries of the state dict that are not tensors and were left out.
    pub skipped: Vec<String>,
    /// Tensors written.
    pub tensors: usize,
    /// Elements of weights.
    pub parameters: u64,
}

/// Rewrites a checkpoint as `.safetensors`, names and values unchanged, or with `half` rounded to f16. `key` picks the entry
/// of a nested one.
///
/// # Errors
/// `Config` when there is no such file or the new one cannot be written; `Weights` when it cannot be read.
pub fn convert(input: &Path, out: &Path, key: Option<&str>, half: bool) -> Result<Conversion> {
    let select = key.map_or(Select::Auto, |key| Select::Key(key.to_owned()));
    let mut checkpoint = Checkpoint::read(input, &select)?;
    let source = SourceFile::of(input)?;
    let from = format!("{} (sha256 {})", source.name, source.sha256);
    checkpoint.metadata.insert(CONVERTED_FROM_KEY.to_owned(), from);
    checkpoint.metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
    if half {
        let rounded = checkpoint.tensors.iter().map(care_nn::checkpoint::StoredTensor::to_half);
        checkpoint.tensors = rounded.collect::<care_nn::Result<_>>()?;
    }
    checkpoint.write_safetensors(out)?;
    let weights = checkpoint.tensors.iter().filter(|t| !is_buffer(&t.name));
    Ok(Conversion {
        source,
        parameters: weights.map(|t| t.count() as u64).sum(),
        tensors: checkpoint.tensors.len(),
        selected: checkpoint.selected,
        skipped: checkpoint.skipped,
    })
}

fn is_buffer(name: &str) -> bool {
    BUFFERS.iter().any(|end| name.ends_with(end))
}

fn lines(checkpoint: &Checkpoint) -> Vec<TensorLine> {
    let line = |t: &care_nn::checkpoint::StoredTensor| TensorLine {
        name: t.name.clone(),
        dtype: t.dtype.torch_name(),
        shape: t.shape.clone(),
    };
    checkpoint.tensors.iter().map(line).collect()
}
