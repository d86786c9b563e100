//! One category in one area range: how many objects are found when pictures count several times or not at all. Recall
//! needs no order of the detections.
use crate::matching::{BLOCK, Flags, Rules};

/// The hits of each picture that has any.
pub(super) struct Hits {
    thresholds: usize,
    /// Positions of the pictures, ascending.
    pictures: Vec<u32>,
    /// `[picture, threshold]`
    hits: Vec<u32>,
}

impl Hits {
    /// Of the detections that `counts`; `picture` is that of a detection, ascending.
    pub(super) fn new(
        pictures: &[u32],
        counts: impl Fn(usize) -> bool,
        flags: &[&[Flags]],
        rules: &Rules,
    ) -> Self {
        let thresholds = rules.thresholds();
        let mut all = Hits { thresholds, pictures: Vec::new(), hits: Vec::new() };
        for (d, &picture) in pictures.iter().enumerate().filter(|(d, _)| counts(*d)) {
            for (block, flags) in flags.iter().enumerate() {
                let width = rules.block(block).len();
                let mut hits = flags[d].matched & !flags[d].ignored & (u32::MAX >> (BLOCK - width));
                while hits != 0 {
                    all.add(picture, block * BLOCK + hits.trailing_zeros() as usize);
                    hits &= hits - 1;
                }
            }
        }
        all
    }

    fn add(&mut self, picture: u32, threshold: usize) {
        if self.pictures.last() != Some(&picture) {
            self.pictures.push(picture);
            self.hits.resize(self.pictures.len() * self.thresholds, 0);
        }
        let row = (self.pictures.len() - 1) * self.thresholds;
        self.hits[row + threshold] += 1;
    }

    /// The number at each threshold when each picture counts as often as `counts` says.
    pub(super) fn of(&self, counts: &[u32]) -> Vec<u64> {
        let mut sums = vec![0; self.thresholds];
        for (&picture, hits) in self.pictures.iter().zip(self.hits.chunks_exact(self.thresholds)) {
            let count = u64::from(counts[picture as usize]);
            if count > 0 {
                sums.iter_mut().zip(hits).for_each(|(sum, &n)| *sum += count * u64::from(n));
            }
        }
        sums
    }
}
