//! The figures of a result when pictures count several times or not at all.
use super::lane::Steps;
use super::ranking::Ranking;
use crate::evaluator::Evaluator;
use crate::matching::Rules;
use crate::{Params, Result};

/// Names of the figures of a data set: those of [`crate::figures`] that read all detections up to maxDets.
pub(super) const NAMES: [&str; 10] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR100", "ARs", "ARm", "ARl"];
/// Names of the figures of a category.
pub(super) const CATEGORY_NAMES: [&str; 3] = ["AP", "AP50", "AR100"];
const RANGES: [&str; 4] = ["all", "small", "medium", "large"];

/// Computes figures; −1 is undefined.
pub(super) struct Figures<'a> {
    ranking: Ranking,
    params: &'a Params,
    rules: &'a Rules,
    /// The area range of each of [`RANGES`], where there is one.
    ranges: [Option<usize>; 4],
}

/// Precision and recall in one area range.
struct Plane {
    /// `[T, K, R]`: threshold, category, recall.
    precision: Vec<f64>,
    /// `[T, K]`.
    recall: Vec<f64>,
}

impl<'a> Figures<'a> {
    pub(super) fn new(evaluator: &'a Evaluator) -> Result<Self> {
        let params = evaluator.params();
        let max_dets = params.sorted_max_dets();
        let third = max_dets.get(2).or(max_dets.last()).copied().unwrap_or(0);
        let ranges = RANGES.map(|name| params.area_rng_lbl.iter().position(|label| label == name));
        Ok(Figures { ranking: Ranking::new(evaluator, third)?, params, rules: evaluator.rules(), ranges })
    }

    pub(super) fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// [`NAMES`], then [`CATEGORY_NAMES`] of each category. `counts` has the number of times of each picture.
    pub(super) fn of(&self, counts: &[u32]) -> Vec<f64> {
        let planes = self.ranges.map(|range| range.map(|range| self.plane(range, counts)));
        let [all, small, medium, large] = &planes;
        let precision = |plane: &Option<Plane>, iou| plane.as_ref().map_or(-1.0, |p| self.precision(p, iou));
        let recall = |plane: &Option<Plane>| plane.as_ref().map_or(-1.0, |p| mean(p.recall.iter()));
        let mut figures = vec![
            precision(all, None),
            precision(all, Some(0.5)),
            precision(all, Some(0.75)),
            precision(small, None),
            precision(medium, None),
            precision(large, None),
            recall(all),
            recall(small),
            recall(medium),
            recall(large),
        ];
        for category in 0..self.ranking.groups.len() {
            figures.extend(match all {
                Some(plane) => self.category(plane, category),
                None => [-1.0; CATEGORY_NAMES.len()],
            });
        }
        figures
    }

    fn plane(&self, range: usize, counts: &[u32]) -> Plane {
        let (groups, recalls) = (self.ranking.groups.len(), self.params.rec_thrs.len());
        let cells = self.rules.thresholds() * groups;
        let mut plane = Plane { precision: vec![-1.0; cells * recalls], recall: vec![-1.0; cells] };
        for (k, ranked) in self.ranking.groups.iter().enumerate() {
            let objects = ranked.objects(range, counts);
            if objects == 0 {
                continue;
            }
            let steps = Steps::new(&self.params.rec_thrs, objects);
            for (t, curve) in ranked.lanes[range].curves(&steps, counts).enumerate() {
                let cell = t * groups + k;
                plane.recall[cell] = curve.recall();
                curve.read(&mut plane.precision[cell * recalls..][..recalls]);
            }
        }
        plane
    }

    /// Mean precision at one IoU threshold or all; thresholds are found by equality.
    fn precision(&self, plane: &Plane, iou: Option<f64>) -> f64 {
        let row = self.ranking.groups.len() * self.params.rec_thrs.len();
        mean(self.thresholds(iou).flat_map(|t| &plane.precision[t * row..][..row]))
    }

    fn category(&self, plane: &Plane, k: usize) -> [f64; CATEGORY_NAMES.len()] {
        let (groups, recalls) = (self.ranking.groups.len(), self.params.rec_thrs.len());
        let row = |t: usize| &plane.precision[(t * groups + k) * recalls..][..recalls];
        [
            mean(self.thresholds(None).flat_map(row)),
            mean(self.thresholds(Some(0.5)).flat_map(row)),
            mean(self.thresholds(None).map(|t| &plane.recall[t * groups + k])),
        ]
    }

    fn thresholds(&self, iou: Option<f64>) -> impl Iterator<Item = usize> {
        let thresholds = self.params.iou_thrs.iter().enumerate();
        thresholds.filter(move |(_, t)| iou.is_none_or(|iou| **t == iou)).map(|(at, _)| at)
    }
}

/// The mean of what is defined, or −1: summed in the order of [`crate::evaluate`], for the same bits.
fn mean<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0u64);
    values.filter(|value| **value > -1.0).for_each(|value| {
        sum += value;
        n += 1;
    });
    if n == 0 { -1.0 } else { sum / n as f64 }
}
