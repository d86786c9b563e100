//! Which tensors of a pickle are the weights: `state_dict`, `model`, … or the whole file.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::pickle::{Id, Node, Object, Pickle, TensorRef};
use crate::checkpoint::Select;
use crate::error::{Error, Result};
use crate::keymap::did_you_mean;

/// Keys of nested state dicts, in order of preference.
const WEIGHT_KEYS: [&str; 8] =
    ["state_dict", "model_state_dict", "model", "module", "net", "network", "params", "weights"];
/// Keys of averaged weights: timm, mmengine, others.
const EMA_KEYS: [&str; 5] = ["state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema"];

/// Longest name of a tensor; real ones have at most a hundred or two.
const MAX_NAME: usize = 1024;
/// Containers inside of containers.
const MAX_DEPTH: usize = 32;
/// Values looked at for tensors: a value may be reached along many paths.
const MAX_VISITS: usize = 1 << 22;
/// All names of tensors together, bytes: shared containers can make many long names of few bytes.
const MAX_NAME_BYTES: usize = 1 << 26;
/// Keys, skipped entries and scalars that are kept.
const MAX_KEPT: usize = 4096;
/// Values looked at for metadata, and bytes of text kept.
const MAX_SCALAR_VISITS: usize = 1 << 16;
const MAX_SCALAR_BYTES: usize = 1 << 22;
/// Deep enough for `meta/dataset_meta/classes`.
const MAX_SCALAR_DEPTH: usize = 4;

pub(super) struct Selection<'a> {
    pub(super) key: Option<String>,
    pub(super) tensors: Vec<(String, &'a TensorRef)>,
    /// Entries of the state dict that are not tensors.
    pub(super) skipped: Vec<String>,
}

pub(super) fn select<'a>(pickle: &'a Pickle, select: &Select) -> Result<Selection<'a>> {
    match select {
        Select::All => {
            let mut walk = Walk { pickle, visits: 0, found: Named::default() };
            walk.tensors(pickle.root, String::new(), 0)?;
            Ok(Selection { key: None, tensors: walk.found.in_order, skipped: Vec::new() })
        }
        Select::Key(key) => match lookup(pickle, pickle.root, key) {
            Some(id) => flat(pickle, id, Some(key.clone())),
            None => Err(no_key(pickle, &format!("has no key `{key}`{}", suggestion(pickle, key)))),
        },
        Select::Ema => match EMA_KEYS.iter().find_map(|key| weights_at(pickle, pickle.root, key)) {
            Some((key, id)) => flat(pickle, id, Some(key)),
            None => Err(no_key(pickle, &format!("has no averaged weights ({})", EMA_KEYS.join(", ")))),
        },
        Select::Auto => match automatic(pickle, pickle.root, 1) {
            Some((key, id)) => flat(pickle, id, key),
            None => Err(no_key(pickle, "has no state dict at its top level or under a usual key")),
        },
    }
}

/// The usual nested key, or the value itself when it holds tensors.
fn automatic(pickle: &Pickle, id: Id, deeper: usize) -> Option<(Option<String>, Id)> {
    let mut keys = WEIGHT_KEYS.iter().chain(&EMA_KEYS);
    if let Some((key, found)) = keys.find_map(|key| weights_at(pickle, id, key)) {
        return Some((Some(key), found));
    }
    if holds_tensors(pickle, id) {
        return Some((None, id));
    }
    // {"model": {"state_dict": {…}}}
    WEIGHT_KEYS.iter().filter(|_| deeper > 0).find_map(|key| {
        let (inner, found) = automatic(pickle, lookup(pickle, id, key)?, deeper - 1)?;
        Some((Some(inner.map_or_else(|| key.to_string(), |inner| format!("{key}/{inner}"))), found))
    })
}

fn weights_at(pickle: &Pickle, id: Id, key: &str) -> Option<(String, Id)> {
    let found = lookup(pickle, id, key)?;
    holds_tensors(pickle, found).then(|| (key.to_string(), found))
}

fn holds_tensors(pickle: &Pickle, id: Id) -> bool {
    let items = items(pickle, id).unwrap_or_default();
    items.iter().any(|&(_, value)| matches!(pickle.node(value), Node::Tensor(_)))
}

/// The items of a dict or dict subclass.
fn items(pickle: &Pickle, id: Id) -> Option<&[(Id, Id)]> {
    match pickle.node(id) {
        Node::Dict(items) => Some(items),
        Node::Object(object) if !object.items.is_empty() => Some(&object.items),
        _ => None,
    }
}

