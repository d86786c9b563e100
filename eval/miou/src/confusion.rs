//! The confusion matrix, counted picture by picture.
use crate::bins::Bins;
use crate::isa::dispatch;
use crate::metrics::{ClassAreas, SegMetrics};
use crate::seg_map::{PixelValue, SegMap};
use crate::tally::{Counts, Tally};
use care_types::{ClassIndex, Error, Result};

/// The most classes of a matrix, which then takes 128 MiB (the largest list in use, ADE20K's full one, has 3,148).
pub const MAX_CLASSES: usize = 4096;

/// How many pixels of each class were predicted as which class.
///
/// Two matrices are equal when all counts are.
#[derive(Clone, Debug)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Counts,
    images: u64,
    /// All pixels ever counted, ignored ones included: as long as they fit, every count does.
    pixels: u64,
}

impl ConfusionMatrix {
    /// An empty matrix.
    ///
    /// # Errors
    /// `Config` unless there are 1 to [`MAX_CLASSES`] classes.
    pub fn new(classes: usize) -> Result<Self> {
        if !(1..=MAX_CLASSES).contains(&classes) {
            return Err(Error::config(format!(
                "a confusion matrix of {classes} classes: there must be 1 to {MAX_CLASSES}"
            )));
        }
        let totals = vec![0; Bins::new(classes, None).len()];
        Ok(ConfusionMatrix { classes, counts: Counts { totals, scatter: None }, images: 0, pixels: 0 })
    }

    /// A matrix of these counts, `[classes, classes]`.
    ///
    /// # Errors
    /// `Input` for 2⁶⁴ pixels or more, `Config` as [`Self::new`].
    pub(crate) fn from_counts(counts: &[u64], ignored: u64, images: u64) -> Result<Self> {
        let mut matrix = Self::new(counts.len().isqrt())?;
        matrix.counts.totals[..counts.len()].copy_from_slice(counts);
        matrix.counts.totals[counts.len()] = ignored;
        matrix.images = images;
        matrix.pixels = counts.iter().try_fold(ignored, |sum, &n| add_pixels(sum, n))?;
        Ok(matrix)
    }

    /// Counts one picture. Pixels whose label is `ignore` are only counted as ignored, whatever is predicted there, also
    /// if `ignore` is the index of a class.
    ///
    /// # Errors
    /// `Input`, and nothing is counted, when the sizes differ, when a label is neither a class nor `ignore`, or when a
    /// prediction under a label that is not ignored is no class. The message names the first such pixel and its value.
    pub fn update<L: PixelValue, P: PixelValue>(
        &mut self,
        label: SegMap<'_, L>,
        prediction: SegMap<'_, P>,
        ignore: Option<u16>,
    ) -> Result<()> {
        let (l, p) = (label.size(), prediction.size());
        if l != p {
            return Err(Error::input(format!(
                "label of {}x{}, prediction of {}x{} (height x width)",
                l.height, l.width, p.height, p.width
            )));
        }
        let pixels = add_pixels(self.pixels, l.area())?;
        let bins = Bins::new(self.classes, ignore);
        let (counts, invalid) = (&mut self.counts, bins.invalid());
        dispatch(Tally { bins, counts, label: label.values(), prediction: prediction.values() });
        if self.counts.totals[invalid] > 0 {
            self.take_back(bins, label.values(), prediction.values());
            return Err(self.first_invalid(label, prediction, ignore));
        }
        self.pixels = pixels;
        self.images += 1;
        Ok(())
    }

    /// Adds what another matrix has counted.
    ///
    /// # Errors
    /// `Input`, and nothing is added, when the numbers of classes differ, or when there are 2⁶⁴ pixels or more together.
    pub fn merge(&mut self, other: &ConfusionMatrix) -> Result<()> {
        if self.classes != other.classes {
            return Err(Error::input(format!(
                "a confusion matrix of {} classes cannot be added to one of {}",
                other.classes, self.classes
            )));
        }
        let (pixels, images) =
            (add_pixels(self.pixels, other.pixels)?, add_pixels(self.images, other.images)?);
        for (total, more) in self.counts.totals.iter_mut().zip(&other.counts.totals) {
            *total += more;
        }
        (self.pixels, self.images) = (pixels, images);
        Ok(())
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of pictures.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Number of pixels with an ignored label.
    pub fn ignored(&self) -> u64 {
        self.counts.totals[self.classes * self.classes]
    }

    /// Number of pixels of class `label` that were predicted as class `prediction`; 0 for what is no class.
    pub fn count(&self, label: usize, prediction: usize) -> u64 {
        if label.max(prediction) >= self.classes {
            return 0;
        }
        self.counts()[label * self.classes + prediction]
    }

    /// All counts.
    ///
    /// # Shapes
    /// `[classes, classes]`, row-major: a row per label, a column per prediction.
    pub fn counts(&self) -> &[u64] {
        &self.counts.totals[..self.classes * self.classes]
    }

    /// Areas per class, and the figures that follow from them.
    pub fn metrics(&self) -> SegMetrics {
        let mut predicted = vec![0; self.classes];
        for row in self.counts().chunks_exact(self.classes) {
            predicted.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
        let rows = self.counts().chunks_exact(self.classes).zip(predicted).enumerate();
        let areas = |(class, (row, predicted)): (usize, (&[u64], u64))| ClassAreas {
            class: ClassIndex(class),
            labelled: row.iter().sum(),
            predicted,
            intersection: row[class],
        };
        SegMetrics { per_class: rows.map(areas).collect(), images: self.images, ignored: self.ignored() }
    }

    /// Undoes a pass: the definition of one, with the opposite sign.
    fn take_back<L: PixelValue, P: PixelValue>(&mut self, bins: Bins, label: &[L], prediction: &[P]) {
        for (l, p) in label.iter().zip(prediction) {
            self.counts.totals[bins.of(l.value(), p.value())] -= 1;
        }
    }

    fn first_invalid<L: PixelValue, P: PixelValue>(
        &self,
        label: SegMap<'_, L>,
        prediction: SegMap<'_, P>,
        ignore: Option<u16>,
    ) -> Error {
        let pairs = label.values().iter().zip(prediction.values()).map(|(l, p)| (l.value(), p.value()));
        let bins = Bins::new(self.classes, ignore);
        let first = pairs.enumerate().find(|&(_, (l, p))| bins.of(l, p) == bins.invalid());
        let Some((i, (label_value, prediction_value))) = first else {
            return Error::internal("a pair that cannot be was counted, but is not there");
        };
        let width = label.size().width as usize;
        let (row, column) = (i / width, i % width);
        if usize::from(label_value) < self.classes {
            return Error::input(format!(
                "prediction {prediction_value} at row {row}, column {column} is no class: there are {}, from 0",
                self.classes
            ));
        }
        let ignored = ignore.map_or("no value is".into(), |value| format!("{value} is"));
        Error::input(format!(
            "label {label_value} at row {row}, column {column} is no class: there are {}, from 0, and {ignored} ignored",
            self.classes
        ))
    }
}

impl PartialEq for ConfusionMatrix {
    fn eq(&self, other: &Self) -> bool {
        self.counts.totals == other.counts.totals && self.images == other.images
    }
}

impl Eq for ConfusionMatrix {}

fn add_pixels(a: u64, b: u64) -> Result<u64> {
    a.checked_add(b).ok_or_else(|| Error::input("a confusion matrix of 2^64 pixels or more"))
}
