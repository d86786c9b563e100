//! From a checkpoint into a store and back. Loading is strict: everything fits or nothing is written.
//!
//! Exceptions are the caller's and are listed: names of the checkpoint that are not wanted ([`KeyMap::ignore`]), names
//! of the store that may stay as they are ([`LoadOptions::allow_missing`]).

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use candle_core::DType;

use crate::checkpoint::{Checkpoint, StoredTensor};
use crate::error::{Error, Result};
use crate::keymap::{KeyMap, nearest};
use crate::params::{Param, ParamStore};

/// What is loaded where.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Names of the checkpoint to names of the store.
    pub keys: KeyMap,
    /// Only parameters of the store whose names start with this are expected in the checkpoint.
    pub scope: String,
    /// Parameters that may be missing: a start of the name, or after a `*` an end of it (`*.num_batches_tracked`).
    pub allow_missing: Vec<String>,
}

impl LoadOptions {
    /// The checkpoint is the whole store.
    pub fn whole() -> Self {
        Self::default()
    }

    /// The checkpoint is the part of the store under `prefix` (`backbone.`).
    pub fn under(prefix: &str) -> Self {
        Self::under_ignoring(prefix, &[])
    }

    /// As [`under`](Self::under), leaving out names of the checkpoint that start with one of `ignored`
    /// (`["head.", "dist_head."]` of a classification checkpoint).
    pub fn under_ignoring(prefix: &str, ignored: &[&str]) -> Self {
        let keys = ignored.iter().fold(KeyMap::identity(), |keys, prefix| keys.ignore(prefix));
        Self { keys: keys.rename("", prefix), scope: prefix.to_string(), allow_missing: Vec::new() }
    }

    /// Lets parameters be missing, see [`allow_missing`](Self::allow_missing).
    pub fn allowing_missing(mut self, patterns: &[&str]) -> Self {
        self.allow_missing.extend(patterns.iter().map(|p| p.to_string()));
        self
    }

    fn may_be_missing(&self, name: &str) -> bool {
        self.allow_missing.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(end) => name.ends_with(end),
            None => name.starts_with(pattern.as_str()),
        })
    }
}

/// A tensor that is there but does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Name in the store.
    pub name: String,
    /// What the network has.
    pub expected: String,
    /// What the checkpoint has.
    pub got: String,
}

/// How a checkpoint fits a store. Names are the store's, except for `unexpected` and `ignored` (the checkpoint's).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Parameters that get a value.
    pub loaded: Vec<String>,
    /// Parameters without a value in the checkpoint.
    pub missing: Vec<String>,
    /// Parameters without a value that may be missing.
    pub kept: Vec<String>,
    /// Tensors of the checkpoint that no parameter takes.
    pub unexpected: Vec<String>,
    /// Tensors of the checkpoint that were left out on purpose.
    pub ignored: Vec<String>,
    /// Tensors of another shape or of a type that does not convert.
    pub misfits: Vec<Misfit>,
    /// (unexpected name, nearest missing name).
    pub suggestions: Vec<(String, String)>,
    /// What would probably help, in words.
    pub hint: Option<String>,
}

impl LoadReport {
    /// Whether everything fits.
    pub fn fits(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misfits.is_empty()
    }
}

