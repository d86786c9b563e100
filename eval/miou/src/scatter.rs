//! Counting pixel by pixel, for maps whose pixels differ from their neighbours.
use crate::bins::Bins;
use crate::isa::{BLOCK, Pixel};
use std::fmt;

/// Slots of the table, so that a 16-bit index needs no check.
const SLOTS: usize = 1 << 16;

/// Counters that stay in the first-level cache together with the pixels (32 to 48 KiB): two bytes each.
const CACHED_BINS: usize = 16 * 1024;

/// Copies of the counters. When neighbours fall into the same bin, each addition waits for the one before; four copies
/// make a checkerboard of two classes twice as fast (4,200 instead of 2,200 pairs of 512x683 a second).
const LANES: usize = 4;

/// Sixteen-bit counters: one pass over a map leaves them empty.
///
/// Half the width of 32 bits keeps the 22,502 bins of 150 classes in the first-level cache (5,000 instead of 4,000 pairs a
/// second on noise), which pays for emptying them into 64 bits before they can overflow.
#[derive(Clone)]
pub(crate) struct Scatter {
    table: Box<[u16; SLOTS]>,
    /// What to add to the bin of each pixel of a block: where its lane begins.
    lane: [u16; BLOCK],
    lanes: usize,
    /// Pixels in the table; more than any counter holds.
    pending: usize,
}

impl Scatter {
    /// For maps that have more pixels than bins, since emptying the table takes a step per bin.
    pub(crate) fn suits(bins: Bins, pixels: usize) -> bool {
        bins.len() <= SLOTS && bins.len() <= pixels
    }

    pub(crate) fn new(bins: Bins) -> Self {
        let lanes = if LANES * bins.len() <= CACHED_BINS { LANES } else { 1 };
        let lane = std::array::from_fn(|i| (i % lanes * bins.len()) as u16);
        Scatter { table: Box::new([0; SLOTS]), lane, lanes, pending: 0 }
    }

    /// Empties the table when `pixels` more could be too many for a counter.
    #[inline(always)]
    pub(crate) fn reserve(&mut self, pixels: usize, totals: &mut [u64]) {
        if self.pending + pixels > usize::from(u16::MAX) {
            self.flush(totals);
        }
        self.pending += pixels;
    }

    /// Counts a block; [`Self::reserve`] has made room for it.
    #[inline(always)]
    pub(crate) fn add<L: Pixel, P: Pixel>(
        &mut self,
        bins: Bins,
        label: &[L; BLOCK],
        prediction: &[P; BLOCK],
    ) {
        let mut slots = [0u16; BLOCK];
        for (i, slot) in slots.iter_mut().enumerate() {
            *slot = bins.of_narrow(label[i].value(), prediction[i].value()).wrapping_add(self.lane[i]);
        }
        for slot in slots {
            let count = &mut self.table[usize::from(slot)];
            *count = count.wrapping_add(1);
        }
    }

    /// Moves all counts into `totals`, one per bin.
    #[inline(always)]
    pub(crate) fn flush(&mut self, totals: &mut [u64]) {
        for lane in self.table.chunks_exact_mut(totals.len()).take(self.lanes) {
            for (total, count) in totals.iter_mut().zip(lane) {
                *total += u64::from(std::mem::take(count));
            }
        }
        self.pending = 0;
    }
}

impl fmt::Debug for Scatter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scatter").field("lanes", &self.lanes).finish_non_exhaustive()
    }
}
