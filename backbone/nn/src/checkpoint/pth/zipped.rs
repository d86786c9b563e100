//! The zip container of `torch.save`: `<root>/data.pkl` and `<root>/data/<key>`, stored without compression.

use std::collections::HashMap;
use std::io::{Read, Seek};
use std::sync::{Arc, Weak};

use zip::ZipArchive;

use super::Storages;
use super::materialise::Budget;
use super::pickle::{Pickle, Storage};
use crate::checkpoint::damaged;
use crate::error::{Error, Result};

pub(super) struct Archive<R> {
    zip: ZipArchive<R>,
    /// Folder inside the archive, with a slash at the end.
    root: String,
    /// Size of the file: no member is larger.
    size: u64,
    /// Storages that some tensor still holds, so that shared ones are read once.
    open: HashMap<String, Weak<Vec<u8>>>,
}

impl<R: Read + Seek> Archive<R> {
    pub(super) fn open(reader: R, size: u64) -> Result<Self> {
        let zip = ZipArchive::new(reader)
            .map_err(|e| damaged(format_args!("the end of its zip archive is not there: {e}")))?;
        let pickles =
            zip.file_names().filter_map(|name| Some(name.ok()?.strip_suffix("data.pkl")?.to_string()));
        // the one nearest to the top, so that a file called data.pkl deeper inside does no harm
        let root = pickles.min_by_key(|root| (root.matches('/').count(), root.len()));
        let root =
            root.ok_or_else(|| Error::weights("a zip archive without data.pkl: not written by torch.save"))?;
        let mut archive = Self { zip, root, size, open: HashMap::new() };
        if archive.zip.index_for_name(&format!("{}byteorder", archive.root)).is_some()
            && archive.member("byteorder")? == b"big"
        {
            return Err(Error::weights("it was written on a big-endian machine, which is not supported"));
        }
        Ok(archive)
    }

    pub(super) fn pickle(&mut self) -> Result<Pickle> {
        let bytes = self.member("data.pkl")?;
        Ok(Pickle::read(&bytes)?.0)
    }

    /// The bytes of a member; its CRC is checked by the reader.
    fn member(&mut self, name: &str) -> Result<Vec<u8>> {
        let name = format!("{}{name}", self.root);
        let read = |e: &dyn std::fmt::Display| damaged(format_args!("member `{name}`: {e}"));
        let mut entry = self.zip.by_name(&name).map_err(|e| read(&e))?;
        let announced = entry.size();
        if announced > self.size {
            return Err(read(&format!("it claims {announced} bytes in a file of {}", self.size)));
        }
        let mut bytes = Vec::with_capacity(announced as usize);
        entry.by_ref().take(announced).read_to_end(&mut bytes).map_err(|e| read(&e))?;
        // one more read reaches the end, where the CRC is compared
        let more = entry.read(&mut [0u8]).map_err(|e| read(&e))?;
        if more != 0 || bytes.len() as u64 != announced {
            return Err(read(&format!("it has not the {announced} bytes that it claims")));
        }
        Ok(bytes)
    }
}

impl<R: Read + Seek> Storages for Archive<R> {
    fn read(&mut self, storage: &Storage, budget: &mut Budget) -> Result<Arc<Vec<u8>>> {
        if let Some(bytes) = self.open.get(&storage.key).and_then(Weak::upgrade) {
            return Ok(bytes);
        }
        let name = format!("data/{}", storage.key);
        if let Some(index) = self.zip.index_for_name(&format!("{}{name}", self.root)) {
            let size = self.zip.by_index_raw(index).map(|entry| entry.size()).unwrap_or(0);
            budget.take(size)?;
        }
        let bytes = Arc::new(self.member(&name)?);
        self.open.insert(storage.key.clone(), Arc::downgrade(&bytes));
        Ok(bytes)
    }
}
