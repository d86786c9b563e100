//! Checkpoint files of every dialect against the tensors that PyTorch reads from them, and the weight recipe.

use std::borrow::Cow;
use std::path::PathBuf;

use candle_core::Device;
use care_backbone::care::CareClassifier;
use care_golden::{Case, Checker};
use care_nn::checkpoint::Dtype;
use care_nn::{Checkpoint, ErrorKind, LoadOptions, ParamStore, Select, StoredTensor, load_strict, recipe};
use serde_json::Value;

use crate::Runner;
use crate::care::{PURPOSES, free_config};

pub(super) const RUNNERS: &[(&str, Runner)] = &[
    ("weight_recipe", weight_recipe),
    ("checkpoint_timm", checkpoint_timm),
    ("checkpoint_plain", checkpoint_plain),
    ("checkpoint_zoo", checkpoint_plain),
    ("checkpoint_mmengine", checkpoint_mmengine),
    ("checkpoint_errors", checkpoint_errors),
    ("checkpoint_safetensors", checkpoint_safetensors),
    ("values", values),
];

fn path(case: &Case) -> Result<PathBuf, String> {
    let file = case.json["checkpoint"].as_str().ok_or("the case has no `checkpoint`")?;
    Ok(case.root.join(file))
}

fn read(case: &Case, select: &Select) -> Result<Checkpoint, String> {
    Checkpoint::read(path(case)?, select).map_err(|e| e.to_string())
}

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, |o| o.len())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{what}: expected {want:?}, got {got:?}")) }
}

fn bytes(tensor: &StoredTensor) -> Result<Cow<'_, [u8]>, String> {
    tensor.bytes().map_err(|e| e.to_string())
}

/// Shape, type, CRC-32 of the bytes and sum of one tensor.
fn check_tensor(tensor: &StoredTensor, want: &Value) -> Result<(), String> {
    let name = &tensor.name;
    let shape: Vec<u64> = tensor.shape.iter().map(|&d| d as u64).collect();
    same(name, Value::from(shape), want["shape"].clone())?;
    same(name, tensor.dtype.torch_name(), want["dtype"].as_str().unwrap_or("?"))?;
    same(name, Value::from(crc32fast::hash(&bytes(tensor)?)), want["crc32"].clone())?;
    let sum = sum(tensor)?;
    let want_sum = want["sum"].as_f64().ok_or("an expected tensor without a sum")?;
    if (sum - want_sum).abs() > 1e-9 * (1.0 + want_sum.abs()) {
        return Err(format!("{name}: expected the sum {want_sum}, got {sum}"));
    }
    Ok(())
}

fn sum(tensor: &StoredTensor) -> Result<f64, String> {
    Ok(match tensor.dtype {
        Dtype::F64 => bytes(tensor)?.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).sum(),
        t if t.is_float() => tensor.to_f32().map_err(|e| e.to_string())?.iter().map(|&v| f64::from(v)).sum(),
        _ => tensor.to_i64().map_err(|e| e.to_string())?.iter().map(|&v| v as f64).sum(),
    })
}

/// All expected tensors, under the given names, and no others.
fn check_all(checkpoint: &Checkpoint, want: &Value) -> Result<(), String> {
    let want = want.as_object().ok_or("the expected tensors are not an object")?;
    for (name, entry) in want {
        let tensor = checkpoint.get(name).ok_or_else(|| format!("{name}: not read"))?;
        check_tensor(tensor, entry)?;
    }
    same("number of tensors", checkpoint.tensors.len(), want.len())
}

/// The recipe's bytes: every key with shape, CRC-32, sum and first values.
fn weight_recipe(case: &Case) -> Result<(), String> {
    let salt = case.json["weights"]["salt"].as_str().ok_or("no salt")?;
    let list = case.extra()?;
    let list = list.as_array().ok_or("the expected weights are not a list")?;
    same("an empty list", list.is_empty(), false)?;
    for want in list {
        let key = want["key"].as_str().ok_or("a weight without a key")?;
        let shape: Vec<usize> = want["shape"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|d| Some(d.as_u64()? as usize))
            .collect();
        let tensor = recipe::parameter(salt, key, &shape, &[]).map_err(|e| e.to_string())?;
        let stored = StoredTensor::from_tensor(key, &tensor).map_err(|e| e.to_string())?;
        check_tensor(&stored, want)?;
        if stored.dtype == Dtype::F32 {
            let got = stored.to_f32().map_err(|e| e.to_string())?;
            let first = want["first"].as_array().into_iter().flatten().filter_map(Value::as_f64);
            for (i, (value, want)) in got.iter().zip(first).enumerate() {
                same(&format!("{key}[{i}]"), f64::from(*value), want)?;
            }
        }
    }
    Ok(())
}

