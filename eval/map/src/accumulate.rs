//! From outcomes to precision and recall, per category, area range and maxDets.
use crate::Params;
use crate::cells::{Cells, cells_of_category};
use crate::columns::{Found, Truth};
use crate::funnel::Funnel;
use crate::matching::{BLOCK, Matcher, Outcomes, Rules};
use crate::metrics::Curves;
use crate::selection::Selection;
use crate::shape::Shape;
use rayon::prelude::*;

/// Cells that one task matches. Small enough that a data set of one class uses all threads.
const CELLS_PER_TASK: usize = 256;

/// Precision, recall and scores of all categories; fills in what the funnel lacks.
pub(crate) fn curves<S: Shape>(
    truths: &Cells<Truth<S>>,
    found: &Cells<Found<S>>,
    selection: &Selection,
    params: &Params,
    funnel: &mut Funnel,
) -> Curves {
    let max_dets = params.sorted_max_dets();
    let rules = Rules::new(&params.iou_thrs, &params.area_rng, max_dets.last().copied().unwrap_or(0));
    let groups: Vec<Group> = (0..selection.groups() as u32)
        .into_par_iter()
        .with_max_len(1)
        .map(|category| {
            let outcomes = outcomes(truths, found, category, &rules);
            Group::new(&outcomes, &rules, &params.rec_thrs, &max_dets)
        })
        .collect();
    count_images(truths, found, selection, funnel);
    funnel.detections.beyond_max_dets = groups.iter().map(|g| g.dropped).sum();
    funnel.detections.used = found.keys.len() - funnel.detections.beyond_max_dets;
    let counts = [params.iou_thrs.len(), params.rec_thrs.len(), groups.len(), rules.ranges(), max_dets.len()];
    let mut curves = Curves::undefined(counts);
    for (k, group) in groups.iter().enumerate() {
        group.write(k, &mut curves);
    }
    curves
}

fn outcomes<S: Shape>(
    truths: &Cells<Truth<S>>,
    found: &Cells<Found<S>>,
    category: u32,
    rules: &Rules,
) -> Outcomes {
    let cells = cells_of_category(&truths.keys, &found.keys, category);
    let parts: Vec<Outcomes> = cells
        .par_chunks(CELLS_PER_TASK)
        .map(|cells| {
            let mut matcher = Matcher::new(rules, &truths.items, &found.items);
            cells.iter().for_each(|cell| matcher.cell(cell));
            matcher.finish()
        })
        .collect();
    let mut all = Outcomes::new(rules);
    parts.into_iter().for_each(|part| all.append(part));
    all
}

fn count_images<S>(
    truths: &Cells<Truth<S>>,
    found: &Cells<Found<S>>,
    selection: &Selection,
    funnel: &mut Funnel,
) {
    let (mut with_objects, mut with_found) =
        (vec![false; selection.images.len()], vec![false; selection.images.len()]);
    truths.keys.iter().for_each(|k| with_objects[k.image as usize] = true);
    found.keys.iter().for_each(|k| with_found[k.image as usize] = true);
    let without = |seen: &[bool]| seen.iter().filter(|s| !**s).count();
    funnel.images.in_ground_truth = selection.known_images.len();
    funnel.images.evaluated = selection.images.len();
    funnel.images.not_selected = selection.known_images.len() - selection.images.len();
    funnel.images.without_objects = without(&with_objects);
    funnel.images.without_detections = without(&with_found);
}

/// The curves of one category: `[threshold][recall][range][maxDets]`, or nothing for a range without objects.
struct Group {
    dropped: usize,
    /// One per area range and maxDets, in this order.
    curves: Vec<Option<Curve>>,
}

/// `[threshold][recall]`, and recall per threshold.
struct Curve {
    precision: Vec<f64>,
    scores: Vec<f64>,
    recall: Vec<f64>,
}

impl Group {
    fn new(outcomes: &Outcomes, rules: &Rules, rec_thrs: &[f64], max_dets: &[usize]) -> Self {
        let order = by_falling_score(&outcomes.scores);
        let mut curves = Vec::with_capacity(rules.ranges() * max_dets.len());
        for range in 0..rules.ranges() {
            for &max_dets in max_dets {
                curves.push((outcomes.objects[range] > 0).then(|| {
                    let mut curve = Curve { precision: Vec::new(), scores: Vec::new(), recall: Vec::new() };
                    for block in 0..rules.blocks() {
                        let hits = Hits::collect(
                            outcomes,
                            &order,
                            (block * rules.ranges() + range, max_dets),
                            rules.block(block).len(),
                        );
                        hits.read(outcomes.objects[range] as f64, rec_thrs, &mut curve);
                    }
                    curve
                }));
            }
        }
        Group { dropped: outcomes.dropped, curves }
    }

