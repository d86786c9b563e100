//! From a strided view of a storage to C-contiguous bytes.

use super::Storages;
use super::pickle::{StorageType, TensorRef};
use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::tensor::{Blob, Source};
use crate::error::{Error, Result};

/// What may still be read or copied: a stride of 0 can describe a tensor far bigger than its file, and many tensors can
/// share one storage.
pub(super) struct Budget(u64);

impl Budget {
    /// Eight times the file, plus a mebibyte for tiny files.
    pub(super) fn for_file(size: u64) -> Self {
        Self(size.saturating_mul(8).saturating_add(1 << 20))
    }

    pub(super) fn take(&mut self, bytes: u64) -> Result<()> {
        match self.0.checked_sub(bytes) {
            Some(rest) => {
                self.0 = rest;
                Ok(())
            }
            None => Err(Error::weights("the tensors are more than eight times as big as the file: refused")),
        }
    }
}

/// Type and bytes of a tensor, C order. A contiguous one shares the memory of its storage.
pub(super) fn read(
    tensor: &TensorRef,
    storages: &mut dyn Storages,
    budget: &mut Budget,
) -> Result<(Dtype, Blob)> {
    let dtype = match &tensor.dtype {
        StorageType::Typed(dtype) => *dtype,
        StorageType::Untyped => return Err(Error::weights("a tensor without an element type")),
        StorageType::Other(class) => {
            return Err(Error::weights(format!("element type `{class}` is not supported")));
        }
    };
    let too_big = || Error::weights(format!("shape {:?} is beyond memory", tensor.shape));
    let view = View::new(tensor, dtype.size()).ok_or_else(too_big)?;
    if view.bytes == 0 {
        return Ok((dtype, Blob::owned(Vec::new())));
    }
    let storage = storages.read(&tensor.storage, budget)?;
    if view.end > storage.len() {
        let (end, len, key) = (view.end, storage.len(), &tensor.storage.key);
        return Err(Error::weights(format!(
            "needs {end} bytes of storage `{key}`, which has {len} (truncated?)"
        )));
    }
    if view.contiguous {
        let blob = Blob::slice(&Source::Memory(storage), view.start, view.bytes);
        return Ok((dtype, blob.ok_or_else(|| Error::internal("a checked range"))?));
    }
    budget.take(view.bytes as u64)?;
    Ok((dtype, Blob::owned(view.gather(&storage))))
}

/// A tensor's extent in bytes.
struct View {
    /// First byte in the storage.
    start: usize,
    /// One past the last byte that any element touches.
    end: usize,
    /// Bytes of the tensor itself.
    bytes: usize,
    item: usize,
    contiguous: bool,
    /// (length, stride in bytes) of the dimensions longer than 1.
    dims: Vec<(usize, usize)>,
}

impl View {
    /// `None` when a size does not fit in memory.
    fn new(tensor: &TensorRef, item: usize) -> Option<Self> {
        let offset = tensor.offset.checked_add(tensor.storage.offset)?;
        if tensor.shape.contains(&0) {
            return Some(Self { start: 0, end: 0, bytes: 0, item, contiguous: true, dims: Vec::new() });
        }
        let long = tensor.shape.iter().zip(&tensor.strides).filter(|(n, _)| **n > 1);
        let dims: Vec<(usize, usize)> =
            long.map(|(&n, &stride)| Some((n, stride.checked_mul(item)?))).collect::<Option<_>>()?;
        let mut expected = item;
        let mut contiguous = true;
        let mut last = 0usize;
        for &(n, stride) in dims.iter().rev() {
            contiguous &= stride == expected;
            expected = expected.checked_mul(n)?;
            last = last.checked_add((n - 1).checked_mul(stride)?)?;
        }
        let start = offset.checked_mul(item)?;
        let end = start.checked_add(last)?.checked_add(item)?;
        Some(Self { start, end, bytes: expected, item, contiguous, dims })
    }

    /// Copies the elements in C order. `end` was checked against the storage.
    fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes);
        let mut index = vec![0usize; self.dims.len()];
        let mut at = self.start;
        while out.len() < self.bytes {
            out.extend_from_slice(&storage[at..at + self.item]);
            for (i, &(n, stride)) in index.iter_mut().zip(&self.dims).rev() {
                *i += 1;
                at += stride;
                if *i < n {
                    break;
                }
                at -= n * stride;
                *i = 0;
            }
        }
        out
    }
}
