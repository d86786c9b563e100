//! The order in which an epoch sees its pictures.

use crate::rng::rng;

/// A permutation of `0..len` that follows from (seed, epoch): Fisher–Yates.
pub fn epoch_order(len: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    let mut r = rng(seed, epoch, len as u64, "order");
    for i in (1..len).rev() {
        order.swap(i, r.below(i + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_permutation_that_follows_from_its_name() {
        for len in [0, 1, 2, 257] {
            let order = epoch_order(len, 5, 9);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..len).collect::<Vec<_>>());
            assert_eq!(order, epoch_order(len, 5, 9));
        }
        assert_ne!(epoch_order(100, 5, 9), epoch_order(100, 5, 10));
        assert_ne!(epoch_order(100, 5, 9), epoch_order(100, 6, 9));
    }
}
