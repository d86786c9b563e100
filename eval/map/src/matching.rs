//! Which detections find which objects, per picture and category, for all thresholds and area ranges.
use crate::Params;
use crate::cells::Cell;
use crate::columns::Truth;
use crate::detections::{Detections, Facts};

/// Thresholds that are handled together, one bit each.
pub(crate) const BLOCK: usize = 32;
/// IoU thresholds are capped here, as in pycocotools, so that a threshold of 1 can be met.
const LARGEST_THRESHOLD: f64 = 1.0 - 1e-10;

/// Thresholds and ranges of an evaluation.
#[derive(Clone)]
pub(crate) struct Rules {
    thresholds: Vec<f64>,
    lowest: f64,
    ranges: Vec<[f64; 2]>,
    max_dets: usize,
}

impl Rules {
    pub(crate) fn new(params: &Params) -> Self {
        let thresholds: Vec<f64> = params.iou_thrs.iter().map(|t| t.min(LARGEST_THRESHOLD)).collect();
        let lowest = thresholds.iter().copied().fold(f64::INFINITY, f64::min);
        let max_dets = params.max_dets.iter().copied().max().unwrap_or(0);
        Rules { thresholds, lowest, ranges: params.area_rng.clone(), max_dets }
    }

    /// Most detections of a cell that are kept.
    pub(crate) fn max_dets(&self) -> usize {
        self.max_dets
    }

    /// Number of thresholds.
    pub(crate) fn thresholds(&self) -> usize {
        self.thresholds.len()
    }

    /// Number of blocks of thresholds.
    pub(crate) fn blocks(&self) -> usize {
        self.thresholds.len().div_ceil(BLOCK)
    }

    /// The thresholds of a block.
    pub(crate) fn block(&self, block: usize) -> &[f64] {
        let from = block * BLOCK;
        &self.thresholds[from..self.thresholds.len().min(from + BLOCK)]
    }

    /// Number of area ranges.
    pub(crate) fn ranges(&self) -> usize {
        self.ranges.len()
    }
}

/// What became of one detection, one bit per threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// It found an object.
    pub(crate) matched: u32,
    /// It counts neither way.
    pub(crate) ignored: u32,
}

/// The detections of one category, by picture and falling score, and what became of them.
#[derive(Default)]
pub(crate) struct Outcomes {
    pub(crate) scores: Vec<f64>,
    /// Place in its picture, from 0.
    pub(crate) ranks: Vec<u32>,
    /// `flags[block * ranges + range][detection]`.
    pub(crate) flags: Vec<Vec<Flags>>,
    /// Objects to find, per area range.
    pub(crate) objects: Vec<u64>,
    /// Detections beyond the largest maxDets.
    pub(crate) dropped: usize,
}

impl Outcomes {
    pub(crate) fn new(rules: &Rules) -> Self {
        let flags = vec![Vec::new(); rules.blocks() * rules.ranges()];
        Outcomes { flags, objects: vec![0; rules.ranges()], ..Default::default() }
    }

    /// Moves those of later pictures behind these.
    pub(crate) fn append(&mut self, later: &mut Outcomes) {
        self.scores.append(&mut later.scores);
        self.ranks.append(&mut later.ranks);
        self.flags.iter_mut().zip(&mut later.flags).for_each(|(a, b)| a.append(b));
        self.objects.iter_mut().zip(&mut later.objects).for_each(|(a, b)| *a += std::mem::take(b));
        self.dropped += std::mem::take(&mut later.dropped);
    }

    /// Empties it, and keeps its memory.
    pub(crate) fn clear(&mut self) {
        self.scores.clear();
        self.ranks.clear();
        self.flags.iter_mut().for_each(Vec::clear);
        self.objects.fill(0);
        self.dropped = 0;
    }
}

/// Matches cells one after the other; its buffers are reused.
pub(crate) struct Matcher<'a, D: Detections> {
    rules: &'a Rules,
    truths: &'a [Truth<D::Truth>],
    found: &'a D,
    /// Detections of the cell by falling score.
    order: Vec<usize>,
    facts: Vec<Facts>,
    /// IoU of each of those with each object.
    ious: Vec<f64>,
    space: D::Space,
    near: Near,
    /// Whether each object is inside the area range, and to be found.
    countable: Vec<bool>,
    /// Thresholds at which each object is taken.
    taken: Vec<u32>,
    out: Outcomes,
}

impl<'a, D: Detections> Matcher<'a, D> {
    pub(crate) fn new(rules: &'a Rules, truths: &'a [Truth<D::Truth>], found: &'a D) -> Self {
        Matcher {
            rules,
            truths,
            found,
            order: Vec::new(),
            facts: Vec::new(),
            ious: Vec::new(),
            space: D::Space::default(),
            near: Near::default(),
            countable: Vec::new(),
            taken: Vec::new(),
            out: Outcomes::new(rules),
        }
    }

    pub(crate) fn finish(self) -> Outcomes {
        self.out
    }

    /// Matches one cell and shows the outcome of this cell only; what was matched before is forgotten.
    pub(crate) fn outcomes_of(&mut self, cell: &Cell) -> &Outcomes {
        self.out.clear();
        self.cell(cell);
        &self.out
    }

