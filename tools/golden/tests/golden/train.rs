//! Training: optimisers, schedules, clipping, box transforms, and whole training steps of tiny networks.

use super::Runner;
use super::care::{free_config, text};
use super::det::nets::retinanet_config;
use super::det::priors::boxes;
use super::det::two_stage;
use super::seg::{label_maps, semantic_fpn_config};
use candle_core::{Device, Tensor, Var};
use care_backbone::care::CareClassifier;
use care_data::augment::{Axis, Placement};
use care_engine::grads::Gradients;
use care_engine::optim::{BackboneRate, DecayRule, Optimizer, OptimizerConfig, ParamGroup, param_groups};
use care_engine::schedule::{Decay, Schedule};
use care_golden::{Case, Checker};
use care_heads::mask_rcnn::MaskRcnn;
use care_heads::retinanet::RetinaNet;
use care_heads::semantic_fpn::SemanticFpn;
use care_heads::{Detector, ImageInfo, Images, Segmenter};
use care_nn::{Builder, ParamStore, Purpose, ops};
use care_types::{BoxXyxy, Size};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) const RUNNERS: &[(&str, Runner)] = &[
    ("optimizer", optimizer),
    ("grad_clip", grad_clip),
    ("lr_schedule", lr_schedule),
    ("weight_decay_groups", weight_decay_groups),
    ("box_transform", box_transform),
    ("train_cls", train_cls),
    ("train_det", train_det),
    ("train_seg", train_seg),
];

/// PyTorch's momentum of running statistics.
const MOMENTUM: f64 = 0.1;

/// An optimiser by its hyper-parameters in PyTorch's words, its weight decay, and its learning rate.
fn optimizer_of(hyper: &Value) -> Result<(OptimizerConfig, f64, f64), String> {
    let number = |key: &str| hyper[key].as_f64();
    let weight_decay = number("weight_decay").unwrap_or(0.0);
    let lr = number("lr").ok_or("no learning rate")?;
    let config = match hyper["betas"].as_array() {
        Some(betas) => OptimizerConfig::Adamw {
            betas: [0, 1].map(|i| betas[i].as_f64().unwrap_or_default()),
            eps: number("eps").ok_or("no eps")?,
            weight_decay,
        },
        None => OptimizerConfig::Sgd {
            momentum: number("momentum").unwrap_or(0.0),
            nesterov: hyper["nesterov"].as_bool().unwrap_or(false),
            weight_decay,
        },
    };
    Ok((config, weight_decay, lr))
}

/// One group of all trainable parameters: these cases decay every one.
fn everything(store: &ParamStore, weight_decay: f64) -> (Vec<ParamGroup>, Vec<(String, Var)>) {
    let params: Vec<(String, Var)> = store.trainable().into_iter().map(|p| (p.name, p.var)).collect();
    let group = ParamGroup { name: "all".into(), params: params.clone(), lr_scale: 1.0, weight_decay };
    (vec![group], params)
}

fn optimizer(case: &Case) -> Result<(), String> {
    let (config, weight_decay, lr) = optimizer_of(&case.json["hyper"])?;
    let start = case.input("p0")?;
    let var = Var::from_tensor(&start.tensor()).map_err(text)?;
    let params = vec![("p".to_owned(), var.clone())];
    let group = ParamGroup { name: "all".into(), params, lr_scale: 1.0, weight_decay };
    let mut optimizer = Optimizer::new(config, vec![group]);
    let mut rows = Vec::new();
    for step in 0..5 {
        let scale = 10f64.powi(-step);
        let grad = case.input(&format!("g{step}"))?.data.into_iter().map(|g| (g * scale) as f32).collect();
        let grads = Gradients::from_values(vec![("p".to_owned(), Some(grad))]);
        optimizer.step(&grads, lr).map_err(text)?;
        rows.extend(var.to_vec1::<f32>().map_err(text)?);
    }
    let mut check = Checker::new(case);
    let count = start.data.len();
    check.values("params", &[5, count], &rows);
    for (name, shape, values) in optimizer.state() {
        let kind = name.split('.').next().unwrap_or_default();
        check.values(&format!("state_{kind}"), &shape, values);
    }
    check.finish()
}

