//! Average precision of one ranked list, for figures that `evaluate` does not give.

/// Mean of the interpolated precision at `recalls`, in [0, 1]. `hits` says of each detection, by falling score, whether
/// it found one of the `objects` (at least one). `epsilon` is added to the denominator of each precision.
pub(super) fn average_precision(
    hits: impl Iterator<Item = bool>,
    objects: u64,
    recalls: &[f64],
    epsilon: f64,
) -> f64 {
    // Precision only changes for the better at hits, so they carry the whole curve.
    let mut precision: Vec<f64> = Vec::new();
    for (before, _) in hits.enumerate().filter(|(_, hit)| *hit) {
        let (found, wrong) = ((precision.len() + 1) as f64, (before - precision.len()) as f64);
        precision.push(found / (wrong + found + epsilon));
    }
    for i in (1..precision.len()).rev() {
        precision[i - 1] = precision[i - 1].max(precision[i]);
    }
    let (mut at, mut sum, mut last) = (0, 0.0, f64::NEG_INFINITY);
    for &recall in recalls {
        // As in `evaluate`, recalls may be given in any order, and the first that is not reached ends the search.
        at = if recall < last { 0 } else { at };
        last = recall;
        while at < precision.len() && (at + 1) as f64 / (objects as f64) < recall {
            at += 1;
        }
        match precision.get(at) {
            Some(p) => sum += p,
            None => break,
        }
    }
    sum / recalls.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_objects_found_by_the_first_of_two_detections() {
        let recalls: Vec<f64> = (0..=100).map(|i| f64::from(i) / 100.0).collect();
        let ap = |hits: &[bool], objects| average_precision(hits.iter().copied(), objects, &recalls, 0.0);
        // Recalls 0, 0.01, ..., 0.5 are reached at precision 1.
        assert_eq!(ap(&[true, false], 2), 51.0 / 101.0);
        // Precision 1/2 at every recall.
        assert!((ap(&[false, true], 1) - 0.5).abs() < 1e-15);
        // 1/2 up to recall 1/2, then 2/3: interpolation lifts the first half.
        assert!((ap(&[false, true, true], 2) - 2.0 / 3.0).abs() < 1e-15);
        assert_eq!(ap(&[false, false], 3), 0.0);
    }
}