/// Bare, nested, prefixed, half precision, zip, legacy, every type and stride: names joined by `/`, nothing taken off.
fn checkpoint_plain(case: &Case) -> Result<(), String> {
    let want = case.extra()?;
    check_all(&read(case, &Select::All)?, &want)?;
    // and as a user reads it: the state dict found by itself, without the names of containers and wrappers
    let auto = read(case, &Select::Auto)?;
    let plain = |name: &str| {
        let name = ["state_dict/", "model/"].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name);
        name.strip_prefix("module.").unwrap_or(name).to_owned()
    };
    for tensor in &auto.tensors {
        let found = want.as_object().and_then(|o| o.iter().find(|(name, _)| plain(name) == tensor.name));
        check_tensor(tensor, found.ok_or_else(|| format!("{}: unexpected", tensor.name))?.1)?;
    }
    let in_dict = want.as_object().map_or(0, |o| o.keys().filter(|k| !k.starts_with("nested/")).count());
    same("tensors of the state dict", auto.tensors.len(), in_dict)
}

fn checkpoint_timm(case: &Case) -> Result<(), String> {
    let want = case.extra()?;
    let auto = read(case, &Select::Auto)?;
    check_all(&auto, &want["state_dict"])?;
    same("selected", auto.selected.as_deref(), Some("state_dict"))?;
    same("top level", Value::from(auto.top_level_keys.clone()), want["top_level_keys"].clone())?;
    for key in ["epoch", "arch", "version", "metric"] {
        if let Some(value) = want.get(key) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            same(key, auto.metadata.get(key), Some(&text))?;
        }
    }
    if let Some(args) = want["args"].as_object() {
        // the pickled Namespace, which is data and nothing else
        for (name, value) in args.iter().filter(|(_, v)| v.as_array().is_none_or(|a| !a.is_empty())) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            same(name, auto.metadata.get(&format!("args/{name}")), Some(&text))?;
        }
    }
    if want.get("eval_logits").is_some() {
        check_logits(case, &auto, &want["eval_logits"])?;
    } else {
        load_strict(&store_of(case)?, &auto, &LoadOptions::whole()).map_err(|e| e.to_string())?;
    }
    match want.get("state_dict_ema") {
        Some(ema) => {
            let averaged = read(case, &Select::Ema)?;
            check_all(&averaged, ema)?;
            check_logits(case, &averaged, &want["eval_logits_ema"])
        }
        None => same("averaged weights", read(case, &Select::Ema).is_err(), true),
    }
}

/// The store of the case's network, with initial values.
fn store_of(case: &Case) -> Result<ParamStore, String> {
    let (config, classes) = free_config(&case.json["config"])?;
    let store = ParamStore::new(Device::Cpu, 0);
    CareClassifier::new(&store.root(PURPOSES[0].1), &config, classes).map_err(|e| e.to_string())?;
    Ok(store)
}

/// The file is loaded strictly and the network computes with it: the case gives the averaged logits, computed in f64 and
/// printed to nine digits, without a tolerance of its own; that of the tiny network's logits is 2e-5 (absolute) + 1e-4.
fn check_logits(case: &Case, checkpoint: &Checkpoint, want: &Value) -> Result<(), String> {
    let (config, classes) = free_config(&case.json["config"])?;
    let x = case.input("input")?.nhwc();
    let want: Vec<f64> = want
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(Value::as_f64)
        .collect();
    for (variant, purpose) in PURPOSES {
        let store = store_of(case)?;
        let text = |e: care_nn::Error| format!("{variant}: {e}");
        load_strict(&store, checkpoint, &LoadOptions::whole()).map_err(text)?;
        let net = CareClassifier::new(&store.root(purpose), &config, classes).map_err(text)?;
        let logits = net.logits(&x).map_err(text)?;
        let got: Vec<f32> = logits.flatten_all().and_then(|t| t.to_vec1()).map_err(|e| e.to_string())?;
        same("number of logits", (got.len(), want.is_empty()), (want.len(), false))?;
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let got = f64::from(*got);
            let error = (got - want).abs();
            if error.is_nan() || error > 2e-5 + 1e-4 * want.abs() {
                return Err(format!("{variant}: logit {i}: expected {want}, got {got}"));
            }
        }
    }
    Ok(())
}

