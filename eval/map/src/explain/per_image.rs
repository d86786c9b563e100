//! What happened in each picture, to find the ones worth looking at.
use super::average_precision::average_precision;
use super::judge::{Judged, Verdict};
use super::scene::Facts;
use care_types::ImageId;
use serde::Serialize;

/// One picture. Counts are at the IoU and score threshold of [`super::Explanation`]; `ap` is over all scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageResult {
    /// The picture.
    pub id: ImageId,
    /// As the ground truth has it.
    pub file_name: String,
    /// To be found: no crowds, area inside the range `all`.
    pub objects: u64,
    /// With a score of at least the threshold: `true_positives + false_positives + ignored`.
    pub detections: u64,
    /// Detections that found an object of their category.
    pub true_positives: u64,
    /// Detections that found nothing, or an object that a higher score had found.
    pub false_positives: u64,
    /// Detections that count neither way: they matched a crowd, or an object outside the area range.
    pub ignored: u64,
    /// Objects that nothing found: `objects - true_positives`.
    pub misses: u64,
    /// `2 TP / (2 TP + FP + misses)`; −1 in a picture with neither objects nor counted detections.
    pub f1: f64,
    /// What `evaluate` says of this picture alone at this IoU: average precision, mean over the categories that have
    /// objects in it; −1 without objects.
    pub ap: f64,
}

impl ImageResult {
    /// False positives and misses: what a person would have to correct.
    pub fn mistakes(&self) -> u64 {
        self.false_positives + self.misses
    }
}

/// All evaluated pictures, by ascending id.
pub(super) fn per_image(judged: &Judged, facts: &Facts, score: f64) -> Vec<ImageResult> {
    let empty = |picture: &super::scene::Picture| ImageResult {
        id: picture.id,
        file_name: picture.file_name.clone(),
        objects: 0,
        detections: 0,
        true_positives: 0,
        false_positives: 0,
        ignored: 0,
        misses: 0,
        f1: -1.0,
        ap: -1.0,
    };
    let mut results: Vec<ImageResult> = facts.images.iter().map(empty).collect();
    // Sum and number of the categories' average precisions.
    let mut sums = vec![(0.0, 0u64); results.len()];
    for cell in &judged.cells {
        let detections = judged.of(cell);
        let result = &mut results[cell.image as usize];
        result.objects += cell.objects;
        for d in detections.iter().take_while(|d| d.score >= score) {
            match d.verdict {
                Verdict::Hit(_) => result.true_positives += 1,
                Verdict::Wrong => result.false_positives += 1,
                Verdict::Ignored => result.ignored += 1,
            }
        }
        if cell.objects > 0 {
            let counted = detections.iter().filter(|d| d.verdict != Verdict::Ignored);
            let hits = counted.map(|d| matches!(d.verdict, Verdict::Hit(_)));
            let (sum, n) = &mut sums[cell.image as usize];
            *sum += average_precision(hits, cell.objects, &facts.rec_thrs, f64::EPSILON);
            *n += 1;
        }
    }
    for (result, (sum, n)) in results.iter_mut().zip(sums) {
        result.finish(sum, n);
    }
    results
}

impl ImageResult {
    fn finish(&mut self, ap_sum: f64, categories: u64) {
        self.detections = self.true_positives + self.false_positives + self.ignored;
        self.misses = self.objects - self.true_positives;
        self.f1 = super::f1::f1(self.true_positives, self.false_positives, self.misses);
        if categories > 0 {
            self.ap = ap_sum / categories as f64;
        }
    }
}

/// The pictures with the most mistakes first; of equally many, the lower `f1` first, then the lower id.
pub fn worst_first(results: &[ImageResult]) -> Vec<&ImageResult> {
    let mut order: Vec<&ImageResult> = results.iter().collect();
    order.sort_by(|a, b| {
        let by_mistakes = b.mistakes().cmp(&a.mistakes());
        by_mistakes.then(a.f1.total_cmp(&b.f1)).then(a.id.cmp(&b.id))
    });
    order
}
