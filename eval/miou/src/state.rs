//! The state of an evaluation as bytes.
//!
//! The file is one of [`care_types::state`]. Its body is: the names of the classes; the ignored value plus 1, or 0; the two
//! texts of the source; the names of the pictures, ascending; the number of ignored pixels; and for each pair of classes
//! with pixels the pairs skipped since the one before, and the pixels. The matrix is the one thing that is allocated for
//! more items than there are bytes, but its classes are named one by one.
use crate::confusion::ConfusionMatrix;
use crate::evaluator::{SegEvaluator, SegSource};
use care_types::state::{StateKind, StateReader, StateWriter, read_state, write_state};
use care_types::{Error, Result};
use std::collections::BTreeSet;
use std::io::{Read, Write};

impl SegEvaluator {
    /// The state, to be kept or sent: classes, source, names of pictures, counts, with a version and a checksum. Evaluators
    /// of the same pictures have the same bytes, however they came to them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = StateWriter::new(StateKind::Segmentations);
        body.list(self.classes.iter(), |to, name| to.text(name));
        body.number(self.ignore.map_or(0, |value| u64::from(value) + 1));
        body.text(&self.source.ground_truth);
        body.text(&self.source.results);
        body.list(self.pictures.iter(), |to, name| to.text(name));
        body.number(self.matrix.ignored());
        let pairs = self.matrix.counts().iter().enumerate().filter(|(_, pixels)| **pixels > 0);
        let mut next = 0;
        for (pair, &pixels) in pairs {
            body.number((pair - next) as u64);
            body.number(pixels);
            next = pair + 1;
        }
        body.seal()
    }

    /// Writes [`Self::to_bytes`].
    ///
    /// # Errors
    /// `Internal` when writing fails.
    pub fn write_to(&self, to: impl Write) -> Result<()> {
        write_state(&self.to_bytes(), to)
    }

    /// The evaluator with this state.
    ///
    /// # Errors
    /// `Input` for anything else: a file of another kind or a newer version, a part of a file, a damaged file; the
    /// message says which, and where it can, what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut body = StateReader::open(StateKind::Segmentations, bytes)?;
        read_body(&mut body).map_err(|e| Error::input(format!("damaged: {e}")))
    }

    /// Reads [`Self::from_bytes`] to the end.
    ///
    /// # Errors
    /// `Input`, as there, and when reading fails.
    pub fn read_from(from: impl Read) -> Result<Self> {
        Self::from_bytes(&read_state(StateKind::Segmentations, from)?)
    }
}

fn read_body(from: &mut StateReader<'_>) -> Result<SegEvaluator> {
    let classes = from.list("classes", StateReader::text)?;
    let ignore = match from.number("ignored value")? {
        0 => None,
        n => Some(u16::try_from(n - 1).map_err(|_| Error::input(format!("ignored value: {}", n - 1)))?),
    };
    let mut evaluator = SegEvaluator::new(classes, ignore)?;
    let ground_truth = from.text("ground truth")?;
    evaluator.source = SegSource { ground_truth, results: from.text("results")? };
    let pictures = from.list("pictures", StateReader::text)?;
    if let Some(pair) = pictures.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::input(format!("pictures: {:?} after {:?}", pair[1], pair[0])));
    }
    let ignored = from.number("ignored pixels")?;
    let counts = read_counts(from, evaluator.classes.len())?;
    evaluator.matrix = ConfusionMatrix::from_counts(&counts, ignored, pictures.len() as u64)?;
    evaluator.pictures = BTreeSet::from_iter(pictures);
    Ok(evaluator)
}

/// `[classes, classes]`
fn read_counts(from: &mut StateReader<'_>, classes: usize) -> Result<Vec<u64>> {
    let mut counts = vec![0; classes * classes];
    let mut rest = &mut counts[..];
    while !from.is_finished() {
        let skipped = usize::try_from(from.number("counts")?).unwrap_or(usize::MAX);
        let pixels = from.number("counts")?;
        let Some((count, after)) = rest.get_mut(skipped..).and_then(<[u64]>::split_first_mut) else {
            return Err(Error::input(format!("counts: of more pairs than {classes} classes have")));
        };
        *count = pixels;
        rest = after;
    }
    Ok(counts)
}
