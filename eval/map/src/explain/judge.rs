//! Which detection finds which object at one IoU threshold: COCO's greedy rule, with the pairs kept.
//!
//! Detections are taken by falling score, so what holds for all of them holds for those above any score: one judgement
//! serves every score threshold.
use super::scene::{Facts, Scene, counts};
use crate::cells::{Cell, cells_of_category};
use crate::shape::Shape;
use rayon::prelude::*;
use std::ops::Range;

/// As in `evaluate`: a threshold of 1 can be met.
const LARGEST_THRESHOLD: f64 = 1.0 - 1e-10;

/// What became of a detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It found the object at this position.
    Hit(u32),
    /// It counts neither way.
    Ignored,
    /// It found nothing.
    Wrong,
}

#[derive(Clone, Copy)]
pub(super) struct Judgement {
    /// Position of the detection.
    pub(super) found: u32,
    pub(super) score: f64,
    pub(super) verdict: Verdict,
}

/// One category in one picture.
pub(super) struct JudgedCell {
    pub(super) category: u32,
    pub(super) image: u32,
    /// Positions of its objects.
    pub(super) truths: Range<usize>,
    /// Objects to be found.
    pub(super) objects: u64,
    /// Its judgements, by falling score, ties in file order.
    pub(super) detections: Range<usize>,
}

/// All cells, by category, then picture.
#[derive(Default)]
pub(super) struct Judged {
    pub(super) cells: Vec<JudgedCell>,
    pub(super) detections: Vec<Judgement>,
}

impl Judged {
    pub(super) fn new<S: Shape>(scene: &Scene<S>, facts: &Facts, iou: f64) -> Self {
        let parts: Vec<Judged> = (0..facts.categories.len() as u32)
            .into_par_iter()
            .with_max_len(1)
            .map(|category| {
                let mut judge = Judge::new(scene, facts, iou);
                let cells = cells_of_category(&scene.truths.keys, &scene.found.keys, category);
                cells.iter().for_each(|cell| judge.cell(cell, category));
                judge.out
            })
            .collect();
        let mut all = Judged::default();
        for part in parts {
            let first = all.detections.len();
            all.cells.extend(part.cells.into_iter().map(|mut c| {
                c.detections = c.detections.start + first..c.detections.end + first;
                c
            }));
            all.detections.extend(part.detections);
        }
        all
    }

    /// The judgements of a cell.
    pub(super) fn of(&self, cell: &JudgedCell) -> &[Judgement] {
        &self.detections[cell.detections.clone()]
    }
}

struct Judge<'a, S> {
    scene: &'a Scene<S>,
    facts: &'a Facts,
    threshold: f64,
    /// Objects of the cell that are found already.
    taken: Vec<bool>,
    /// Detections of the cell by falling score.
    order: Vec<usize>,
    out: Judged,
}

impl<'a, S: Shape> Judge<'a, S> {
    fn new(scene: &'a Scene<S>, facts: &'a Facts, iou: f64) -> Self {
        let threshold = iou.min(LARGEST_THRESHOLD);
        Judge { scene, facts, threshold, taken: Vec::new(), order: Vec::new(), out: Judged::default() }
    }

    fn cell(&mut self, cell: &Cell, category: u32) {
        let (truths, found) = (&self.scene.truths, &self.scene.found);
        let image = match cell.truths.is_empty() {
            false => truths.keys[cell.truths.start].image,
            true => found.keys[cell.found.start].image,
        };
        self.order.clear();
        self.order.extend(cell.found.clone());
        self.order.sort_by(|&a, &b| found.items[b].score.total_cmp(&found.items[a].score));
        self.order.truncate(self.facts.max_dets);
        self.taken.clear();
        self.taken.resize(cell.truths.len(), false);
        let first = self.out.detections.len();
        for at in 0..self.order.len() {
            let d = self.order[at];
            let verdict = self.verdict(d, &cell.truths);
            self.out.detections.push(Judgement { found: d as u32, score: found.items[d].score, verdict });
        }
        let countable = |t: &&_| counts(*t, self.facts.range);
        let objects = truths.items[cell.truths.clone()].iter().filter(countable).count() as u64;
        let detections = first..self.out.detections.len();
        self.out.cells.push(JudgedCell { category, image, truths: cell.truths.clone(), objects, detections });
    }

    fn verdict(&mut self, d: usize, truths: &Range<usize>) -> Verdict {
        let Some(best) = self.best(d, truths) else {
            let [low, high] = self.facts.range;
            let area = self.scene.found.items[d].area;
            // What found nothing is only held against it inside the area range.
            return if area < low || area > high { Verdict::Ignored } else { Verdict::Wrong };
        };
        self.taken[best - truths.start] = true;
        let truth = &self.scene.truths.items[best];
        match counts(truth, self.facts.range) {
            false => Verdict::Ignored,
            true if truth.uncounted => Verdict::Wrong,
            true => Verdict::Hit(best as u32),
        }
    }

    /// The object with the largest IoU, the later one of equals; one that counts before any that does not.
    fn best(&self, d: usize, truths: &Range<usize>) -> Option<usize> {
        let shape = &self.scene.found.items[d].shape;
        let among = |countable: bool| {
            let (mut best, mut iou) = (None, self.threshold);
            for at in truths.clone() {
                let truth = &self.scene.truths.items[at];
                let taken = self.taken[at - truths.start] && !truth.crowd;
                if taken || counts(truth, self.facts.range) != countable {
                    continue;
                }
                let here = shape.iou(&truth.shape, truth.crowd);
                // Not `>=`: an IoU that is NaN passes every comparison of pycocotools.
                if here < iou {
                    continue;
                }
                (best, iou) = (Some(at), here);
            }
            best
        };
        among(true).or_else(|| among(false))
    }
}
