//! Weights files: a network's tensors together with everything needed to run it.
//!
//! The metadata of the `.safetensors` file holds, as JSON: `care.spec` (architecture, classes, preprocessing) and
//! `care.provenance` (where the numbers come from). Nothing about a run is guessed from tensor names or shapes.

use crate::error::{Error, Result};
use crate::evaluate::DEMO;
use crate::machine::let_go;
use crate::predict::Predictor;
use crate::shipped;
use care_data::demo::DemoSplit;
use care_data::{Preprocess, Scale};
use care_heads::registry::{NetworkConfig, Task};
use care_nn::checkpoint::{Checkpoint, Select, StoredTensor};
use care_nn::load::{LoadOptions, check, load_strict, require_fit, to_checkpoint};
use care_nn::recipe::{self, Override};
use care_nn::{Conv3x3, ParamStore, Purpose};
use care_types::LabelMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Metadata key of the [`Spec`].
pub const SPEC_KEY: &str = "care.spec";
/// Metadata key of the [`Provenance`].
pub const PROVENANCE_KEY: &str = "care.provenance";

/// Values of the head's last layers in recipe weights: those of the golden end-to-end case, chosen so that an untrained
/// network gives a few hundred scores above the threshold and boxes of moderate size.
const RECIPE_OVERRIDES: [(&str, f64, f64); 3] = [
    ("retina_cls.bias", -4.595_119_850_134_59, 0.5),
    ("retina_cls.weight", 0.0, 0.0556),
    ("retina_reg.weight", 0.0, 0.0127),
];

/// What a detector is: enough to build it, feed it, and name what it finds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The preset it was made from.
    pub model: String,
    /// Architecture.
    pub network: NetworkConfig,
    /// From pictures to network input.
    pub preprocess: Preprocess,
    /// Classes in the order in which the network predicts them.
    pub classes: LabelMap,
}

impl Spec {
    /// Changes how the detector is run.
    pub fn apply(&mut self, overrides: &Overrides) {
        let Overrides { scale, score_threshold, nms_iou, max_per_image } = *overrides;
        self.preprocess.scale = scale.unwrap_or(self.preprocess.scale);
        let Some(select) = self.network.select_mut() else { return };
        *select.score_threshold = score_threshold.unwrap_or(*select.score_threshold);
        *select.nms_iou = nms_iou.unwrap_or(*select.nms_iou);
        *select.max_per_image = max_per_image.unwrap_or(*select.max_per_image);
    }
}

/// Where the numbers come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Program and version that wrote the file.
    pub created_by: String,
    /// Seed of values that were drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Salt of the golden recipe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Classification checkpoint that the backbone started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backbone: Option<SourceFile>,
    /// Detector that training started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<SourceFile>,
    /// What it was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trained_on: Option<TrainedOn>,
    /// Training steps taken.
    #[serde(default)]
    pub steps: u64,
    /// AP on the validation part when the file was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}

impl Provenance {
    /// Trained on the demo set: such numbers know synthetic shapes and nothing else.
    pub fn of_demo_set(&self) -> bool {
        let demo = DemoSplit::ALL.map(fingerprint_of_demo);
        self.trained_on.as_ref().is_some_and(|t| demo.contains(&t.fingerprint))
    }
}

/// What stands for the pictures of a part of the demo set, which are drawn and not files.
pub(crate) fn fingerprint_of_demo(split: DemoSplit) -> String {
    format!("{DEMO}/{}", split.name())
}

/// Pictures that numbers were learnt from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// How many.
    pub pictures: usize,
    /// SHA-256 over names, sizes and annotations; `demo/train` for the demo set.
    pub fingerprint: String,
}

/// A file that numbers came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceFile {
    /// Its name, without folders.
    pub name: String,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

impl SourceFile {
    /// Name and hash of a file.
    ///
    /// # Errors
    /// `Weights` when it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { name, sha256: sha256_of(path)? })
    }
}