    fn write(&self, k: usize, to: &mut Curves) {
        let [thresholds, recalls, _, _, max_dets] = to.counts;
        for (i, curve) in self.curves.iter().enumerate() {
            let Some(curve) = curve else { continue };
            let (a, m) = (i / max_dets, i % max_dets);
            for t in 0..thresholds {
                let at = to.recall_index(t, k, a, m);
                to.recall[at] = curve.recall[t];
                for r in 0..recalls {
                    let at = to.precision_index([t, r, k, a, m]);
                    to.precision[at] = curve.precision[t * recalls + r];
                    to.scores[at] = curve.scores[t * recalls + r];
                }
            }
        }
    }
}

/// Indices by falling score, ties by index. Scores are finite and no -0.0.
fn by_falling_score(scores: &[f64]) -> Vec<u32> {
    let key = |v: f64| {
        let bits = v.to_bits();
        // Ascending order of these keys is falling order of the numbers.
        if bits >> 63 == 1 { bits } else { !bits & !(1 << 63) }
    };
    let mut keyed: Vec<(u64, u32)> = scores.iter().zip(0..).map(|(&v, i)| (key(v), i)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

/// Where a curve rises: at each detection that found an object.
struct Hits {
    /// Per threshold: (precision there, score there).
    points: Vec<Vec<(f64, f64)>>,
    /// Score of the first detection; none without detections.
    first_score: Option<f64>,
}

impl Hits {
    fn collect(
        outcomes: &Outcomes,
        order: &[u32],
        (column, max_dets): (usize, usize),
        thresholds: usize,
    ) -> Self {
        let flags = &outcomes.flags[column];
        let all = u32::MAX >> (BLOCK - thresholds);
        let mut points = vec![Vec::new(); thresholds];
        let mut first_score = None;
        // False positives at every threshold, and those at single ones beside.
        let (mut everywhere, mut single) = (0u64, vec![0u64; thresholds]);
        for &d in order {
            let d = d as usize;
            if outcomes.ranks[d] as usize >= max_dets {
                continue;
            }
            first_score = first_score.or(Some(outcomes.scores[d]));
            let flag = flags[d];
            if flag.matched == 0 && flag.ignored == 0 {
                everywhere += 1;
                continue;
            }
            let mut counted = all & !flag.ignored;
            while counted != 0 {
                let t = counted.trailing_zeros() as usize;
                counted &= counted - 1;
                if flag.matched >> t & 1 == 0 {
                    single[t] += 1;
                    continue;
                }
                let (found, wrong) = ((points[t].len() + 1) as f64, (everywhere + single[t]) as f64);
                points[t].push((found / (wrong + found + f64::EPSILON), outcomes.scores[d]));
            }
        }
        Hits { points, first_score }
    }

    /// Precision made non-increasing, read at each recall; 0 beyond the last hit.
    fn read(mut self, objects: f64, rec_thrs: &[f64], curve: &mut Curve) {
        for points in &mut self.points {
            for i in (1..points.len()).rev() {
                points[i - 1].0 = points[i - 1].0.max(points[i].0);
            }
            curve.recall.push(points.len() as f64 / objects);
            let from = curve.precision.len();
            curve.precision.resize(from + rec_thrs.len(), 0.0);
            curve.scores.resize(from + rec_thrs.len(), 0.0);
            let Some(first_score) = self.first_score else { continue };
            let (mut i, mut before) = (0, f64::NEG_INFINITY);
            for (r, &recall) in rec_thrs.iter().enumerate() {
                if recall <= 0.0 {
                    // Read at the first detection, whether it found something or not.
                    curve.precision[from + r] = points.first().map_or(0.0, |p| p.0);
                    curve.scores[from + r] = first_score;
                    continue;
                }
                if recall < before {
                    i = 0;
                }
                before = recall;
                while i < points.len() && ((i + 1) as f64 / objects) < recall {
                    i += 1;
                }
                // pycocotools stops reading here, also when lower recalls follow.
                let Some(&(precision, score)) = points.get(i) else { break };
                curve.precision[from + r] = precision;
                curve.scores[from + r] = score;
            }
        }
    }
}
