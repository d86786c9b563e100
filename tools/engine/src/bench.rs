//! What a network costs: CPU time, wall time and memory of a pass or a training step on random input.
//!
//! Values are the golden recipe's and the score threshold is 0, so that the work after the heads is real: every level
//! hands its full thousand candidates to box decoding and suppression.

use crate::error::{Error, Result};
use crate::grads::Gradients;
use crate::machine::let_go;
use crate::measure::{Cost, Phases, measure, measure_passes};
use crate::memory;
use crate::optim::{BackboneRate, DecayRule, Optimizer, OptimizerConfig, param_groups};
use crate::predict::best_classes;
use crate::weights::recipe_overrides;
use candle_core::{Device, Tensor, Var};
use care_backbone::care::{Care, CareClassifier, CareConfig};
use care_backbone::{Backbone, BackboneConfig};
use care_heads::registry::{Network, NetworkConfig};
use care_heads::{ImageInfo, Images};
use care_kernels::pages::keep_freed;
use care_nn::params::Builder;
use care_nn::{Conv3x3, NormMode, ParamStore, Purpose, ops, recipe};
use care_types::{BoxXyxy, ClassIndex, DetTarget, Geometry, SegTarget, Segmentation, Size};

/// Salt of the values and of the input.
const SALT: &str = "bench";
/// Any rate will do; this one keeps the values finite.
const LEARNING_RATE: f64 = 1e-4;
/// Classes of the classifier.
const CLASSES: usize = 1000;
/// Ending of the names that stop at the features.
const FEATURES: &str = "_features";
/// Objects per picture in a training step: the mean of COCO.
const OBJECTS: usize = 7;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Request {
    /// `care_s0`, `care_s0_features`, or a detector.
    pub model: String,
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Pictures per pass.
    pub batch: usize,
    /// Measured passes.
    pub repeat: usize,
    /// A training step instead of a pass.
    pub train: bool,
    /// How dense 3×3 convolutions are computed.
    pub conv3x3: Conv3x3,
}

/// The names that [`run`] knows.
pub fn models() -> Vec<String> {
    let backbones = BackboneConfig::names().flat_map(|n| [n.to_owned(), format!("{n}{FEATURES}")]);
    backbones.chain(NetworkConfig::preset_names().map(str::to_owned)).collect()
}

/// Measures.
///
/// # Errors
/// `Config` for an unknown model or a size that it cannot take, `Unsupported` to train a feature extractor alone.
pub fn run(request: &Request) -> Result<Cost> {
    memory::check_pass(request.width as u64, request.height as u64, request.batch as u64)?;
    if NetworkConfig::preset_names().any(|n| n == request.model) {
        let config = NetworkConfig::preset(&request.model)?;
        return if request.train { train_network(request, config) } else { look(request, config) };
    }
    let name = request.model.strip_suffix(FEATURES).unwrap_or(&request.model);
    if !BackboneConfig::names().any(|n| n == name) {
        let hint = care_nn::keymap::did_you_mean(&request.model, models().iter().map(String::as_str));
        return Err(Error::config(format!(
            "unknown model `{}`{hint}; known are {}",
            request.model,
            models().join(", ")
        )));
    }
    let BackboneConfig::Care(config) = BackboneConfig::preset(name)?;
    match (name == request.model, request.train) {
        (true, false) => classify(request, &config),
        (true, true) => train_classifier(request, &config),
        (false, false) => features(request, &config),
        (false, true) => Err(Error::unsupported(format!(
            "{} has no loss to train with; measure {name} or retinanet_{name}",
            request.model
        ))),
    }
}

/// Declares a network, fills it by the recipe and builds it for the purpose. The store is handed back for training.
fn built<T>(
    purpose: Purpose,
    build: impl Fn(&Builder) -> care_nn::Result<T>,
) -> Result<(T, ParamStore, Builder)> {
    let store = ParamStore::blank(Device::Cpu);
    build(&store.root(Purpose::TRAIN_FROZEN))?;
    recipe::fill(&store, SALT, "", &recipe_overrides())?;
    let root = store.root(purpose);
    let network = build(&root)?;
    Ok((network, store, root))
}

