//! The norm of neck and head: gradients, statistics, the folded network, names and files.

use super::{CLASSES, batch, pixels, targets, tiny};
use candle_core::{Device, Tensor};
use care_heads::NormKind;
use care_heads::retinanet::{RetinaNet, RetinaNetConfig};
use care_heads::{Detector, NetworkConfig};
use care_nn::{ParamStore, Purpose, Role, recipe};
use serde_json::Value;

const NORMS: [NormKind; 2] = [NormKind::None, NormKind::Batch];

fn config(norm: NormKind) -> RetinaNetConfig {
    let NetworkConfig::RetinaNet(mut config) = tiny() else { unreachable!("a RetinaNet") };
    (config.neck.norm, config.head.norm) = (norm, norm);
    config
}

/// Recipe weights, running statistics included, with last layers that let something through.
fn store(norm: NormKind) -> ParamStore {
    let store = ParamStore::new(Device::Cpu, 1);
    RetinaNet::new(&store.root(Purpose::TRAIN), &config(norm)).unwrap();
    let wide = |suffix: &str, amp| recipe::Override { suffix: suffix.into(), center: 0.0, amp };
    let overrides = [wide("retina_cls.weight", 1.0), wide("retina_reg.weight", 0.1)];
    recipe::fill(&store, "heads/retinanet/norm", "", &overrides).unwrap();
    store
}

/// Neck maps and head outputs.
fn outputs(store: &ParamStore, norm: NormKind, purpose: Purpose) -> Vec<Tensor> {
    let net = RetinaNet::new(&store.root(purpose), &config(norm)).unwrap();
    let (levels, head) = net.forward(&pixels("a")).unwrap();
    levels.into_iter().chain(head.logits).chain(head.deltas).collect()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// Largest difference, relative to the largest value.
fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let (a, b) = (values(a), values(b));
    let largest =
        |v: &mut dyn Iterator<Item = f32>| v.fold(0f32, |m, x| if x.is_nan() { x } else { m.max(x.abs()) });
    largest(&mut a.iter().zip(&b).map(|(a, b)| a - b)) / largest(&mut b.iter().copied())
}

/// Three passes over other pictures, their statistics kept.
fn train_statistics(store: &ParamStore, norm: NormKind) {
    let root = store.root(Purpose::TRAIN);
    let net = RetinaNet::new(&root, &config(norm)).unwrap();
    for keys in [["b", "c"], ["d", "e"], ["f", "g"]] {
        net.forward(&batch(&keys).pixels).unwrap();
        store.commit_batch_stats(&root.batch_stats().take(), 0.1).unwrap();
    }
}

#[test]
fn every_trained_parameter_gets_a_finite_gradient_that_is_not_zero() {
    for (norm, purpose) in NORMS.into_iter().flat_map(|n| [(n, Purpose::TRAIN), (n, Purpose::TRAIN_FROZEN)]) {
        let store = store(norm);
        let net = RetinaNet::new(&store.root(purpose), &config(norm)).unwrap();
        let losses = net.losses(&batch(&["a", "b"]), &targets()).unwrap();
        let grads = losses.total().unwrap().backward().unwrap();
        for p in store.trainable() {
            let what = format!("{} with {norm:?} for {purpose:?}", p.name);
            let grad = values(grads.get(&p.var).unwrap_or_else(|| panic!("no gradient for {what}")));
            assert!(grad.iter().all(|g| g.is_finite()), "{what}");
            // A constant in front of a batch norm changes nothing: such gradients are 0 up to rounding.
            let cancels =
                purpose == Purpose::TRAIN && p.name.starts_with("backbone.") && p.name.ends_with("bias");
            assert!(cancels || grad.iter().any(|g| *g != 0.0), "the gradient of {what} is 0");
        }
    }
}

#[test]
fn the_folded_network_is_the_trained_one() {
    for norm in NORMS {
        let store = store(norm);
        let before = outputs(&store, norm, Purpose::TRAIN_FROZEN);
        train_statistics(&store, norm);
        let trained = outputs(&store, norm, Purpose::TRAIN_FROZEN);
        let folded = outputs(&store, norm, Purpose::INFER_DIRECT);
        assert_eq!(trained.len(), 15, "five levels of the neck and of both branches");
        for (i, (folded, trained)) in folded.iter().zip(&trained).enumerate() {
            let d = difference(folded, trained);
            assert!(d < 1e-4, "output {i} with {norm:?}: {d} of the maximum");
        }
        let moved = difference(&before[5], &trained[5]);
        assert!(moved > 1e-2, "the statistics change nothing, so the test shows nothing: {moved}");
    }
}

/// Towers are shared by five levels, but a layer has one mean and one variance: those of all levels together.
#[test]
fn a_step_gives_every_norm_its_statistics_once() {
    let store = store(NormKind::Batch);
    let root = store.root(Purpose::TRAIN);
    let net = RetinaNet::new(&root, &config(NormKind::Batch)).unwrap();
    net.forward(&batch(&["a", "b"]).pixels).unwrap();
    let mut seen: Vec<String> = root.batch_stats().take().into_iter().map(|s| s.layer).collect();
    let means = store.params().into_iter().filter(|p| p.role == Role::Buffer);
    let mut all: Vec<String> =
        means.filter_map(|p| Some(p.name.strip_suffix(".running_mean")?.to_owned())).collect();
    seen.sort_unstable();
    all.sort_unstable();
    assert_eq!(seen, all);
    assert!(all.iter().any(|l| l == "bbox_head.reg_convs.1.bn"), "{all:?}");
}

#[test]
fn parameters_are_named_as_by_mmdetection() {
    for (norm, has, has_not) in
        [(NormKind::None, "conv.bias", "bn.weight"), (NormKind::Batch, "bn.weight", "conv.bias")]
    {
        let names = store(norm).names();
        for layer in
            ["neck.lateral_convs.0", "neck.fpn_convs.4", "bbox_head.cls_convs.0", "bbox_head.reg_convs.1"]
        {
            let has = [format!("{layer}.conv.weight"), format!("{layer}.{has}")];
            assert!(has.iter().all(|n| names.contains(n)), "{norm:?}: {has:?}");
            assert!(!names.contains(&format!("{layer}.{has_not}")), "{norm:?}: {layer}.{has_not}");
        }
        assert!(names.iter().any(|n| n == "bbox_head.retina_cls.bias"), "{norm:?}");
    }
}

#[test]
fn files_from_before_norms_still_read() {
    let write = |norm| serde_json::to_value(NetworkConfig::RetinaNet(config(norm))).unwrap();
    let read = |json: Value| serde_json::from_value::<NetworkConfig>(json).unwrap();
    let (old, normed) = (write(NormKind::None), write(NormKind::Batch));
    assert_eq!((&normed["neck"]["norm"], &normed["head"]["norm"]), (&"batch".into(), &"batch".into()));
    assert!(old["neck"].get("norm").is_none() && old["head"].get("norm").is_none(), "{old}");
    assert_eq!(read(normed.clone()), NetworkConfig::RetinaNet(config(NormKind::Batch)));
    let mut stripped = normed;
    for part in ["neck", "head"] {
        stripped[part].as_object_mut().unwrap().remove("norm");
    }
    assert_eq!(stripped, old);
    assert_eq!(read(stripped), NetworkConfig::RetinaNet(config(NormKind::None)));
    assert_eq!(read(old).num_classes(), CLASSES);
}
