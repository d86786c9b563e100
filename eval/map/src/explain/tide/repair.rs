//! Average precision of a category, as it is and with mistakes corrected.
use super::TideKind;
use super::classify::PictureOutcome;
use crate::explain::average_precision::average_precision;
use rayon::prelude::*;

/// What is corrected.
#[derive(Clone, Copy)]
pub(super) enum Variant {
    /// Nothing.
    AsIs,
    /// All mistakes of one type.
    Corrected(TideKind),
    /// Every false positive gets a lower score than every hit.
    FalsePositivesLast,
    /// Objects that nothing found are not there.
    NothingMissed,
}

/// A detection of a category, or one that would be of it if corrected.
#[derive(Clone, Copy)]
struct Entry {
    score: f64,
    /// Place among all detections: by picture, then falling score.
    place: u32,
    /// `None` for a hit.
    mistake: Option<TideKind>,
    /// Whether this is what a correction makes of the mistake.
    corrected: bool,
}

/// The detections and objects of one category.
#[derive(Default)]
pub(super) struct Pool {
    /// Mistakes by [`TideKind::ALL`].
    pub(super) counts: [u64; 6],
    /// By falling score; of equal scores, mistakes before hits.
    entries: Vec<Entry>,
    /// Of each detection that counts, by falling score, whether it is a hit.
    as_is: Vec<bool>,
    objects: u64,
    unused: u64,
}

impl Pool {
    pub(super) fn of_categories(outcomes: Vec<PictureOutcome>, categories: usize) -> Vec<Self> {
        let mut pools: Vec<Pool> = (0..categories).map(|_| Pool::default()).collect();
        let mut place = 0;
        for picture in outcomes {
            for d in picture.detections {
                place += 1;
                let entry = |corrected| Entry { score: d.score, place, mistake: d.mistake, corrected };
                let pool = &mut pools[d.category as usize];
                if let Some(kind) = d.mistake {
                    pool.counts[kind as usize] += 1;
                }
                if d.counted {
                    pool.entries.push(entry(false));
                }
                if let Some(category) = d.becomes {
                    pools[category as usize].entries.push(entry(true));
                }
            }
            for o in picture.objects {
                let pool = &mut pools[o.category as usize];
                pool.objects += 1;
                pool.unused += u64::from(!o.used);
                pool.counts[TideKind::Miss as usize] += u64::from(!o.used && !o.usable);
            }
        }
        pools.par_iter_mut().for_each(Pool::sort);
        pools
    }

    fn sort(&mut self) {
        self.entries.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place.cmp(&b.place)));
        let as_is = self.entries.iter().filter(|e| !e.corrected);
        self.as_is = as_is.map(|e| e.mistake.is_none()).collect();
        let key = |e: &Entry| (e.mistake.is_none(), e.place);
        self.entries.sort_by(|a, b| b.score.total_cmp(&a.score).then(key(a).cmp(&key(b))));
    }

    /// In [0, 1]; `None` with neither objects nor detections.
    pub(super) fn ap(&self, variant: Variant) -> Option<f64> {
        match variant {
            Variant::AsIs => ap(self.as_is.iter().copied(), self.objects),
            Variant::Corrected(kind) => {
                let taken = |e: &&Entry| e.mistake.is_none() || e.corrected == (e.mistake == Some(kind));
                let hits = self.entries.iter().filter(taken).map(|e| e.mistake.is_none() || e.corrected);
                let missed = if kind == TideKind::Miss { self.counts[kind as usize] } else { 0 };
                ap(hits, self.objects - missed)
            }
            Variant::FalsePositivesLast => {
                let found = self.as_is.iter().filter(|hit| **hit).count();
                ap((0..self.as_is.len()).map(|at| at < found), self.objects)
            }
            Variant::NothingMissed => {
                let uncorrected = self.entries.iter().filter(|e| !e.corrected);
                ap(uncorrected.map(|e| e.mistake.is_none()), self.objects - self.unused)
            }
        }
    }
}

/// As `tidecv` has it.
fn ap(hits: impl Iterator<Item = bool>, objects: u64) -> Option<f64> {
    let mut hits = hits.peekable();
    match (hits.peek().is_some(), objects) {
        (false, 0) => None,
        (true, 0) => Some(0.0),
        _ => {
            let recalls: [f64; 101] = std::array::from_fn(|i| i as f64 / 100.0);
            Some(average_precision(hits, objects, &recalls, 0.0))
        }
    }
}
