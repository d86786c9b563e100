//! What PyTorch's own pickle calls mean: storages, tensors, parameters, ordered dicts. Everything else stays inert.

use super::pickle::{Arena, Id, Node, Object, Storage, StorageType, TensorRef};
use crate::checkpoint::dtype::Dtype;
use crate::error::{Error, Result};

// A hostile pickle can refer to one long value a million times from its memo, so nothing long is ever copied per call.

/// Arguments of a call or persistent id that are looked at.
const MAX_ARGS: usize = 8;
/// PyTorch's own limit of dimensions.
const MAX_DIMS: usize = 64;
/// Length of a storage key or of a class name; real ones have at most some dozens.
pub(super) const MAX_NAME: usize = 256;

/// How far `_rebuild_from_type_v2(function, …)` may wrap itself.
const MAX_WRAPPING: usize = 4;

/// The value of `class(*args)`.
pub(super) fn call(arena: &mut Arena, class: Id, args: Id) -> Result<Id> {
    call_within(arena, class, args, MAX_WRAPPING)
}

fn call_within(arena: &mut Arena, class: Id, args: Id, wrapping: usize) -> Result<Id> {
    let values = match arena.node(args) {
        Node::Tuple(values) => values[..values.len().min(MAX_ARGS)].to_vec(),
        _ => Vec::new(),
    };
    let Node::Global(global) = arena.node(class) else { return object(arena, class) };
    match (global.0.as_str(), global.1.as_str()) {
        ("torch._utils", "_rebuild_tensor") => tensor(arena, &values, None),
        ("torch._utils", "_rebuild_tensor_v2") => tensor(arena, &values, None),
        ("torch._utils", "_rebuild_tensor_v3") => {
            let dtype = torch_dtype(arena, argument(&values, 6)?);
            tensor(arena, &values, Some(dtype))
        }
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => argument(&values, 0),
        // a tensor with attributes, or of a subclass: (function, type, args, state)
        ("torch._tensor", "_rebuild_from_type_v2" | "_rebuild_from_type") if wrapping > 0 => {
            let at = if global.1.ends_with("_v2") { 2 } else { 1 };
            call_within(arena, argument(&values, 0)?, argument(&values, at)?, wrapping - 1)
        }
        ("torch", "Size") => Ok(values.first().copied().unwrap_or(args)),
        ("collections", "OrderedDict" | "defaultdict") | ("builtins" | "__builtin__", "dict") => {
            dict(arena, &values)
        }
        _ => object(arena, class),
    }
}

fn object(arena: &mut Arena, class: Id) -> Result<Id> {
    arena.push(Node::Object(Box::new(Object { class, state: None, items: Vec::new() })))
}

/// `OrderedDict()`, or the old form with a list of pairs.
fn dict(arena: &mut Arena, args: &[Id]) -> Result<Id> {
    let mut items = Vec::new();
    if let Some(&list) = args.first()
        && let Node::List(pairs) = arena.node(list)
    {
        let count = pairs.len();
        arena.count_copies(count)?;
        items = pairs_of(arena, list);
    }
    arena.push(Node::Dict(items))
}

fn pairs_of(arena: &Arena, list: Id) -> Vec<(Id, Id)> {
    let Node::List(pairs) = arena.node(list) else { return Vec::new() };
    let pair = |&id: &Id| match arena.node(id) {
        Node::Tuple(pair) | Node::List(pair) => {
            <[Id; 2]>::try_from(pair.as_slice()).ok().map(|[key, value]| (key, value))
        }
        _ => None,
    };
    pairs.iter().filter_map(pair).collect()
}

