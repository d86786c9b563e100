//! The two parts of a data set that training needs, opened and counted before the first step.

use super::feed::Changed;
use crate::classes;
use crate::config::{AugmentConfig, DataConfig, RunConfig, ValidationConfig};
use crate::error::{Error, Result};
use crate::evaluate::{DEMO, EvalData};
use crate::segment::SegData;
use crate::weights::fingerprint_of_demo;
use care_data::demo::{DemoSemantic, DemoSplit};
use care_data::semantic::{
    Reordered, SegAugment, SegDataset, SegFormat, SemanticSet, class_shares, open_semantic,
};
use care_data::{AnnotatedSet, Augment, Dataset, DemoDataset, Format, TRAIN_SPLITS};
use care_types::{ClassIndex, LabelMap};
use std::path::Path;
use std::sync::Arc;

/// Training pictures, pictures to be scored on, and what was found on the way.
pub struct TrainData {
    /// The pictures that are learnt from, by number, and their changes.
    pub(super) pictures: Changed,
    /// Those numbers that are used.
    pub indices: Vec<usize>,
    /// What is scored; `None` when validation is off.
    pub val: Option<ValData>,
    /// The classes, in the order in which the network predicts them.
    pub labels: LabelMap,
    /// Whether any object of the training part has a mask.
    pub has_masks: bool,
    /// Fingerprints of the two parts.
    pub fingerprints: [String; 2],
    /// Lines for people: which rule recognised the data, which parts were taken.
    pub notes: Vec<String>,
}

/// The pictures that are scored, for either task.
pub enum ValData {
    /// Objects.
    Objects(EvalData),
    /// A class for every pixel.
    Labels(SegData),
}

impl ValData {
    /// The positions of the pictures to look at: the first `limit`, all when that is 0.
    ///
    /// # Errors
    /// `Input` when there is none.
    pub fn select(&self, limit: usize) -> Result<Vec<usize>> {
        let limit = Some(limit).filter(|&n| n > 0);
        match self {
            Self::Objects(data) => data.select(None, limit),
            Self::Labels(data) => Ok(data.select(limit)),
        }
    }
}

/// What both tasks are asked for.
struct Request<'a> {
    data: &'a DataConfig,
    validation: &'a ValidationConfig,
    seed: u64,
    known: Option<&'a LabelMap>,
}

/// A part that was opened, and what it is called.
type Part<S> = (S, String);

impl Request<'_> {
    fn folder(&self) -> &Path {
        Path::new(&self.data.path)
    }

    /// Whether it is the demo set, whose parts are what they are.
    fn is_demo(&self) -> Result<bool> {
        if self.data.path != DEMO || self.folder().is_dir() {
            return Ok(false);
        }
        let DataConfig { train_split, val_split, format, val_fraction, .. } = self.data;
        let other = |asked: &str, has: DemoSplit| !asked.is_empty() && asked != has.name();
        let says = "the demo set is drawn in two parts: `train` is learnt from and `val` is scored";
        match other(train_split, DemoSplit::Train) || other(val_split, DemoSplit::Val) || *val_fraction > 0.0
        {
            true => {
                Err(Error::config(format!("{says}; leave out --train-split, --val-split and --val-fraction")))
            }
            false if !format.is_empty() => Err(Error::config(format!("{says}; leave out --format"))),
            false => Ok(true),
        }
    }

    fn wants_val(&self) -> bool {
        self.validation.every > 0
    }

    /// The share that is kept for validation, when no other part is.
    fn fraction(&self) -> Option<f64> {
        Some(self.data.val_fraction).filter(|f| self.wants_val() && *f > 0.0)
    }

    fn kept(&self, pictures: usize, split: &str) -> String {
        let seed = self.seed;
        format!("{pictures} pictures of {split} kept for validation (every class in proportion, seed {seed})")
    }

    fn fraction_of(&self, split: &str) -> String {
        format!("{} of {split}", self.data.val_fraction)
    }
}

impl TrainData {
    /// Opens both parts. When the data has the same class names as a network that is trained further (`known`), its classes
    /// come in that network's order.
    ///
    /// # Errors
    /// `Config` when the folder or a part is not there, `Input` when nothing is left to learn from.
    pub fn open(run: &RunConfig, known: Option<&LabelMap>) -> Result<Self> {
        let request = Request { data: &run.data, validation: &run.validation, seed: run.train.seed, known };
        match &run.augment {
            AugmentConfig::Detection(augment) => objects(&request, augment, run.train.keep_empty),
            AugmentConfig::Segmentation(augment) => labels(&request, augment),
        }
    }
}