/// The value of a key; nested keys are joined by `/`. As in Python, the last of equal keys wins.
fn lookup(pickle: &Pickle, id: Id, path: &str) -> Option<Id> {
    let one = |id, key: &str| {
        let mut found = items(pickle, id)?.iter().rev();
        found
            .find(|(k, _)| matches!(pickle.node(*k), Node::Str(name) if **name == *key))
            .map(|&(_, value)| value)
    };
    one(id, path).or_else(|| {
        let (head, tail) = path.split_once('/')?;
        lookup(pickle, one(id, head)?, tail)
    })
}

/// The tensors of one state dict.
fn flat(pickle: &Pickle, id: Id, key: Option<String>) -> Result<Selection<'_>> {
    let items = items(pickle, id).ok_or_else(|| not_a_dict(pickle, id, key.as_deref()))?;
    let mut found = Named::default();
    let mut skipped = Vec::new();
    for &(name, value) in items {
        let name = key_text(pickle.node(name))?;
        match pickle.node(value) {
            Node::Tensor(tensor) => found.insert(name, tensor)?,
            Node::Object(object) if is_torch(pickle, object) => {
                let class = class_name(pickle, object);
                return Err(Error::weights(format!("{name}: tensors made by `{class}` are not supported")));
            }
            _ if skipped.len() < MAX_KEPT => skipped.push(name),
            _ => {}
        }
    }
    let mut tensors = found.in_order;
    strip_wrappers(&mut tensors);
    Ok(Selection { key, tensors, skipped })
}

/// `DataParallel` and `torch.compile` put their own name before every name.
fn strip_wrappers(tensors: &mut [(String, &TensorRef)]) {
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let cut = crate::keymap::wrapper_prefix_len(&names);
    for (name, _) in tensors {
        name.drain(..cut);
    }
}

/// Tensors by name in the order of their first mention; a later one of the same name replaces it, as in a dict.
#[derive(Default)]
struct Named<'a> {
    in_order: Vec<(String, &'a TensorRef)>,
    index: HashMap<String, usize>,
    name_bytes: usize,
}

impl<'a> Named<'a> {
    fn insert(&mut self, name: String, tensor: &'a TensorRef) -> Result<()> {
        if let Some(&i) = self.index.get(&name) {
            self.in_order[i].1 = tensor;
            return Ok(());
        }
        self.name_bytes += name.len();
        if name.len() > MAX_NAME || self.name_bytes > MAX_NAME_BYTES {
            return Err(Error::weights("the names of the tensors are absurdly long"));
        }
        self.index.insert(name.clone(), self.in_order.len());
        self.in_order.push((name, tensor));
        Ok(())
    }
}

/// A bounded walk through containers.
struct Walk<'a> {
    pickle: &'a Pickle,
    visits: usize,
    found: Named<'a>,
}

