//! Precision over recall: what a walk through the detections of a category by falling score gives.
use crate::matching::{BLOCK, Flags};

/// A detection that found an object.
#[derive(Clone, Copy)]
pub(crate) struct Hit {
    /// Precision of all detections up to this one.
    pub(crate) precision: f64,
    pub(crate) score: f64,
}

/// Counts detections by falling score, for the thresholds of one block.
pub(crate) struct Tally {
    all: u32,
    /// Detections that found nothing, at every threshold.
    everywhere: u64,
    /// Those that found nothing at single thresholds beside.
    single: Vec<u64>,
    /// Per threshold.
    hits: Vec<Vec<Hit>>,
}

impl Tally {
    pub(crate) fn new(thresholds: usize) -> Self {
        let all = u32::MAX >> (BLOCK - thresholds);
        Tally { all, everywhere: 0, single: vec![0; thresholds], hits: vec![Vec::new(); thresholds] }
    }

    /// The next detection.
    #[inline(always)]
    pub(crate) fn add(&mut self, flag: Flags, score: f64) {
        if flag.matched == 0 && flag.ignored == 0 {
            self.everywhere += 1;
            return;
        }
        let mut counted = self.all & !flag.ignored;
        while counted != 0 {
            let t = counted.trailing_zeros() as usize;
            counted &= counted - 1;
            if flag.matched >> t & 1 == 0 {
                self.single[t] += 1;
                continue;
            }
            let (found, wrong) = ((self.hits[t].len() + 1) as f64, (self.everywhere + self.single[t]) as f64);
            let precision = found / (wrong + found + f64::EPSILON);
            self.hits[t].push(Hit { precision, score });
        }
    }

    /// The hits of each threshold, by falling score.
    pub(crate) fn into_hits(self) -> Vec<Vec<Hit>> {
        self.hits
    }
}

/// Precision over recall at one threshold: it changes at hits only, and falls from hit to hit.
pub(crate) struct Curve {
    hits: Vec<Hit>,
    objects: f64,
    /// Score of the first detection; none without detections.
    first_score: Option<f64>,
}

impl Curve {
    pub(crate) fn new(mut hits: Vec<Hit>, objects: f64, first_score: Option<f64>) -> Self {
        for i in (1..hits.len()).rev() {
            hits[i - 1].precision = hits[i - 1].precision.max(hits[i].precision);
        }
        Curve { hits, objects, first_score }
    }

    /// The largest recall.
    pub(crate) fn recall(&self) -> f64 {
        self.hits.len() as f64 / self.objects
    }

    /// Calls `write(index, precision, score)` for every recall; both are 0 beyond the last hit.
    pub(crate) fn read(&self, rec_thrs: &[f64], mut write: impl FnMut(usize, f64, f64)) {
        let (mut i, mut before, mut beyond) = (0, f64::NEG_INFINITY, self.first_score.is_none());
        for (r, &recall) in rec_thrs.iter().enumerate() {
            if recall < before {
                i = 0;
            }
            before = recall;
            while i < self.hits.len() && ((i + 1) as f64 / self.objects) < recall {
                i += 1;
            }
            match (self.hits.get(i), self.first_score) {
                // pycocotools stops at the first recall that is not reached, also when lower ones follow.
                _ if beyond => write(r, 0.0, 0.0),
                // Read at the first detection, whether it found something or not.
                (hit, Some(score)) if recall <= 0.0 => write(r, hit.map_or(0.0, |h| h.precision), score),
                (Some(hit), _) => write(r, hit.precision, hit.score),
                (None, _) => {
                    beyond = true;
                    write(r, 0.0, 0.0);
                }
            }
        }
    }
}
