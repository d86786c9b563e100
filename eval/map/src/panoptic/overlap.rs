//! How many pixels each pair of segments shares.

/// Pixels with the same pair of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overlap {
    pub(super) truth: u32,
    pub(super) prediction: u32,
    pub(super) pixels: u64,
}

/// The pairs that occur, by truth id, then prediction id.
pub(super) fn overlaps(truth: &[u32], prediction: &[u32]) -> Vec<Overlap> {
    // Neighbours mostly belong to the same pair: there are far fewer runs than pixels.
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let (mut last, mut length) = (0, 0);
    for (&t, &p) in truth.iter().zip(prediction) {
        let pair = u64::from(t) << 32 | u64::from(p);
        if pair != last {
            if length > 0 {
                runs.push((last, length));
            }
            (last, length) = (pair, 0);
        }
        length += 1;
    }
    if length > 0 {
        runs.push((last, length));
    }
    runs.sort_unstable();
    let same = runs.chunk_by(|a, b| a.0 == b.0);
    same.map(|runs| Overlap {
        truth: (runs[0].0 >> 32) as u32,
        prediction: runs[0].0 as u32,
        pixels: runs.iter().map(|r| r.1).sum(),
    })
    .collect()
}

/// Pixels of each id on one side, ascending.
pub(super) fn areas(overlaps: &[Overlap], id: impl Fn(&Overlap) -> u32) -> Vec<(u32, u64)> {
    let mut areas: Vec<(u32, u64)> = overlaps.iter().map(|o| (id(o), o.pixels)).collect();
    areas.sort_by_key(|a| a.0);
    areas.chunk_by(|a, b| a.0 == b.0).map(|same| (same[0].0, same.iter().map(|s| s.1).sum())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_counted_over_all_runs() {
        let found = overlaps(&[1, 1, 0, 0, 1, 2], &[3, 3, 0, 0, 3, 0]);
        let overlap = |(truth, prediction, pixels)| Overlap { truth, prediction, pixels };
        assert_eq!(found, [(0, 0, 2), (1, 3, 3), (2, 0, 1)].map(overlap));
        assert_eq!(areas(&found, |o| o.prediction), [(0, 3), (3, 3)]);
        assert_eq!(overlaps(&[], &[]), []);
    }
}
