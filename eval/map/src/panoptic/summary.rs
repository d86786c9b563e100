//! PQ, SQ and RQ from counts.
use super::quality::{CategoryCounts, TruthNotes};
use super::records::Categories;
use serde::Serialize;

/// Means over the categories that occur; −1 when none does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quality {
    /// Panoptic quality.
    pub pq: f64,
    /// Segmentation quality: mean IoU of matched segments.
    pub sq: f64,
    /// Recognition quality: F1 of the matching.
    pub rq: f64,
    /// How many categories the mean is over.
    pub categories: usize,
}

/// One category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryQuality {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Thing or stuff.
    pub isthing: bool,
    /// `sq * rq`: sum of IoU / (TP + FP / 2 + misses / 2); −1 when the category does not occur.
    pub pq: f64,
    /// Sum of IoU / TP; 0 without true positives, −1 when the category does not occur.
    pub sq: f64,
    /// TP / (TP + FP / 2 + misses / 2); −1 when the category does not occur.
    pub rq: f64,
    /// Matched pairs.
    pub true_positives: u64,
    /// Predicted segments that match nothing.
    pub false_positives: u64,
    /// Segments that nothing matches.
    pub misses: u64,
}

/// The figures of all pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PanopticSummary {
    /// All categories.
    pub all: Quality,
    /// Things only.
    pub things: Quality,
    /// Stuff only.
    pub stuff: Quality,
    /// In the order of the ground truth's file.
    pub per_category: Vec<CategoryQuality>,
    /// Number of pictures.
    pub pictures: usize,
    /// What was odd.
    pub ground_truth: TruthNotes,
}

pub(super) fn summarize(
    categories: &Categories,
    counts: &[CategoryCounts],
    ground_truth: TruthNotes,
    pictures: usize,
) -> PanopticSummary {
    let named = categories.list().iter().zip(counts);
    let per_category: Vec<CategoryQuality> = named
        .map(|(category, c)| {
            let [pq, sq, rq] = ratios(c);
            CategoryQuality {
                id: category.id,
                name: category.name.clone(),
                isthing: category.isthing,
                pq,
                sq,
                rq,
                true_positives: c.true_positives,
                false_positives: c.false_positives,
                misses: c.misses,
            }
        })
        .collect();
    let mean = |wanted: &dyn Fn(&CategoryQuality) -> bool| mean(per_category.iter().filter(|c| wanted(c)));
    let (all, things, stuff) = (mean(&|_| true), mean(&|c| c.isthing), mean(&|c| !c.isthing));
    PanopticSummary { all, things, stuff, per_category, pictures, ground_truth }
}

/// PQ, SQ, RQ.
fn ratios(c: &CategoryCounts) -> [f64; 3] {
    if c.true_positives + c.false_positives + c.misses == 0 {
        return [-1.0; 3];
    }
    let found = c.true_positives as f64;
    let all = found + 0.5 * c.false_positives as f64 + 0.5 * c.misses as f64;
    let sq = if c.true_positives == 0 { 0.0 } else { c.iou_sum() / found };
    [c.iou_sum() / all, sq, found / all]
}

fn mean<'a>(categories: impl Iterator<Item = &'a CategoryQuality>) -> Quality {
    let (mut sums, mut n) = ([0.0; 3], 0);
    for c in categories.filter(|c| c.pq >= 0.0) {
        sums = [sums[0] + c.pq, sums[1] + c.sq, sums[2] + c.rq];
        n += 1;
    }
    let [pq, sq, rq] = sums.map(|sum| if n == 0 { -1.0 } else { sum / n as f64 });
    Quality { pq, sq, rq, categories: n }
}
