//! Which categories are taken for which.
use super::judge::{Judged, Verdict};
use super::scene::{Facts, Scene, counts};
use crate::shape::Shape;
use care_types::CategoryId;
use rayon::prelude::*;
use serde::Serialize;

/// Counts of (category of the object, category of the detection), with background as the last row and column.
///
/// Only detections with at least the score threshold take part; a pair needs IoU ≥ the IoU threshold; every object and
/// every detection is in at most one pair. Pairs are made in two steps:
/// 1. within each category by COCO's rule, so that the diagonal holds exactly the true positives of [`super::F1Report`];
/// 2. the objects and detections that are left, whatever their category, by falling IoU (of equal ones the higher
///    score, then the earlier record).
///
/// An object without a detection is in the last column (a miss), a detection without an object in the last row (a false
/// positive). Crowds, and detections that they absorb, are in neither.
///
/// Same-category pairs first, then by falling IoU, is what
/// [supervision](https://supervision.roboflow.com/latest/metrics/detection/) does;
/// [ultralytics](https://docs.ultralytics.com/reference/utils/metrics/) and older versions of supervision pair by IoU
/// alone, so that a wrong category with a slightly better box turns a true positive into two mistakes. Both want IoU and
/// score *above* their thresholds; here equal is enough, as everywhere in COCO's evaluation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusion {
    /// Ids of the rows and columns, background excluded.
    pub categories: Vec<CategoryId>,
    /// Their names.
    pub names: Vec<String>,
    /// `counts[object][detection]`, one more row and column than categories; the last corner is 0.
    pub counts: Vec<Vec<u64>>,
}

/// One kind of mistake of [`Confusion`]; `None` is background.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Confused {
    /// What the object is.
    pub object: Option<CategoryId>,
    /// What it was taken for.
    pub detection: Option<CategoryId>,
    /// How often.
    pub count: u64,
}

impl Confusion {
    /// Pairs of different categories that occur, the most frequent first, ties in the order of the matrix. Misses and
    /// false positives on background are not among them.
    pub fn most_confused(&self) -> Vec<Confused> {
        let n = self.categories.len();
        let cells = (0..n).flat_map(|row| (0..n).map(move |column| (row, column)));
        let mistakes = cells.filter(|&(row, column)| row != column && self.counts[row][column] > 0);
        let named = |(row, column): (usize, usize)| Confused {
            object: Some(self.categories[row]),
            detection: Some(self.categories[column]),
            count: self.counts[row][column],
        };
        let mut list: Vec<Confused> = mistakes.map(named).collect();
        list.sort_by_key(|c| std::cmp::Reverse(c.count));
        list
    }
}

/// What the first step left of one picture: positions, and the category of each.
#[derive(Default)]
struct Left {
    objects: Vec<(u32, u32)>,
    detections: Vec<(u32, u32)>,
}

pub(super) fn confusion<S: Shape>(
    scene: &Scene<S>,
    judged: &Judged,
    facts: &Facts,
    [iou, score]: [f64; 2],
) -> Confusion {
    let background = facts.categories.len();
    let mut counts = vec![vec![0u64; background + 1]; background + 1];
    let left = left_over(scene, judged, facts, score, &mut counts);
    let pairs: Vec<Vec<[usize; 2]>> = left.par_iter().map(|l| l.pairs(scene, iou, background)).collect();
    pairs.into_iter().flatten().for_each(|[row, column]| counts[row][column] += 1);
    Confusion {
        categories: facts.categories.iter().map(|c| c.0).collect(),
        names: facts.categories.iter().map(|c| c.1.clone()).collect(),
        counts,
    }
}

/// The first step: fills the diagonal, and returns the rest by picture.
fn left_over<S>(
    scene: &Scene<S>,
    judged: &Judged,
    facts: &Facts,
    score: f64,
    diagonal: &mut [Vec<u64>],
) -> Vec<Left> {
    let mut left: Vec<Left> = facts.images.iter().map(|_| Left::default()).collect();
    let mut is_found = Vec::new();
    for cell in &judged.cells {
        let (left, k) = (&mut left[cell.image as usize], cell.category);
        is_found.clear();
        is_found.resize(cell.truths.len(), false);
        for d in judged.of(cell).iter().take_while(|d| d.score >= score) {
            match d.verdict {
                Verdict::Hit(truth) => {
                    is_found[truth as usize - cell.truths.start] = true;
                    diagonal[k as usize][k as usize] += 1;
                }
                Verdict::Wrong => left.detections.push((d.found, k)),
                Verdict::Ignored => {}
            }
        }
        let missed = cell.truths.clone().zip(&is_found).filter(|(_, found)| !**found).map(|(at, _)| at);
        let to_find = missed.filter(|&at| counts(&scene.truths.items[at], facts.range));
        left.objects.extend(to_find.map(|at| (at as u32, k)));
    }
    left
}

impl Left {
    /// The second step: cells of the matrix.
    fn pairs<S: Shape>(&self, scene: &Scene<S>, iou: f64, background: usize) -> Vec<[usize; 2]> {
        let mut near = Vec::new();
        for (o, &(object, object_category)) in self.objects.iter().enumerate() {
            for (d, &(found, category)) in self.detections.iter().enumerate() {
                if object_category == category {
                    continue;
                }
                let (truth, item) =
                    (&scene.truths.items[object as usize], &scene.found.items[found as usize]);
                let here = item.shape.iou(&truth.shape, false);
                if here >= iou.min(1.0 - 1e-10) {
                    let records =
                        [scene.found.keys[found as usize].record, scene.truths.keys[object as usize].record];
                    near.push((here, item.score, records, o, d));
                }
            }
        }
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
        let mut objects: Vec<[usize; 2]> = self.objects.iter().map(|o| [o.1 as usize, background]).collect();
        let mut detections: Vec<Option<[usize; 2]>> =
            self.detections.iter().map(|d| Some([background, d.1 as usize])).collect();
        for (_, _, _, o, d) in near {
            if objects[o][1] == background && detections[d].is_some() {
                objects[o][1] = self.detections[d].1 as usize;
                detections[d] = None;
            }
        }
        objects.into_iter().chain(detections.into_iter().flatten()).collect()
    }
}
