//! From the figures of all resamples to an interval.
use super::{Difference, Verdict};

/// Both results' figures: `[0]` of the first, `[1]` of the second.
type Pair = [Vec<f64>; 2];

/// The figure at a position; `None` where it is undefined.
pub(super) fn difference(
    name: &'static str,
    at: usize,
    whole: &Pair,
    resampled: &[Pair],
    level: f64,
) -> Option<Difference> {
    let delta = |[a, b]: &Pair| (a[at] > -1.0 && b[at] > -1.0).then(|| a[at] - b[at]);
    let value = delta(whole)?;
    let mut deltas: Vec<f64> = resampled.iter().filter_map(delta).collect();
    deltas.sort_by(f64::total_cmp);
    let [low, high] = [(1.0 - level) / 2.0, (1.0 + level) / 2.0].map(|share| quantile(&deltas, share));
    let (low, high) = (low.unwrap_or(value), high.unwrap_or(value));
    let better = deltas.iter().filter(|d| **d > 0.0).count();
    Some(Difference {
        name,
        a: whole[0][at],
        b: whole[1][at],
        delta: value,
        low,
        high,
        a_better: if deltas.is_empty() { 0.0 } else { better as f64 / deltas.len() as f64 },
        resamples: deltas.len(),
        verdict: match () {
            // Without resamples nothing is known.
            () if deltas.is_empty() => Verdict::Undecided,
            () if low > 0.0 => Verdict::A,
            () if high < 0.0 => Verdict::B,
            () => Verdict::Undecided,
        },
    })
}

/// As numpy's default: between the two nearest of the sorted values, in proportion.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let position = share * (sorted.len().checked_sub(1)?) as f64;
    let (below, part) = (position.floor() as usize, position.fract());
    let low = *sorted.get(below)?;
    let high = *sorted.get(below + 1).unwrap_or(&low);
    Some(low + (high - low) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numpys() {
        // numpy.quantile([1, 2, 4, 8], [0, 0.025, 0.5, 0.9, 1])
        let values = [1.0, 2.0, 4.0, 8.0];
        let expected = [(0.0, 1.0), (0.025, 1.075), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)];
        for (share, value) in expected {
            assert!((quantile(&values, share).unwrap() - value).abs() < 1e-12, "{share}");
        }
        assert_eq!((quantile(&[], 0.5), quantile(&[3.0], 0.975)), (None, Some(3.0)));
    }

    #[test]
    fn verdicts_follow_the_interval() {
        let pair = |a: f64, b: f64| [vec![a], vec![b]];
        let many = |pairs: &[(f64, f64)]| -> Vec<Pair> { pairs.iter().map(|&(a, b)| pair(a, b)).collect() };
        let verdict =
            |resampled: &[Pair]| difference("AP", 0, &pair(0.5, 0.4), resampled, 0.95).unwrap().verdict;
        assert_eq!(verdict(&many(&[(0.5, 0.4), (0.6, 0.4)])), Verdict::A);
        assert_eq!(verdict(&many(&[(0.3, 0.4), (0.2, 0.4)])), Verdict::B);
        assert_eq!(verdict(&many(&[(0.3, 0.4), (0.5, 0.4)])), Verdict::Undecided);
        assert_eq!(verdict(&many(&[(-1.0, -1.0)])), Verdict::Undecided);
        assert_eq!(difference("AP", 0, &pair(-1.0, -1.0), &[], 0.95), None);
    }
}