fn grad_clip(case: &Case) -> Result<(), String> {
    let names = ["g0", "g1", "g2"];
    let inputs = names.iter().map(|n| case.input(n)).collect::<Result<Vec<_>, _>>()?;
    let mut check = Checker::new(case);
    for max in [3.0, 35.0] {
        let values = names.iter().zip(&inputs).map(|(n, a)| ((*n).to_owned(), Some(a.f32())));
        let mut grads = Gradients::from_values(values.collect());
        let norm = grads.clip(max);
        check.values(&format!("norm_max{max}"), &[], &[norm as f32]);
        for ((name, grad), input) in grads.iter().zip(&inputs) {
            let grad = grad.ok_or_else(|| format!("{name} is gone"))?;
            check.values(&format!("{name}_max{max}"), &input.shape, grad);
        }
    }
    check.finish()
}

/// The parameters are in the words of the cases' descriptions only.
fn lr_schedule(case: &Case) -> Result<(), String> {
    let (warmup_steps, warmup_factor, decay, end) = match case.name.as_str() {
        "lr_mmdet_1x" => (50, 1e-3, Decay::Step { milestones: vec![8.0, 11.0], gamma: 0.1 }, 240),
        "lr_mmseg_poly" => (30, 1e-6, Decay::Poly { power: 0.9, min_lr: 0.0 }, 200),
        "lr_mmseg_poly_etamin" => (0, 1.0, Decay::Poly { power: 0.9, min_lr: 1e-4 }, 100),
        "lr_cosine" => (20, 0.1, Decay::Cosine { min_lr: 1e-6 }, 100),
        other => return Err(format!("no parameters for {other}")),
    };
    let schedule = Schedule { warmup_steps, warmup_factor, decay };
    let per_epoch = case.usize("iters_per_epoch")?;
    let steps = case.usize("epochs")? * per_epoch;
    let base = case.f64("base_lr")?;
    let rates: Vec<f64> = (0..steps).map(|i| schedule.lr(base, i as u64, per_epoch as u64, end)).collect();
    let mut check = Checker::new(case);
    check.values_f64("lr", &[steps], &rates);
    check.finish()
}

fn weight_decay_groups(case: &Case) -> Result<(), String> {
    let tiny = serde_json::json!({
        "depths": [2, 2, 2, 2], "feat_dims": [9, 12, 24, 30], "mem_dims": [3, 4, 8, 10],
        "ratios": [[2, 2], [2, 3], [2, 2], [2, 2]], "att_head_dim": [1, 1, 4, 5], "num_classes": 7
    });
    let (config, classes) = free_config(&tiny)?;
    let store = ParamStore::new(Device::Cpu, 0);
    CareClassifier::new(&store.root(Purpose::TRAIN), &config, classes).map_err(text)?;
    let rules = [("timm_no_decay", DecayRule::Matrices), ("mmengine_norm_no_decay", DecayRule::AllButNorms)];
    for (key, rule) in rules {
        let want = case.json[key].as_array().ok_or_else(|| format!("no list {key}"))?;
        let mut want: Vec<&str> = want.iter().filter_map(Value::as_str).collect();
        let groups = param_groups(&store, 0.05, rule, BackboneRate::SAME);
        let kept = groups.iter().filter(|g| g.weight_decay == 0.0);
        let mut got: Vec<&str> = kept.flat_map(|g| g.params.iter().map(|p| p.0.as_str())).collect();
        want.sort_unstable();
        got.sort_unstable();
        if got != want {
            let only = |a: &[&str], b: &[&str]| {
                a.iter().filter(|n| !b.contains(n)).map(|n| (*n).to_owned()).collect::<Vec<_>>()
            };
            return Err(format!("{key}: missing {:?}, too many {:?}", only(&want, &got), only(&got, &want)));
        }
    }
    Ok(())
}

fn box_transform(case: &Case) -> Result<(), String> {
    let input = boxes(case, "boxes")?;
    let flat = |boxes: Vec<BoxXyxy>| boxes.into_iter().flat_map(BoxXyxy::to_array).collect::<Vec<f32>>();
    let width = case.json["img_shape"][1].as_u64().or(case.json["width"].as_u64()).ok_or("no width")? as u32;
    let flip = Placement { x: Axis::mirrored(width), y: Axis::scaled(1.0) };
    let scale = Placement::scaled(1.5, 1.25);
    let placed = |p: Placement| flat(input.iter().map(|b| p.bbox(*b)).collect());
    let mut check = Checker::new(case);
    let shape = [input.len(), 4];
    check.values("flipped", &shape, &placed(flip));
    check.values("rescaled", &shape, &placed(scale));
    let clip = input.iter().map(|b| b.clipped(Size::new(120, 80))).collect();
    check.values("clipped", &shape, &flat(clip));
    check.finish()
}