    pub(crate) fn cell(&mut self, cell: &Cell) {
        let truths = &self.truths[cell.truths.clone()];
        self.take_best(cell);
        self.ious.clear();
        if !truths.is_empty() && !self.order.is_empty() {
            self.found.ious(&self.order, truths, &mut self.space, &mut self.ious);
        }
        self.near.set(&self.ious, self.order.len(), self.rules.lowest);
        for range in 0..self.rules.ranges() {
            let [low, high] = self.rules.ranges[range];
            let counts = |t: &Truth<D::Truth>| !(t.ignored || t.area < low || t.area > high);
            self.countable.clear();
            self.countable.extend(truths.iter().map(counts));
            self.out.objects[range] += self.countable.iter().filter(|c| **c).count() as u64;
            for block in 0..self.rules.blocks() {
                self.assign(truths, range, block);
            }
        }
    }

    /// Sorts the detections by falling score, ties in file order, and keeps maxDets of them.
    fn take_best(&mut self, cell: &Cell) {
        let (first, order, facts) = (cell.found.start, &mut self.order, &mut self.facts);
        facts.clear();
        facts.extend(cell.found.clone().map(|d| self.found.facts(d)));
        order.clear();
        order.extend(cell.found.clone());
        if !facts.is_sorted_by(|a, b| a.score.total_cmp(&b.score).is_ge()) {
            order.sort_by(|&a, &b| facts[b - first].score.total_cmp(&facts[a - first].score));
            facts.sort_by(|a, b| b.score.total_cmp(&a.score));
        }
        self.out.dropped += order.len().saturating_sub(self.rules.max_dets);
        order.truncate(self.rules.max_dets);
        facts.truncate(self.rules.max_dets);
        self.out.scores.extend(facts.iter().map(|f| f.score));
        self.out.ranks.extend(0..facts.len() as u32);
    }

    /// Greedy: each detection takes the best object that is left, for each threshold on its own.
    fn assign(&mut self, truths: &[Truth<D::Truth>], range: usize, block: usize) {
        let thresholds = self.rules.block(block);
        let all = u32::MAX >> (BLOCK - thresholds.len());
        let [low, high] = self.rules.ranges[range];
        let flags = &mut self.out.flags[block * self.rules.ranges() + range];
        let (taken, countable) = (&mut self.taken, &self.countable);
        taken.clear();
        taken.resize(truths.len(), 0);
        for (rank, &Facts { area, forgiven, .. }) in self.facts.iter().enumerate() {
            let excused = if forgiven || area < low || area > high { all } else { 0 };
            let near = self.near.of(rank);
            let mut flag = Flags::default();
            for (t, &threshold) in thresholds.iter().enumerate().take_while(|_| !near.is_empty()) {
                let bit = 1 << t;
                let free = |g: usize| taken[g] & bit == 0 || truths[g].crowd;
                let Some(best) = best(near, threshold, |g| countable[g] && free(g))
                    .or_else(|| best(near, threshold, |g| !countable[g] && free(g)))
                else {
                    continue;
                };
                taken[best] |= bit;
                flag.ignored |= if countable[best] { 0 } else { bit };
                flag.matched |= if truths[best].uncounted { 0 } else { bit };
            }
            // What found nothing is only held against it inside the area range, and where it could have been found.
            flag.ignored |= excused & !flag.matched;
            flags.push(flag);
        }
    }
}

/// The objects of a cell that each detection could find at some threshold, in file order.
#[derive(Default)]
struct Near {
    candidates: Vec<Candidate>,
    /// Where those of each detection end.
    ends: Vec<usize>,
}

#[derive(Clone, Copy)]
struct Candidate {
    truth: usize,
    iou: f64,
}

impl Near {
    /// From the IoU of so many detections with each object.
    fn set(&mut self, ious: &[f64], detections: usize, lowest: f64) {
        self.candidates.clear();
        self.ends.clear();
        let truths = ious.len().checked_div(detections).unwrap_or(0);
        for d in 0..detections {
            for (truth, &iou) in ious[d * truths..][..truths].iter().enumerate() {
                // An IoU that is NaN (boxes of infinite area) passes every comparison of pycocotools.
                if iou >= lowest || iou.is_nan() {
                    self.candidates.push(Candidate { truth, iou });
                }
            }
            self.ends.push(self.candidates.len());
        }
    }

    fn of(&self, detection: usize) -> &[Candidate] {
        let from = if detection == 0 { 0 } else { self.ends[detection - 1] };
        &self.candidates[from..self.ends[detection]]
    }
}

/// The best object at this threshold; the later one of equals.
#[inline(always)]
fn best(near: &[Candidate], threshold: f64, may: impl Fn(usize) -> bool) -> Option<usize> {
    let (mut best, mut iou) = (None, threshold);
    for candidate in near {
        // Not `>=`: an IoU that is NaN passes every comparison.
        if candidate.iou < iou || !may(candidate.truth) {
            continue;
        }
        (best, iou) = (Some(candidate.truth), candidate.iou);
    }
    best
}
