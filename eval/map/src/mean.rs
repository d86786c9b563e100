//! Means of figures, summed as numpy sums them, so that they have the bits that pycocotools and lvis-api print.

/// The mean of the values that are defined (above −1), or −1 without any.
pub(crate) fn mean_of_defined(mut values: Vec<f64>) -> f64 {
    values.retain(|v| *v > -1.0);
    if values.is_empty() { -1.0 } else { sum(&values) / values.len() as f64 }
}

/// Longest list that is summed in lanes; longer ones are halved (numpy's `PW_BLOCKSIZE`).
const BLOCK: usize = 128;
/// Sums that are kept apart within a block.
const LANES: usize = 8;

/// Pairwise summation in the order of [numpy's](https://github.com/numpy/numpy/blob/v2.3.0/numpy/_core/src/umath/loops_utils.h.src).
fn sum(values: &[f64]) -> f64 {
    if values.len() > BLOCK {
        let half = values.len() / 2;
        let (front, back) = values.split_at(half - half % LANES);
        return sum(front) + sum(back);
    }
    let mut chunks = values.chunks_exact(LANES);
    let Some(first) = chunks.next() else {
        return values.iter().sum();
    };
    let mut lanes: [f64; LANES] = std::array::from_fn(|i| first[i]);
    for chunk in &mut chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, v)| *lane += v);
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    let whole = ((a + b) + (c + d)) + ((e + f) + (g + h));
    chunks.remainder().iter().fold(whole, |sum, v| sum + v)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `i * 0.1 % 1` for `i` below each length, and `numpy.sum` of it.
    #[test]
    fn sums_have_the_bits_of_numpy() {
        let values: Vec<f64> = (0..80_800).map(|i| f64::from(i) * 0.1 % 1.0).collect();
        let sums = [
            (1, 0.0),
            (7, 2.1),
            (8, 2.8000000000000003),
            (9, 3.6000000000000005),
            (127, 56.10000000000005),
            (128, 56.80000000000005),
            (129, 57.60000000000005),
            (136, 60.00000000000004),
            (255, 113.50000000000018),
            (257, 114.6000000000002),
            (1010, 454.50000000000284),
            (8080, 3636.0000000001814),
            (8193, 3685.8000000001866),
            (80800, 36360.00000001748),
        ];
        for (n, want) in sums {
            assert_eq!(sum(&values[..n]).to_bits(), f64::to_bits(want), "{n}: {} {want}", sum(&values[..n]));
        }
    }

    #[test]
    fn undefined_values_are_left_out() {
        assert_eq!(mean_of_defined(vec![-1.0, 0.5, -1.0, 0.25]), 0.375);
        assert_eq!(mean_of_defined(vec![-1.0; 3]), -1.0);
    }
}