/// `[N, H, W, 3]`, about as large as normalised pictures are.
fn input(request: &Request) -> Result<Tensor> {
    let shape = [request.batch, request.height, request.width, 3];
    Ok(recipe::uniform(SALT, "input", &shape, 0.0, 1.7)?)
}

fn infer(request: &Request) -> Purpose {
    Purpose::Infer { conv3x3: request.conv3x3 }
}

/// Stem and stages one by one: the four maps of `Care::features` (the built-in variants have no output norms).
fn pyramid(care: &Care, x: &Tensor, phases: &mut Phases) -> Result<Vec<Tensor>> {
    const STAGES: [&str; 4] = ["stage 1", "stage 2", "stage 3", "stage 4"];
    let mut x = phases.time("stem", || care.stem(x))?;
    let mut maps = Vec::with_capacity(STAGES.len());
    for (stage, name) in care.stages.iter().zip(STAGES) {
        x = phases.time(name, || stage.forward(&x))?;
        maps.push(x.clone());
    }
    Ok(maps)
}

fn features(request: &Request, config: &CareConfig) -> Result<Cost> {
    let (care, store, _) = built(infer(request), |b| Care::new(b, config))?;
    let_go(store);
    let x = input(request)?;
    care.features(&x)?; // says what is wrong with the size
    measure_passes(request.repeat, |phases| pyramid(&care, &x, phases).map(drop))
}

fn classify(request: &Request, config: &CareConfig) -> Result<Cost> {
    let (net, store, _) = built(infer(request), |b| CareClassifier::new(b, config, CLASSES))?;
    let_go(store);
    let x = input(request)?;
    net.logits(&x)?;
    measure_passes(request.repeat, |phases| {
        let maps = pyramid(&net.backbone, &x, phases)?;
        phases.time("heads", || net.logits_of(&maps[3]).and_then(|(a, b)| Ok(((a + b)? * 0.5)?)))?;
        Ok(())
    })
}

/// From a tensor to detections, or to the class of every pixel.
fn look(request: &Request, mut config: NetworkConfig) -> Result<Cost> {
    if let Some(select) = config.select_mut() {
        *select.score_threshold = 0.0;
    }
    let (net, store, _) = built(infer(request), |b| config.build(b))?;
    let_go(store);
    let images = images(request)?;
    measure_passes(request.repeat, |phases| {
        phases.start_lap();
        match &net {
            Network::Detector(net) => {
                let found = net.detect_observed(&images, &mut |phase| phases.end_lap(phase))?;
                if found.iter().any(Vec::is_empty) {
                    return Err(Error::internal("a score threshold of 0 left a picture without detections"));
                }
            }
            Network::Segmenter(net) => {
                let found = net.segment_observed(&images, &mut |phase| phases.end_lap(phase))?;
                let size = images.info[0].padded;
                for raw in &found {
                    best_classes(raw, &Geometry::new(size, size, size))?;
                }
                phases.end_lap("label map");
            }
        }
        Ok(())
    })
}

fn images(request: &Request) -> Result<Images> {
    let side = |v: usize| u32::try_from(v).map_err(|_| Error::config(format!("a side of {v} pixels")));
    let info = ImageInfo::whole(side(request.width)?, side(request.height)?);
    Ok(Images::new(input(request)?, vec![info; request.batch])?)
}

/// A step's worth of state: what is trained, and the optimiser over it.
struct Trainee {
    store: ParamStore,
    root: Builder,
    params: Vec<(String, Var)>,
    optimizer: Optimizer,
}

impl Trainee {
    fn new(store: ParamStore, root: Builder) -> Self {
        keep_freed();
        let params = store.trainable().into_iter().map(|p| (p.name, p.var)).collect();
        let config = OptimizerConfig::ADAMW;
        let optimizer = Optimizer::new(
            config.clone(),
            param_groups(&store, config.weight_decay(), DecayRule::Matrices, BackboneRate::SAME),
        );
        Self { store, root, params, optimizer }
    }

