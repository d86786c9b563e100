//! Weights files: a classification checkpoint under a new detector, and the way to disk and back.

use candle_core::Device;
use care_backbone::care::{CareClassifier, CareConfig};
use care_engine::ErrorKind;
use care_engine::weights::{Overrides, Start, Weights, read};
use care_heads::registry::Network;
use care_heads::{ImageInfo, Images};
use care_nn::load::to_checkpoint;
use care_nn::params::Builder;
use care_nn::{Conv3x3, ParamStore, Purpose, recipe};
use care_types::LabelMap;
use std::collections::BTreeMap;
use std::path::Path;

const MODEL: &str = "retinanet_care_s0";

/// What the official release looks like: backbone and two heads, bare names.
fn classification_checkpoint(path: &Path, config: &CareConfig) -> ParamStore {
    let store = ParamStore::blank(Device::Cpu);
    CareClassifier::new(&store.root(Purpose::TRAIN_FROZEN), config, 10).expect("a classifier");
    recipe::fill(&store, "classification", "", &[]).expect("values");
    let checkpoint = to_checkpoint(&store, BTreeMap::new()).expect("a checkpoint");
    checkpoint.write_safetensors(path).expect("a file");
    store
}

fn values(store: &ParamStore, name: &str) -> Vec<f32> {
    let var = store.get(name).expect(name).var;
    var.flatten_all().and_then(|t| t.to_dtype(candle_core::DType::F32)).and_then(|t| t.to_vec1()).expect(name)
}

fn start(backbone: Option<&Path>) -> Start {
    Start::Seed { seed: 3, backbone: backbone.map(Path::to_owned) }
}

#[test]
fn a_classification_checkpoint_becomes_the_backbone() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("care.safetensors");
    let source = classification_checkpoint(&path, &CareConfig::s0());
    let labels = LabelMap::from_names(&["cat", "dog"], 1);
    let with = Weights::init(MODEL, labels.clone(), &start(Some(&path))).expect("weights");
    let without = Weights::init(MODEL, labels, &start(None)).expect("weights");
    let mut taken = 0;
    for name in source.names().iter().filter(|n| !n.starts_with("head.") && !n.starts_with("dist_head.")) {
        assert_eq!(values(&with.store, &format!("backbone.{name}")), values(&source, name), "{name}");
        taken += 1;
    }
    assert!(taken > 500, "{taken}");
    for name in with.store.names().iter().filter(|n| !n.starts_with("backbone.")) {
        assert_eq!(values(&with.store, name), values(&without.store, name), "{name} starts from the seed");
    }
    let provenance = with.provenance.backbone.expect("the file");
    assert_eq!((provenance.name.as_str(), provenance.sha256.len()), ("care.safetensors", 64));
}

#[test]
fn a_checkpoint_of_another_size_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("s1.safetensors");
    classification_checkpoint(&path, &CareConfig::s1());
    let labels = LabelMap::from_names(&["cat"], 1);
    let error = Weights::init(MODEL, labels, &start(Some(&path))).expect_err("S1 is not S0");
    assert_eq!(error.kind(), ErrorKind::Weights);
    let text = error.to_string();
    assert!(text.contains("s1.safetensors") && text.contains("--model retinanet_care_s1"), "{text}");
    assert!(text.len() < 1000 && text.lines().count() == 4, "{text}");
}

