//! The safetensors container. Reading is the `safetensors` crate's; writing is ours, because the crate keeps metadata
//! in a hash map, so that the same weights would give different bytes from run to run.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, SafeTensorError};

use super::dtype::Dtype;
use super::tensor::{Blob, Source};
use super::{Contents, Select, StoredTensor, damaged};
use crate::error::{Error, Result};

/// The format's own limit.
const MAX_HEADER: usize = 100_000_000;

/// Whether the file starts with a header length that fits and a JSON object.
pub(super) fn is_safetensors(head: &[u8], size: u64) -> bool {
    match head.split_first_chunk::<8>() {
        Some((length, rest)) => {
            rest.starts_with(b"{") && u64::from_le_bytes(*length) <= size.saturating_sub(8)
        }
        None => false,
    }
}

/// The tensors of a file that [`is_safetensors`]; their values stay where they are.
pub(super) fn read(source: Source, select: &Select) -> Result<Contents> {
    if let Select::Ema | Select::Key(_) = select {
        return Err(Error::weights("a safetensors file has no keys to choose from"));
    }
    let (header, metadata) = header_of(&source)?;
    let mut infos: Vec<_> = metadata.tensors().into_iter().collect();
    infos.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let mut tensors = Vec::with_capacity(infos.len());
    for (name, info) in infos {
        let dtype = Dtype::from_safetensors(info.dtype).ok_or_else(|| {
            Error::weights(format!("{name}: element type {:?} is not supported", info.dtype))
        })?;
        let (start, end) = info.data_offsets;
        let data = Blob::slice(&source, header + start, end - start)
            .ok_or_else(|| damaged(format_args!("the data of {name} is not in it")))?;
        tensors.push(StoredTensor { name, dtype, shape: info.shape.clone(), data });
    }
    if *select == Select::Auto {
        let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
        let cut = crate::keymap::wrapper_prefix_len(&names);
        tensors.iter_mut().for_each(|t| drop(t.name.drain(..cut)));
    }
    let metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Contents { tensors, metadata, top_level_keys: Vec::new(), selected: None, skipped: Vec::new() })
}

/// The header, and the bytes before the data. Says what `SafeTensors::read_metadata` says, which wants the whole file in memory.
fn header_of(source: &Source) -> Result<(usize, Metadata)> {
    let broken = |e: SafeTensorError| damaged(format_args!("its header: {e}"));
    let length = source.read(0, 8)?.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let length = usize::try_from(length).ok().filter(|&length| length <= MAX_HEADER);
    let length = length.ok_or_else(|| broken(SafeTensorError::HeaderTooLarge))?;
    let head = source.read(0, 8 + length)?;
    let metadata = serde_json::from_slice::<Metadata>(&head[8..]);
    if let Some(metadata) =
        metadata.ok().filter(|m| m.data_len().checked_add(head.len()) == Some(source.len()))
    {
        return Ok((head.len(), metadata));
    }
    // The crate compares the size of the file last, here with that of a file without data.
    let wrong = SafeTensors::read_metadata(&head).err();
    Err(broken(wrong.unwrap_or(SafeTensorError::MetadataIncompleteBuffer)))
}

