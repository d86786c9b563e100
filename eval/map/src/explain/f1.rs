//! Precision, recall and F1 at a score, and the score where F1 is best.
use super::judge::{Judged, Verdict};
use super::scene::Facts;
use care_types::CategoryId;
use serde::Serialize;

/// Counts and ratios of all detections with at least this score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Operating {
    /// Detections with this score or a higher one are kept.
    pub score: f64,
    /// Detections that found an object.
    pub true_positives: u64,
    /// Detections that found none.
    pub false_positives: u64,
    /// Objects that were not found.
    pub misses: u64,
    /// `TP / (TP + FP)`; −1 without detections.
    pub precision: f64,
    /// `TP / (TP + misses)`; −1 without objects.
    pub recall: f64,
    /// `2 TP / (2 TP + FP + misses)`, the harmonic mean of the two; −1 with neither objects nor detections.
    pub f1: f64,
}

impl Operating {
    fn new(score: f64, [true_positives, false_positives, objects]: [u64; 3]) -> Self {
        let ratio = |all: u64| if all == 0 { -1.0 } else { true_positives as f64 / all as f64 };
        let misses = objects - true_positives;
        Operating {
            score,
            true_positives,
            false_positives,
            misses,
            precision: ratio(true_positives + false_positives),
            recall: ratio(objects),
            f1: f1(true_positives, false_positives, misses),
        }
    }
}

/// −1 when there is nothing at all.
pub(super) fn f1(true_positives: u64, false_positives: u64, misses: u64) -> f64 {
    match 2 * true_positives + false_positives + misses {
        0 => -1.0,
        all => (2 * true_positives) as f64 / all as f64,
    }
}

/// One category, or all together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct F1 {
    /// At the score threshold of [`super::Explanation`].
    pub at_score: Operating,
    /// At the score that makes F1 largest, the highest one of equals. Only scores that detections have are tried; `None`
    /// without detections that count.
    pub best: Option<Operating>,
}

/// F1 of one category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryF1 {
    /// −1 when categories are not told apart.
    pub id: CategoryId,
    /// Of the ground truth.
    pub name: String,
    /// The figures.
    #[serde(flatten)]
    pub f1: F1,
}

/// F1 of every category and of all together. Matching is COCO's (greedy by falling score, within category, crowds
/// ignored) at the IoU of [`super::Explanation`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct F1Report {
    /// Counts of all categories added up ("micro"), so one score for all.
    pub overall: F1,
    /// Mean of the categories' F1 at the score threshold ("macro"), over categories with objects; −1 without any.
    pub mean_at_score: f64,
    /// Mean of the categories' F1 when each has its own best score, over categories with objects; −1 without any.
    pub mean_of_best: f64,
    /// By ascending category id.
    pub per_category: Vec<CategoryF1>,
}

/// Scores of the detections that count and whether each is a hit, and the number of objects.
#[derive(Default)]
struct Ranked {
    detections: Vec<(f64, bool)>,
    objects: u64,
}

impl Ranked {
    fn add(&mut self, judged: &Judged, cell: &super::judge::JudgedCell) {
        self.objects += cell.objects;
        let counted = judged.of(cell).iter().filter(|d| d.verdict != Verdict::Ignored);
        self.detections.extend(counted.map(|d| (d.score, matches!(d.verdict, Verdict::Hit(_)))));
    }

    fn figures(mut self, score: f64) -> F1 {
        // Counts at a score do not depend on the order within it.
        self.detections.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        F1 { at_score: self.at(score), best: self.best() }
    }

    fn at(&self, score: f64) -> Operating {
        let kept = &self.detections[..self.detections.partition_point(|d| d.0 >= score)];
        let hits = kept.iter().filter(|d| d.1).count() as u64;
        Operating::new(score, [hits, kept.len() as u64 - hits, self.objects])
    }

    fn best(&self) -> Option<Operating> {
        let (mut best, mut hits, mut seen) = (None::<Operating>, 0, 0);
        for equals in self.detections.chunk_by(|a, b| a.0 == b.0) {
            hits += equals.iter().filter(|d| d.1).count() as u64;
            seen += equals.len() as u64;
            let here = Operating::new(equals[0].0, [hits, seen - hits, self.objects]);
            if best.is_none_or(|b| here.f1 > b.f1) {
                best = Some(here);
            }
        }
        best
    }
}

/// The score at which all categories together have the best F1, if there are detections that count.
pub(super) fn best_score(judged: &Judged) -> Option<f64> {
    let mut all = Ranked::default();
    judged.cells.iter().for_each(|cell| all.add(judged, cell));
    all.figures(0.0).best.map(|b| b.score)
}

pub(super) fn report(judged: &Judged, facts: &Facts, score: f64) -> F1Report {
    let mut all = Ranked::default();
    let mut per_category: Vec<Ranked> = facts.categories.iter().map(|_| Ranked::default()).collect();
    for cell in &judged.cells {
        all.add(judged, cell);
        per_category[cell.category as usize].add(judged, cell);
    }
    let (mut at_score, mut of_best) = (Vec::new(), Vec::new());
    let named = facts.categories.iter().zip(per_category);
    let per_category = named.map(|((id, name), ranked)| {
        let objects = ranked.objects;
        let f1 = ranked.figures(score);
        if objects > 0 {
            at_score.push(f1.at_score.f1);
            of_best.push(f1.best.map_or(0.0, |b| b.f1));
        }
        CategoryF1 { id: *id, name: name.clone(), f1 }
    });
    let per_category = per_category.collect();
    let mean = |v: &[f64]| if v.is_empty() { -1.0 } else { v.iter().sum::<f64>() / v.len() as f64 };
    F1Report {
        overall: all.figures(score),
        mean_at_score: mean(&at_score),
        mean_of_best: mean(&of_best),
        per_category,
    }
}