/// Reads a weights file, or weights that are part of the program.
///
/// # Errors
/// `Config` when there is no such file, `Weights` when it cannot be read.
pub fn read(path: &Path) -> Result<Checkpoint> {
    match shipped::find(path) {
        Some(bytes) => Ok(Checkpoint::from_bytes(bytes, &path.display().to_string(), &Select::Auto)?),
        None => Ok(Checkpoint::read(path, &Select::Auto)?),
    }
}

/// SHA-256 of a weights file, hexadecimal.
///
/// # Errors
/// `Weights` when it cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    if let Some(bytes) = shipped::find(path) {
        return Ok(sha256_of_bytes(bytes));
    }
    let unreadable = |e| Error::weights(format!("{}: cannot be read: {e}", path.display()));
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash)).map_err(unreadable)?;
    Ok(hexadecimal(&hash.finalize()))
}

/// SHA-256 of anything, hexadecimal.
pub fn sha256_of_bytes(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How new weights start.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// Drawn values, the backbone from a classification checkpoint if there is one.
    Seed {
        /// Seed of the drawn values.
        seed: u64,
        /// Official checkpoint, bare or wrapped.
        backbone: Option<PathBuf>,
    },
    /// The golden recipe with this salt.
    Recipe(String),
}

/// What a run may change about a detector without touching its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overrides {
    /// What the resized picture has to fit.
    pub scale: Option<Scale>,
    /// Scores must be above this.
    pub score_threshold: Option<f32>,
    /// Boxes of one class that overlap more are suppressed.
    pub nms_iou: Option<f32>,
    /// Detections per picture.
    pub max_per_image: Option<usize>,
}

/// A detector's numbers in memory, with what they mean.
#[derive(Debug)]
pub struct Weights {
    /// What the detector is.
    pub spec: Spec,
    /// Where the numbers come from.
    pub provenance: Provenance,
    /// The numbers.
    pub store: ParamStore,
}

impl Weights {
    /// New weights for a built-in detector.
    ///
    /// # Errors
    /// `Config` for an unknown model, `Weights` when the backbone checkpoint does not fit.
    pub fn init(model: &str, classes: LabelMap, start: &Start) -> Result<Self> {
        let network = NetworkConfig::preset(model)?.with_num_classes(classes.len());
        let scale = match network.task() {
            Task::Detection => Preprocess::default().scale,
            Task::Segmentation => Scale { long: 2048, short: 512 }, // ADE20K's protocol
        };
        let preprocess = Preprocess { scale, ..Preprocess::default() };
        let spec = Spec { model: model.to_owned(), network, preprocess, classes };
        Self::fresh(spec, start)
    }

    /// New weights for any detector.
    ///
    /// # Errors
    /// `Config` when its parts do not fit each other, `Weights` when the backbone checkpoint does not fit.
    pub fn fresh(spec: Spec, start: &Start) -> Result<Self> {
        let created_by = concat!("care-det ", env!("CARGO_PKG_VERSION")).to_owned();
        let mut provenance = Provenance { created_by, ..Provenance::default() };
        let store = match start {
            Start::Recipe(salt) => {
                provenance.recipe = Some(salt.clone());
                let store = declared(&spec.network, ParamStore::blank(candle_core::Device::Cpu))?;
                recipe::fill(&store, salt, "", &recipe_overrides())?;
                store
            }
            Start::Seed { seed, backbone } => {
                provenance.seed = Some(*seed);
                let store = declared(&spec.network, ParamStore::new(candle_core::Device::Cpu, *seed))?;
                if let Some(path) = backbone {
                    load_backbone(&store, &spec.network, path)?;
                    provenance.backbone = Some(SourceFile::of(path)?);
                }
                store
            }
        };
        Ok(Self { spec, provenance, store })
    }

    /// Reads a detector's weights file.
    ///
    /// # Errors
    /// Those of [`WeightsFile::open`].
    pub fn open(path: &Path) -> Result<Self> {
        let WeightsFile { spec, provenance, checkpoint, store } = WeightsFile::open(path)?;
        load_strict(&store, &checkpoint, &LoadOptions::whole())?;
        Ok(Self { spec, provenance, store })
    }

