//! The CARE network: forward passes, the token mixer, key lists, facts, a training step.

use super::Runner;
use candle_core::{DType, Device, Tensor, Var};
use care_backbone::Backbone;
use care_backbone::care::{CareClassifier, CareConfig, TokenMixer, TokenMixerConfig};
use care_golden::{Case, Checker};
use care_nn::{ParamStore, Purpose, Role, ops};
use serde_json::Value;

pub(super) const RUNNERS: &[(&str, Runner)] = &[
    ("care_forward", forward),
    ("token_mixer", token_mixer),
    ("state_dict_keys", state_dict_keys),
    ("care_train_step", train_step),
    ("care_arch_facts", arch_facts),
];

/// The three ways in which every forward case runs, all at the set's own tolerances. CARE has no dense 3×3, so Winograd
/// changes nothing in it. In necks and heads Winograd F(4×4, 3×3) rounds about 35 times more per layer than a direct
/// convolution and uses at most 0.81 of the tolerance (portable; 0.78 with AVX-512).
pub(super) const PURPOSES: [(&str, Purpose); 3] = [
    ("train frozen", Purpose::TRAIN_FROZEN),
    ("infer direct", Purpose::INFER_DIRECT),
    ("infer winograd", Purpose::INFER),
];

pub(super) fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// The variant that a case asks for by `model` or `config`, and its number of classes.
pub(super) fn config_of(json: &Value) -> Result<(CareConfig, usize), String> {
    match json["model"].as_str() {
        Some("CARETrans_S0") => return Ok((CareConfig::s0(), 1000)),
        Some("CARETrans_S1") => return Ok((CareConfig::s1(), 1000)),
        Some("CARETrans_S2") => return Ok((CareConfig::s2(), 1000)),
        _ => {}
    }
    free_config(&json["config"])
}

/// A free config with the field names of the official release.
pub(super) fn free_config(json: &Value) -> Result<(CareConfig, usize), String> {
    let keep = ["depths", "feat_dims", "mem_dims", "ratios", "att_head_dim"];
    let fields = json.as_object().ok_or("no config")?.iter().filter(|f| keep.contains(&f.0.as_str()));
    let fields: serde_json::Map<String, Value> = fields.map(|(k, v)| (k.clone(), v.clone())).collect();
    let config: CareConfig = serde_json::from_value(Value::Object(fields)).map_err(text)?;
    Ok((config, json["num_classes"].as_u64().unwrap_or(1000) as usize))
}

/// A classifier with the case's recipe weights, and the store that holds them.
fn classifier(case: &Case, purpose: Purpose) -> Result<(ParamStore, CareClassifier), String> {
    let (config, classes) = config_of(&case.json)?;
    let store = ParamStore::new(Device::Cpu, 0);
    CareClassifier::new(&store.root(purpose), &config, classes).map_err(text)?;
    case.fill(&store)?;
    let net = CareClassifier::new(&store.root(purpose), &config, classes).map_err(text)?;
    Ok((store, net))
}

fn forward(case: &Case) -> Result<(), String> {
    let x = case.input("input")?.nhwc();
    for (name, purpose) in PURPOSES {
        let (_, net) = classifier(case, purpose)?;
        let mut check = Checker::variant(case, name, 1.0);
        forward_into(&mut check, case, &net, &x).map_err(text)?;
        if purpose == Purpose::TRAIN_FROZEN { check.finish() } else { check.finish_partial() }?;
    }
    Ok(())
}

fn forward_into(
    check: &mut Checker<'_>,
    case: &Case,
    net: &CareClassifier,
    x: &Tensor,
) -> care_nn::Result<()> {
    let features = net.backbone.features(x)?;
    for (i, map) in features.maps.iter().enumerate() {
        check.nhwc(&format!("c{}", i + 2), map);
    }
    let (head, dist) = net.logits_of(&features.maps[3])?;
    check.tensor("head_logits", &head);
    check.tensor("dist_head_logits", &dist);
    check.tensor("logits", &net.logits(x)?);
    let mut x = net.backbone.stem(x)?;
    check.nhwc("stem", &x);
    for (i, stage) in net.backbone.stages.iter().enumerate() {
        x = stage.downsample(&x)?;
        if case.has(&format!("stages.{i}.downsample")) {
            check.nhwc(&format!("stages.{i}.downsample"), &x);
        }
        for (j, block) in stage.blocks.iter().enumerate() {
            let name = format!("stages.{i}.blocks.{j}");
            let (memory, mixed) = block.token_mixer().forward(&x)?;
            if case.has(&format!("{name}.token_mixer")) {
                check.nhwc(&format!("{name}.token_mixer"), &Tensor::cat(&[&memory, &mixed], 3)?);
            }
            if let Some(inter) = block.inter_layer()
                && case.has(&format!("{name}.inter_layer"))
            {
                check.nhwc(&format!("{name}.inter_layer"), &inter.forward(&memory, &mixed)?);
            }
            x = block.forward(&x)?;
            if case.has(&name) {
                check.nhwc(&name, &x);
            }
        }
    }
    Ok(())
}