/// Loads all or nothing.
///
/// Floating point tensors become F32, integer tensors I64 (counters).
///
/// # Errors
/// `Weights` naming the file and what does not fit; the store is unchanged then. Also when the file cannot be read to its end any more, or was changed
/// since it was opened: then some of the store is loaded.
pub fn load_strict(store: &ParamStore, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<LoadReport> {
    let (matched, report) = fitting(store, checkpoint, options)?;
    for (param, tensor) in matched.pairs {
        store.set(&param.name, &tensor.to_tensor(param.var.dtype(), store.device())?)?;
    }
    Ok(report)
}

/// As [`load_strict`], but nothing is loaded.
///
/// # Errors
/// Those of [`load_strict`].
pub fn require_fit(store: &ParamStore, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<LoadReport> {
    fitting(store, checkpoint, options).map(|(_, report)| report)
}

fn fitting<'a>(
    store: &ParamStore,
    checkpoint: &'a Checkpoint,
    options: &LoadOptions,
) -> Result<(Matched<'a>, LoadReport)> {
    let matched = Matched::new(store, checkpoint, options);
    let report = matched.report(options);
    if !report.fits() {
        return Err(Error::weights(format!("weights file `{}` does not fit: {report}", checkpoint.source)));
    }
    if report.loaded.is_empty() {
        return Err(Error::weights(format!(
            "weights file `{}`: nothing in it is for this network",
            checkpoint.source
        )));
    }
    Ok((matched, report))
}

/// How a checkpoint would fit, without loading it.
pub fn check(store: &ParamStore, checkpoint: &Checkpoint, options: &LoadOptions) -> LoadReport {
    Matched::new(store, checkpoint, options).report(options)
}

/// All tensors of a store with metadata, ready to be written.
///
/// # Errors
/// `Internal` when a tensor cannot be copied from its device.
pub fn to_checkpoint(store: &ParamStore, metadata: BTreeMap<String, String>) -> Result<Checkpoint> {
    let params = store.params();
    let tensors = params.iter().map(|p| StoredTensor::from_tensor(&p.name, &p.var)).collect::<Result<_>>()?;
    Ok(Checkpoint { tensors, metadata, source: "the network".to_string(), ..Default::default() })
}

/// Parameters and tensors by name.
struct Matched<'a> {
    pairs: Vec<(Param, &'a StoredTensor)>,
    without_value: Vec<String>,
    unexpected: Vec<String>,
    ignored: Vec<String>,
}

impl<'a> Matched<'a> {
    fn new(store: &ParamStore, checkpoint: &'a Checkpoint, options: &LoadOptions) -> Self {
        let mut by_name: HashMap<String, &StoredTensor> = HashMap::new();
        let mut ignored = Vec::new();
        for tensor in &checkpoint.tensors {
            match options.keys.map(&tensor.name) {
                Some(name) => drop(by_name.insert(name, tensor)),
                None => ignored.push(tensor.name.clone()),
            }
        }
        let mut pairs = Vec::new();
        let mut without_value = Vec::new();
        for param in store.params().into_iter().filter(|p| p.name.starts_with(&options.scope)) {
            match by_name.remove(&param.name) {
                Some(tensor) => pairs.push((param, tensor)),
                None => without_value.push(param.name),
            }
        }
        // what is left over, in the order of the file
        let left: HashMap<&str, ()> = by_name.values().map(|t| (t.name.as_str(), ())).collect();
        let names = checkpoint.tensors.iter().map(|t| &t.name);
        let unexpected = names.filter(|n| left.contains_key(n.as_str())).cloned().collect();
        Self { pairs, without_value, unexpected, ignored }
    }

    fn report(&self, options: &LoadOptions) -> LoadReport {
        let (kept, missing): (Vec<String>, Vec<String>) =
            self.without_value.iter().cloned().partition(|name| options.may_be_missing(name));
        let misfits = self.pairs.iter().filter_map(|(param, tensor)| misfit(param, tensor)).collect();
        let suggest = |name: &String| {
            let mapped = options.keys.map(name)?;
            Some((name.clone(), nearest(&mapped, missing.iter().map(String::as_str))?.to_string()))
        };
        LoadReport {
            loaded: self.pairs.iter().map(|(param, _)| param.name.clone()).collect(),
            suggestions: self.unexpected.iter().take(MAX_SHOWN).filter_map(suggest).collect(),
            hint: prefix_hint(&missing, &self.unexpected),
            missing,
            kept,
            unexpected: self.unexpected.clone(),
            ignored: self.ignored.clone(),
            misfits,
        }
    }
}

fn misfit(param: &Param, tensor: &StoredTensor) -> Option<Misfit> {
    let integers = param.var.dtype() == DType::I64;
    let type_fits = integers != tensor.dtype.is_float();
    if type_fits && param.shape() == tensor.shape {
        return None;
    }
    let kind = if integers { "integers" } else { "numbers" };
    Some(Misfit {
        name: param.name.clone(),
        expected: format!("{kind} {:?}", param.shape()),
        got: format!("{} {:?}", tensor.dtype.torch_name(), tensor.shape),
    })
}

/// Whether most names would fit with a prefix put before them or taken off.
fn prefix_hint(missing: &[String], unexpected: &[String]) -> Option<String> {
    let (longer, shorter, verb) = match (missing.first(), unexpected.first()) {
        (Some(m), Some(u)) if m.len() > u.len() => (missing, unexpected, "without"),
        (Some(_), Some(_)) => (unexpected, missing, "with"),
        _ => return None,
    };
    let tail = &shorter[0];
    let prefix = longer.iter().find_map(|l| l.strip_suffix(tail.as_str()).filter(|p| p.ends_with('.')))?;
    let known: std::collections::HashSet<&str> = longer.iter().map(String::as_str).collect();
    let fitting = shorter.iter().filter(|s| known.contains(format!("{prefix}{s}").as_str())).count();
    (2 * fitting > shorter.len()).then(|| {
        format!(
            "the names in the file are {verb} the prefix `{prefix}` that the network {}",
            match verb {
                "without" => "has",
                _ => "has not",
            }
        )
    })
}

/// Names shown per list; a wrong file has thousands.
const MAX_SHOWN: usize = 3;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} tensors found", self.loaded.len(), self.loaded.len() + self.missing.len())?;
        if !self.kept.is_empty() {
            write!(f, ", {} kept as they were", self.kept.len())?;
        }
        if !self.ignored.is_empty() {
            write!(f, ", {} of the file left out", self.ignored.len())?;
        }
        list(f, "missing", &self.missing)?;
        let unexpected: Vec<String> = self.unexpected.iter().map(|name| self.with_suggestion(name)).collect();
        list(f, "unexpected", &unexpected)?;
        let misfits: Vec<String> = self
            .misfits
            .iter()
            .map(|m| format!("{} (expected {}, got {})", m.name, m.expected, m.got))
            .collect();
        list(f, "wrong shape or type", &misfits)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl LoadReport {
    fn with_suggestion(&self, name: &str) -> String {
        match self.suggestions.iter().find(|(unexpected, _)| unexpected == name) {
            Some((_, near)) => format!("{name} (did you mean `{near}`?)"),
            None => name.to_string(),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, names: &[String]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    let shown = &names[..names.len().min(MAX_SHOWN)];
    write!(f, "\n  {what} ({}): {}", names.len(), shown.join(", "))?;
    if shown.len() < names.len() { write!(f, " and {} more", names.len() - shown.len()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Dtype;
    use crate::error::ErrorKind;
    use crate::init::Init;
    use crate::purpose::Purpose;
    use candle_core::Device;

    fn detector() -> ParamStore {
        let store = ParamStore::new(Device::Cpu, 1);
        let b = store.root(Purpose::TRAIN);
        let stem = b.sub("backbone").sub("stem");
        stem.param("weight", &[2, 1], Init::Zeros).unwrap();
        stem.param("bias", &[2], Init::Zeros).unwrap();
        stem.buffer("num_batches_tracked", &[], Init::Int(0)).unwrap();
        b.sub("neck").param("weight", &[3], Init::Ones).unwrap();
        store
    }

    fn checkpoint(tensors: &[(&str, Dtype, &[usize])]) -> Checkpoint {
        let make = |&(name, dtype, shape): &(&str, Dtype, &[usize])| {
            let n = shape.iter().product::<usize>();
            let bytes = match dtype {
                Dtype::F16 => half::f16::from_f32(1.5).to_le_bytes().repeat(n),
                Dtype::I32 => 7i32.to_le_bytes().repeat(n),
                _ => 2.5f32.to_le_bytes().repeat(n),
            };
            StoredTensor::new(name, dtype, shape, bytes).unwrap()
        };
        let tensors = tensors.iter().map(make).collect();
        Checkpoint { tensors, source: "care.pth".into(), ..Default::default() }
    }

    fn official() -> Checkpoint {
        checkpoint(&[
            ("stem.weight", Dtype::F16, &[2, 1]),
            ("stem.bias", Dtype::F32, &[2]),
            ("stem.num_batches_tracked", Dtype::I32, &[]),
            ("head.fc.weight", Dtype::F32, &[4]),
        ])
    }

    fn values(store: &ParamStore, name: &str) -> Vec<f32> {
        store.get(name).unwrap().var.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_classification_checkpoint_goes_under_the_backbone() {
        let store = detector();
        let options = LoadOptions::under_ignoring("backbone.", &["head.", "dist_head."]);
        let report = load_strict(&store, &official(), &options).unwrap();
        assert_eq!(
            (report.loaded.len(), report.ignored.as_slice()),
            (3, &["head.fc.weight".to_string()][..])
        );
        assert_eq!(values(&store, "backbone.stem.weight"), [1.5, 1.5], "f16 is widened");
        assert_eq!(values(&store, "neck.weight"), [1.0; 3], "outside of the scope");
        let counter = store.get("backbone.stem.num_batches_tracked").unwrap();
        assert_eq!(counter.var.to_scalar::<i64>().unwrap(), 7, "i32 is widened");
    }

    #[test]
    fn a_misfit_is_told_completely_and_nothing_is_written() {
        let store = detector();
        let wrong = checkpoint(&[
            ("backbone.stem.wieght", Dtype::F32, &[2, 1]),
            ("backbone.stem.bias", Dtype::F32, &[3]),
            ("backbone.stem.num_batches_tracked", Dtype::F32, &[]),
        ]);
        let e = load_strict(&store, &wrong, &LoadOptions::whole()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Weights);
        let text = e.to_string();
        for part in [
            "weights file `care.pth` does not fit",
            "missing (2): backbone.stem.weight, neck.weight",
            "unexpected (1): backbone.stem.wieght (did you mean `backbone.stem.weight`?)",
            "backbone.stem.bias (expected numbers [2], got float32 [3])",
            "backbone.stem.num_batches_tracked (expected integers [], got float32 [])",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(values(&store, "backbone.stem.bias"), [0.0; 2]);
        let report = check(&store, &wrong, &LoadOptions::whole().allowing_missing(&["neck."]));
        assert_eq!(report.missing, ["backbone.stem.weight"]);
        assert_eq!(report.kept, ["neck.weight"]);
    }

    #[test]
    fn a_forgotten_prefix_is_told() {
        let options = LoadOptions::whole();
        let e = load_strict(&detector(), &official(), &options).unwrap_err().to_string();
        assert!(e.contains("without the prefix `backbone.` that the network has"), "{e}");
        let empty = Checkpoint::default();
        let none = LoadOptions { allow_missing: vec![String::new()], ..Default::default() };
        assert!(load_strict(&detector(), &empty, &none).is_err(), "loading nothing is an error");
    }

    #[test]
    fn counters_may_be_allowed_to_be_missing_by_their_end() {
        let mut checkpoint = official();
        checkpoint.tensors.remove(2);
        let options = LoadOptions::under_ignoring("backbone.", &["head."]);
        assert!(load_strict(&detector(), &checkpoint, &options).is_err());
        let options = options.allowing_missing(&["*.num_batches_tracked"]);
        assert_eq!(load_strict(&detector(), &checkpoint, &options).unwrap().kept.len(), 1);
    }

    #[test]
    fn a_store_survives_the_way_through_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        let store = detector();
        crate::recipe::fill(&store, "salt", "", &[]).unwrap();
        let metadata = BTreeMap::from([("model".to_string(), "care".to_string())]);
        to_checkpoint(&store, metadata.clone()).unwrap().write_safetensors(&path).unwrap();
        let read = Checkpoint::read(&path, &Default::default()).unwrap();
        assert_eq!(read.metadata, metadata);
        let other = detector();
        assert_eq!(load_strict(&other, &read, &LoadOptions::whole()).unwrap().loaded, store.names());
        for name in ["backbone.stem.weight", "neck.weight"] {
            assert_eq!(values(&other, name), values(&store, name));
        }
    }
}