/// Takes one step along `loss` and commits the batch statistics; returns the gradient norm before clipping.
fn step(
    (store, root): (&ParamStore, &Builder),
    params: &[(String, Var)],
    optimizer: &mut Optimizer,
    loss: &Tensor,
    (lr, max_norm): (f64, f64),
) -> Result<f64, String> {
    let mut grads = Gradients::collect(params, &loss.backward().map_err(text)?).map_err(text)?;
    let norm = grads.clip(max_norm);
    optimizer.step(&grads, lr).map_err(text)?;
    store.commit_batch_stats(&root.batch_stats().take(), MOMENTUM).map_err(text)?;
    Ok(norm)
}

fn finals(check: &mut Checker<'_>, case: &Case, store: &ParamStore) -> Result<(), String> {
    for param in store.params() {
        let name = format!("final/{}", param.name);
        if case.has(&name) {
            check.tensor(&name, &param.var.to_dtype(candle_core::DType::F32).map_err(text)?);
        }
    }
    Ok(())
}

fn train_cls(case: &Case) -> Result<(), String> {
    let (config, classes) = free_config(&case.json["config"])?;
    let store = ParamStore::new(Device::Cpu, 0);
    let root = store.root(Purpose::TRAIN);
    let net = CareClassifier::new(&root, &config, classes).map_err(text)?;
    case.fill(&store)?;
    let (optim, weight_decay, lr) = optimizer_of(&case.json["optimizer"])?;
    let (groups, params) = everything(&store, weight_decay);
    let mut optimizer = Optimizer::new(optim, groups);
    let mut losses = Vec::new();
    for s in 0..case.usize("steps")? {
        let x = case.input(&format!("input{s}"))?.nhwc();
        let labels: Vec<i64> = (0..x.dims()[0]).map(|i| ((2 * i + s) % classes) as i64).collect();
        let labels = Tensor::new(labels, &Device::Cpu).map_err(text)?;
        let loss = || -> care_nn::Result<Tensor> {
            let (head, dist) = net.both_logits(&x)?;
            let entropy =
                |logits: &Tensor| Ok::<_, care_nn::Error>(ops::cross_entropy(logits, &labels)?.mean_all()?);
            Ok((entropy(&head)? + entropy(&dist)?)?)
        };
        let loss = loss().map_err(text)?;
        losses.push(loss.to_scalar::<f32>().map_err(text)?);
        step((&store, &root), &params, &mut optimizer, &loss, (lr, f64::INFINITY))?;
    }
    let mut check = Checker::new(case);
    check.values("losses", &[losses.len()], &losses);
    finals(&mut check, case, &store)?;
    let eval = CareClassifier::new(&store.root(Purpose::INFER), &config, classes).map_err(text)?;
    check.tensor("eval_logits", &eval.logits(&case.input("input0")?.nhwc()).map_err(text)?);
    check.finish()
}

/// A detector in training: its losses by name, and what else is compared by name.
type Losses<'a> = Box<dyn Fn(&Images) -> Result<(care_heads::Losses, Vec<(&'static str, f64)>), String> + 'a>;

fn losses_of<'a>(case: &'a Case, root: &Builder) -> Result<Losses<'a>, String> {
    let targets = |masks: bool| {
        let masks = |i| if masks { two_stage::masks(case, i) } else { Ok(Vec::new()) };
        (0..2).map(|i| two_stage::target(case, i, &masks(i)?)).collect::<Result<Vec<_>, String>>()
    };
    Ok(match case.json["model"].as_str() {
        Some("retina") => {
            let (net, targets) =
                (RetinaNet::new(root, &retinanet_config(case)?).map_err(text)?, targets(false)?);
            Box::new(move |images| Ok((net.losses(images, &targets).map_err(text)?, Vec::new())))
        }
        Some("maskrcnn") => {
            let mut config = two_stage::mask_rcnn_config(case)?;
            config.rpn.train_proposals.nms_pre = 200;
            config.rpn.train_proposals.max_per_image = 40;
            (config.rpn.sampler, config.roi.sampler) = (two_stage::EVERYTHING, two_stage::EVERYTHING);
            config.roi.bbox_head.fc_channels = fc_channels(case)?;
            let (net, targets) = (MaskRcnn::new(root, &config).map_err(text)?, targets(true)?);
            Box::new(move |images| {
                let accuracy = net.all_losses(images, &targets).map_err(text)?.roi.accuracy;
                Ok((net.losses(images, &targets).map_err(text)?, vec![("acc", accuracy)]))
            })
        }
        _ => return Err(format!("no runner for model {}", case.json["model"])),
    })
}