impl<'a> Walk<'a> {
    fn tensors(&mut self, id: Id, path: String, depth: usize) -> Result<()> {
        self.visits += 1;
        if depth > MAX_DEPTH || self.visits > MAX_VISITS || path.len() > MAX_DEPTH * MAX_NAME {
            return Err(Error::weights("containers are nested too deep or shared too often"));
        }
        let pickle = self.pickle;
        let join = |key: String| if path.is_empty() { key } else { format!("{path}/{key}") };
        match pickle.node(id) {
            Node::Tensor(tensor) => self.found.insert(path, tensor)?,
            Node::List(list) | Node::Tuple(list) => {
                for (i, &value) in list.iter().enumerate() {
                    self.tensors(value, join(i.to_string()), depth + 1)?;
                }
            }
            Node::Dict(_) | Node::Object(_) => {
                for &(key, value) in items(pickle, id).unwrap_or_default() {
                    let key = key_text(pickle.node(key)).unwrap_or_else(|_| "?".to_string());
                    self.tensors(value, join(key), depth + 1)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn key_text(node: &Node) -> Result<String> {
    match node {
        Node::Str(name) if name.len() <= MAX_NAME => Ok(name.to_string()),
        Node::Str(name) => Err(Error::weights(format!("a name of {} bytes", name.len()))),
        Node::Int(n) => Ok(n.to_string()),
        other => Err(Error::weights(format!("a key that is a {}", other.type_name()))),
    }
}

/// Keys of the outermost dict, in order.
pub(super) fn top_level_keys(pickle: &Pickle) -> Vec<String> {
    let items = items(pickle, pickle.root).unwrap_or_default();
    items.iter().filter_map(|&(key, _)| key_text(pickle.node(key)).ok()).take(MAX_KEPT).collect()
}

/// What else the file says: numbers, strings and flat lists outside of the weights, by path (`epoch`, `args/lr`,
/// `meta/dataset_meta/classes`). Optimiser state is left out.
pub(super) fn scalars(pickle: &Pickle, selected: Option<&str>) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut bytes = 0;
    let mut visits = 0;
    let skip = |path: &str| selected == Some(path) || path.contains("optim") || EMA_KEYS.contains(&path);
    // breadth first: what is near the top is kept
    let mut queue = VecDeque::from([(pickle.root, String::new(), 0)]);
    while let Some((id, path, depth)) = queue.pop_front() {
        if let Some(text) = scalar_text(pickle, id, &mut visits) {
            bytes += text.len();
            if out.len() >= MAX_KEPT || bytes > MAX_SCALAR_BYTES {
                break;
            }
            out.insert(path, text);
            continue;
        }
        for &(key, value) in attributes(pickle, id).filter(|_| depth < MAX_SCALAR_DEPTH).unwrap_or_default() {
            visits += 1;
            if let Node::Str(key) = pickle.node(key)
                && path.len() + key.len() < MAX_NAME
                && visits < MAX_SCALAR_VISITS
            {
                let path = if path.is_empty() { key.to_string() } else { format!("{path}/{key}") };
                if !skip(&path) {
                    queue.push_back((value, path, depth + 1));
                }
            }
        }
    }
    out
}

/// Items of a dict, attributes of an object.
fn attributes(pickle: &Pickle, id: Id) -> Option<&[(Id, Id)]> {
    match pickle.node(id) {
        Node::Object(object) => object.state.and_then(|state| items(pickle, state)),
        _ => items(pickle, id),
    }
}

/// A scalar as plain text, a flat list of scalars as JSON.
fn scalar_text(pickle: &Pickle, id: Id, visits: &mut usize) -> Option<String> {
    match pickle.node(id) {
        Node::Str(s) => (s.len() <= 1 << 16).then(|| s.to_string()),
        Node::List(list) | Node::Tuple(list) if !list.is_empty() && list.len() <= MAX_KEPT => {
            *visits += list.len();
            if *visits > MAX_SCALAR_VISITS {
                return None;
            }
            let values: Option<Vec<serde_json::Value>> =
                list.iter().map(|&id| json(pickle.node(id))).collect();
            Some(serde_json::Value::Array(values?).to_string())
        }
        node => json(node).map(|value| value.to_string()),
    }
}

fn json(node: &Node) -> Option<serde_json::Value> {
    match node {
        Node::None => Some(serde_json::Value::Null),
        Node::Bool(b) => Some((*b).into()),
        Node::Int(n) => Some((*n).into()),
        Node::Float(x) => Some((*x).into()),
        Node::Str(s) if s.len() <= MAX_NAME => Some((**s).into()),
        _ => None,
    }
}

// --- messages ---

fn class_name(pickle: &Pickle, object: &Object) -> String {
    match pickle.node(object.class) {
        Node::Global(g) => format!("{}.{}", g.0, g.1),
        other => other.type_name().to_string(),
    }
}

/// A value that PyTorch rebuilds from parts: some tensor that we do not know, not a foreign object.
fn is_torch(pickle: &Pickle, object: &Object) -> bool {
    matches!(pickle.node(object.class), Node::Global(g) if g.0.starts_with("torch._") && g.1.contains("rebuild"))
}

fn describe(pickle: &Pickle, id: Id) -> String {
    match pickle.node(id) {
        Node::Object(object) => format!("an object of class `{}`", class_name(pickle, object)),
        other => format!("a {}", other.type_name()),
    }
}

fn not_a_dict(pickle: &Pickle, id: Id, key: Option<&str>) -> Error {
    let at = key.map_or("the file".to_string(), |key| format!("`{key}`"));
    Error::weights(format!("{at} holds {}, not a state dict", describe(pickle, id)))
}

fn suggestion(pickle: &Pickle, key: &str) -> String {
    let keys = top_level_keys(pickle);
    did_you_mean(key, keys.iter().map(String::as_str))
}

fn no_key(pickle: &Pickle, problem: &str) -> Error {
    if items(pickle, pickle.root).is_none() {
        let what = describe(pickle, pickle.root);
        return Error::weights(format!("it holds {what}, not a dict: save `model.state_dict()` instead"));
    }
    let keys = top_level_keys(pickle);
    let shown =
        keys.iter().take(12).map(|k| k.chars().take(60).collect()).collect::<Vec<String>>().join(", ");
    let more = if keys.len() > 12 { ", …" } else { "" };
    Error::weights(format!("it {problem}; its keys are: {shown}{more}"))
}