fn checkpoint_mmengine(case: &Case) -> Result<(), String> {
    let want = case.extra()?;
    let auto = read(case, &Select::Auto)?;
    check_all(&auto, &want["state_dict"])?;
    same("top level", Value::from(auto.top_level_keys.clone()), want["top_level_keys"].clone())?;
    same("epoch", auto.metadata.get("meta/epoch"), Some(&want["meta_epoch"].to_string()))?;
    let classes = want["meta_classes"].to_string();
    same("classes", auto.metadata.values().any(|v| *v == classes), true)
}

/// Damaged files are errors that name the file; a call of a foreign function is data.
fn checkpoint_errors(case: &Case) -> Result<(), String> {
    let files = case.json["files"].as_array().ok_or("the case has no `files`")?;
    same("files", files.len(), 4)?;
    for file in files.iter().filter_map(Value::as_str) {
        let path = case.root.join(file);
        let result = Checkpoint::read(&path, &Select::Auto);
        if file.contains("bad_") {
            let error = result.err().ok_or_else(|| format!("{file} was accepted"))?;
            same(file, error.kind(), ErrorKind::Weights)?;
            same(file, error.to_string().contains(file), true)?;
        } else {
            let checkpoint = result.map_err(|e| e.to_string())?;
            let w = checkpoint.get("w").ok_or("`w` was not read")?;
            same("w", w.to_f32().map_err(|e| e.to_string())?, vec![1.0; 3])?;
        }
    }
    Ok(())
}

/// The same weights as `timm_tiny.pth.tar`, bit for bit, and again after writing them.
fn checkpoint_safetensors(case: &Case) -> Result<(), String> {
    let ours = read(case, &Select::Auto)?;
    let pth = Checkpoint::read(case.root.join("pth/timm_tiny.pth.tar"), &Select::Auto)
        .map_err(|e| e.to_string())?;
    let folder = std::env::temp_dir().join(format!("care-golden-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let copy = folder.join("copy.safetensors");
    let written = pth.write_safetensors(&copy).and_then(|()| Checkpoint::read(&copy, &Select::Auto));
    std::fs::remove_dir_all(&folder).map_err(|e| e.to_string())?;
    for other in [&ours, &written.map_err(|e| e.to_string())?] {
        same("number of tensors", other.tensors.len(), pth.tensors.len())?;
        for want in &pth.tensors {
            let got = other.get(&want.name).ok_or_else(|| format!("{}: not read", want.name))?;
            same(&want.name, (got.dtype, &got.shape, bytes(got)?), (want.dtype, &want.shape, bytes(want)?))?;
        }
    }
    Ok(())
}

/// The numbers of the zoo, element by element.
fn values(case: &Case) -> Result<(), String> {
    let zoo = Checkpoint::read(case.root.join("pth/zoo.pth"), &Select::Auto).map_err(|e| e.to_string())?;
    let mut checker = Checker::new(case);
    for tensor in &zoo.tensors {
        let wide: Vec<f64> = match tensor.dtype {
            Dtype::F64 => bytes(tensor)?.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            t if t.is_float() => {
                tensor.to_f32().map_err(|e| e.to_string())?.into_iter().map(f64::from).collect()
            }
            _ => tensor.to_i64().map_err(|e| e.to_string())?.into_iter().map(|v| v as f64).collect(),
        };
        checker.values_f64(&tensor.name, &tensor.shape, &wide);
    }
    same("tensors of the zoo", zoo.tensors.len(), count(&case.json["tensors"]))?;
    checker.finish()
}
