//! AdamW against PyTorch's, from the golden data (`CARE_GOLDEN`, or `shared/golden` beside the workspace).

use candle_core::{Device, Tensor, Var};
use care_engine::optim::{AdamW, AdamWConfig};
use care_nn::checkpoint::{Checkpoint, Select};
use care_nn::recipe;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn golden() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    let path = std::env::var_os("CARE_GOLDEN").map_or(beside, PathBuf::from);
    if !path.join("manifest.json").is_file() {
        eprintln!("SKIPPED: no golden data at {}", path.display());
        return None;
    }
    Some(path)
}

fn number(v: &Value) -> f64 {
    v.as_f64().expect("a number")
}

#[test]
fn adamw_equals_pytorch_after_every_step() {
    let Some(golden) = golden() else { return };
    let manifest = std::fs::read(golden.join("manifest.json")).expect("manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    for name in ["opt_adamw", "opt_adamw_amsless_b"] {
        let case = &manifest["cases"][name];
        let hyper = &case["hyper"];
        let config = AdamWConfig {
            lr: number(&hyper["lr"]),
            betas: (number(&hyper["betas"][0]), number(&hyper["betas"][1])),
            eps: number(&hyper["eps"]),
            weight_decay: number(&hyper["weight_decay"]),
        };
        let file = golden.join(case["file"].as_str().expect("file"));
        let expected = Checkpoint::read(&file, &Select::All).expect("tensors");
        let tensor = expected.get("params").expect("params");
        let (rows, values) = (tensor.shape[0], tensor.to_f32().expect("f32"));
        let (atol, rtol) = {
            let t = &case["tensors"]["params"];
            (number(&t["atol"]), number(&t["rtol"]))
        };
        let salt = case["recipe_salt"].as_str().expect("salt");
        let make = |key: &str| recipe::uniform(salt, key, &[40], 0.0, 1.0).expect("a tensor");
        let var = Var::from_tensor(&make("p0")).expect("a variable");
        let mut adamw = AdamW::new([("p".to_owned(), var.clone())], config, |_, _| true);
        for step in 0..rows {
            let g = (make(&format!("g{step}")) * 10f64.powi(-(step as i32))).expect("a gradient");
            let loss: Tensor = (var.as_tensor() * g).and_then(|t| t.sum_all()).expect("a loss");
            adamw.step(&loss.backward().expect("gradients")).expect("a step");
            let got: Vec<f32> = var.to_device(&Device::Cpu).and_then(|t| t.to_vec1()).expect("values");
            for (i, (got, want)) in got.iter().zip(&values[step * 40..]).enumerate() {
                let (got, want) = (f64::from(*got), f64::from(*want));
                assert!(
                    (got - want).abs() <= atol + rtol * want.abs(),
                    "{name} step {step} [{i}]: {got} vs {want}"
                );
            }
        }
        assert_eq!(rows, 5, "{name}");
    }
}