pub(super) fn write(
    path: &Path,
    tensors: &[StoredTensor],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let ordered = by_alignment(tensors);
    let header = header(&ordered, metadata)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let io = |e: std::io::Error| Error::internal(format!("{}: could not be written: {e}", path.display()));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // as any new file, so that the umask decides; tempfile's default is for secrets
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(io)?;
    let mut out = std::io::BufWriter::new(file.as_file_mut());
    out.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    out.write_all(&header).map_err(io)?;
    for tensor in ordered {
        out.write_all(&tensor.bytes()?).map_err(io)?;
    }
    out.flush().map_err(io)?;
    drop(out);
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// The wide types first, so that every tensor is aligned to its element; within a width the given order.
fn by_alignment(tensors: &[StoredTensor]) -> Vec<&StoredTensor> {
    let mut ordered: Vec<&StoredTensor> = tensors.iter().collect();
    ordered.sort_by_key(|t| std::cmp::Reverse(t.dtype.size()));
    ordered
}

/// The JSON header, padded with spaces to a multiple of 8 bytes.
fn header(tensors: &[&StoredTensor], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let quote = |text: &str| serde_json::Value::from(text).to_string();
    let mut parts = Vec::new();
    if !metadata.is_empty() {
        let entries: Vec<String> =
            metadata.iter().map(|(k, v)| format!("{}:{}", quote(k), quote(v))).collect();
        parts.push(format!("\"__metadata__\":{{{}}}", entries.join(",")));
    }
    let mut names = HashSet::new();
    let mut offset = 0;
    for tensor in tensors {
        if !names.insert(&tensor.name) || tensor.name == "__metadata__" {
            return Err(Error::internal(format!("two tensors are called `{}`", tensor.name)));
        }
        let end = offset + tensor.data.len();
        let (name, dtype, shape) = (quote(&tensor.name), tensor.dtype.to_safetensors(), &tensor.shape);
        let shape = serde_json::Value::from(shape.clone());
        parts.push(format!(
            "{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{offset},{end}]}}"
        ));
        offset = end;
    }
    let mut header = format!("{{{}}}", parts.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() > MAX_HEADER {
        return Err(Error::unsupported(format!(
            "a header of {} bytes, the format allows {MAX_HEADER}",
            header.len()
        )));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::super::Checkpoint;
    use super::*;

    fn example() -> Checkpoint {
        let tensor = |name: &str, dtype: Dtype, shape: &[usize]| {
            let bytes = shape.iter().product::<usize>() * dtype.size();
            StoredTensor::new(name, dtype, shape, (0..bytes).map(|i| i as u8).collect()).unwrap()
        };
        let tensors = vec![
            tensor("z.weight", Dtype::F32, &[2, 3]),
            tensor("half \"quoted\"", Dtype::BF16, &[3]),
            tensor("a.weight", Dtype::F32, &[1]),
            tensor("count", Dtype::I64, &[]),
            tensor("flags", Dtype::Bool, &[5]),
            tensor("empty", Dtype::F32, &[0, 4]),
        ];
        let metadata = (0..20).map(|i| (format!("key{i}"), format!("värde {i}\n"))).collect();
        Checkpoint { tensors, metadata, ..Default::default() }
    }

    #[test]
    fn what_is_written_is_read_back_by_us_and_by_the_crate() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let written = example();
        written.write_safetensors(&path).unwrap();
        let read = Checkpoint::read(&path, &Select::Auto).unwrap();
        assert_eq!(read.metadata, written.metadata);
        assert_eq!(read.tensors.len(), written.tensors.len());
        for t in &written.tensors {
            let back = read.get(&t.name).unwrap();
            assert_eq!(
                (back.dtype, &back.shape, back.bytes().unwrap()),
                (t.dtype, &t.shape, t.bytes().unwrap())
            );
        }
        let bytes = std::fs::read(&path).unwrap();
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("z.weight").unwrap().data(), &*written.tensors[0].bytes().unwrap());
        // wide types first, then the given order
        let order: Vec<&str> = read.tensors.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(order.iter().position(|n| *n == "count"), Some(0));
        assert!(order.iter().position(|n| *n == "z.weight") < order.iter().position(|n| *n == "a.weight"));
    }

    #[test]
    fn a_file_that_was_cut_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        example().write_safetensors(&path).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(size - 3).unwrap();
        let e = Checkpoint::read(&path, &Select::Auto).unwrap_err().to_string();
        assert!(e.contains("its header: incomplete metadata, file not fully covered"), "{e}");
    }

    #[test]
    fn the_same_contents_give_the_same_bytes_and_nothing_else_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            example().write_safetensors(dir.path().join(name)).unwrap();
            std::fs::read(dir.path().join(name)).unwrap()
        };
        assert_eq!(write("a"), write("b"));
        write("a");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        let twice =
            Checkpoint { tensors: [example().tensors, example().tensors].concat(), ..Default::default() };
        let e = twice.write_safetensors(dir.path().join("c")).unwrap_err().to_string();
        assert!(e.contains("two tensors are called `count`"), "{e}");
        assert!(example().write_safetensors(dir.path().join("no/such/folder")).is_err());
    }
}
