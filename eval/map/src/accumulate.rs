//! From outcomes to precision and recall, per category, area range and maxDets.
use crate::Params;
use crate::cells::{Cells, Key, cells_of_category};
use crate::columns::Truth;
use crate::curve::{Curve, Tally};
use crate::detections::Detections;
use crate::funnel::Funnel;
use crate::matching::{BLOCK, Flags, Matcher, Outcomes, Rules};
use crate::metrics::Curves;
use crate::selection::Selection;
use rayon::prelude::*;

/// Cells that one task matches. Small enough that a data set of one class uses all threads.
const CELLS_PER_TASK: usize = 256;
/// Categories whose curves are held beside the result: 6 MB with COCO's parameters.
const GROUPS_AT_ONCE: usize = 32;

/// Precision, recall and scores of all categories; fills in what the funnel lacks.
pub(crate) fn curves<D: Detections>(
    truths: &Cells<Vec<Truth<D::Truth>>>,
    found: &Cells<D>,
    selection: &Selection,
    params: &Params,
    funnel: &mut Funnel,
) -> Curves {
    let (max_dets, rules) = (params.sorted_max_dets(), Rules::new(params));
    let categories = selection.groups();
    let mut curves = Curves::undefined(counts(categories, &rules, params));
    let mut dropped = 0;
    for first in (0..categories).step_by(GROUPS_AT_ONCE) {
        let groups: Vec<Group> = (first..categories.min(first + GROUPS_AT_ONCE))
            .into_par_iter()
            .with_max_len(1)
            .map(|category| {
                let outcomes = outcomes(truths, found, category as u32, &rules);
                Group::new(&outcomes, &rules, &params.rec_thrs, &max_dets)
            })
            .collect();
        write(&groups, first, &mut curves);
        dropped += groups.iter().map(|g| g.dropped).sum::<usize>();
    }
    count_images(&truths.keys, &found.keys, selection, funnel);
    funnel.detections.beyond_max_dets += dropped;
    funnel.detections.used = found.keys.len() - dropped;
    curves
}

/// Precision, recall and scores from the outcomes of each category, whose pictures must be in the order of their ids.
pub(crate) fn curves_of(outcomes: &[Outcomes], rules: &Rules, params: &Params) -> Curves {
    let max_dets = params.sorted_max_dets();
    let groups: Vec<Group> = outcomes
        .par_iter()
        .with_max_len(1)
        .map(|outcomes| Group::new(outcomes, rules, &params.rec_thrs, &max_dets))
        .collect();
    let mut curves = Curves::undefined(counts(groups.len(), rules, params));
    write(&groups, 0, &mut curves);
    curves
}

fn counts(categories: usize, rules: &Rules, params: &Params) -> [usize; 5] {
    [rules.thresholds(), params.rec_thrs.len(), categories, rules.ranges(), params.max_dets.len()]
}

fn outcomes<D: Detections>(
    truths: &Cells<Vec<Truth<D::Truth>>>,
    found: &Cells<D>,
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
    parts.into_iter().for_each(|mut part| all.append(&mut part));
    all
}

fn count_images(truths: &[Key], found: &[Key], selection: &Selection, funnel: &mut Funnel) {
    let (mut with_objects, mut with_found) =
        (vec![false; selection.images.len()], vec![false; selection.images.len()]);
    truths.iter().for_each(|k| with_objects[k.image as usize] = true);
    found.iter().for_each(|k| with_found[k.image as usize] = true);
    let without = |seen: &[bool]| seen.iter().filter(|s| !**s).count();
    funnel.images.in_ground_truth = selection.known_images.len();
    funnel.images.evaluated = selection.images.len();
    funnel.images.not_selected = selection.known_images.len() - selection.images.len();
    funnel.images.without_objects = without(&with_objects);
    funnel.images.without_detections = without(&with_found);
}

/// The curves of one category; −1 where there is no object to find.
struct Group {
    dropped: usize,
    /// `[threshold][recall][range][maxDets]`
    precision: Vec<f64>,
    /// As `precision`.
    scores: Vec<f64>,
    /// `[threshold][range][maxDets]`
    recall: Vec<f64>,
}

