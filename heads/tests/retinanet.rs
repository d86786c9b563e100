//! RetinaNet as a whole, on a variant small enough to train in a test.

use candle_core::{Device, Tensor};
use care_backbone::{BackboneConfig, CareConfig};
use care_heads::retinanet::RetinaNetConfig;
use care_heads::{Detector, ErrorKind, ImageInfo, Images, Network, NetworkConfig};
use care_nn::Builder;
use care_nn::{ParamStore, Purpose, Role, recipe};
use care_types::{BoxXyxy, ClassIndex, DetTarget, RawDetection, Size};

#[path = "retinanet/norm.rs"]
mod norm;

const CLASSES: usize = 3;

fn detector(b: &Builder) -> Box<dyn Detector> {
    match tiny().build(b).unwrap() {
        Network::Detector(net) => net,
        Network::Segmenter(_) => unreachable!("a RetinaNet"),
    }
}

fn tiny() -> NetworkConfig {
    let care = CareConfig {
        depths: [1; 4],
        feat_dims: [6, 6, 12, 12],
        mem_dims: [2, 2, 4, 4],
        ratios: [[2, 2]; 4],
        att_head_dim: [1, 1, 4, 4],
        layer_scale: 0.1,
        ..CareConfig::s0()
    };
    let mut config = RetinaNetConfig::new(BackboneConfig::Care(care), CLASSES);
    config.neck.out_channels = 8;
    config.head.feat_channels = 8;
    config.head.stacked_convs = 2;
    NetworkConfig::RetinaNet(config)
}

/// Recipe weights with a wide classification layer, so that scores lie on both sides of the threshold.
fn store() -> ParamStore {
    let store = ParamStore::new(Device::Cpu, 1);
    tiny().build(&store.root(Purpose::TRAIN)).unwrap();
    let spread = |suffix: &str, center, amp| recipe::Override { suffix: suffix.into(), center, amp };
    let overrides = [
        spread("retina_cls.bias", -4.6, 0.5),
        spread("retina_cls.weight", 0.0, 1.0),
        spread("retina_reg.weight", 0.0, 0.1),
    ];
    recipe::fill(&store, "heads/retinanet", "", &overrides).unwrap();
    store
}

fn pixels(key: &str) -> Tensor {
    let nchw = recipe::uniform("heads/retinanet", key, &[1, 3, 96, 128], 0.0, 1.5).unwrap();
    nchw.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
}

fn info() -> ImageInfo {
    ImageInfo { valid: Size::new(120, 90), padded: Size::new(128, 96), scale: (1.25, 1.2) }
}

fn batch(keys: &[&str]) -> Images {
    let pictures: Vec<Tensor> = keys.iter().map(|k| pixels(k)).collect();
    Images::new(Tensor::cat(&pictures, 0).unwrap(), vec![info(); keys.len()]).unwrap()
}

fn targets() -> Vec<DetTarget> {
    let mut one = DetTarget::default();
    one.push(BoxXyxy::new(10., 12., 60., 70.), ClassIndex(1), false, None);
    one.push(BoxXyxy::new(70., 20., 110., 60.), ClassIndex(2), false, None);
    one.push(BoxXyxy::new(0., 0., 20., 20.), ClassIndex(0), true, None);
    vec![one, DetTarget::default()]
}

fn detect(store: &ParamStore, purpose: Purpose, images: &Images) -> Vec<Vec<RawDetection>> {
    detector(&store.root(purpose)).detect(images).unwrap()
}

fn assert_same(a: &[RawDetection], b: &[RawDetection], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        let near = |(x, y): (f32, f32)| (x - y).abs() < 1e-2;
        let boxes = a.bbox.to_array().into_iter().zip(b.bbox.to_array()).all(near);
        assert!(a.class == b.class && (a.score - b.score).abs() < 1e-4 && boxes, "{what}: {a:?} and {b:?}");
    }
}

#[test]
fn every_purpose_finds_the_same() {
    let (store, images) = (store(), batch(&["a"]));
    let expected = detect(&store, Purpose::TRAIN_FROZEN, &images);
    assert!(expected[0].len() > 20, "the test needs detections, got {}", expected[0].len());
    for d in &expected[0] {
        assert!(d.score > 0.05 && d.bbox.x1 <= 120.0 && d.bbox.y1 <= 90.0, "{d:?}");
    }
    for purpose in [Purpose::INFER_DIRECT, Purpose::INFER] {
        assert_same(&detect(&store, purpose, &images)[0], &expected[0], &format!("{purpose:?}"));
    }
}

#[test]
fn a_result_does_not_depend_on_the_neighbours_in_the_batch() {
    let store = store();
    for purpose in [Purpose::TRAIN_FROZEN, Purpose::INFER] {
        let together = detect(&store, purpose, &batch(&["a", "b", "c"]));
        for (key, found) in ["a", "b", "c"].iter().zip(&together) {
            assert_eq!(found, &detect(&store, purpose, &batch(&[key]))[0], "{key} for {purpose:?}");
        }
    }
}

#[test]
fn an_empty_batch_of_results_is_not_an_error() {
    let store = ParamStore::new(Device::Cpu, 1);
    // untrained: every score is the prior, .01
    let found = detect(&store, Purpose::INFER, &batch(&["a"]));
    assert_eq!(found, vec![vec![]]);
}

