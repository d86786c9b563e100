//! Counts of any number of pictures, one by one or merged.
use super::picture::{self, SegmentMap};
use super::records::{Categories, PictureId};
use super::summary::{PanopticSummary, summarize};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An IoU above 0.5 is a whole multiple of 2⁻⁵³, so sums of them in this unit are exact.
const UNITS: f64 = (1u64 << 53) as f64;

/// Counts of one category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CategoryCounts {
    /// Pairs of segments with IoU > 0.5.
    pub true_positives: u64,
    /// Predicted segments without a pair, unless on void or crowd.
    pub false_positives: u64,
    /// Segments of the ground truth without a pair.
    pub misses: u64,
    /// Sum of the pairs' IoU in units of 2⁻⁵³, exact.
    iou_units: u128,
}

impl CategoryCounts {
    /// `iou` is above 0.5 and at most 1.
    pub(super) fn add_match(&mut self, iou: f64) {
        self.true_positives += 1;
        self.iou_units += u128::from((iou * UNITS) as u64);
    }

    pub(super) fn add(&mut self, other: &CategoryCounts) {
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
        self.misses += other.misses;
        self.iou_units += other.iou_units;
    }

    /// Sum of the IoU of the pairs, rounded once.
    pub fn iou_sum(&self) -> f64 {
        self.iou_units as f64 / UNITS
    }
}

/// What is odd about the ground truth, and evaluated all the same, as `pq_compute` does. Numbers of segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthNotes {
    /// In the JSON, with a category that the file does not have: not evaluated, but not void either.
    pub unknown_category: u64,
    /// In the JSON, but not in the PNG: always missed.
    pub without_pixels: u64,
    /// In the PNG, but not in the JSON: not evaluated, but not void either.
    pub unlisted: u64,
    /// Their `area` in the JSON is not their number of pixels, which is what counts here; `pq_compute` believes the
    /// JSON, so it gives other numbers.
    pub area_differs: u64,
}

impl TruthNotes {
    fn add(&mut self, other: &TruthNotes) {
        self.unknown_category += other.unknown_category;
        self.without_pixels += other.without_pixels;
        self.unlisted += other.unlisted;
        self.area_differs += other.area_differs;
    }
}

/// Panoptic quality of the pictures added so far. Serialisable, to be merged elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Parts")]
pub struct PanopticQuality {
    categories: Categories,
    /// By position of the category.
    counts: Vec<CategoryCounts>,
    notes: TruthNotes,
    pictures: BTreeSet<PictureId>,
}

/// As read, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    categories: Categories,
    counts: Vec<CategoryCounts>,
    notes: TruthNotes,
    pictures: BTreeSet<PictureId>,
}

impl TryFrom<Parts> for PanopticQuality {
    type Error = Error;
    fn try_from(parts: Parts) -> Result<Self> {
        let Parts { categories, counts, notes, pictures } = parts;
        let (n, expected) = (counts.len(), categories.list().len());
        if n != expected {
            return Err(Error::input(format!("counts of {n} categories, expected {expected}")));
        }
        Ok(PanopticQuality { categories, counts, notes, pictures })
    }
}

impl PanopticQuality {
    /// No pictures yet.
    pub fn new(categories: Categories) -> Self {
        let counts = vec![CategoryCounts::default(); categories.list().len()];
        PanopticQuality { categories, counts, notes: TruthNotes::default(), pictures: BTreeSet::new() }
    }

    /// Adds a picture; on an error nothing is added.
    ///
    /// # Errors
    /// `Input`, naming picture and segment: a predicted segment that is in the pixels but not in the list, in the list
    /// but not in the pixels, or of an unknown category; an id twice or 0 in a list; maps of different size; a picture
    /// that was added before.
    pub fn add(&mut self, id: &PictureId, truth: SegmentMap<'_>, prediction: SegmentMap<'_>) -> Result<()> {
        if self.pictures.contains(id) {
            return Err(Error::input(format!("picture {id}: added for the second time")));
        }
        let in_picture = |e: Error| e.context(format_args!("picture {id}"));
        let picture = picture::counts(&self.categories, truth, prediction).map_err(in_picture)?;
        for (at, counts) in &picture.categories {
            self.counts[*at].add(counts);
        }
        self.notes.add(&picture.notes);
        self.pictures.insert(id.clone());
        Ok(())
    }

    /// Adds the pictures of another part; the order of merging does not matter.
    ///
    /// # Errors
    /// `Config` for other categories, `Input` for a picture that is in both parts; nothing is added then.
    pub fn merge(&mut self, other: &PanopticQuality) -> Result<()> {
        if self.categories != other.categories {
            return Err(Error::config("the parts to merge have different categories"));
        }
        if let Some(id) = self.pictures.intersection(&other.pictures).next() {
            let n = self.pictures.intersection(&other.pictures).count();
            return Err(Error::input(format!("the parts to merge share {n} pictures, the first is {id}")));
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| a.add(b));
        self.notes.add(&other.notes);
        self.pictures.extend(other.pictures.iter().cloned());
        Ok(())
    }

    /// The figures.
    pub fn summary(&self) -> PanopticSummary {
        summarize(&self.categories, &self.counts, self.notes, self.pictures.len())
    }

    /// The pictures added so far.
    pub fn pictures(&self) -> &BTreeSet<PictureId> {
        &self.pictures
    }
}