#[test]
fn a_network_gives_its_backbone_and_a_foreign_one_is_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("detector.safetensors");
    let labels = LabelMap::from_names(&["cat"], 1);
    let detector = Weights::init(MODEL, labels.clone(), &start(None)).expect("weights");
    detector.save(&path).expect("a file");
    let foreign = dir.path().join("foreign.safetensors");
    let bare = to_checkpoint(&detector.store, BTreeMap::new()).expect("a checkpoint");
    bare.write_safetensors(&foreign).expect("a file");
    for file in [&path, &foreign] {
        // another task, another seed: the backbone is the same all the same
        let start = Start::Seed { seed: 7, backbone: Some(file.clone()) };
        let other = Weights::init("semantic_fpn_care_s0", labels.clone(), &start).expect("a segmenter");
        let values = |w: &Weights, name: &str| w.store.get(name).unwrap().var.flatten_all().unwrap();
        let equal = |name: &str| {
            let of = |w| values(w, name).to_vec1::<f32>().unwrap();
            of(&detector) == of(&other)
        };
        let names = detector.store.params().into_iter().map(|p| p.name);
        let floats = names.filter(|n| n.starts_with("backbone.") && n.ends_with("weight"));
        assert!(floats.clone().count() > 50 && floats.clone().all(|n| equal(&n)));
        assert!(!equal("neck.fpn_convs.0.conv.weight"), "the rest is drawn");
        let error = Weights::init("retinanet_care_s1", labels.clone(), &start).expect_err("another size");
        assert!(error.to_string().contains("--model retinanet_care_s0"), "{error}");
    }
    let error = Weights::open(&foreign).expect_err("says nothing about itself");
    assert!(
        error.to_string().contains("mmdetection") && !error.to_string().contains("--backbone"),
        "{error}"
    );
}

#[test]
fn what_is_saved_is_opened_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("w.safetensors");
    let labels = LabelMap::from_names(&["cat", "dog"], 7);
    let saved = Weights::init(MODEL, labels, &Start::Recipe("salt".to_owned())).expect("weights");
    saved.save(&path).expect("a file");
    let mut opened = Weights::open(&path).expect("the same weights");
    assert_eq!((&opened.spec, &opened.provenance), (&saved.spec, &saved.provenance));
    assert_eq!(opened.store.names(), saved.store.names());
    for name in saved.store.names() {
        assert_eq!(values(&opened.store, &name), values(&saved.store, &name), "{name}");
    }
    let overrides = Overrides {
        scale: Some("320".parse().expect("a size")),
        score_threshold: Some(0.9),
        nms_iou: Some(0.1),
        max_per_image: Some(3),
    };
    opened.spec.apply(&overrides);
    let select = opened.spec.network.select_mut().expect("a detector");
    assert_eq!((*select.score_threshold, *select.nms_iou, *select.max_per_image), (0.9, 0.1, 3));
    assert_eq!((opened.spec.preprocess.scale.long, opened.spec.preprocess.scale.short), (320, 320));
}

#[test]
fn layers_that_read_the_file_find_what_those_of_a_loaded_store_find() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, half) = (dir.path().join("w.safetensors"), dir.path().join("half.safetensors"));
    let labels = LabelMap::from_names(&["cat", "dog"], 1);
    Weights::init("retinanet_care_xs", labels, &Start::Recipe("salt".to_owned()))
        .unwrap()
        .save(&path)
        .unwrap();
    let mut checkpoint = read(&path).unwrap();
    checkpoint.tensors = checkpoint.tensors.iter().map(|t| t.to_half().unwrap()).collect();
    checkpoint.write_safetensors(&half).unwrap();
    let pixels = recipe::uniform("salt", "input", &[1, 96, 64, 3], 0.0, 1.7).unwrap();
    let images = Images::new(pixels, vec![ImageInfo::whole(64, 96)]).unwrap();
    for path in [path, half] {
        let Weights { mut spec, store, .. } = Weights::open(&path).unwrap();
        *spec.network.select_mut().unwrap().score_threshold = 0.0;
        for conv3x3 in [Conv3x3::Direct, Conv3x3::Winograd] {
            let found = |builder: &Builder| {
                let Network::Detector(net) = spec.network.build(builder).unwrap() else {
                    panic!("a detector")
                };
                net.detect(&images).unwrap()
            };
            let loaded = found(&store.root(Purpose::Infer { conv3x3 }));
            let reading = found(&store.root_reading(read(&path).unwrap().tensors, conv3x3));
            assert!(!loaded[0].is_empty(), "something is found");
            assert_eq!(format!("{loaded:?}"), format!("{reading:?}"), "{}, {conv3x3:?}", path.display());
        }
    }
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("care.safetensors");
    classification_checkpoint(&path, &CareConfig::s0());
    let error = Weights::open(&path).expect_err("not a detector");
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert!(error.to_string().contains("weights init --backbone"), "{error}");
}
