//! Reading `manifest.json` and the files that belong to a case.

use crate::Array;
use care_nn::{ParamStore, recipe};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the golden set is: `CARE_GOLDEN`, or `shared/golden` beside the workspace root. `None` when it is not there.
pub fn golden_root() -> Option<PathBuf> {
    let root = std::env::var_os("CARE_GOLDEN")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden"), PathBuf::from);
    root.join("manifest.json").is_file().then_some(root)
}

/// All cases, in the order of the manifest's names.
pub struct Manifest {
    /// The cases.
    pub cases: Vec<Case>,
    /// The whole manifest (the recipe's test vectors are at its top level).
    pub json: Value,
}

impl Manifest {
    /// Reads `manifest.json` under `root`.
    pub fn read(root: &Path) -> Result<Self, String> {
        let path = root.join("manifest.json");
        let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let json: Value = serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        let cases = json["cases"].as_object().ok_or("manifest.json has no object `cases`")?;
        let cases = cases
            .iter()
            .map(|(name, json)| Case {
                name: name.clone(),
                kind: json["kind"].as_str().unwrap_or_default().to_owned(),
                json: json.clone(),
                root: root.to_owned(),
            })
            .collect();
        Ok(Self { cases, json })
    }
}

/// One case of the set.
pub struct Case {
    /// Name in the manifest.
    pub name: String,
    /// What it checks; runners are found by this.
    pub kind: String,
    /// The manifest entry.
    pub json: Value,
    /// Folder of the set, for `extra_files`.
    pub root: PathBuf,
}

impl Case {
    /// The names of the stored tensors with the given role (`input` or `output`), in name order.
    pub fn names(&self, role: &str) -> Vec<String> {
        let Some(tensors) = self.json["tensors"].as_object() else { return Vec::new() };
        tensors.iter().filter(|(_, t)| t["role"] == role).map(|(n, _)| n.clone()).collect()
    }

    /// Whether the case has a tensor or recipe input of this name.
    pub fn has(&self, name: &str) -> bool {
        self.json["tensors"].get(name).is_some() || self.json["recipe_inputs"].get(name).is_some()
    }

    /// A stored tensor as it is in the file (subsampled when its storage is `sub`), with the file's shape.
    pub fn stored(&self, name: &str) -> Result<Array, String> {
        let file = self.json["file"].as_str().ok_or_else(|| format!("case {} has no file", self.name))?;
        let path = self.root.join(file);
        let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        let view = tensors.tensor(name).map_err(|e| format!("{}: {name}: {e}", path.display()))?;
        let data = widen(view.dtype(), view.data())?;
        Ok(Array { shape: view.shape().to_vec(), data })
    }

    /// An input: made by the recipe when the manifest says so, else read from the file.
    pub fn input(&self, name: &str) -> Result<Array, String> {
        match self.json["recipe_inputs"].get(name) {
            Some(how) => recipe_input(how),
            None => self.stored(name),
        }
    }

    /// A JSON file that belongs to the case, by its path inside the set.
    pub fn json_file(&self, path: &str) -> Result<Value, String> {
        let path = self.root.join(path);
        let text = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// The first entry of `extra_files`, parsed.
    pub fn extra(&self) -> Result<Value, String> {
        let file = self.json["extra_files"][0]
            .as_str()
            .ok_or_else(|| format!("case {} has no extra file", self.name))?;
        self.json_file(file)
    }

    /// Fills the store with the recipe weights of the case.
    pub fn fill(&self, store: &ParamStore) -> Result<(), String> {
        self.fill_from("weights", store)
    }

    /// Fills the store by a recipe under another key of the case (`weights_ema`).
    pub fn fill_from(&self, key: &str, store: &ParamStore) -> Result<(), String> {
        let w = &self.json[key];
        let salt = w["salt"].as_str().ok_or_else(|| format!("case {} has no `{key}.salt`", self.name))?;
        let mut overrides = Vec::new();
        for o in w["overrides"].as_array().into_iter().flatten() {
            let number = |k: &str| o[k].as_f64().ok_or_else(|| format!("override without {k}"));
            let suffix = o["suffix"].as_str().unwrap_or_default().to_owned();
            overrides.push(recipe::Override { suffix, center: number("center")?, amp: number("amp")? });
        }
        let prefix = w["key_prefix"].as_str().unwrap_or_default();
        recipe::fill(store, salt, prefix, &overrides).map_err(|e| e.to_string())
    }

    /// A number of the entry, by key.
    pub fn f64(&self, key: &str) -> Result<f64, String> {
        self.json[key].as_f64().ok_or_else(|| format!("case {}: `{key}` is not a number", self.name))
    }

    /// A count of the entry, by key.
    pub fn usize(&self, key: &str) -> Result<usize, String> {
        self.json[key]
            .as_u64()
            .map(|v| v as usize)
            .ok_or_else(|| format!("case {}: `{key}` is not a count", self.name))
    }
}

fn recipe_input(how: &Value) -> Result<Array, String> {
    let text = |k: &str| how[k].as_str().ok_or_else(|| format!("recipe input without `{k}`"));
    let number = |k: &str| how[k].as_f64().ok_or_else(|| format!("recipe input without `{k}`"));
    let shape: Vec<usize> = how["shape"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| v.as_u64().unwrap_or_default() as usize)
        .collect();
    let (salt, key) = (text("salt")?, text("key")?);
    let tensor = match text("how")? {
        "uniform" => recipe::uniform(salt, key, &shape, number("center")?, number("amp")?),
        "block_image" => {
            let dims =
                <[usize; 4]>::try_from(shape.as_slice()).map_err(|_| "block_image needs four dimensions")?;
            let (coarse_amp, fine_amp) = (number("coarse_amp")?, number("fine_amp")?);
            recipe::block_image(
                salt,
                key,
                dims,
                recipe::Blocks { block: number("block")? as usize, coarse_amp, fine_amp },
            )
        }
        other => return Err(format!("unknown recipe input `{other}`")),
    };
    let values = tensor.and_then(|t| Ok(t.flatten_all()?.to_vec1::<f32>()?)).map_err(|e| e.to_string())?;
    Ok(Array { shape, data: values.into_iter().map(f64::from).collect() })
}

fn widen(dtype: Dtype, bytes: &[u8]) -> Result<Vec<f64>, String> {
    Ok(match dtype {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        Dtype::I64 => bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
        Dtype::I32 => bytes.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
        Dtype::I16 => bytes.as_chunks().0.iter().map(|b| f64::from(i16::from_le_bytes(*b))).collect(),
        Dtype::U8 | Dtype::BOOL => bytes.iter().map(|&b| f64::from(b)).collect(),
        Dtype::I8 => bytes.iter().map(|&b| f64::from(b as i8)).collect(),
        other => return Err(format!("the golden set stores no {other:?}")),
    })
}