/// The width of the shared layers, which the case says only by its final parameters.
fn fc_channels(case: &Case) -> Result<usize, String> {
    let shape = &case.json["tensors"]["final/roi_head.bbox_head.fc_cls.weight"]["shape"];
    shape[1].as_u64().map(|n| n as usize).ok_or_else(|| "no final fc_cls".into())
}

fn train_det(case: &Case) -> Result<(), String> {
    let norm_eval = case.json["norm_eval"].as_bool().ok_or("norm_eval is not said")?;
    let store = ParamStore::new(Device::Cpu, 0);
    let root = store.root(if norm_eval { Purpose::TRAIN_FROZEN } else { Purpose::TRAIN });
    let losses_of = losses_of(case, &root)?;
    case.fill(&store)?;
    let (optim, weight_decay, lr) = optimizer_of(&case.json["optimizer"])?;
    let max_norm = case.json["grad_clip"]["max_norm"].as_f64().unwrap_or(f64::INFINITY);
    let (groups, params) = everything(&store, weight_decay);
    let mut optimizer = Optimizer::new(optim, groups);
    let mut curves: BTreeMap<&'static str, Vec<f32>> = BTreeMap::new();
    for s in 0..case.usize("steps")? {
        let pixels = case.input(&format!("input{}", s % 2))?.nhwc();
        let (n, h, w, _) = pixels.dims4().map_err(text)?;
        let info = vec![ImageInfo::whole(w as u32, h as u32); n];
        let (losses, others) = losses_of(&Images::new(pixels, info).map_err(text)?)?;
        for (name, value) in losses.iter() {
            curves.entry(name).or_default().push(value.to_scalar::<f32>().map_err(text)?);
        }
        others.into_iter().for_each(|(name, value)| curves.entry(name).or_default().push(value as f32));
        let loss = losses.total().map_err(text)?;
        curves.entry("total").or_default().push(loss.to_scalar::<f32>().map_err(text)?);
        let norm = step((&store, &root), &params, &mut optimizer, &loss, (lr, max_norm))?;
        curves.entry("grad_norm").or_default().push(norm as f32);
    }
    let mut check = Checker::new(case);
    for (name, values) in &curves {
        check.values(name, &[values.len()], values);
    }
    finals(&mut check, case, &store)?;
    check.finish()
}

fn train_seg(case: &Case) -> Result<(), String> {
    let config = semantic_fpn_config(case)?;
    let store = ParamStore::new(Device::Cpu, 0);
    let root = store.root(Purpose::TRAIN);
    let net = SemanticFpn::new(&root, &config).map_err(text)?;
    case.fill(&store)?;
    let mut hyper = case.json["optimizer"].clone();
    hyper["lr"] = case.json["lrs"][0].clone();
    let (optim, weight_decay, _) = optimizer_of(&hyper)?;
    let (groups, params) = everything(&store, weight_decay);
    let mut optimizer = Optimizer::new(optim, groups);
    let mut losses = Vec::new();
    for s in 0..case.usize("steps")? {
        let pixels = case.input(&format!("input{}", s % 2))?.nhwc();
        let (n, h, w, _) = pixels.dims4().map_err(text)?;
        let images = Images::new(pixels, vec![ImageInfo::whole(w as u32, h as u32); n]).map_err(text)?;
        let targets = label_maps(case, &format!("labels{}", s % 2))?;
        let loss = net.losses(&images, &targets).and_then(|l| l.total()).map_err(text)?;
        losses.push(loss.to_scalar::<f32>().map_err(text)?);
        let lr = case.json["lrs"][s].as_f64().ok_or("no learning rate")?;
        step((&store, &root), &params, &mut optimizer, &loss, (lr, f64::INFINITY))?;
    }
    let mut check = Checker::new(case);
    check.values("losses", &[losses.len()], &losses);
    finals(&mut check, case, &store)?;
    check.finish()
}