#[test]
fn every_weight_gets_a_finite_gradient() {
    let store = store();
    let net = detector(&store.root(Purpose::TRAIN_FROZEN));
    let losses = net.losses(&batch(&["a", "b"]), &targets()).unwrap();
    let names: Vec<&str> = losses.iter().map(|l| l.0).collect();
    assert_eq!(names, ["loss_cls", "loss_bbox"]);
    let grads = losses.total().unwrap().backward().unwrap();
    for p in store.params().iter().filter(|p| p.role == Role::Trainable) {
        let grad = grads.get(&p.var).unwrap_or_else(|| panic!("no gradient for {}", p.name));
        let sum = grad.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(sum.is_finite(), "{}", p.name);
        assert!(sum > 0.0 || p.name.ends_with("bias"), "the gradient of {} is 0", p.name);
    }
}

#[test]
fn pictures_without_objects_still_give_every_weight_a_gradient() {
    let store = store();
    let net = detector(&store.root(Purpose::TRAIN_FROZEN));
    let losses = net.losses(&batch(&["a"]), &[DetTarget::default()]).unwrap();
    let grads = losses.total().unwrap().backward().unwrap();
    for p in store.trainable() {
        assert!(grads.get(&p.var).is_some(), "no gradient for {}", p.name);
    }
}

#[test]
fn losses_of_an_inference_network_are_unsupported() {
    let net = detector(&store().root(Purpose::INFER));
    let error = net.losses(&batch(&["a", "b"]), &targets()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn targets_that_do_not_fit_are_input_errors() {
    let net = detector(&store().root(Purpose::TRAIN_FROZEN));
    let images = batch(&["a"]);
    let kind = |targets: &[DetTarget]| net.losses(&images, targets).unwrap_err().kind();
    assert_eq!(kind(&targets()), ErrorKind::Input, "two targets for one picture");
    let mut target = DetTarget::default();
    target.push(BoxXyxy::new(0., 0., 9., 9.), ClassIndex(CLASSES), false, None);
    assert_eq!(kind(&[target.clone()]), ErrorKind::Input, "an unknown class");
    target.classes[0] = ClassIndex(0);
    target.boxes[0].x1 = f32::NAN;
    assert_eq!(kind(&[target]), ErrorKind::Input, "a box that is not finite");
}

#[test]
fn heads_start_as_published() {
    let store = ParamStore::new(Device::Cpu, 5);
    tiny().build(&store.root(Purpose::TRAIN)).unwrap();
    let values = |name: &str| store.get(name).unwrap().var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let prior = -(99f32.ln());
    assert!(values("bbox_head.retina_cls.bias").iter().all(|b| (b - prior).abs() < 1e-5));
    let w = values("bbox_head.cls_convs.1.conv.weight");
    let std = (w.iter().map(|v| v * v).sum::<f32>() / w.len() as f32).sqrt();
    assert!((0.009..0.011).contains(&std), "{std}");
    let bound = (6.0f32 / (8.0 * 9.0 * 2.0)).sqrt();
    let largest = values("neck.fpn_convs.0.conv.weight").iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(largest <= bound && largest > 0.9 * bound, "{largest} of {bound}");
}

#[test]
fn a_config_survives_writing_and_refuses_typing_errors() {
    let config = NetworkConfig::preset("retinanet_care_s1").unwrap().with_num_classes(7);
    let mut json = serde_json::to_value(&config).unwrap();
    assert_eq!(serde_json::from_value::<NetworkConfig>(json.clone()).unwrap(), config);
    json["head"]["stacked_conv"] = 3.into();
    let error = serde_json::from_value::<NetworkConfig>(json.clone()).unwrap_err().to_string();
    assert!(error.contains("stacked_conv"), "{error}");
    json["head"].as_object_mut().unwrap().remove("stacked_conv");
    json["num_class"] = 3.into();
    assert!(serde_json::from_value::<NetworkConfig>(json).is_err());
    let error = NetworkConfig::preset("retinanet_care_s5").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("retinanet_care_s2"), "{error}");
}

#[test]
fn parts_that_do_not_fit_are_config_errors() {
    let NetworkConfig::RetinaNet(good) = tiny() else { unreachable!("a RetinaNet") };
    let kind = |change: fn(&mut RetinaNetConfig)| {
        let mut config = good.clone();
        change(&mut config);
        let store = ParamStore::new(Device::Cpu, 1);
        NetworkConfig::RetinaNet(config).build(&store.root(Purpose::INFER)).err().map(|e| e.kind())
    };
    assert_eq!(kind(|c| c.neck.num_outs = 4), Some(ErrorKind::Config));
    assert_eq!(kind(|c| c.neck.start_level = 4), Some(ErrorKind::Config));
    assert_eq!(kind(|c| c.neck.out_channels = 0), Some(ErrorKind::Config));
    assert_eq!(kind(|c| c.head.stacked_convs = 0), Some(ErrorKind::Config));
    assert_eq!(kind(|c| c.head.prior_probability = 1.0), Some(ErrorKind::Config));
    assert_eq!(kind(|c| c.num_classes = 0), Some(ErrorKind::Config));
    assert_eq!(kind(|_| ()), None);
}
