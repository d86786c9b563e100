//! The two parts of a data set that training needs, opened and counted before the first step.

use crate::config::{DataConfig, ValidationConfig};
use crate::error::{Error, Result};
use crate::evaluate::{DEMO, EvalData};
use care_data::demo::DemoSplit;
use care_data::{AnnotatedSet, Dataset, DemoDataset, Format, Funnel, TRAIN_SPLITS};
use care_types::LabelMap;
use std::path::Path;
use std::sync::Arc;

/// Training pictures, pictures to be scored on, and what was found on the way.
pub struct TrainData {
    /// The pictures that are learnt from, by number.
    pub train: Arc<dyn Dataset>,
    /// Those numbers that are used.
    pub indices: Vec<usize>,
    /// What is scored; `None` when validation is off.
    pub val: Option<EvalData>,
    /// The classes, in the order in which the network predicts them.
    pub labels: LabelMap,
    /// Where pictures and objects of the training part are lost; `None` for the demo set.
    pub funnel: Option<Funnel>,
    /// Fingerprints of the two parts.
    pub fingerprints: [String; 2],
    /// Lines for people: which rule recognised the data, which parts were taken.
    pub notes: Vec<String>,
}

impl TrainData {
    /// Opens both parts.
    ///
    /// # Errors
    /// `Config` when the folder or a part is not there, `Input` when nothing is left to learn from.
    pub fn open(
        config: &DataConfig,
        validation: &ValidationConfig,
        keep_empty: bool,
        seed: u64,
    ) -> Result<Self> {
        let folder = Path::new(&config.path);
        if config.path == DEMO && !folder.is_dir() {
            return Self::demo(validation);
        }
        let format = match config.format.as_str() {
            "" => None,
            name => Some(name.parse::<Format>()?),
        };
        let opened = care_data::open_part(folder, named(&config.train_split), &TRAIN_SPLITS, format)?;
        let mut notes = vec![opened.rule.clone()];
        let wants_val = validation.every > 0;
        let (train, val) = if wants_val && config.val_fraction > 0.0 {
            let (train, val) = care_data::split_off(opened.set, config.val_fraction, seed);
            notes.push(format!(
                "{} pictures of {} kept for validation (every class in proportion, seed {seed})",
                val.len(),
                opened.split
            ));
            (train, Some((val, format!("{} of {}", config.val_fraction, opened.split))))
        } else if wants_val {
            let part = care_data::open_part(
                folder,
                named(&config.val_split),
                &care_data::DEFAULT_SPLITS,
                Some(opened.format),
            );
            let part = part.map_err(|e| {
                let hint =
                    "validation needs a part of its own (--val-split NAME, --val-fraction 0.1, or --no-val)";
                Error::from(e.context(hint))
            })?;
            (opened.set, Some((part.set, part.split)))
        } else {
            (opened.set, None)
        };
        Self::of_parts(train, opened.split, val, keep_empty, notes)
    }

    fn of_parts(
        train: AnnotatedSet,
        split: String,
        val: Option<(AnnotatedSet, String)>,
        keep_empty: bool,
        mut notes: Vec<String>,
    ) -> Result<Self> {
        let labels = train.labels().clone();
        if labels.is_empty() {
            return Err(Error::input(format!("{}: has no classes", train.name())));
        }
        let (indices, funnel) = (train.training_indices(keep_empty), train.funnel());
        notes.extend(train.remarks().iter().map(|r| format!("remark: {r}")));
        notes.push(format!("training on {} of {} pictures of {split}", indices.len(), train.len()));
        let val_part = match val {
            None => None,
            Some((set, split)) => {
                let set = set.with_classes(&labels.names())?;
                notes.push(format!("validation on {split}, {} pictures", set.len()));
                Some((set.fingerprint(), EvalData::of_set(Arc::new(set), &split)?))
            }
        };
        let fingerprint = train.fingerprint();
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
        Ok(Self {
            train: Arc::new(train),
            indices,
            val,
            labels,
            funnel: Some(funnel),
            fingerprints: [fingerprint, val_print.unwrap_or_default()],
            notes,
        })
    }

    fn demo(validation: &ValidationConfig) -> Result<Self> {
        let train = DemoDataset::new(DemoSplit::Train);
        let val = if validation.every > 0 { Some(EvalData::open(Path::new(DEMO), None)?) } else { None };
        let print = |split: DemoSplit| format!("demo/{}", split.name());
        Ok(Self {
            indices: (0..train.len()).collect(),
            labels: train.labels().clone(),
            val,
            funnel: None,
            fingerprints: [print(DemoSplit::Train), print(DemoSplit::Val)],
            notes: vec![format!(
                "the demo set: {} synthetic pictures to train on, {} to be scored on; this is not COCO",
                train.len(),
                DemoDataset::new(DemoSplit::Val).len()
            )],
            train: Arc::new(train),
        })
    }
}

fn named(split: &str) -> Option<&str> {
    Some(split).filter(|s| !s.is_empty())
}