    /// Writes everything to a `.safetensors` file: beside it, then renamed over it.
    ///
    /// # Errors
    /// `Config` when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, &self.spec, &self.provenance, &self.store)
    }

    /// Builds the detector for inference. Its layers pack their own copy of the numbers, so the store is let go.
    ///
    /// # Errors
    /// `Config` when the parts of the detector do not fit each other.
    pub fn into_predictor(self, conv3x3: Conv3x3) -> Result<Predictor> {
        let network = self.spec.network.build(&self.store.root(Purpose::Infer { conv3x3 }))?;
        let_go(self.store);
        Predictor::new(network, self.spec.preprocess, self.spec.classes)
    }
}

/// A detector's weights file that was looked through: it says what it is, and its tensors fit that. Their values are read when they are needed.
pub struct WeightsFile {
    /// What the detector is.
    pub spec: Spec,
    /// Where the numbers come from.
    pub provenance: Provenance,
    checkpoint: Checkpoint,
    /// Declares what the checkpoint holds.
    store: ParamStore,
}

impl WeightsFile {
    /// Looks through a detector's weights file.
    ///
    /// # Errors
    /// `Config` when there is no such file; `Weights` when it cannot be read, does not say what it is, or its tensors do
    /// not fit what it says.
    pub fn open(path: &Path) -> Result<Self> {
        let checkpoint = read(path)?;
        let shown = path.display();
        let spec: Spec = read_json(&checkpoint, SPEC_KEY, path)?.ok_or_else(|| no_spec(&checkpoint, path))?;
        if spec.classes.len() != spec.network.num_classes() {
            let (names, classes) = (spec.classes.len(), spec.network.num_classes());
            return Err(Error::weights(format!("{shown}: {names} class names for {classes} classes")));
        }
        spec.preprocess.check().map_err(|e| Error::weights(e.to_string()).context(shown))?;
        let provenance = read_json(&checkpoint, PROVENANCE_KEY, path)?.unwrap_or_default();
        let store = declared(&spec.network, ParamStore::blank(candle_core::Device::Cpu))
            .map_err(|e| Error::weights(e.to_string()).context(path.display()))?;
        require_fit(&store, &checkpoint, &LoadOptions::whole())?;
        Ok(Self { spec, provenance, checkpoint, store })
    }

    /// Builds the detector for inference: every layer reads its numbers from the file and packs them.
    ///
    /// # Errors
    /// `Config` when the parts of the detector do not fit each other, `Weights` when the file cannot be read any more.
    pub fn into_predictor(self, conv3x3: Conv3x3) -> Result<Predictor> {
        let network = self.spec.network.build(&self.store.root_reading(self.checkpoint.tensors, conv3x3))?;
        let_go(self.store);
        Predictor::new(network, self.spec.preprocess, self.spec.classes)
    }
}

/// Writes a weights file: beside it, then renamed over it. The same contents give the same bytes.
///
/// # Errors
/// `Config` when the file cannot be written.
pub fn write(path: &Path, spec: &Spec, provenance: &Provenance, store: &ParamStore) -> Result<()> {
    let json = |e: serde_json::Error| Error::internal(format!("weights metadata: {e}"));
    let metadata = BTreeMap::from([
        ("format".to_owned(), "pt".to_owned()),
        (SPEC_KEY.to_owned(), serde_json::to_string(spec).map_err(json)?),
        (PROVENANCE_KEY.to_owned(), serde_json::to_string(provenance).map_err(json)?),
    ]);
    Ok(to_checkpoint(store, metadata)?.write_safetensors(path)?)
}

/// Declares every parameter of the detector in the store.
fn declared(detector: &NetworkConfig, store: ParamStore) -> Result<ParamStore> {
    detector.build(&store.root(Purpose::TRAIN_FROZEN))?;
    Ok(store)
}

/// The recipe's exceptions for detectors.
pub fn recipe_overrides() -> Vec<Override> {
    RECIPE_OVERRIDES.map(|(suffix, center, amp)| Override { suffix: suffix.to_owned(), center, amp }).into()
}