fn token_mixer(case: &Case) -> Result<(), String> {
    let x = case.input("x")?.nhwc();
    let attention = case.json["if_att"].as_bool().unwrap_or(false).then_some(case.usize("att_head_dim")?);
    let config = TokenMixerConfig { g: case.usize("mem_dim")?, attention };
    for (name, purpose) in PURPOSES {
        let store = ParamStore::new(Device::Cpu, 0);
        TokenMixer::new(&store.root(purpose), config).map_err(text)?;
        case.fill(&store)?;
        if case.has("qk.bias") {
            store.set("qk.bias", &case.input("qk.bias")?.tensor()).map_err(text)?;
        }
        let mixer = TokenMixer::new(&store.root(purpose), config).map_err(text)?;
        let (memory, mixed) = mixer.forward(&x).map_err(text)?;
        let mut check = Checker::variant(case, name, 1.0);
        check.nhwc("mem", &memory);
        check.nhwc("feats", &mixed);
        check.finish()?;
    }
    Ok(())
}

fn state_dict_keys(case: &Case) -> Result<(), String> {
    let (config, classes) = config_of(&case.json)?;
    let store = ParamStore::new(Device::Cpu, 0);
    CareClassifier::new(&store.root(Purpose::TRAIN_FROZEN), &config, classes).map_err(text)?;
    let want = case.extra()?;
    let want = want.as_array().ok_or("the key list is not an array")?;
    let got: Vec<Value> = store
        .params()
        .iter()
        .map(|p| {
            let dtype = if p.var.dtype() == DType::I64 { "int64" } else { "float32" };
            serde_json::json!([p.name, p.shape(), dtype])
        })
        .collect();
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        if g != w {
            return Err(format!("entry {i}: expected {w}, got {g}"));
        }
    }
    (got.len() == want.len())
        .then_some(())
        .ok_or_else(|| format!("expected {} keys, got {}", want.len(), got.len()))
}

/// Parameter counts, buffer counts, widths and multiply-accumulates of the published variants.
pub(super) fn arch_facts(case: &Case) -> Result<(), String> {
    let facts = case.extra()?;
    for (model, want) in facts.as_object().ok_or("the facts are not an object")? {
        let (config, classes) = config_of(&serde_json::json!({ "model": model }))?;
        let (free, free_classes) = free_config(&want["config"])?;
        if (&free, free_classes) != (&config, classes) {
            return Err(format!("{model}: preset {config:?} is not the reference's {free:?}"));
        }
        let store = ParamStore::new(Device::Cpu, 0);
        CareClassifier::new(&store.root(Purpose::TRAIN_FROZEN), &config, classes).map_err(text)?;
        let is_head = |name: &str| name.starts_with("head.") || name.starts_with("dist_head.");
        let heads: usize = store.params().iter().filter(|p| is_head(&p.name)).map(|p| p.count()).sum();
        let counts = [
            ("params", store.weight_count()),
            ("params_without_heads", store.weight_count() - heads),
            ("buffers", store.count(Role::Buffer)),
            ("state_dict_entries", store.len()),
        ];
        for (what, got) in counts {
            if want[what] != got {
                return Err(format!("{model}: {what}: expected {}, got {got}", want[what]));
            }
        }
        let widths: Vec<usize> = config.info().iter().map(|i| i.channels).collect();
        if want["stage_out_channels"] != serde_json::json!(widths) {
            return Err(format!("{model}: expected {}, got {widths:?}", want["stage_out_channels"]));
        }
        let macs = config.macs(224, 224) + 2 * config.wide() * classes;
        if want["macs_224_total"] != macs {
            return Err(format!("{model}: MACs: expected {}, got {macs}", want["macs_224_total"]));
        }
    }
    Ok(())
}

/// Cross-entropy of both heads, all gradients, and the running statistics after the step.
fn train_step(case: &Case) -> Result<(), String> {
    let (config, classes) = config_of(&case.json)?;
    let store = ParamStore::new(Device::Cpu, 0);
    let b = store.root(Purpose::TRAIN);
    let net = CareClassifier::new(&b, &config, classes).map_err(text)?;
    case.fill(&store)?;
    let x = Var::from_tensor(&case.input("input")?.nhwc()).map_err(text)?;
    let labels: Vec<i64> = case.json["labels"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| v.as_i64().unwrap_or_default())
        .collect();
    let labels = Tensor::new(labels, &Device::Cpu).map_err(text)?;
    let mut check = Checker::new(case);
    let step = || -> care_nn::Result<_> {
        let (head, dist) = net.both_logits(&x)?;
        let main = ops::cross_entropy(&head, &labels)?.mean_all()?;
        let loss = (main + (ops::cross_entropy(&dist, &labels)?.mean_all()? * 0.5)?)?;
        let grads = loss.backward()?;
        Ok((head, dist, loss, grads))
    };
    let (head, dist, loss, grads) = step().map_err(text)?;
    check.tensor("head_logits", &head);
    check.tensor("dist_head_logits", &dist);
    check.tensor("loss", &loss);
    check.nhwc("grad/input", grads.get(&x).ok_or("no gradient for the input")?);
    for p in store.trainable() {
        let grad = grads.get(&p.var).ok_or_else(|| format!("no gradient for {}", p.name))?;
        check.tensor(&format!("grad/{}", p.name), grad);
    }
    store.commit_batch_stats(&b.batch_stats().take(), 0.1).map_err(text)?;
    for p in store.params().iter().filter(|p| p.role == Role::Buffer) {
        let name = format!("after/{}", p.name);
        if case.has(&name) {
            check.tensor(&name, &p.var.to_dtype(DType::F32).map_err(text)?);
        }
    }
    check.finish()
}
