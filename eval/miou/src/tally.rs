//! One pass over a label map and its prediction, pairs counted into bins.
//!
//! Maps of regions are counted by runs of equal pairs: masks say where a run ends, their bits become positions, and a
//! position costs one addition, whatever the length of its run. Where runs are short, pixels are counted one by one.
use crate::bins::Bins;
use crate::isa::{BLOCK, Isa, Pixel, Task};
use crate::scatter::Scatter;

/// Blocks per chunk, which is counted by runs or by pixels. 1,024 pixels: with 4,096 the memory waits while runs are
/// counted (12,900 instead of 15,700 pairs of 512x683 a second), with 512 it is no faster. (This and the other rates here:
/// one thread of a Xeon, Sapphire Rapids, maps of `benches/pairs` from memory, 4 classes unless said.)
const CHUNK_BLOCKS: usize = 16;

/// Shorter runs are counted by pixels: runs of 6 take half the time by runs, runs of 3 take a third less by pixels.
const SHORTEST_MEAN_RUN: usize = 4;

/// How many pixels ahead memory is asked for, since the processor's own prefetching stops at the end of a page: 14,800
/// instead of 12,000 pairs a second. Asking further ahead takes more of the first-level cache: with 4,096, 150 classes of
/// noise fall from 4,600 to 4,200.
const AHEAD: usize = 1024;

/// Positions written per block without looking at their number; most blocks have fewer.
const UNCONDITIONAL: usize = 4;

/// Counts per bin, and the table that belongs to them.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    pub(crate) totals: Vec<u64>,
    pub(crate) scatter: Option<Scatter>,
}

/// A pass to be made; label and prediction have the same length.
pub(crate) struct Tally<'a, L, P> {
    pub(crate) bins: Bins,
    pub(crate) counts: &'a mut Counts,
    pub(crate) label: &'a [L],
    pub(crate) prediction: &'a [P],
}

impl<L: Pixel, P: Pixel> Task for Tally<'_, L, P> {
    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        let pixels = self.label.len();
        let by_pixels = Scatter::suits(self.bins, pixels);
        let mut steps = [0u64; CHUNK_BLOCKS];
        // The open run starts at `open` and reaches at least to the pixel before `at`, unless that one is counted.
        let (mut open, mut at) = (0, 1);
        while at + BLOCK <= pixels {
            let blocks = CHUNK_BLOCKS.min((pixels - at) / BLOCK);
            let found = self.find_steps(isa, at, &mut steps[..blocks]);
            let end = at + blocks * BLOCK;
            if by_pixels && found * SHORTEST_MEAN_RUN > blocks * BLOCK {
                self.close(at, open);
                self.count_pixels(at, end);
                open = end;
            } else {
                open = self.count_runs(at, open, &steps[..blocks]);
            }
            at = end;
        }
        self.count_rest(at, open);
        if let Some(scatter) = &mut self.counts.scatter {
            scatter.flush(&mut self.counts.totals);
        }
    }
}

impl<L: Pixel, P: Pixel> Tally<'_, L, P> {
    /// Per block from pixel `at` on: in which pixels a run starts. Returns how many there are.
    #[inline(always)]
    fn find_steps<I: Isa>(&self, isa: I, at: usize, steps: &mut [u64]) -> usize {
        let end = at + steps.len() * BLOCK;
        let (label, prediction) = (&self.label[at - 1..end], &self.prediction[at - 1..end]);
        let mut found = 0;
        for (block, mask) in steps.iter_mut().enumerate() {
            let i = block * BLOCK;
            isa.prefetch(self.label, at + i + AHEAD);
            isa.prefetch(self.prediction, at + i + AHEAD);
            let labels = L::steps(isa, block_of(label, i), block_of(label, i + 1));
            *mask = labels | P::steps(isa, block_of(prediction, i), block_of(prediction, i + 1));
            found += mask.count_ones() as usize;
        }
        found
    }

    /// Counts the runs that end in the blocks from pixel `at` on; returns where the last one, still open, starts.
    #[inline(always)]
    fn count_runs(&mut self, at: usize, mut open: usize, steps: &[u64]) -> usize {
        let mut positions = [0u16; CHUNK_BLOCKS * BLOCK + UNCONDITIONAL];
        let found = list_positions(steps, &mut positions);
        let before = at - 1..at + steps.len() * BLOCK - 1;
        let (label, prediction) = (&self.label[before.clone()], &self.prediction[before]);
        for &position in &positions[..found] {
            let i = usize::from(position);
            let bin = self.bins.of(label[i].value(), prediction[i].value());
            self.counts.totals[bin] += (at + i - open) as u64;
            open = at + i;
        }
        open
    }

    #[inline(always)]
    fn count_pixels(&mut self, at: usize, end: usize) {
        let Counts { totals, scatter } = &mut *self.counts;
        let scatter = scatter.get_or_insert_with(|| Scatter::new(self.bins));
        scatter.reserve(end - at, totals);
        let (label, prediction) = (&self.label[at..end], &self.prediction[at..end]);
        for (label, prediction) in label.as_chunks().0.iter().zip(prediction.as_chunks().0) {
            scatter.add(self.bins, label, prediction);
        }
    }

    /// Counts the pixels from `at` on, fewer than a block, and the open run.
    #[inline(always)]
    fn count_rest(&mut self, at: usize, mut open: usize) {
        let pixels = self.label.len();
        for i in at..pixels {
            if self.label[i] != self.label[i - 1] || self.prediction[i] != self.prediction[i - 1] {
                self.close(i, open);
                open = i;
            }
        }
        if pixels > 0 {
            self.close(pixels, open);
        }
    }

    /// Counts the run from `open` to `end`, if any.
    #[inline(always)]
    fn close(&mut self, end: usize, open: usize) {
        let bin = self.bins.of(self.label[end - 1].value(), self.prediction[end - 1].value());
        self.counts.totals[bin] += (end - open) as u64;
    }
}

/// The block from value `at` on, which must be inside.
#[inline(always)]
fn block_of<T>(values: &[T], at: usize) -> &[T; BLOCK] {
    values[at..].first_chunk().expect("a chunk is made of whole blocks")
}

/// Writes down which bits are set; returns how many. The first few of a block are written unconditionally, and
/// overwritten if they were none: a branch per block that is hardly ever mispredicted instead of one per bit.
#[inline(always)]
fn list_positions(steps: &[u64], positions: &mut [u16; CHUNK_BLOCKS * BLOCK + UNCONDITIONAL]) -> usize {
    let mut found = 0;
    for (block, &mask) in steps.iter().enumerate() {
        let (base, count) = ((block * BLOCK) as u16, mask.count_ones() as usize);
        let mut bits = mask;
        let mut next = || {
            let position = base + bits.trailing_zeros() as u16;
            bits &= bits.wrapping_sub(1);
            position
        };
        let (first, more) = positions[found..].split_at_mut(UNCONDITIONAL);
        first.fill_with(&mut next);
        if count > UNCONDITIONAL {
            more[..count - UNCONDITIONAL].fill_with(next);
        }
        found += count;
    }
    found
}

#[cfg(test)]
mod tests;
