//! A data set and a predictor in, result records out; what `eval coco --data` does before scoring.

use crate::classes;
use crate::error::{Error, Result};
use crate::journal::Journal;
use crate::measure::Phases;
use crate::predict::{Outcome, Predictor, RunOptions, Source};
use crate::stop::Stop;
use care_data::demo::DemoSplit;
use care_data::{AnnotatedSet, DEFAULT_SPLITS, Dataset, DemoDataset, Funnel, TRAIN_SPLITS, open_part};
use care_types::coco_json::{self, ResultRecord};
use care_types::{Detection, ImageId, LabelMap};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The word that stands for the demo set wherever a data set is named.
pub const DEMO: &str = "demo";

/// A data set that detections can be scored on.
pub struct EvalData {
    name: String,
    split: String,
    pictures: Arc<dyn Dataset>,
    truth: Truth,
    funnel: Option<Funnel>,
}

/// The demo set draws its records on demand; a COCO folder has read them already.
enum Truth {
    Folder(Arc<AnnotatedSet>),
    Drawn(coco_json::Dataset),
}

impl EvalData {
    /// Opens the folder of a data set, or the demo set when `data` is [`DEMO`] and no folder is called that.
    ///
    /// # Errors
    /// `Config` when the folder or split is not there, `Input` when it holds no data set, or none that can be used.
    pub fn open(data: &Path, split: Option<&str>) -> Result<Self> {
        if data == Path::new(DEMO) && !data.is_dir() {
            return Self::demo(split);
        }
        let opened = open_part(data, split, &DEFAULT_SPLITS, None)?;
        Self::of_set(Arc::new(opened.set), &opened.split)
    }

    /// A set that has been opened, and what its part is called.
    ///
    /// # Errors
    /// `Input` when it has no picture that could be looked at.
    pub fn of_set(set: Arc<AnnotatedSet>, split: &str) -> Result<Self> {
        let (funnel, file) = (set.funnel(), set.name());
        if set.is_empty() {
            return Err(Error::input(format!("{file}: lists no pictures")));
        }
        if funnel.missing_files == set.len() {
            let first = set.missing().first().map(|p| p.display().to_string()).unwrap_or_default();
            return Err(Error::input(format!(
                "{file}: none of its {} pictures is there; the first was expected at {first}",
                set.len()
            )));
        }
        Ok(Self {
            name: file,
            split: split.to_owned(),
            pictures: set.clone(),
            truth: Truth::Folder(set),
            funnel: Some(funnel),
        })
    }

    fn demo(split: Option<&str>) -> Result<Self> {
        let name = split.unwrap_or(DemoSplit::Val.name());
        let Some(split) = DemoSplit::ALL.into_iter().find(|s| s.name() == name) else {
            let known: Vec<&str> = DemoSplit::ALL.iter().map(|s| s.name()).collect();
            return Err(Error::config(format!(
                "the demo set has no split `{name}`; it has {}",
                known.join(", ")
            )));
        };
        let set = DemoDataset::new(split);
        Ok(Self {
            name: "the demo set (synthetic pictures, not COCO)".to_owned(),
            split: split.name().to_owned(),
            truth: Truth::Drawn(set.ground_truth()?),
            pictures: Arc::new(set),
            funnel: None,
        })
    }

    /// The pictures.
    pub fn pictures(&self) -> &Arc<dyn Dataset> {
        &self.pictures
    }

    /// Where the annotations come from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The split that was taken.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// The records to score against.
    pub fn ground_truth(&self) -> &coco_json::Dataset {
        match &self.truth {
            Truth::Folder(set) => set.ground_truth(),
            Truth::Drawn(truth) => truth,
        }
    }

    /// The classes of the data.
    pub fn labels(&self) -> &LabelMap {
        self.pictures.labels()
    }

    /// SHA-256 over names, sizes and annotations; `demo/val` for the demo set.
    pub fn fingerprint(&self) -> String {
        match &self.truth {
            Truth::Folder(set) => set.fingerprint(),
            Truth::Drawn(_) => format!("{DEMO}/{}", self.split),
        }
    }

    /// What the reader found and left out; `None` for the demo set.
    pub fn funnel(&self) -> Option<&Funnel> {
        self.funnel.as_ref()
    }

    /// The positions of the pictures to look at: those with one of the `ids` (all without), at most `limit`.
    ///
    /// # Errors
    /// `Config` for an id that no picture has, `Input` when none is left.
    pub fn select(&self, ids: Option<&[ImageId]>, limit: Option<usize>) -> Result<Vec<usize>> {
        let wanted: Option<BTreeSet<ImageId>> =
            ids.filter(|ids| !ids.is_empty()).map(|ids| ids.iter().copied().collect());
        let known: BTreeSet<ImageId> = self.ground_truth().images.iter().map(|image| image.id).collect();
        if let Some(id) = wanted.iter().flatten().find(|id| !known.contains(id)) {
            return Err(Error::config(format!("imgIds: {}: no picture of {} has this id", id.0, self.name)));
        }
        let images = self.ground_truth().images.iter().enumerate();
        let kept = images.filter(|(_, image)| wanted.as_ref().is_none_or(|w| w.contains(&image.id)));
        let kept: Vec<usize> = kept.map(|(i, _)| i).take(limit.unwrap_or(usize::MAX)).collect();
        if kept.is_empty() {
            return Err(Error::input(format!("{}: no picture is left to look at", self.name)));
        }
        Ok(kept)
    }

