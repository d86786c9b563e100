//! One tensor of a checkpoint: raw bytes until somebody asks for numbers, and in the file until then where the format allows it.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};

use super::dtype::Dtype;
use crate::error::{Error, Result};

/// Bytes that are read from a file at a time; a multiple of every element's size.
const PART: usize = 1 << 17;

/// Bytes that tensors are parts of.
#[derive(Clone)]
pub(crate) enum Source {
    Memory(Arc<Vec<u8>>),
    File(Arc<OpenFile>),
}

/// A file that stays open until its values were asked for, and what it was like when it was opened.
pub(crate) struct OpenFile {
    file: Mutex<File>,
    path: PathBuf,
    size: usize,
    modified: Option<SystemTime>,
}

impl OpenFile {
    pub(crate) fn new(file: File, path: &Path, size: usize) -> Self {
        let modified = file.metadata().and_then(|m| m.modified()).ok();
        Self { file: Mutex::new(file), path: path.to_owned(), size, modified }
    }

    fn read(&self, start: usize, len: usize) -> Result<Vec<u8>> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = self.path.display();
        let bytes = read_range(&file, start, len)
            .map_err(|e| Error::weights(format!("weights file `{shown}`: {e}")))?;
        if bytes.len() < len || self.has_changed(&file) {
            return Err(Error::weights(format!(
                "weights file `{shown}`: it was changed while it was being read; run again once it is complete (and replace files by renaming)"
            )));
        }
        Ok(bytes)
    }

    fn has_changed(&self, file: &MutexGuard<'_, File>) -> bool {
        let now = file.metadata();
        now.is_ok_and(|now| now.len() != self.size as u64 || now.modified().ok() != self.modified)
    }
}

fn read_range(mut file: &File, start: usize, len: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    file.seek(SeekFrom::Start(start as u64))?;
    file.take(len as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Source {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::File(file) => file.size,
        }
    }

    /// `len` bytes from `start`, which [`Blob::slice`] or the caller has found to be there.
    pub(crate) fn read(&self, start: usize, len: usize) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(Cow::Borrowed(&bytes[start..start + len])),
            Self::File(file) => file.read(start, len).map(Cow::Owned),
        }
    }
}

/// A range of shared bytes.
#[derive(Clone)]
pub(crate) struct Blob {
    source: Source,
    start: usize,
    len: usize,
}

impl Blob {
    /// `source[start..start + len]`, or `None` when that is out of bounds.
    pub(crate) fn slice(source: &Source, start: usize, len: usize) -> Option<Self> {
        let end = start.checked_add(len)?;
        (end <= source.len()).then(|| Self { source: source.clone(), start, len })
    }

    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self { source: Source::Memory(Arc::new(bytes)), start: 0, len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// A named tensor as stored: C-contiguous, little endian.
#[derive(Clone)]
pub struct StoredTensor {
    /// Name in the file (see [`Select`](super::Select) for what is stripped).
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Shape, PyTorch layout; empty for a scalar.
    pub shape: Vec<usize>,
    pub(crate) data: Blob,
}

impl std::fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {:?}", self.name, self.dtype.torch_name(), self.shape)
    }
}

