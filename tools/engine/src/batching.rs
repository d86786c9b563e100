//! Groups pictures of equal padded size, so that no picture's result depends on its neighbours.
//!
//! CARE's attention averages over all tokens, padding included: a picture padded further to match a larger neighbour
//! would get other detections. So a batch holds one size only, and a size that is rare waits for company only as
//! long as memory allows.

use care_types::Size;

/// Batches that may be waiting for company in all, in units of the batch size. Four covers the two orientations and
/// the few widths that most data sets have; a picture of 800×1344 takes 13 MB while it waits.
const WAITING_BATCHES: usize = 4;

/// Collects items and hands back full groups; order within a group is order of arrival.
#[derive(Debug)]
pub struct Batching<T> {
    batch: usize,
    groups: Vec<(Size, Vec<T>)>,
}

impl<T> Batching<T> {
    /// Groups of up to `batch` items (0 counts as 1).
    pub fn new(batch: usize) -> Self {
        Self { batch: batch.max(1), groups: Vec::new() }
    }

    /// Adds an item of that padded size; returns a group that is to be run now, if any.
    pub fn push(&mut self, padded: Size, item: T) -> Option<Vec<T>> {
        let at = match self.groups.iter().position(|(size, _)| *size == padded) {
            Some(at) => at,
            None => {
                self.groups.push((padded, Vec::with_capacity(self.batch)));
                self.groups.len() - 1
            }
        };
        self.groups[at].1.push(item);
        if self.groups[at].1.len() == self.batch {
            return Some(self.groups.remove(at).1);
        }
        let waiting: usize = self.groups.iter().map(|(_, items)| items.len()).sum();
        if waiting >= WAITING_BATCHES * self.batch { self.pop_fullest() } else { None }
    }

    /// What still waits, one group at a time; `None` when nothing does.
    pub fn flush(&mut self) -> Option<Vec<T>> {
        if self.groups.is_empty() { None } else { Some(self.groups.remove(0).1) }
    }

    /// The group with most items; the oldest of several.
    fn pop_fullest(&mut self) -> Option<Vec<T>> {
        let mut best = 0;
        for (i, (_, items)) in self.groups.iter().enumerate() {
            if items.len() > self.groups[best].1.len() {
                best = i;
            }
        }
        Some(self.groups.remove(best).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs sizes through and returns the groups of item numbers.
    fn groups(batch: usize, widths: &[u32]) -> Vec<Vec<(u32, usize)>> {
        let mut batching = Batching::new(batch);
        let mut out = Vec::new();
        for (i, &width) in widths.iter().enumerate() {
            out.extend(batching.push(Size { width, height: 32 }, (width, i)));
        }
        while let Some(rest) = batching.flush() {
            out.push(rest);
        }
        out
    }

    #[test]
    fn every_item_leaves_once_in_a_group_of_one_size() {
        let widths: Vec<u32> = (0..97u32).map(|i| 32 * (1 + i * i % 7)).collect();
        for batch in [0, 1, 2, 3, 8, 200] {
            let got = groups(batch, &widths);
            let mut seen: Vec<usize> = got.iter().flatten().map(|(_, i)| *i).collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..97).collect::<Vec<_>>(), "batch {batch}");
            for group in got {
                assert!(
                    group.len() <= batch.max(1) && group.iter().all(|(w, _)| *w == group[0].0),
                    "{group:?}"
                );
            }
        }
    }

    #[test]
    fn a_batch_of_one_keeps_the_order() {
        let got: Vec<usize> = groups(1, &[64, 32, 64, 96]).into_iter().flatten().map(|(_, i)| i).collect();
        assert_eq!(got, [0, 1, 2, 3]);
    }

    #[test]
    fn waiting_items_are_bounded() {
        let mut batching = Batching::new(4);
        let (mut pushed, mut left) = (0, 0);
        for width in 1..1000 {
            pushed += 1;
            left += batching.push(Size { width, height: 32 }, ()).map_or(0, |g| g.len());
            assert!(pushed - left < WAITING_BATCHES * 4);
        }
    }
}
