//! A data set and a segmenter in, a confusion matrix out; what `eval ade20k --data` does before it prints.

use crate::classes;
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::DEMO;
use crate::measure::Phases;
use crate::predict::{Outcome, Predictor, RunOptions, Source};
use crate::stop::Stop;
use care_data::demo::{DemoSemantic, DemoSplit};
use care_data::semantic::{Reordered, SegDataset, SegFormat, SemanticSet, open_semantic};
use care_data::{DEFAULT_SPLITS, TRAIN_SPLITS};
use care_miou::{SegEvaluator, SegMap, SegReport};
use care_types::{LabelMap, SegTarget};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A data set that label maps can be scored on.
pub struct SegData {
    name: String,
    split: String,
    set: Arc<dyn SegDataset>,
    notes: Vec<String>,
}

impl SegData {
    /// Opens the folder of a data set, or the demo set when `data` is [`DEMO`] and no folder is called that.
    ///
    /// # Errors
    /// `Config` when the folder or split is not there, `Input` when it holds no data set, or none that can be used.
    pub fn open(data: &Path, split: Option<&str>, format: Option<SegFormat>) -> Result<Self> {
        if data == Path::new(DEMO) && !data.is_dir() {
            let split: DemoSplit = split.unwrap_or(DemoSplit::Val.name()).parse()?;
            return Ok(Self {
                name: "the demo set (synthetic pictures, not ADE20K)".to_owned(),
                split: split.name().to_owned(),
                set: Arc::new(DemoSemantic::new(split)),
                notes: Vec::new(),
            });
        }
        let opened = open_semantic(data, split, &DEFAULT_SPLITS, format)?;
        let notes =
            [opened.rule].into_iter().chain(opened.set.remarks().iter().map(|r| format!("remark: {r}")));
        let notes = notes.collect();
        Ok(Self { notes, ..Self::of_set(opened.set, &opened.split) })
    }

    /// A set that has been opened, and what its part is called.
    pub fn of_set(set: SemanticSet, split: &str) -> Self {
        Self { name: set.name(), split: split.to_owned(), set: Arc::new(set), notes: Vec::new() }
    }

    /// The same data with the classes of a network, in its order.
    ///
    /// # Errors
    /// `Weights` when the two do not have the same class names.
    pub fn in_order_of(self, network: &LabelMap) -> Result<Self> {
        classes::in_network_order(network, self.set.labels())?;
        let set = Arc::new(Reordered::new(self.set, &network.names())?);
        Ok(Self { set, ..self })
    }

    /// The pictures.
    pub fn pictures(&self) -> &Arc<dyn SegDataset> {
        &self.set
    }

    /// Where the label maps come from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The split that was taken.
    pub fn split(&self) -> &str {
        &self.split
    }

    /// The classes.
    pub fn labels(&self) -> &LabelMap {
        self.set.labels()
    }

    /// Lines for people: which rule recognised the data, what is odd about it.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Changes when pictures, classes or annotations do.
    pub fn fingerprint(&self) -> String {
        self.set.fingerprint()
    }

    /// Counts these classes, and nothing so far.
    ///
    /// # Errors
    /// `Config` without classes.
    pub fn evaluator(&self) -> Result<SegEvaluator> {
        let names = self.labels().names().into_iter().map(str::to_owned).collect();
        Ok(SegEvaluator::new(names, Some(u16::from(SegTarget::IGNORE)))?)
    }

    /// The positions of the pictures to look at, at most `limit`.
    pub fn select(&self, limit: Option<usize>) -> Vec<usize> {
        (0..self.set.len().min(limit.unwrap_or(usize::MAX))).collect()
    }
}