/// A tensor from (storage, offset, size, stride, …).
fn tensor(arena: &mut Arena, args: &[Id], dtype: Option<StorageType>) -> Result<Id> {
    let Node::Storage(storage) = arena.node(argument(args, 0)?) else {
        return Err(Error::weights("a tensor without a storage"));
    };
    let storage = (**storage).clone();
    let offset = size(arena, argument(args, 1)?)?;
    let shape = sizes(arena, argument(args, 2)?)?;
    let strides = sizes(arena, argument(args, 3)?)?;
    if shape.len() != strides.len() {
        return Err(Error::weights(format!("a tensor of shape {shape:?} with strides {strides:?}")));
    }
    let dtype = dtype.unwrap_or_else(|| storage.kind.clone());
    arena.push(Node::Tensor(Box::new(TensorRef { storage, dtype, offset, shape, strides })))
}

fn torch_dtype(arena: &Arena, id: Id) -> StorageType {
    match arena.node(id) {
        Node::Global(g) => match Dtype::from_torch_name(&g.1) {
            Some(dtype) => StorageType::Typed(dtype),
            None => StorageType::Other(g.1.clone()),
        },
        other => StorageType::Other(other.type_name().to_string()),
    }
}

/// The value of a persistent id: `('storage', class, key, location, count[, view])`.
pub(super) fn persistent(arena: &mut Arena, id: Id) -> Result<Id> {
    let Node::Tuple(parts) = arena.node(id) else {
        return Err(Error::weights("a persistent id that is not a tuple"));
    };
    let parts = parts[..parts.len().min(MAX_ARGS)].to_vec();
    let kind = match arena.node(argument(&parts, 0)?) {
        Node::Str(kind) => kind.as_ref(),
        _ => "",
    };
    match kind {
        "storage" => {
            let storage = storage(arena, &parts)?;
            arena.push(Node::Storage(Box::new(storage)))
        }
        // legacy files store modules with their source code as ('module', class, file, source)
        "module" => argument(&parts, 1),
        _ => Err(Error::weights("a persistent id that is not a storage")),
    }
}

fn storage(arena: &Arena, parts: &[Id]) -> Result<Storage> {
    let kind = match arena.node(argument(parts, 1)?) {
        Node::Global(g) if g.1.ends_with("UntypedStorage") => StorageType::Untyped,
        Node::Global(g) => match Dtype::from_storage_class(&g.1) {
            Some(dtype) => StorageType::Typed(dtype),
            None => StorageType::Other(g.1.clone()),
        },
        other => return Err(Error::weights(format!("a storage whose class is a {}", other.type_name()))),
    };
    let key = match arena.node(argument(parts, 2)?) {
        Node::Str(key) if key.len() > MAX_NAME => {
            return Err(Error::weights("a storage key of absurd length"));
        }
        Node::Str(key) => key.to_string(),
        Node::Int(key) => key.to_string(),
        other => return Err(Error::weights(format!("a storage whose key is a {}", other.type_name()))),
    };
    // legacy: a view (key, offset, size) of the root storage
    let offset = match parts.get(5).map(|&id| arena.node(id)) {
        Some(Node::Tuple(view)) => size(arena, argument(view, 1)?)?,
        _ => 0,
    };
    Ok(Storage { key, kind, offset })
}

fn argument(args: &[Id], i: usize) -> Result<Id> {
    args.get(i)
        .copied()
        .ok_or_else(|| Error::weights(format!("a call with {} arguments lacks one", args.len())))
}

fn size(arena: &Arena, id: Id) -> Result<usize> {
    match arena.node(id) {
        Node::Int(n) if *n >= 0 => usize::try_from(*n).map_err(|_| Error::weights("a size beyond memory")),
        Node::Int(n) => Err(Error::weights(format!("a negative size {n}"))),
        other => Err(Error::weights(format!("a size that is a {}", other.type_name()))),
    }
}

fn sizes(arena: &Arena, id: Id) -> Result<Vec<usize>> {
    match arena.node(id) {
        Node::Tuple(ids) | Node::List(ids) if ids.len() > MAX_DIMS => Err(Error::weights(format!(
            "a tensor of {} dimensions, at most {MAX_DIMS} are possible",
            ids.len()
        ))),
        Node::Tuple(ids) | Node::List(ids) => ids.iter().map(|&i| size(arena, i)).collect(),
        other => Err(Error::weights(format!("a shape that is a {}", other.type_name()))),
    }
}