/// Puts the backbone of a file under `backbone.`: a classification checkpoint, whose heads are left out, or a whole network.
fn load_backbone(store: &ParamStore, detector: &NetworkConfig, path: &Path) -> Result<()> {
    let config = detector.backbone();
    let mut checkpoint = read(path)?;
    if of_a_network(&checkpoint) {
        checkpoint.tensors.retain(|t| t.name.starts_with("backbone."));
        let options =
            |_: &NetworkConfig| LoadOptions { scope: "backbone.".to_owned(), ..LoadOptions::whole() };
        return load_under(store, detector, &checkpoint, &options);
    }
    for (ours, theirs) in config.checkpoint_aliases() {
        let renamed = |t: &StoredTensor| {
            let mut copy = t.clone();
            copy.name = format!("{ours}{}", t.name.strip_prefix(&theirs)?);
            Some(copy)
        };
        let copies: Vec<StoredTensor> = checkpoint.tensors.iter().filter_map(renamed).collect();
        checkpoint.tensors.extend(copies);
    }
    load_under(store, detector, &checkpoint, &backbone_options)
}

fn load_under(
    store: &ParamStore,
    detector: &NetworkConfig,
    checkpoint: &Checkpoint,
    options: &dyn Fn(&NetworkConfig) -> LoadOptions,
) -> Result<()> {
    let loaded = load_strict(store, checkpoint, &options(detector));
    loaded.map(drop).map_err(|e| Error::from(e).with_hint(other_models(detector, checkpoint, options)))
}

/// What of a classification checkpoint goes where.
fn backbone_options(detector: &NetworkConfig) -> LoadOptions {
    let config = detector.backbone();
    let unused = config.unused_checkpoint_prefixes();
    let unused: Vec<&str> = unused.iter().map(String::as_str).collect();
    let fresh: Vec<String> = config.fresh_prefixes().iter().map(|p| format!("backbone.{p}")).collect();
    let fresh: Vec<&str> = fresh.iter().map(String::as_str).collect();
    LoadOptions::under_ignoring("backbone.", &unused).allowing_missing(&fresh)
}

/// The built-in detectors under which the checkpoint would fit.
fn other_models(
    detector: &NetworkConfig,
    checkpoint: &Checkpoint,
    options: &dyn Fn(&NetworkConfig) -> LoadOptions,
) -> Option<String> {
    let fits = |name: &&str| {
        let other = NetworkConfig::preset(name).ok().filter(|d| d.backbone() != detector.backbone());
        other.is_some_and(|other| {
            let store = declared(&other, ParamStore::blank(candle_core::Device::Cpu));
            store.is_ok_and(|store| check(&store, checkpoint, &options(&other)).fits())
        })
    };
    let names: Vec<&str> = NetworkConfig::preset_names().filter(fits).collect();
    (!names.is_empty()).then(|| format!("it fits --model {}", names.join(" or ")))
}

/// The names of a network of mmdetection, mmsegmentation, or this project: a backbone beside other parts.
fn of_a_network(checkpoint: &Checkpoint) -> bool {
    let has = |prefix: &str| checkpoint.tensors.iter().any(|t| t.name.starts_with(prefix));
    has("backbone.") && has("neck.")
}

/// What can be done with a file that does not say what it is.
fn no_spec(checkpoint: &Checkpoint, path: &Path) -> Error {
    let (shown, count) = (path.display(), checkpoint.tensors.len());
    let why = format!("{shown}: holds {count} tensors but not the `{SPEC_KEY}` that says how they are run");
    Error::weights(match of_a_network(checkpoint) {
        true => format!(
            "{why}; they are named as a detector's of mmdetection or another program, whose architecture, classes and \
             preprocessing cannot be told from tensors, so only weights that this program wrote are run"
        ),
        false => format!(
            "{why}; if it is a classification checkpoint of CARE, put it under a new detector with \
             `care-det weights init --backbone {shown} --out W.safetensors` and train that"
        ),
    })
}

/// A JSON entry of the metadata; `None` when it is not there.
pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(
    checkpoint: &Checkpoint,
    key: &str,
    path: &Path,
) -> Result<Option<T>> {
    let Some(text) = checkpoint.metadata.get(key) else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|e| {
        Error::weights(format!(
            "{}: its `{key}` cannot be read ({e}); was it written by a newer version?",
            path.display()
        ))
    })
}
