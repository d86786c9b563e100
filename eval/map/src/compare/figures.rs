//! The figures of a result when pictures count several times or not at all.
use super::lane::Steps;
use super::ranking::{Part, Parts, Ranking};
use crate::evaluator::Evaluator;
use crate::figures::{Dets, Figure};
use crate::matching::Rules;
use crate::mean::mean_of_defined;
use crate::{Params, Result};

/// Figures of a category: those of [`crate::CategoryMetrics`].
const OF_CATEGORY: [Figure; 3] = [
    Figure { name: "AP", precision: true, iou: None, area: "all", dets: Dets::Nth(2), frequency: None },
    Figure {
        name: "AP50",
        precision: true,
        iou: Some(0.5),
        area: "all",
        dets: Dets::Nth(2),
        frequency: None,
    },
    Figure { name: "AR100", precision: false, iou: None, area: "all", dets: Dets::Nth(2), frequency: None },
];

/// Computes figures; −1 is undefined.
pub(super) struct Figures<'a> {
    ranking: Ranking,
    params: &'a Params,
    rules: &'a Rules,
    parts: Parts,
    whole: Vec<Wanted>,
    of_category: Vec<Wanted>,
}

/// A figure, and where its values are.
struct Wanted {
    name: &'static str,
    precision: bool,
    /// Positions of the thresholds.
    thresholds: Vec<usize>,
    /// Positions of the categories.
    categories: Vec<usize>,
    /// Position among the parts; none without its area range.
    part: Option<usize>,
}

/// Precision `[T, K, R]` (threshold, category, recall) of each part for precision, and recall `[T, K]` of each for recall.
struct Planes {
    precision: Vec<Vec<f64>>,
    recall: Vec<Vec<f64>>,
}

impl<'a> Figures<'a> {
    pub(super) fn new(evaluator: &'a Evaluator) -> Result<Self> {
        let params = evaluator.params();
        let mut parts = Parts::default();
        let whole = params.figures().iter().map(|f| wanted(f, evaluator, &mut parts)).collect();
        let of_category = OF_CATEGORY.iter().map(|f| wanted(f, evaluator, &mut parts)).collect();
        let ranking = Ranking::new(evaluator, &parts)?;
        Ok(Figures { ranking, params, rules: evaluator.rules(), parts, whole, of_category })
    }

    pub(super) fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Names of the figures of a data set.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.whole.iter().map(|w| w.name).collect()
    }

    /// Names of the figures of a category.
    pub(super) fn category_names(&self) -> Vec<&'static str> {
        self.of_category.iter().map(|w| w.name).collect()
    }

    /// The figures of the data set, then those of each category. `counts` has the number of times of each picture.
    pub(super) fn of(&self, counts: &[u32]) -> Vec<f64> {
        let planes = self.planes(counts);
        let groups = self.ranking.groups.len();
        let mut all: Vec<f64> = self.whole.iter().map(|w| self.mean(w, &planes, &w.categories)).collect();
        for k in 0..groups {
            all.extend(self.of_category.iter().map(|w| self.mean(w, &planes, &[k])));
        }
        all
    }

    fn planes(&self, counts: &[u32]) -> Planes {
        let (groups, recalls) = (self.ranking.groups.len(), self.params.rec_thrs.len());
        let cells = self.rules.thresholds() * groups;
        let mut planes = Planes {
            precision: vec![vec![-1.0; cells * recalls]; self.parts.precision.len()],
            recall: vec![vec![-1.0; cells]; self.parts.recall.len()],
        };
        for (k, ranked) in self.ranking.groups.iter().enumerate() {
            let objects = ranked.objects(self.rules.ranges(), counts);
            let steps = objects.iter().map(|&n| (n > 0).then(|| Steps::new(&self.params.rec_thrs, n)));
            let steps: Vec<Option<Steps>> = steps.collect();
            let lanes = self.parts.precision.iter().zip(&ranked.lanes).zip(&mut planes.precision);
            for ((part, lane), plane) in lanes {
                let Some(steps) = &steps[part.range] else { continue };
                for (t, curve) in lane.curves(steps, counts).enumerate() {
                    curve.read(&mut plane[(t * groups + k) * recalls..][..recalls]);
                }
            }
            let hits = self.parts.recall.iter().zip(&ranked.hits).zip(&mut planes.recall);
            for ((part, hits), plane) in hits.filter(|((part, _), _)| objects[part.range] > 0) {
                let objects = objects[part.range] as f64;
                let of_thresholds = hits.of(counts).into_iter().enumerate();
                of_thresholds.for_each(|(t, n)| plane[t * groups + k] = n as f64 / objects);
            }
        }
        planes
    }

    /// The mean of what is defined, or −1: summed in the order of [`crate::evaluate`], for the same bits.
    fn mean(&self, wanted: &Wanted, planes: &Planes, categories: &[usize]) -> f64 {
        let Some(part) = wanted.part else { return -1.0 };
        let (plane, width) = match wanted.precision {
            true => (&planes.precision[part], self.params.rec_thrs.len()),
            false => (&planes.recall[part], 1),
        };
        let groups = self.ranking.groups.len();
        let mut values = Vec::with_capacity(wanted.thresholds.len() * width * categories.len());
        for &t in &wanted.thresholds {
            let of_threshold = &plane[t * groups * width..][..groups * width];
            for r in 0..width {
                values.extend(categories.iter().map(|k| of_threshold[k * width + r]));
            }
        }
        mean_of_defined(values)
    }
}

/// Where a figure is to be found; adds its part to the parts when it is a new one.
fn wanted(figure: &Figure, evaluator: &Evaluator, parts: &mut Parts) -> Wanted {
    let params = evaluator.params();
    let max_dets = params.sorted_max_dets();
    // A figure at a number that is not among maxDets has no value anywhere else, but can be compared at the third.
    let dets = match figure.dets {
        Dets::Exactly(n) if !max_dets.contains(&n) => Dets::Nth(2),
        dets => dets,
    };
    let range = params.area_rng_lbl.iter().position(|label| label == figure.area);
    let list = if figure.precision { &mut parts.precision } else { &mut parts.recall };
    let part = range.map(|range| {
        let part = Part { range, max_dets: dets.of(&max_dets) };
        list.iter().position(|p| *p == part).unwrap_or_else(|| {
            list.push(part);
            list.len() - 1
        })
    });
    // Thresholds are found by equality.
    let is_meant = |t: f64| figure.iou.is_none_or(|iou| t == iou);
    let thresholds = (0..params.iou_thrs.len()).filter(|&t| is_meant(params.iou_thrs[t])).collect();
    let categories = evaluator.groups_of(figure.frequency);
    Wanted { name: figure.name, precision: figure.precision, thresholds, categories, part }
}
