//! Which detections find which objects, per picture and category, for all thresholds and area ranges.
use crate::Params;
use crate::cells::Cell;
use crate::columns::{Found, Truth};
use crate::shape::Shape;

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
pub(crate) struct Matcher<'a, S> {
    rules: &'a Rules,
    truths: &'a [Truth<S>],
    found: &'a [Found<S>],
    /// Detections of the cell by falling score.
    order: Vec<usize>,
    /// IoU of each of those with each object.
    ious: Vec<f64>,
    /// Objects by area range.
    targets: Targets,
    /// Thresholds at which each object is taken.
    taken: Vec<u32>,
    /// Objects that a detection could find.
    near: Vec<Candidate>,
    out: Outcomes,
}

impl<'a, S: Shape> Matcher<'a, S> {
    pub(crate) fn new(rules: &'a Rules, truths: &'a [Truth<S>], found: &'a [Found<S>]) -> Self {
        Matcher {
            rules,
            truths,
            found,
            order: Vec::new(),
            ious: Vec::new(),
            targets: Targets::default(),
            taken: Vec::new(),
            near: Vec::new(),
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
        for &d in &self.order {
            let shape = &self.found[d].shape;
            self.ious.extend(truths.iter().map(|t| shape.iou(&t.shape, t.crowd)));
        }
        for range in 0..self.rules.ranges() {
            self.targets.set(truths, self.rules.ranges[range]);
            self.out.objects[range] += self.targets.countable as u64;
            for block in 0..self.rules.blocks() {
                self.assign(truths, range, block);
            }
        }
    }

    /// Sorts the detections by falling score, ties in file order, and keeps maxDets of them.
    fn take_best(&mut self, cell: &Cell) {
        self.order.clear();
        self.order.extend(cell.found.clone());
        self.order.sort_by(|&a, &b| self.found[b].score.total_cmp(&self.found[a].score));
        self.out.dropped += self.order.len().saturating_sub(self.rules.max_dets);
        self.order.truncate(self.rules.max_dets);
        self.out.scores.extend(self.order.iter().map(|&d| self.found[d].score));
        self.out.ranks.extend(0..self.order.len() as u32);
    }

    /// Greedy: each detection takes the best object that is left, for each threshold on its own.
    fn assign(&mut self, truths: &[Truth<S>], range: usize, block: usize) {
        let thresholds = self.rules.block(block);
        let all = u32::MAX >> (BLOCK - thresholds.len());
        let [low, high] = self.rules.ranges[range];
        let flags = &mut self.out.flags[block * self.rules.ranges() + range];
        let (taken, near) = (&mut self.taken, &mut self.near);
        taken.clear();
        taken.resize(truths.len(), 0);
        for (rank, &d) in self.order.iter().enumerate() {
            let &Found { area, forgiven, .. } = &self.found[d];
            let excused = if forgiven || area < low || area > high { all } else { 0 };
            let ious = &self.ious[rank * truths.len()..][..truths.len()];
            self.targets.near(ious, self.rules.lowest, near);
            let mut flag = Flags::default();
            for (t, &threshold) in thresholds.iter().enumerate().take_while(|_| !near.is_empty()) {
                let bit = 1 << t;
                let Some(best) = best(near, threshold, |g| taken[g] & bit != 0 && !truths[g].crowd) else {
                    continue;
                };
                taken[best.truth] |= bit;
                flag.ignored |= if best.countable { 0 } else { bit };
                flag.matched |= if truths[best.truth].uncounted { 0 } else { bit };
            }
            // What found nothing is only held against it inside the area range, and where it could have been found.
            flag.ignored |= excused & !flag.matched;
            flags.push(flag);
        }
    }
}

/// The objects of a cell: those inside the area range first, then crowds and the others; file order within each.
#[derive(Default)]
struct Targets {
    order: Vec<usize>,
    countable: usize,
}

#[derive(Clone, Copy)]
struct Candidate {
    truth: usize,
    iou: f64,
    countable: bool,
}

impl Targets {
    fn set<S>(&mut self, truths: &[Truth<S>], [low, high]: [f64; 2]) {
        let counts = |&g: &usize| !(truths[g].ignored || truths[g].area < low || truths[g].area > high);
        self.order.clear();
        self.order.extend((0..truths.len()).filter(counts));
        self.countable = self.order.len();
        self.order.extend((0..truths.len()).filter(|g| !counts(g)));
    }

    /// The objects that any threshold could accept.
    fn near(&self, ious: &[f64], lowest: f64, near: &mut Vec<Candidate>) {
        near.clear();
        if ious.iter().all(|&iou| iou < lowest) {
            return;
        }
        let candidate = |(at, &truth): (usize, &usize)| Candidate {
            truth,
            iou: ious[truth],
            countable: at < self.countable,
        };
        // Not `>=`: an IoU that is NaN (boxes of infinite area) passes every comparison of pycocotools.
        near.extend(
            self.order.iter().enumerate().map(candidate).filter(|c| c.iou >= lowest || c.iou.is_nan()),
        );
    }
}

/// The best object at this threshold; the later one of equals; one that counts before any that does not.
fn best(near: &[Candidate], threshold: f64, is_taken: impl Fn(usize) -> bool) -> Option<Candidate> {
    let (mut best, mut iou) = (None::<Candidate>, threshold);
    for candidate in near {
        if best.is_some_and(|b| b.countable) && !candidate.countable {
            break;
        }
        if candidate.iou < iou || is_taken(candidate.truth) {
            continue;
        }
        iou = candidate.iou;
        best = Some(*candidate);
    }
    best
}