impl Group {
    fn new(outcomes: &Outcomes, rules: &Rules, rec_thrs: &[f64], max_dets: &[usize]) -> Self {
        let (ranges, columns) = (rules.ranges(), rules.ranges() * max_dets.len());
        let cells = rules.thresholds() * columns;
        let undefined = || vec![-1.0; cells * rec_thrs.len()];
        let (precision, scores) = (undefined(), undefined());
        let mut group = Group { dropped: outcomes.dropped, precision, scores, recall: vec![-1.0; cells] };
        let order = by_falling_score(&outcomes.scores);
        let scored = |at: u32| {
            let (score, rank) = (outcomes.scores[at as usize], outcomes.ranks[at as usize]);
            Scored { score, rank, at }
        };
        let by_score: Vec<Scored> = order.into_iter().map(scored).collect();
        let first_score = by_score.first().map(|d| d.score);
        for (range, &objects) in outcomes.objects.iter().enumerate().filter(|(_, n)| **n > 0) {
            for block in 0..rules.blocks() {
                let flags = &outcomes.flags[block * ranges + range];
                let tallies = tallies(flags, &by_score, (rules.block(block).len(), max_dets));
                for (m, tally) in tallies.into_iter().enumerate() {
                    let column = range * max_dets.len() + m;
                    let first_score = first_score.filter(|_| max_dets[m] > 0);
                    for (t, hits) in (block * BLOCK..).zip(tally.into_hits()) {
                        let curve = Curve::new(hits, objects as f64, first_score);
                        group.recall[t * columns + column] = curve.recall();
                        curve.read(rec_thrs, |r, precision, score| {
                            let at = (t * rec_thrs.len() + r) * columns + column;
                            group.precision[at] = precision;
                            group.scores[at] = score;
                        });
                    }
                }
            }
        }
        group
    }
}

/// Copies the curves of some categories, from the first on, into the arrays of all.
fn write(groups: &[Group], first: usize, to: &mut Curves) {
    let [thresholds, _, categories, ranges, max_dets] = to.counts;
    let columns = ranges * max_dets;
    let copy = |from: &(dyn Fn(&Group) -> &[f64] + Sync), to: &mut [f64]| {
        let rows = to.len() / thresholds.max(1) / (categories * columns).max(1);
        let of_threshold = to.par_chunks_mut((rows * categories * columns).max(1)).enumerate();
        of_threshold.for_each(|(t, to)| {
            for (k, group) in (first..).zip(groups) {
                let from = from(group)[t * rows * columns..].chunks_exact(columns);
                for (from, to) in from.zip(to.chunks_exact_mut(categories * columns)) {
                    to[k * columns..][..columns].copy_from_slice(from);
                }
            }
        });
    };
    copy(&|g| &g.precision, &mut to.precision);
    copy(&|g| &g.scores, &mut to.scores);
    copy(&|g| &g.recall, &mut to.recall);
}

/// Indices by falling score, ties by index. Scores are finite and no -0.0.
pub(crate) fn by_falling_score(scores: &[f64]) -> Vec<u32> {
    let key = |v: f64| {
        let bits = v.to_bits();
        // Ascending order of these keys is falling order of the numbers.
        if bits >> 63 == 1 { bits } else { !bits & !(1 << 63) }
    };
    let mut keyed: Vec<(u64, u32)> = scores.iter().zip(0..).map(|(&v, i)| (key(v), i)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

/// What so many thresholds of a block count, for each maxDets.
fn tallies(flags: &[Flags], by_score: &[Scored], (thresholds, max_dets): (usize, &[usize])) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = max_dets.iter().map(|_| Tally::new(thresholds)).collect();
    // Looked up side by side first: one after the other, each would be waited for.
    let flags: Vec<Flags> = by_score.iter().map(|d| flags[d.at as usize]).collect();
    for (d, &flag) in by_score.iter().zip(&flags) {
        for (tally, &max) in tallies.iter_mut().zip(max_dets) {
            if (d.rank as usize) < max {
                tally.add(flag, d.score);
            }
        }
    }
    tallies
}

/// A detection in the order of scores.
struct Scored {
    score: f64,
    /// Its place in its picture, from 0.
    rank: u32,
    /// Its place among the outcomes.
    at: u32,
}
