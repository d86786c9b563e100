//! PyTorch checkpoints: the pickle says which tensors there are, the container holds their storages.

mod legacy;
mod materialise;
mod pickle;
mod rebuild;
mod tree;
mod zipped;

use std::io::{Read, Seek};
use std::sync::Arc;

use super::{Contents, Select, StoredTensor};
use crate::error::{Error, Result};
use materialise::Budget;
use pickle::{Pickle, Storage};

pub(super) use legacy::is_legacy;

/// Where storages come from.
trait Storages {
    /// All bytes of a storage. What is read is taken from the budget, unless it is still in memory.
    fn read(&mut self, storage: &Storage, budget: &mut Budget) -> Result<Arc<Vec<u8>>>;
}

/// Reads a zip-format file; only the pickle and the storages of the selected tensors are read.
pub(super) fn read_zip(reader: impl Read + Seek, size: u64, select: &Select) -> Result<Contents> {
    let mut archive = zipped::Archive::open(reader, size)?;
    let pickle = archive.pickle()?;
    collect(&pickle, &mut archive, Budget::for_file(size), select)
}

/// Reads a legacy file from its bytes.
pub(super) fn read_legacy(bytes: &[u8], select: &Select) -> Result<Contents> {
    let (pickle, mut storages) = legacy::open(bytes)?;
    collect(&pickle, &mut storages, Budget::for_file(bytes.len() as u64), select)
}

fn collect(
    pickle: &Pickle,
    storages: &mut dyn Storages,
    mut budget: Budget,
    select: &Select,
) -> Result<Contents> {
    let selection = tree::select(pickle, select)?;
    let mut tensors = Vec::with_capacity(selection.tensors.len());
    for (name, tensor) in selection.tensors {
        let (dtype, data) = materialise::read(tensor, storages, &mut budget).map_err(|e| e.context(&name))?;
        tensors.push(StoredTensor { name, dtype, shape: tensor.shape.clone(), data });
    }
    if tensors.is_empty() {
        return Err(Error::weights("it holds no tensors"));
    }
    Ok(Contents {
        tensors,
        metadata: tree::scalars(pickle, selection.key.as_deref()),
        top_level_keys: tree::top_level_keys(pickle),
        selected: selection.key,
        skipped: selection.skipped,
    })
}
