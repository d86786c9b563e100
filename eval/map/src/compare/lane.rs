//! One category in one area range: from the detections by falling score to precision over recall, for pictures that
//! count several times or not at all.
//!
//! The numbers are those of [`crate::curve`], to the bit, but the hits are not kept: precision is read at the recall
//! thresholds only, so the largest of each stretch between two of them is enough.
use crate::matching::{BLOCK, Flags, Rules};

/// In a place: the next detection has the same score in the same picture.
const TIED: u32 = 1 << 31;

/// The detections that count at any threshold, by falling score, ties by picture and then by rank.
pub(super) struct Lane {
    /// Pictures of those that found nothing at any threshold and are not tied: most, and only their number matters.
    plain: Vec<u32>,
    /// The others: the position of the picture, and [`TIED`].
    places: Vec<u32>,
    /// How many plain ones come before each of the others.
    plain_before: Vec<u32>,
    /// What became of the others, per block of thresholds.
    blocks: Vec<Vec<Flags>>,
    /// Thresholds of each block.
    widths: Vec<usize>,
}

impl Lane {
    /// `place` is picture and score of a detection.
    pub(super) fn new(
        order: &[u32],
        place: impl Fn(u32) -> (u32, f64),
        flags: &[&[Flags]],
        rules: &Rules,
    ) -> Self {
        let widths: Vec<usize> = (0..rules.blocks()).map(|block| rules.block(block).len()).collect();
        let all = |block: usize| u32::MAX >> (BLOCK - widths[block]);
        let counts = |d: &u32| (0..flags.len()).any(|b| all(b) & !flags[b][*d as usize].ignored != 0);
        let order: Vec<u32> = order.iter().copied().filter(counts).collect();
        let tied = |at: usize| order.get(at + 1).is_some_and(|&next| place(next) == place(order[at]));
        let (mut plain, mut places, mut plain_before) = (Vec::new(), Vec::new(), Vec::new());
        let mut blocks: Vec<Vec<Flags>> = vec![Vec::new(); flags.len()];
        let mut was_tied = false;
        for (at, &d) in order.iter().enumerate() {
            let (picture, tied) = (place(d).0, tied(at));
            let nothing = flags.iter().all(|flags| flags[d as usize] == Flags::default());
            if nothing && !tied && !was_tied {
                plain.push(picture);
            } else {
                places.push(picture | if tied { TIED } else { 0 });
                plain_before.push(plain.len() as u32);
                blocks.iter_mut().zip(flags).for_each(|(block, flags)| block.push(flags[d as usize]));
            }
            was_tied = tied;
        }
        Lane { plain, places, plain_before, blocks, widths }
    }

    /// The curve of each threshold, as if there were `counts[picture]` copies of each picture, next to each other by id.
    pub(super) fn curves<'a>(
        &'a self,
        steps: &'a Steps,
        counts: &'a [u32],
    ) -> impl Iterator<Item = Curve<'a>> {
        self.blocks.iter().zip(&self.widths).flat_map(move |(flags, &width)| {
            let mut tally = Tally::new(width, steps);
            self.count(flags, counts, &mut tally);
            tally.into_curves()
        })
    }

    fn count(&self, flags: &[Flags], counts: &[u32], tally: &mut Tally<'_>) {
        let (mut at, mut plain) = (0, 0);
        while at < flags.len() {
            let before = self.plain_before[at] as usize;
            let skipped =
                self.plain[plain..before].iter().map(|picture| u64::from(counts[*picture as usize]));
            tally.detections += skipped.sum::<u64>();
            plain = before;
            let count = counts[(self.places[at] & !TIED) as usize];
            if self.places[at] & TIED == 0 {
                // More than a third of the pictures are not drawn.
                if count > 0 {
                    tally.add(flags[at], count);
                }
                at += 1;
                continue;
            }
            let run = self.places[at..].iter().take_while(|place| **place & TIED != 0).count() + 1;
            // The detections of a copy come before those of the next one.
            for _ in 0..count {
                flags[at..at + run].iter().for_each(|flag| tally.add(*flag, 1));
            }
            at += run;
        }
    }
}

/// Where precision is read, for a number of objects.
pub(super) struct Steps {
    recalls: Vec<f64>,
    /// For each recall threshold, the first hit (from 0) that reaches it.
    first: Vec<u64>,
    /// Those, ascending, without repeats.
    starts: Vec<u64>,
    /// The stretch that begins at `first`.
    stretch: Vec<usize>,
}

