//! A confusion matrix that knows which pictures it has counted, so that parts can be joined without counting one twice.
use crate::confusion::ConfusionMatrix;
use crate::seg_map::{PixelValue, SegMap};
use care_types::{Error, Result};
use std::collections::BTreeSet;

/// Counts named pictures, in any order, on any number of machines: evaluators of different pictures are
/// [merged](Self::merge), and travel as [bytes](Self::to_bytes).
/// ```
/// use care_miou::{SegEvaluator, SegMap, Size};
/// let size = Size::new(2, 1);
/// let new = || SegEvaluator::new(vec!["sky".into(), "road".into()], Some(255));
/// let (mut all, mut other) = (new()?, new()?);
/// all.add("a.png", SegMap::new(&[0u8, 1], size)?, SegMap::new(&[0u8, 0], size)?)?;
/// other.add("b.png", SegMap::new(&[1u8, 255], size)?, SegMap::new(&[1u8, 0], size)?)?; // on another machine, say
/// all.merge(SegEvaluator::from_bytes(&other.to_bytes())?)?;
/// assert_eq!((all.matrix().count(1, 1), all.matrix().images()), (1, 2));
/// assert!(all.merge(other).is_err()); // b.png is there
/// # Ok::<(), care_types::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegEvaluator {
    pub(crate) classes: Vec<String>,
    pub(crate) ignore: Option<u16>,
    pub(crate) source: SegSource,
    pub(crate) pictures: BTreeSet<String>,
    pub(crate) matrix: ConfusionMatrix,
}

/// What is evaluated, in the caller's words: evaluators are only merged when the words agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegSource {
    /// For instance a hash of the label maps.
    pub ground_truth: String,
    /// For instance the SHA-256 of the weights that made the predictions.
    pub results: String,
}

impl SegEvaluator {
    /// An evaluator without pictures, for classes of these names. Pixels with the label `ignore` count nowhere.
    ///
    /// # Errors
    /// `Config` unless there are 1 to [`crate::MAX_CLASSES`] classes.
    pub fn new(classes: Vec<String>, ignore: Option<u16>) -> Result<Self> {
        let matrix = ConfusionMatrix::new(classes.len())?;
        Ok(SegEvaluator { classes, ignore, source: SegSource::default(), pictures: BTreeSet::new(), matrix })
    }

    /// Says what is evaluated; see [`SegSource`].
    pub fn with_source(mut self, source: SegSource) -> Self {
        self.source = source;
        self
    }

    /// What is evaluated.
    pub fn source(&self) -> &SegSource {
        &self.source
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What was counted.
    pub fn matrix(&self) -> &ConfusionMatrix {
        &self.matrix
    }

    /// The names of the pictures that were counted, in order.
    pub fn pictures(&self) -> impl Iterator<Item = &str> {
        self.pictures.iter().map(String::as_str)
    }

    /// Whether a picture was counted: what is done needs not be done again after a restart.
    pub fn contains(&self, picture: &str) -> bool {
        self.pictures.contains(picture)
    }

    /// Counts a picture.
    ///
    /// # Errors
    /// `Input`, and nothing is counted: as [`ConfusionMatrix::update`]; a picture that was counted before.
    pub fn add<L: PixelValue, P: PixelValue>(
        &mut self,
        picture: &str,
        label: SegMap<'_, L>,
        prediction: SegMap<'_, P>,
    ) -> Result<()> {
        if self.contains(picture) {
            return Err(Error::input(format!("{picture}: was counted before")));
        }
        self.matrix.update(label, prediction, self.ignore).map_err(|e| e.context(picture))?;
        self.pictures.insert(picture.into());
        Ok(())
    }

    /// Adds the pictures of another evaluator.
    ///
    /// # Errors
    /// `Input`, and nothing is added: pictures that are in both (the first name, and how many); other classes, another
    /// ignored value or [`SegSource`] (with both values); 2⁶⁴ pixels or more together.
    pub fn merge(&mut self, mut other: SegEvaluator) -> Result<()> {
        let difference = self.difference(&other).or_else(|| self.overlap(&other));
        if let Some(text) = difference {
            return Err(Error::input(format!("evaluations cannot be merged: {text}")));
        }
        self.matrix.merge(&other.matrix)?;
        self.pictures.append(&mut other.pictures);
        Ok(())
    }

    fn difference(&self, other: &SegEvaluator) -> Option<String> {
        let (a, b) = (&self.classes, &other.classes);
        let name = |list: &[String], at: usize| list.get(at).map_or("nothing".into(), |n| format!("{n:?}"));
        if let Some(at) = (0..a.len().max(b.len())).find(|&at| a.get(at) != b.get(at)) {
            let (here, there) = (name(a, at), name(b, at));
            let counts = (a.len(), b.len());
            return Some(format!(
                "class {at}: {here} here ({} in all) and {there} there ({} in all)",
                counts.0, counts.1
            ));
        }
        let ignored = |value: Option<u16>| value.map_or("none".into(), |value| value.to_string());
        let [own, others] = [&self.source, &other.source];
        let pairs = [
            ("ignored value", ignored(self.ignore), ignored(other.ignore)),
            ("ground truth", format!("{:?}", own.ground_truth), format!("{:?}", others.ground_truth)),
            ("results", format!("{:?}", own.results), format!("{:?}", others.results)),
        ];
        let (name, here, there) = pairs.into_iter().find(|(_, here, there)| here != there)?;
        Some(format!("{name}: {here} here and {there} there"))
    }

    fn overlap(&self, other: &SegEvaluator) -> Option<String> {
        let mut both = self.pictures.intersection(&other.pictures);
        let first = both.next()?;
        let count = 1 + both.count();
        Some(format!(
            "{count} of {} pictures were counted before; the first is {first}",
            other.pictures.len()
        ))
    }
}
