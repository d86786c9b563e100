//! `Infer` computes what `Train { Frozen }` computes, for every option of a CARE config.

use candle_core::{Device, Tensor};
use care_backbone::care::{C5, CareConfig, OutputNorms};
use care_backbone::{Backbone, BackboneConfig, ErrorKind};
use care_nn::{ParamStore, Purpose, Role, recipe};

/// `Infer` differs from `Train { Frozen }` by folded constants and summation order only: relative to the map's maximum.
const TOLERANCE: f32 = 1e-4;

fn small() -> CareConfig {
    CareConfig {
        depths: [2, 1, 2, 2],
        feat_dims: [9, 12, 24, 30],
        mem_dims: [3, 4, 8, 10],
        ratios: [[2, 2], [2, 3], [2, 2], [2, 2]],
        att_head_dim: [1, 1, 4, 5],
        ..CareConfig::s0()
    }
}

fn build(store: &ParamStore, config: &CareConfig, purpose: Purpose) -> Box<dyn Backbone + Send + Sync> {
    BackboneConfig::Care(config.clone()).build(&store.root(purpose)).unwrap()
}

fn filled(config: &CareConfig) -> ParamStore {
    let store = ParamStore::new(Device::Cpu, 0);
    build(&store, config, Purpose::TRAIN_FROZEN);
    recipe::fill(&store, "purposes", "", &[]).unwrap();
    store
}

fn picture(shape: [usize; 4]) -> Tensor {
    recipe::uniform("purposes", "picture", &shape, 0.0, 1.5).unwrap()
}

fn worst(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let max =
        |t: &Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    max(&(a - b).unwrap()) / max(b)
}

#[test]
fn infer_equals_train_frozen_for_every_option() {
    let mut rows = Vec::new();
    for (c5, output_norms, attention) in [
        (C5::Wide, OutputNorms::None, [false, false, true, true]),
        (C5::Narrow, OutputNorms::New, [false, false, true, true]),
        (C5::Wide, OutputNorms::Pretrained, [true, false, false, true]),
    ] {
        let config = CareConfig { c5, output_norms, attention, att_head_dim: [3, 2, 4, 5], ..small() };
        let store = filled(&config);
        let x = picture([2, 70, 99, 3]);
        let train = build(&store, &config, Purpose::TRAIN_FROZEN);
        for purpose in [Purpose::INFER_DIRECT, Purpose::INFER] {
            let infer = build(&store, &config, purpose);
            assert_eq!(infer.info(), train.info());
            let (a, b) = (infer.features(&x).unwrap(), train.features(&x).unwrap());
            for ((a, b), info) in a.maps.iter().zip(&b.maps).zip(train.info()) {
                assert_eq!(a.dims()[3], info.channels, "{}", info.name);
                rows.push((format!("{config:?} {purpose:?} {}", info.name), worst(a, b)));
            }
        }
    }
    let wrong: Vec<_> = rows.iter().filter(|r| r.1.is_nan() || r.1 > TOLERANCE).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_picture_does_not_depend_on_its_neighbours() {
    let config = small();
    let store = filled(&config);
    let infer = build(&store, &config, Purpose::INFER);
    let pair = picture([2, 64, 96, 3]);
    let both = infer.features(&pair).unwrap();
    for i in 0..2 {
        let alone = infer.features(&pair.narrow(0, i, 1).unwrap()).unwrap();
        for (a, b) in alone.maps.iter().zip(&both.maps) {
            let b = b.narrow(0, i, 1).unwrap().contiguous().unwrap();
            assert_eq!(
                a.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                b.flatten_all().unwrap().to_vec1::<f32>().unwrap()
            );
        }
    }
}

#[test]
fn every_parameter_gets_a_gradient_and_frozen_ones_none() {
    let config = CareConfig { output_norms: OutputNorms::New, ..small() };
    let store = filled(&config);
    store.set_roles(|name, role| if name.starts_with("stem.") { Role::Frozen } else { role }).unwrap();
    let net = build(&store, &config, Purpose::TRAIN);
    let maps = net.features(&picture([2, 64, 64, 3])).unwrap().maps;
    // A weighted sum: the plain sum of a normalised map does not depend on anything.
    let terms = maps.iter().map(|m| {
        let w = recipe::uniform("purposes", "weights", m.dims(), 0.0, 1.0).unwrap();
        (m * w).unwrap().sum_all().unwrap()
    });
    let grads = terms.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap();
    let missing: Vec<String> =
        store.trainable().iter().filter(|p| grads.get(&p.var).is_none()).map(|p| p.name.clone()).collect();
    assert!(missing.is_empty(), "no gradient for {missing:?}");
    assert!(
        store.params().iter().filter(|p| p.name.starts_with("stem.")).all(|p| grads.get(&p.var).is_none())
    );
}

#[test]
fn wrong_configs_and_inputs_say_what_is_wrong() {
    let store = ParamStore::new(Device::Cpu, 0);
    let build = |config: CareConfig| match BackboneConfig::Care(config).build(&store.root(Purpose::INFER)) {
        Ok(_) => panic!("the config was accepted"),
        Err(e) => (e.kind(), e.to_string()),
    };
    let (kind, message) = build(CareConfig { att_head_dim: [1, 1, 3, 5], ..small() });
    assert_eq!(kind, ErrorKind::Config);
    assert!(message.contains("stage 3") && message.contains("att_head_dim 3"), "{message}");
    let (kind, message) = build(CareConfig { feat_dims: [3, 12, 24, 30], ..small() });
    assert_eq!(kind, ErrorKind::Config);
    assert!(message.contains("stage 1"), "{message}");

    let store = filled(&small());
    let net = self::build(&store, &small(), Purpose::INFER);
    let error = net.features(&picture([1, 31, 64, 3])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("64x31"), "{error}");
    let error = BackboneConfig::preset("care_s3").unwrap_err();
    assert!(error.to_string().contains("care_s0"), "{error}");
}

#[test]
fn unknown_config_fields_are_refused() {
    let json = serde_json::to_string(&BackboneConfig::preset("care_s1").unwrap()).unwrap();
    let back: BackboneConfig = serde_json::from_str(&json).unwrap();
    assert_eq!(back, BackboneConfig::preset("care_s1").unwrap());
    let typo = json.replacen("mem_dims", "memdims", 1);
    let error = serde_json::from_str::<BackboneConfig>(&typo).unwrap_err().to_string();
    assert!(error.contains("memdims"), "{error}");
}