/// The classes of a data set with label maps, or the demo set, for new weights.
///
/// # Errors
/// `Config` when it is not there, `Input` when it cannot be read.
pub fn scene_labels_of(data: &Path) -> Result<LabelMap> {
    if data == Path::new(DEMO) && !data.is_dir() {
        return Ok(DemoSemantic::new(DemoSplit::Val).labels().clone());
    }
    let parts = [DEFAULT_SPLITS.as_slice(), TRAIN_SPLITS.as_slice()].concat();
    Ok(open_semantic(data, None, &parts, None)?.set.labels().clone())
}

/// What a segmenter made of a data set.
pub struct Segmented {
    /// Labels against predictions.
    pub evaluator: SegEvaluator,
    /// Positions of the pictures that are done, failed ones included.
    pub done: Vec<usize>,
    /// Positions of the pictures that failed, and why.
    pub failed: Vec<(usize, Error)>,
    /// Time per phase.
    pub phases: Phases,
}

impl Segmented {
    /// The figures.
    ///
    /// # Errors
    /// `Internal` when there are not as many labels as classes were counted.
    pub fn report(&self, labels: &LabelMap) -> Result<SegReport> {
        Ok(self.evaluator.matrix().metrics().report(labels)?)
    }
}

/// A picture that was just looked at.
pub struct Seen<'a> {
    /// Its position in the data set.
    pub position: usize,
    /// What was predicted; `None` when the picture failed.
    pub map: Option<&'a SegTarget>,
    /// All that was counted so far.
    pub counted: &'a SegEvaluator,
}

/// Runs the predictor over those pictures at `positions` that `evaluator` has not counted, and counts them. When `stop` is
/// requested, what is done so far is returned.
///
/// # Errors
/// `Weights` when the class names of the weights and of the data differ; the first error of `seen`.
pub fn segment_all(
    predictor: &Predictor,
    (data, positions): (&SegData, &[usize]),
    mut evaluator: SegEvaluator,
    run: (RunOptions, &Stop),
    seen: &mut dyn FnMut(Seen<'_>) -> Result<()>,
) -> Result<Segmented> {
    if predictor.labels().names() != data.labels().names() {
        classes::in_network_order(predictor.labels(), data.labels())?;
        return Err(Error::internal("data that is not in the order of the network's classes"));
    }
    // the label map is read with the picture and waits here until the picture has been looked at
    let waiting: Arc<Mutex<BTreeMap<usize, SegTarget>>> = Arc::default();
    let (mut done, left): (Vec<usize>, Vec<usize>) =
        positions.iter().partition(|&&p| evaluator.contains(&data.set.file_name(p)));
    let (pictures, chosen, parked) = (Arc::clone(&data.set), left.clone(), Arc::clone(&waiting));
    let source = Source::new(left.len(), move |i| {
        let example = pictures.example(chosen[i])?;
        lock(&parked).insert(i, example.target);
        Ok(example.picture)
    });
    let mut failed = Vec::new();
    let phases = predictor.run(&source, run.0, run.1, &mut |Outcome { index, result }| {
        let (target, position) = (lock(&waiting).remove(&index), left[index]);
        let name = data.set.file_name(position);
        let counted = result.and_then(|prediction| {
            let (label, found) =
                target.zip(prediction.labels).ok_or_else(|| Error::internal("no label map"))?;
            let map = |t| SegTarget::size(t);
            let (a, b) =
                (SegMap::new(label.classes(), map(&label))?, SegMap::new(found.classes(), map(&found))?);
            evaluator.add(&name, a, b)?;
            Ok(found)
        });
        done.push(position);
        let map = counted.map_err(|e| failed.push((position, named(e, &name)))).ok();
        seen(Seen { position, map: map.as_ref(), counted: &evaluator })
    })?;
    done.sort_unstable();
    failed.sort_by_key(|f| f.0);
    Ok(Segmented { evaluator, done, failed, phases })
}

/// An error of the network with the picture's name; readers and counting name it themselves.
fn named(e: Error, name: &str) -> Error {
    if e.kind() == ErrorKind::Internal { e.context(name) } else { e }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