fn objects(request: &Request<'_>, augment: &Augment, keep_empty: bool) -> Result<TrainData> {
    if request.is_demo()? {
        return demo_objects(request, augment);
    }
    let config = request.data;
    let format = named(&config.format).map(str::parse::<Format>).transpose()?;
    let opened = care_data::open_part(request.folder(), named(&config.train_split), &TRAIN_SPLITS, format)?;
    let mut notes = vec![opened.rule.clone()];
    let (train, val) = if let Some(fraction) = request.fraction() {
        let (train, val) = care_data::split_off(opened.set, fraction, request.seed);
        notes.push(request.kept(val.len(), &opened.split));
        (train, Some((val, request.fraction_of(&opened.split))))
    } else if request.wants_val() {
        let defaults = &care_data::DEFAULT_SPLITS;
        let part =
            care_data::open_part(request.folder(), named(&config.val_split), defaults, Some(opened.format));
        let part = part.map_err(|e| Error::from(e.context(VAL_HINT)))?;
        (opened.set, Some((part.set, part.split)))
    } else {
        (opened.set, None)
    };
    let train = match same_names(request.known, train.labels()) {
        Some(known) => train.with_classes(&known.names())?,
        None => train,
    };
    of_object_parts((train, opened.split), val, (augment, keep_empty), notes)
}

/// How many objects of which class there are to learn from; classes without any are named.
fn per_class(train: &AnnotatedSet) -> String {
    const LISTED: usize = 24;
    let (names, counts) = (train.labels().names(), train.objects_per_class());
    let listed: Vec<String> =
        names.iter().zip(&counts).take(LISTED).map(|(name, n)| format!("{n} {name}")).collect();
    let more = names.len().saturating_sub(LISTED);
    let more = if more > 0 { format!(" and {more} classes more") } else { String::new() };
    let missing: Vec<&str> =
        names.iter().zip(&counts).filter(|(_, n)| **n == 0).map(|(name, _)| *name).collect();
    let missing = match missing.as_slice() {
        [] => String::new(),
        names => format!("; nothing to learn {} from", names.join(", ")),
    };
    format!("objects: {}{more}{missing}", listed.join(", "))
}

const VAL_HINT: &str =
    "validation needs a part of its own (--val-split NAME, --val-fraction 0.1, or --no-val)";

fn of_object_parts(
    (train, split): Part<AnnotatedSet>,
    val: Option<Part<AnnotatedSet>>,
    (augment, keep_empty): (&Augment, bool),
    mut notes: Vec<String>,
) -> Result<TrainData> {
    let labels = with_some(train.labels(), &train.name())?;
    let (indices, funnel) = (train.training_indices(keep_empty), train.funnel());
    notes.extend(train.remarks().iter().map(|r| format!("remark: {r}")));
    notes.push(format!("training on {} of {} pictures of {split}", indices.len(), train.len()));
    notes.push(per_class(&train));
    let val_part = match val {
        None => None,
        Some((set, split)) => {
            let set = set.with_classes(&labels.names())?;
            notes.push(format!("validation on {split}, {} pictures", set.len()));
            Some((set.fingerprint(), EvalData::of_set(Arc::new(set), &split)?))
        }
    };
    let (fingerprint, has_masks) = (train.fingerprint(), train.has_masks());
    if indices.is_empty() {
        let val_names = val_part.as_ref().map(|(_, v)| v.labels().names().join(", "));
        return Err(Error::input(format!(
            "{}: no picture is left to train on: {funnel:?}\n  classes of the training part: {}\n  classes of the \
             validation part: {}",
            train.name(),
            labels.names().join(", "),
            val_names.unwrap_or_else(|| "none".into())
        )));
    }
    let (val_print, val) = val_part.unzip();
    Ok(TrainData {
        pictures: Changed::Objects(Arc::new(train), augment.clone()),
        indices,
        val: val.map(ValData::Objects),
        labels,
        has_masks,
        fingerprints: [fingerprint, val_print.unwrap_or_default()],
        notes,
    })
}

fn demo_objects(request: &Request<'_>, augment: &Augment) -> Result<TrainData> {
    let train = DemoDataset::new(DemoSplit::Train);
    let val = request.wants_val().then(|| EvalData::open(Path::new(DEMO), None)).transpose()?;
    let (indices, labels) = ((0..train.len()).collect(), train.labels().clone());
    let pictures = Changed::Objects(Arc::new(train), augment.clone());
    Ok(of_demo(pictures, indices, labels, val.map(ValData::Objects)))
}