    /// Forward, loss, backward, AdamW; the batch statistics of the step are committed as a trainer does.
    fn step(&mut self, phases: &mut Phases, loss: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        let loss = phases.time("forward", loss)?;
        let grads = phases.time("backward", || loss.backward())?;
        phases.time("optimiser", || {
            let grads = Gradients::collect(&self.params, &grads)?;
            self.optimizer.step(&grads, LEARNING_RATE)
        })?;
        Ok(self.store.commit_batch_stats(&self.root.batch_stats().take(), 0.1)?)
    }
}

fn train_classifier(request: &Request, config: &CareConfig) -> Result<Cost> {
    let purpose = Purpose::Train { norm: NormMode::Batch };
    let (net, store, root) = built(purpose, |b| CareClassifier::new(b, config, CLASSES))?;
    let x = input(request)?;
    let picks: Vec<u32> = (0..request.batch).map(|i| (i * CLASSES + i % CLASSES) as u32).collect();
    let picks = Tensor::new(picks, &Device::Cpu)?;
    let entropy = |logits: &Tensor| -> Result<Tensor> {
        let chosen = ops::log_softmax(logits)?.flatten_all()?.index_select(&picks, 0)?;
        Ok(chosen.mean_all()?.neg()?)
    };
    let mut trainee = Trainee::new(store, root);
    measure(request.repeat, |phases| {
        trainee.step(phases, || {
            let (head, dist) = net.both_logits(&x)?;
            Ok((entropy(&head)? + entropy(&dist)?)?)
        })
    })
}

fn train_network(request: &Request, config: NetworkConfig) -> Result<Cost> {
    let purpose = Purpose::Train { norm: NormMode::Batch };
    let (net, store, root) = built(purpose, |b| config.build(b))?;
    let images = images(request)?;
    let mut trainee = Trainee::new(store, root);
    match net {
        Network::Detector(net) => {
            let targets = vec![target(request, config.num_classes()); request.batch];
            measure(request.repeat, |phases| {
                trainee.step(phases, || Ok(net.losses(&images, &targets)?.total()?))
            })
        }
        Network::Segmenter(net) => {
            let targets = vec![label_map(request, config.num_classes())?; request.batch];
            measure(request.repeat, |phases| {
                trainee.step(phases, || Ok(net.losses(&images, &targets)?.total()?))
            })
        }
    }
}

/// Squares of all classes.
fn label_map(request: &Request, classes: usize) -> Result<SegTarget> {
    const SIDE: usize = 32;
    let class = |i: usize| ((i / request.width / SIDE * 7 + i % request.width / SIDE) % classes) as u8;
    let values = (0..request.width * request.height).map(class).collect();
    Ok(SegTarget::new(Size::new(request.width as u32, request.height as u32), values)?)
}

/// Objects of all sizes, spread over the picture.
fn target(request: &Request, classes: usize) -> DetTarget {
    let (w, h) = (request.width as f32, request.height as f32);
    let mut target = DetTarget::default();
    for i in 0..OBJECTS {
        let at = |key: &str| (recipe::v(&format!("{SALT}/{key}"), i as u32) as f32 + 1.0) / 2.0;
        let size = 0.05 + 0.4 * at("size");
        let (x0, y0) = (at("x") * (1.0 - size) * w, at("y") * (1.0 - size) * h);
        let bbox = BoxXyxy::new(x0, y0, x0 + size * w, y0 + size * h);
        let BoxXyxy { x0, y0, x1, y1 } = bbox;
        let diamond = [(x0 + x1) / 2.0, y0, x1, (y0 + y1) / 2.0, (x0 + x1) / 2.0, y1, x0, (y0 + y1) / 2.0];
        let mask = Segmentation::Polygons(vec![diamond.map(f64::from).to_vec()]);
        target.push(bbox, ClassIndex(i % classes), false, Some(mask));
    }
    target
}