impl StoredTensor {
    /// A tensor from its little-endian bytes.
    ///
    /// # Errors
    /// `Internal` when the number of bytes is not that of the shape.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Result<Self> {
        let name = name.into();
        let expected = shape.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d));
        if expected != Some(bytes.len()) {
            let (dtype, got) = (dtype.torch_name(), bytes.len());
            return Err(Error::internal(format!(
                "{name}: {got} bytes do not make a {dtype} tensor of shape {shape:?}"
            )));
        }
        Ok(Self { name, dtype, shape: shape.to_vec(), data: Blob::owned(bytes) })
    }

    /// From a candle tensor (F32, F64, F16, BF16, I64, U32 or U8) on any device.
    ///
    /// # Errors
    /// `Unsupported` for other types.
    pub fn from_tensor(name: impl Into<String>, tensor: &Tensor) -> Result<Self> {
        let name = name.into();
        let t = tensor.detach().to_device(&Device::Cpu)?.flatten_all()?;
        let (dtype, bytes) = match t.dtype() {
            DType::F32 => (Dtype::F32, le_bytes(t.to_vec1::<f32>()?, f32::to_le_bytes)),
            DType::F64 => (Dtype::F64, le_bytes(t.to_vec1::<f64>()?, f64::to_le_bytes)),
            DType::F16 => (Dtype::F16, le_bytes(t.to_vec1::<f16>()?, f16::to_le_bytes)),
            DType::BF16 => (Dtype::BF16, le_bytes(t.to_vec1::<bf16>()?, bf16::to_le_bytes)),
            DType::I64 => (Dtype::I64, le_bytes(t.to_vec1::<i64>()?, i64::to_le_bytes)),
            DType::U32 => (Dtype::U32, le_bytes(t.to_vec1::<u32>()?, u32::to_le_bytes)),
            DType::U8 => (Dtype::U8, t.to_vec1::<u8>()?),
            other => return Err(Error::unsupported(format!("{name}: {other:?} tensors cannot be stored"))),
        };
        Self::new(name, dtype, tensor.dims(), bytes)
    }

    /// The elements, C order, little endian; read from the file if they are still there.
    ///
    /// # Errors
    /// `Weights` when the file cannot be read any more, or was changed.
    pub fn bytes(&self) -> Result<Cow<'_, [u8]>> {
        self.data.source.read(self.data.start, self.data.len)
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.data.len / self.dtype.size()
    }

    /// The elements as f32: f16 and bf16 widened exactly, f64 rounded to nearest.
    ///
    /// # Errors
    /// `Weights` when the elements are not floating point numbers, or cannot be read.
    pub fn to_f32(&self) -> Result<Vec<f32>> {
        match self.dtype {
            Dtype::F32 => self.values(f32::from_le_bytes),
            Dtype::F64 => self.values(|x| f64::from_le_bytes(x) as f32),
            Dtype::F16 => self.values(|x| f16::from_le_bytes(x).to_f32()),
            Dtype::BF16 => self.values(|x| bf16::from_le_bytes(x).to_f32()),
            other => Err(self.type_error("a floating point type", other)),
        }
    }

    /// The same numbers as f16 (round to nearest), half the size of f32. Integers stay as they are.
    ///
    /// # Errors
    /// `Weights` when a number is beyond what f16 can hold (65504).
    pub fn to_half(&self) -> Result<Self> {
        if !matches!(self.dtype, Dtype::F32 | Dtype::F64 | Dtype::BF16) {
            return Ok(self.clone());
        }
        let values: Vec<f16> = self.to_f32()?.into_iter().map(f16::from_f32).collect();
        if values.iter().any(|v| !v.is_finite()) {
            return Err(Error::weights(format!("{}: holds numbers beyond the range of float16", self.name)));
        }
        Self::new(self.name.clone(), Dtype::F16, &self.shape, le_bytes(values, f16::to_le_bytes))
    }

    /// The elements as i64; bool as 0 and 1.
    ///
    /// # Errors
    /// `Weights` when the elements are not integers that fit, or cannot be read.
    pub fn to_i64(&self) -> Result<Vec<i64>> {
        match self.dtype {
            Dtype::Bool | Dtype::U8 => self.values(|x: [u8; 1]| i64::from(x[0])),
            Dtype::I8 => self.values(|x| i64::from(i8::from_le_bytes(x))),
            Dtype::I16 => self.values(|x| i64::from(i16::from_le_bytes(x))),
            Dtype::U16 => self.values(|x| i64::from(u16::from_le_bytes(x))),
            Dtype::I32 => self.values(|x| i64::from(i32::from_le_bytes(x))),
            Dtype::U32 => self.values(|x| i64::from(u32::from_le_bytes(x))),
            Dtype::I64 => self.values(i64::from_le_bytes),
            other => Err(self.type_error("an integer type", other)),
        }
    }

    /// The elements, by parts that stay in the cache between reading and conversion.
    fn values<T, const N: usize>(&self, value: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let Blob { source, start, len } = &self.data;
        let mut values = Vec::with_capacity(len / N);
        for at in (0..*len).step_by(PART) {
            let part = source.read(start + at, PART.min(len - at))?;
            let (elements, _) = part.as_chunks::<N>();
            values.extend(elements.iter().map(|e| value(*e)));
        }
        Ok(values)
    }

    /// As a candle tensor of type F32 (from floats) or I64 (from integers).
    ///
    /// # Errors
    /// `Weights` when the stored type is of the other kind, `Internal` for another `dtype`.
    pub fn to_tensor(&self, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.shape.as_slice();
        match dtype {
            DType::F32 => Ok(Tensor::from_vec(self.to_f32()?, shape, device)?),
            DType::I64 => Ok(Tensor::from_vec(self.to_i64()?, shape, device)?),
            other => {
                Err(Error::internal(format!("{}: parameters are F32 or I64, asked for {other:?}", self.name)))
            }
        }
    }

    fn type_error(&self, expected: &str, got: Dtype) -> Error {
        Error::weights(format!("{}: expected {expected}, got {}", self.name, got.torch_name()))
    }
}

