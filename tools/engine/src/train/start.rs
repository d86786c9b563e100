//! From a configuration to a data set and a network with its first numbers.

use super::data::TrainData;
use super::feed::FeedPlan;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::weights::{SourceFile, Spec, Start, Weights, sha256_of};
use care_nn::ParamStore;
use care_types::LabelMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that has to be right before the first step.
pub struct Plan {
    /// The run in full.
    pub config: RunConfig,
    /// The pictures.
    pub data: TrainData,
    /// The network's first numbers and what they are for.
    pub weights: Weights,
    /// SHA-256 of the file that the numbers come from; empty for drawn values.
    pub start_hash: String,
    /// Lines for people.
    pub notes: Vec<String>,
}

impl Plan {
    /// Opens the data, lines the classes up, and makes or reads the first numbers.
    ///
    /// # Errors
    /// `Config` for a setting that cannot be, `Input` for data that cannot be used, `Weights` for a file that does not fit.
    pub fn new(mut config: RunConfig) -> Result<Self> {
        config.check()?;
        let given = match config.start.weights.as_str() {
            "" => None,
            path => Some(Weights::open(Path::new(path))?),
        };
        let known = given.as_ref().map(|w| &w.spec.classes);
        let data = TrainData::open(&config, known)?;
        if config.network.predicts_masks() && !data.has_masks {
            return Err(Error::input(format!(
                "{}: no object has a mask, and {} learns from masks; train a detector of boxes (--config \
                 retinanet_care_s0_custom), or add `segmentation` to the annotations",
                config.data.path, config.model
            )));
        }
        let mut notes = data.notes.clone();
        // class weights that came with a network for other classes mean nothing here; those of the user stay
        let others = given.as_ref().filter(|w| w.spec.classes.names() != data.labels.names());
        let old = others.map_or(&[][..], |w| w.spec.network.class_weights());
        if !old.is_empty() && config.network.class_weights() == old {
            let which = "the class weights of the network it starts from are for other classes";
            notes.push(format!("{which} and were dropped"));
            config.network = config.network.without_class_weights();
        }
        config.network = config.network.with_num_classes(data.labels.len());
        let (weights, start_hash) = first_weights(&config, given, &data.labels, &mut notes)?;
        Ok(Self { config, data, weights, start_hash, notes })
    }

    pub(super) fn feed(&self) -> FeedPlan {
        FeedPlan {
            pictures: self.data.pictures.clone(),
            indices: Arc::new(self.data.indices.clone()),
            preprocess: self.config.preprocess,
            seed: self.config.train.seed,
            per_step: self.config.step_pictures(),
        }
    }

    /// Steps of an epoch, and of the run.
    pub fn steps(&self) -> (u64, u64) {
        let per_epoch = self.feed().steps_per_epoch();
        let train = &self.config.train;
        (per_epoch, if train.steps > 0 { train.steps } else { train.epochs * per_epoch })
    }
}

fn first_weights(
    config: &RunConfig,
    given: Option<Weights>,
    labels: &LabelMap,
    notes: &mut Vec<String>,
) -> Result<(Weights, String)> {
    let spec = Spec {
        model: config.model.clone(),
        network: config.network.clone(),
        preprocess: config.preprocess,
        classes: labels.clone(),
    };
    let backbone = Some(PathBuf::from(&config.start.backbone)).filter(|_| !config.start.backbone.is_empty());
    let seed = config.train.seed;
    match (given, backbone) {
        (Some(_), Some(_)) => Err(Error::config("start.weights and start.backbone: expected one of the two")),
        (None, backbone) => {
            match &backbone {
                Some(path) => notes.push(format!("the backbone starts from {}", path.display())),
                None => notes.push(format!("all numbers are drawn with seed {seed}")),
            }
            let hash = backbone.as_deref().map(sha256_of).transpose()?.unwrap_or_default();
            let weights = Weights::fresh(spec, &Start::Seed { seed, backbone })?;
            Ok((weights, hash))
        }
        (Some(old), None) => from_detector(Path::new(&config.start.weights), &old, spec, seed, notes),
    }
}

/// Numbers of another detector. With the same class names (the data was opened in their order) all are taken; otherwise the
/// layers that depend on the classes start anew, and that is said.
fn from_detector(
    path: &Path,
    old: &Weights,
    spec: Spec,
    seed: u64,
    notes: &mut Vec<String>,
) -> Result<(Weights, String)> {
    let shown = path.display();
    let (labels, hash) = (&spec.classes, sha256_of(path)?);
    let same = old.spec.classes.names() == labels.names();
    let by_class = spec.network.class_dependent();
    let keeps = |name: &str| same || !by_class.iter().any(|p| name.starts_with(p.as_str()));
    if same {
        notes.push(format!("all numbers start from {shown}, which knows the same {} classes", labels.len()));
    } else {
        notes.push(format!(
            "the numbers start from {shown}, except {}: it knows {} classes ({}), the data has {} ({}), so these layers \
             start anew",
            by_class.join(", "),
            old.spec.classes.len(),
            shortened(&old.spec.classes),
            labels.len(),
            shortened(labels),
        ));
    }
    let mut weights = Weights::fresh(spec, &Start::Seed { seed, backbone: None })?;
    copy(&old.store, &weights.store, keeps).map_err(|e| e.context(&shown))?;
    weights.provenance.start = Some(SourceFile {
        name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        sha256: hash.clone(),
    });
    Ok((weights, hash))
}

fn shortened(labels: &LabelMap) -> String {
    const SHOWN: usize = 6;
    let names = labels.names();
    let more = names.len().saturating_sub(SHOWN);
    let list = names[..names.len() - more].join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

fn copy(from: &ParamStore, to: &ParamStore, keeps: impl Fn(&str) -> bool) -> Result<()> {
    for param in to.params().iter().filter(|p| keeps(&p.name)) {
        to.set(&param.name, &from.get(&param.name)?.var.as_detached_tensor())?;
    }
    Ok(())
}