    /// Id and file name of the picture at a position.
    pub fn image(&self, position: usize) -> (ImageId, &str) {
        let image = &self.ground_truth().images[position];
        (image.id, &image.file_name)
    }
}

/// What a detector made of a data set.
pub struct Detected {
    /// Box records, pictures in the order of the data set, best first within each.
    pub boxes: Vec<ResultRecord>,
    /// Mask records in the same order, of a detector that finds masks.
    pub masks: Vec<ResultRecord>,
    /// Positions of the pictures that are done, failed ones included.
    pub done: Vec<usize>,
    /// Positions of the pictures that failed, and why.
    pub failed: Vec<(usize, Error)>,
    /// Time per phase.
    pub phases: Phases,
}

/// How [`detect_all`] goes about it; none of it changes a detection.
pub struct Run<'a> {
    /// Of the predictor.
    pub options: RunOptions,
    /// When it is requested, what is done so far is returned.
    pub stop: &'a Stop,
    /// What is known before, and where what is found is kept.
    pub journal: Option<&'a mut Journal>,
    /// Called after each picture.
    pub tick: &'a mut dyn FnMut(),
}

/// Runs the predictor over those pictures at `positions` that the journal does not know.
///
/// # Errors
/// `Weights` when the class names of the weights and of the data differ, `Internal` when the journal cannot be written.
pub fn detect_all(
    predictor: &Predictor,
    data: &EvalData,
    positions: &[usize],
    mut run: Run<'_>,
) -> Result<Detected> {
    let labels = classes::in_network_order(predictor.labels(), data.labels())?;
    let image = |at: usize| data.image(positions[at]).0;
    let mut known = |at| run.journal.as_mut().and_then(|journal| journal.take(image(at)));
    let mut found: Vec<Option<Result<Records>>> = (0..positions.len()).map(|at| known(at).map(Ok)).collect();
    let left: Vec<usize> = (0..positions.len()).filter(|&at| found[at].is_none()).collect();
    let (pictures, chosen) =
        (Arc::clone(&data.pictures), left.iter().map(|&at| positions[at]).collect::<Vec<_>>());
    let source = Source::new(left.len(), move |i| Ok(pictures.example(chosen[i])?.picture));
    let phases = predictor.run(&source, run.options, run.stop, &mut |Outcome { index, result }| {
        let at = left[index];
        let records = result.map(|p| Records::of(image(at), &p.detections, &labels));
        if let (Some(journal), Ok(records)) = (&mut run.journal, &records) {
            journal.keep(image(at), records)?;
        }
        found[at] = Some(records);
        (run.tick)();
        Ok(())
    })?;
    let mut detected =
        Detected { boxes: Vec::new(), masks: Vec::new(), done: Vec::new(), failed: Vec::new(), phases };
    for (&position, outcome) in positions.iter().zip(found) {
        match outcome {
            None => continue,
            Some(Err(e)) => detected.failed.push((position, e)),
            Some(Ok(records)) => {
                detected.boxes.extend(records.boxes);
                detected.masks.extend(records.masks);
            }
        }
        detected.done.push(position);
    }
    Ok(detected)
}

/// Detections of one picture as COCO records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// With boxes.
    pub boxes: Vec<ResultRecord>,
    /// With masks, of the detections that have one.
    pub masks: Vec<ResultRecord>,
}

impl Records {
    /// The records of a picture, in the order of its detections.
    pub fn of(image: ImageId, detections: &[Detection], labels: &LabelMap) -> Self {
        let known = || detections.iter().filter_map(|d| Some((labels.id(d.class)?, d)));
        Self {
            boxes: known().map(|(category, d)| ResultRecord::from_box(image, category, d)).collect(),
            masks: known().filter_map(|(category, d)| ResultRecord::from_mask(image, category, d)).collect(),
        }
    }
}

/// The classes of a data set, a COCO instances file, or the demo set, for new weights.
///
/// # Errors
/// `Config` when it is not there, `Input` when it cannot be read or names the same class twice.
pub fn labels_of(data: &Path) -> Result<LabelMap> {
    let labels = if data.is_file() {
        LabelMap::from_categories(&coco_json::read_dataset(data)?.categories)
    } else if data == Path::new(DEMO) && !data.is_dir() {
        DemoDataset::new(DemoSplit::Val).labels().clone()
    } else {
        let parts = [DEFAULT_SPLITS.as_slice(), TRAIN_SPLITS.as_slice()].concat();
        open_part(data, None, &parts, None)?.set.labels().clone()
    };
    if labels.is_empty() {
        return Err(Error::input(format!("{}: has no categories", data.display())));
    }
    let mut seen = BTreeSet::new();
    match labels.names().into_iter().find(|name| !seen.insert(*name)) {
        Some(name) => Err(Error::input(format!("{}: two categories are called {name:?}", data.display()))),
        None => Ok(labels),
    }
}