fn le_bytes<T, const N: usize>(values: Vec<T>, bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.into_iter().flat_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, Select};

    #[test]
    fn a_file_that_changes_while_it_is_read_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let tensor = StoredTensor::new("w", Dtype::F32, &[4], vec![0; 16]).unwrap();
        let written = |value: u8| {
            let tensors = [StoredTensor::new("w", Dtype::F32, &[4], vec![value; 16]).unwrap()];
            crate::checkpoint::safetensors_file::write(&path, &tensors, &Default::default()).unwrap();
        };
        let open = || Checkpoint::read(&path, &Select::Auto).unwrap();
        written(0);
        let (first, cut) = (open(), open());
        assert_eq!(first.tensors[0].to_f32().unwrap(), tensor.to_f32().unwrap());
        // in place, with the same length
        let bytes = std::fs::read(&path).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20)); // a step of the file system's clock
        std::fs::write(&path, &bytes).unwrap();
        let message = first.tensors[0].to_f32().unwrap_err().to_string();
        assert!(message.contains("w.safetensors") && message.contains("changed while"), "{message}");
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(cut.tensors[0].bytes().unwrap_err().to_string().contains("changed while"));
        // renamed over: what is open stays
        written(0);
        let old = open();
        written(1);
        assert_eq!(old.tensors[0].bytes().unwrap()[..], [0; 16]);
    }

    #[test]
    fn numbers_survive_the_way_through_bytes() {
        let t = Tensor::new(&[[1.5f32, -2.25], [0.0, 3.0e-8]], &Device::Cpu).unwrap();
        let stored = StoredTensor::from_tensor("w", &t).unwrap();
        assert_eq!((stored.dtype, stored.shape.as_slice(), stored.count()), (Dtype::F32, &[2, 2][..], 4));
        let back = stored.to_tensor(DType::F32, &Device::Cpu).unwrap();
        assert_eq!(back.to_vec2::<f32>().unwrap(), t.to_vec2::<f32>().unwrap());
        let half = StoredTensor::from_tensor("h", &t.to_dtype(DType::BF16).unwrap()).unwrap();
        assert_eq!(half.to_f32().unwrap()[..2], [1.5, -2.25]);
        assert_eq!(stored.to_half().unwrap().to_f32().unwrap()[..3], [1.5, -2.25, 0.0]);
        let huge = StoredTensor::from_tensor("g", &Tensor::new(&[1e6f32], &Device::Cpu).unwrap()).unwrap();
        assert!(huge.to_half().unwrap_err().to_string().contains("g: holds numbers beyond"));
        assert!(half.to_i64().unwrap_err().to_string().contains("h: expected an integer type, got bfloat16"));
        assert!(StoredTensor::new("x", Dtype::F32, &[usize::MAX, 4], vec![]).is_err());
    }
}
