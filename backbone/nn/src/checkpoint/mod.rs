//! Reading and writing weights files.
//!
//! Reads `.safetensors` and what `torch.save` writes (`.pth`, `.pth.tar`, `.pt`; zip and legacy), told apart by their
//! content, not their name. Nothing in a file is ever executed, and memory is bounded by a multiple of the file's
//! size. Writes `.safetensors`.

mod dtype;
mod pth;
mod safetensors_file;
mod tensor;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use tensor::{OpenFile, Source};

pub use dtype::Dtype;
pub use tensor::StoredTensor;

/// Which tensors of a file are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Select {
    /// The state dict: under `state_dict`, `model`, … if there is such a key, otherwise the file itself. A `module.`
    /// or `_orig_mod.` before all names is taken off.
    #[default]
    Auto,
    /// The averaged weights: `state_dict_ema`, `ema_state_dict`, …
    Ema,
    /// The state dict under this key; nested keys are joined by `/`.
    Key(String),
    /// Every tensor in the file, names joined by `/` through dicts, lists and tuples, nothing taken off.
    All,
}

/// The tensors of a weights file and what it says about them.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// In the order of the file (safetensors: the order of the data).
    pub tensors: Vec<StoredTensor>,
    /// Of safetensors: its metadata. Of PyTorch files: scalars beside the weights, by path (`epoch`, `args/model`,
    /// `meta/dataset_meta/classes`); lists as JSON.
    pub metadata: BTreeMap<String, String>,
    /// Keys of the outermost dict of a PyTorch file.
    pub top_level_keys: Vec<String>,
    /// The key that [`Select`] found the tensors under.
    pub selected: Option<String>,
    /// Entries of the state dict that are not tensors.
    pub skipped: Vec<String>,
    /// Path of the file, for messages.
    pub source: String,
}

/// What a reader of one format returns.
struct Contents {
    tensors: Vec<StoredTensor>,
    metadata: BTreeMap<String, String>,
    top_level_keys: Vec<String>,
    selected: Option<String>,
    skipped: Vec<String>,
}

impl Checkpoint {
    /// Reads a file. The values of a `.safetensors` file stay in it until they are asked for, and it stays open: replacing it by renaming does not
    /// matter, changing it in place is an error when they are asked for.
    ///
    /// # Errors
    /// `Config` when there is no such file; `Weights` naming the file when it cannot be read or does not hold what
    /// `select` asks for.
    pub fn read(path: impl AsRef<Path>, select: &Select) -> Result<Self> {
        let path = path.as_ref();
        let source = path.display().to_string();
        let file = File::open(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::config(format!("weights file `{source}`: no such file")),
            _ => Error::weights(format!("weights file `{source}`: {e}")),
        })?;
        if file.metadata().is_ok_and(|m| m.is_dir()) {
            return Err(Error::config(format!("weights file `{source}`: it is a folder")));
        }
        Self::of(
            &source,
            read_any(file, select, |file, size| Ok(Source::File(Arc::new(OpenFile::new(file, path, size))))),
        )
    }

    /// Reads a file that is in memory; `source` names it in messages.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8], source: &str, select: &Select) -> Result<Self> {
        Self::of(source, read_any(Cursor::new(bytes), select, |reader, _| in_memory(reader)))
    }

    fn of(source: &str, contents: Result<Contents>) -> Result<Self> {
        let contents = contents.map_err(|e| e.context(format!("weights file `{source}`")))?;
        let Contents { tensors, metadata, top_level_keys, selected, skipped } = contents;
        Ok(Self { tensors, metadata, top_level_keys, selected, skipped, source: source.to_string() })
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<&StoredTensor> {
        self.tensors.iter().find(|t| t.name == name)
    }

    /// Writes a `.safetensors` file: beside `path`, then renamed over it. The same contents give the same bytes.
    ///
    /// # Errors
    /// `Config` when the file cannot be written, `Internal` when two tensors have the same name.
    pub fn write_safetensors(&self, path: impl AsRef<Path>) -> Result<()> {
        safetensors_file::write(path.as_ref(), &self.tensors, &self.metadata)
            .map_err(|e| e.context(format!("writing `{}`", path.as_ref().display())))
    }
}

/// What a file that ends early, or does not read as it says it does, needs.
fn damaged(why: impl std::fmt::Display) -> Error {
    Error::weights(format!("the file is damaged or cut off; copy or download it again ({why})"))
}

/// `source` makes what the tensors of a safetensors file are parts of from the reader and the size.
fn read_any<R: Read + Seek>(
    mut reader: R,
    select: &Select,
    source: impl FnOnce(R, usize) -> Result<Source>,
) -> Result<Contents> {
    let io = |e: std::io::Error| Error::weights(e);
    let size = reader.seek(std::io::SeekFrom::End(0)).map_err(io)?;
    reader.rewind().map_err(io)?;
    let mut head = Vec::new();
    reader.by_ref().take(512).read_to_end(&mut head).map_err(io)?;
    reader.rewind().map_err(io)?;
    if head.starts_with(b"PK\x03\x04") {
        return pth::read_zip(BufReader::new(reader), size, select);
    }
    if pth::is_legacy(&head) {
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        reader.read_to_end(&mut bytes).map_err(io)?;
        return pth::read_legacy(&bytes, select);
    }
    if !safetensors_file::is_safetensors(&head, size) {
        return Err(Error::weights(what_it_is_not(&head, size)));
    }
    let size = usize::try_from(size).map_err(|_| Error::weights("it is too large for this machine"))?;
    safetensors_file::read(source(reader, size)?, select)
}

fn in_memory(mut reader: impl Read) -> Result<Source> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(Error::weights)?;
    Ok(Source::Memory(Arc::new(bytes)))
}

/// The usual ways in which a file is not a checkpoint.
fn what_it_is_not(head: &[u8], size: u64) -> String {
    let known = "expected .safetensors or a file of torch.save (.pth, .pth.tar, .pt)";
    let trimmed = head.trim_ascii_start();
    let guess = if size == 0 {
        "the file is empty"
    } else if trimmed.starts_with(b"<") {
        "it is a web page, so the download failed"
    } else if head.starts_with(b"version https://git-lfs") {
        "it is a Git LFS pointer, not the file itself (run `git lfs pull`)"
    } else if head.get(257..262) == Some(b"ustar") {
        "it is a tar archive: unpack it first"
    } else if head.starts_with(&[0x1f, 0x8b]) {
        "it is compressed with gzip: unpack it first"
    } else if head.get(8) == Some(&b'{') {
        "the file is damaged or cut off; copy or download it again (it ends inside of the header of a safetensors file)"
    } else if head.starts_with(&[0x80]) {
        "it is a plain pickle without PyTorch's header"
    } else {
        "its first bytes are of no known format, or it is damaged or cut off"
    };
    format!("{guess}; {known}")
}