fn labels(request: &Request<'_>, augment: &SegAugment) -> Result<TrainData> {
    if request.is_demo()? {
        let train = DemoSemantic::new(DemoSplit::Train);
        let val = request.wants_val().then(|| SegData::open(Path::new(DEMO), None, None)).transpose()?;
        let (indices, labels) = ((0..train.len()).collect(), train.labels().clone());
        let pictures = Changed::Labels(Arc::new(train), *augment);
        return Ok(of_demo(pictures, indices, labels, val.map(ValData::Labels)));
    }
    let config = request.data;
    let format = named(&config.format).map(str::parse::<SegFormat>).transpose()?;
    let opened = open_semantic(request.folder(), named(&config.train_split), &TRAIN_SPLITS, format)?;
    let mut notes = vec![opened.rule.clone()];
    let (train, val) = if let Some(fraction) = request.fraction() {
        let (train, val) = opened.set.split_off(fraction, request.seed);
        notes.push(request.kept(val.len(), &opened.split));
        (train, Some((val, request.fraction_of(&opened.split))))
    } else if request.wants_val() {
        let defaults = &care_data::DEFAULT_SPLITS;
        let part = open_semantic(request.folder(), named(&config.val_split), defaults, Some(opened.format));
        let part = part.map_err(|e| Error::from(e.context(VAL_HINT)))?;
        (opened.set, Some((part.set, part.split)))
    } else {
        (opened.set, None)
    };
    of_label_parts(request, (train, opened.split), val, (augment, notes))
}

fn of_label_parts(
    request: &Request<'_>,
    (train, split): Part<SemanticSet>,
    val: Option<Part<SemanticSet>>,
    (augment, mut notes): (&SegAugment, Vec<String>),
) -> Result<TrainData> {
    let own = with_some(train.labels(), &train.name())?;
    let order = same_names(request.known, &own).unwrap_or(&own);
    let indices = train.training_indices();
    notes.extend(train.remarks().iter().map(|r| format!("remark: {r}")));
    notes.push(format!("training on {} of {} pictures of {split}", indices.len(), train.len()));
    notes.extend(pixels_per_class(&train, &indices));
    if indices.is_empty() {
        return Err(Error::input(format!(
            "{}: no picture is left to train on: {:?}",
            train.name(),
            train.funnel()
        )));
    }
    let mut prints = [train.fingerprint(), String::new()];
    let val = match val {
        None => None,
        Some((set, split)) => {
            notes.push(format!("validation on {split}, {} pictures", set.len()));
            prints[1] = set.fingerprint();
            Some(ValData::Labels(SegData::of_set(set, &split).in_order_of(order)?))
        }
    };
    let train = Reordered::new(Arc::new(train), &order.names())?;
    Ok(TrainData {
        indices,
        val,
        labels: train.labels().clone(),
        has_masks: false,
        fingerprints: prints,
        notes,
        pictures: Changed::Labels(Arc::new(train), *augment),
    })
}

fn of_demo(pictures: Changed, indices: Vec<usize>, labels: LabelMap, val: Option<ValData>) -> TrainData {
    let scored = DemoDataset::new(DemoSplit::Val).len();
    let notes = vec![format!(
        "the demo set: {} synthetic pictures to train on, {scored} to be scored on; this is not COCO",
        indices.len()
    )];
    let fingerprints = [DemoSplit::Train, DemoSplit::Val].map(fingerprint_of_demo);
    TrainData { pictures, indices, val, labels, has_masks: true, fingerprints, notes }
}

/// How much of the pictures each class covers, from some label maps of all parts of the set; and what is wrong with them.
fn pixels_per_class(train: &SemanticSet, indices: &[usize]) -> Vec<String> {
    const LOOKED_AT: usize = 200;
    const LISTED: usize = 24;
    let every = indices.len().div_ceil(LOOKED_AT).max(1);
    let some: Vec<usize> = indices.iter().copied().step_by(every).collect();
    let found = class_shares(&train.subset(&some));
    let mut lines: Vec<(usize, f64)> = found.shares().into_iter().enumerate().collect();
    lines.sort_by(|a, b| b.1.total_cmp(&a.1));
    let name = |class: usize| train.labels().name(ClassIndex(class));
    let line = |&(class, share): &(usize, f64)| format!("{:.2} % {}", 100.0 * share, name(class));
    let listed: Vec<String> = lines.iter().filter(|l| l.1 > 0.0).take(LISTED).map(line).collect();
    let absent = lines.iter().filter(|l| l.1 == 0.0).count();
    let absent = if absent > 0 { format!("; {absent} classes without any") } else { String::new() };
    let (counted, ignored) = (found.counted, 100.0 * found.ignored_share());
    let mut notes = vec![format!(
        "pixels of {counted} label maps: {}{absent}; {ignored:.1} % ignored",
        listed.join(", ")
    )];
    if let Some((_, first)) = found.failed.first() {
        notes.push(format!("{} label maps cannot be used; the first: {first}", found.failed.len()));
    }
    notes
}

/// The network's classes, when they are the data's.
fn same_names<'a>(known: Option<&'a LabelMap>, data: &LabelMap) -> Option<&'a LabelMap> {
    known.filter(|known| classes::in_network_order(known, data).is_ok())
}

fn with_some(labels: &LabelMap, name: &str) -> Result<LabelMap> {
    if labels.is_empty() {
        return Err(Error::input(format!("{name}: has no classes")));
    }
    Ok(labels.clone())
}

fn named(text: &str) -> Option<&str> {
    Some(text).filter(|s| !s.is_empty())
}
