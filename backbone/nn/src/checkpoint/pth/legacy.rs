//! The container before zip (PyTorch < 1.6, and `_use_new_zipfile_serialization=False`): four pickles (magic number,
//! protocol, system, the object), a fifth with the storage keys, then each storage as an element count and its bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Storages;
use super::materialise::Budget;
use super::pickle::{Node, Pickle, Storage, StorageType};
use crate::checkpoint::damaged;
use crate::error::{Error, Result};

/// `0x1950a86a20f9469cfc6c` as protocol 2 pickles it.
const MAGIC: &[u8] = &[0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
const PROTOCOL: i64 = 1001;

/// Whether the file starts as a legacy checkpoint does: PROTO 2..5, an optional frame, the magic number.
pub(in crate::checkpoint) fn is_legacy(bytes: &[u8]) -> bool {
    magic_end(bytes).is_some()
}

/// Where the magic number ends.
fn magic_end(bytes: &[u8]) -> Option<usize> {
    let [0x80, 2..=5, rest @ ..] = bytes else { return None };
    let (rest, skipped) = match rest {
        [0x95, frame @ ..] => (frame.get(8..)?, 11),
        _ => (rest, 2),
    };
    rest.starts_with(MAGIC).then_some(skipped + MAGIC.len())
}

pub(super) struct LegacyStorages {
    loaded: HashMap<String, Arc<Vec<u8>>>,
}

/// The object and its storages.
pub(super) fn open(bytes: &[u8]) -> Result<(Pickle, LegacyStorages)> {
    let mut at = magic_end(bytes).ok_or_else(|| Error::weights("not a legacy PyTorch file"))?;
    let mut next = |what: &str| -> Result<Pickle> {
        let (pickle, used) = Pickle::read(&bytes[at..]).map_err(|e| e.context(what))?;
        at += used;
        Ok(pickle)
    };
    let protocol = next("protocol")?;
    if !matches!(protocol.node(protocol.root), Node::Int(PROTOCOL)) {
        return Err(Error::weights(format!("legacy format of another protocol than {PROTOCOL}")));
    }
    check_byte_order(&next("system info")?)?;
    let object = next("object")?;
    let keys = next("storage keys")?;
    let storages = read_storages(&bytes[at..], &object, &keys)?;
    Ok((object, storages))
}

fn check_byte_order(system: &Pickle) -> Result<()> {
    let Node::Dict(items) = system.node(system.root) else {
        return Err(Error::weights("system info that is not a dict"));
    };
    for &(key, value) in items {
        let is_order = matches!(system.node(key), Node::Str(name) if &**name == "little_endian");
        if is_order && matches!(system.node(value), Node::Bool(false)) {
            return Err(Error::weights("it was written on a big-endian machine, which is not supported"));
        }
    }
    Ok(())
}

fn read_storages(mut bytes: &[u8], object: &Pickle, keys: &Pickle) -> Result<LegacyStorages> {
    let mut types: HashMap<&str, &StorageType> = HashMap::new();
    for node in &object.nodes {
        if let Node::Storage(storage) = node {
            types.insert(&storage.key, &storage.kind);
        }
    }
    let Node::List(list) = keys.node(keys.root) else {
        return Err(Error::weights("storage keys that are not a list"));
    };
    let mut loaded = HashMap::new();
    for &id in list {
        let key = match keys.node(id) {
            Node::Str(key) => key.to_string(),
            Node::Int(key) => key.to_string(),
            other => return Err(Error::weights(format!("a storage key that is a {}", other.type_name()))),
        };
        let kind = types.get(key.as_str()).copied();
        let item = kind.and_then(item_size).ok_or_else(|| {
            Error::weights("a storage of unknown element type, so nothing behind it can be found")
        })?;
        let (data, rest) = split_storage(bytes, item)
            .ok_or_else(|| damaged(format_args!("it ends inside of storage `{key}`")))?;
        loaded.insert(key, Arc::new(data.to_vec()));
        bytes = rest;
    }
    Ok(LegacyStorages { loaded })
}

/// An element count (i64) and that many elements.
fn split_storage(bytes: &[u8], item: usize) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<8>()?;
    let count = usize::try_from(i64::from_le_bytes(*count)).ok()?;
    rest.split_at_checked(count.checked_mul(item)?)
}

/// Bytes per element, also of types that we skip.
fn item_size(kind: &StorageType) -> Option<usize> {
    match kind {
        StorageType::Typed(dtype) => Some(dtype.size()),
        StorageType::Untyped => Some(1),
        StorageType::Other(class) => match class.as_str() {
            "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => Some(1),
            "QInt32Storage" => Some(4),
            "ComplexFloatStorage" => Some(8),
            "ComplexDoubleStorage" => Some(16),
            _ => None,
        },
    }
}

impl Storages for LegacyStorages {
    fn read(&mut self, storage: &Storage, _: &mut Budget) -> Result<Arc<Vec<u8>>> {
        let bytes = self.loaded.get(&storage.key).cloned();
        bytes.ok_or_else(|| damaged(format_args!("storage `{}` is not in it", storage.key)))
    }
}