impl Steps {
    pub(super) fn new(recalls: &[f64], objects: u64) -> Self {
        let total = objects as f64;
        let reaches = |hit: u64, recall: f64| (hit + 1) as f64 / total >= recall;
        // What no hit reaches is read behind the last possible hit.
        let last = |recall: f64| if reaches(objects - 1, recall) { objects - 1 } else { objects };
        let first = recalls.iter().map(|&recall| {
            // The product is off by rounding at most.
            let mut hit = (((recall * total).ceil() - 1.0).max(0.0) as u64).min(last(recall));
            while hit > 0 && reaches(hit - 1, recall) {
                hit -= 1;
            }
            while hit < objects && !reaches(hit, recall) {
                hit += 1;
            }
            hit
        });
        let first: Vec<u64> = first.collect();
        let mut starts = first.clone();
        starts.sort_unstable();
        starts.dedup();
        let stretch = first.iter().map(|hit| 1 + starts.partition_point(|start| start < hit)).collect();
        Steps { recalls: recalls.to_vec(), first, starts, stretch }
    }

    /// Where stretch `s` ends.
    fn end(&self, s: usize) -> u64 {
        self.starts.get(s).copied().unwrap_or(u64::MAX)
    }
}

/// Counts detections by falling score.
struct Tally<'a> {
    steps: &'a Steps,
    all: u32,
    /// All so far.
    detections: u64,
    thresholds: Vec<Count>,
    /// `[threshold][stretch]`: the largest precision before the first start, from each start to the next.
    largest: Vec<f64>,
}

/// What was counted at one threshold.
#[derive(Clone)]
struct Count {
    hits: u64,
    /// Detections that are hits or ignored: most are neither, so these are fewer to count.
    not_wrong: u64,
    /// The stretch of the next hit, and where that ends.
    stretch: usize,
    end: u64,
}

impl<'a> Tally<'a> {
    fn new(width: usize, steps: &'a Steps) -> Self {
        let count = Count { hits: 0, not_wrong: 0, stretch: 0, end: steps.end(0) };
        Tally {
            steps,
            all: u32::MAX >> (BLOCK - width),
            detections: 0,
            thresholds: vec![count; width],
            largest: vec![0.0; width * (steps.starts.len() + 1)],
        }
    }

    /// The next detection, this many times in a row.
    #[inline(always)]
    fn add(&mut self, flag: Flags, times: u32) {
        let mut hits = flag.matched & !flag.ignored & self.all;
        while hits != 0 {
            self.hit(hits.trailing_zeros() as usize, times);
            hits &= hits - 1;
        }
        let mut ignored = flag.ignored & self.all;
        while ignored != 0 {
            self.thresholds[ignored.trailing_zeros() as usize].not_wrong += u64::from(times);
            ignored &= ignored - 1;
        }
        self.detections += u64::from(times);
    }

    #[inline(always)]
    fn hit(&mut self, t: usize, times: u32) {
        let count = &mut self.thresholds[t];
        let wrong = (self.detections - count.not_wrong) as f64;
        for _ in 0..times {
            while count.hits >= count.end {
                count.stretch += 1;
                count.end = self.steps.end(count.stretch);
            }
            count.hits += 1;
            let found = count.hits as f64;
            let precision = found / (wrong + found + f64::EPSILON);
            let largest = &mut self.largest[t * (self.steps.starts.len() + 1) + count.stretch];
            *largest = largest.max(precision);
        }
        count.not_wrong += u64::from(times);
    }

    fn into_curves(self) -> impl Iterator<Item = Curve<'a>> {
        let (steps, stretches) = (self.steps, self.steps.starts.len() + 1);
        self.thresholds.into_iter().enumerate().map(move |(t, count)| {
            let mut largest = self.largest[t * stretches..][..stretches].to_vec();
            for s in (1..stretches).rev() {
                largest[s - 1] = largest[s - 1].max(largest[s]);
            }
            Curve { steps, hits: count.hits, largest }
        })
    }
}

/// Precision over recall at one threshold.
pub(super) struct Curve<'a> {
    steps: &'a Steps,
    hits: u64,
    /// The largest precision from the start of each stretch on.
    largest: Vec<f64>,
}

impl Curve<'_> {
    /// Precision at every recall threshold; 0 beyond the last hit.
    pub(super) fn read(&self, precision: &mut [f64]) {
        let mut beyond = false;
        let steps = self.steps.first.iter().zip(&self.steps.recalls).zip(&self.steps.stretch);
        for (precision, ((&first, &recall), &stretch)) in precision.iter_mut().zip(steps) {
            // pycocotools stops at the first recall that is not reached, also when lower ones follow.
            beyond |= first >= self.hits && recall > 0.0;
            *precision = if beyond || first >= self.hits { 0.0 } else { self.largest[stretch] };
        }
    }
}
