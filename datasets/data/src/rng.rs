//! Random numbers by name: what is drawn follows from (seed, epoch, sample, purpose), never from threads, order or what was
//! drawn before.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of random numbers for one purpose.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha8Rng);

/// The stream of this name. All four parts are in the key as they are, so no two names share a stream (purposes longer than
/// eight bytes count by their first eight).
pub fn rng(seed: u64, epoch: u64, sample: u64, purpose: &str) -> Rng {
    let mut key = [0u8; 32];
    for (part, bytes) in key.chunks_exact_mut(8).zip([seed, epoch, sample].map(u64::to_le_bytes)) {
        part.copy_from_slice(&bytes);
    }
    key[24..].iter_mut().zip(purpose.bytes()).for_each(|(k, b)| *k = b);
    Rng(ChaCha8Rng::from_seed(key))
}

impl Rng {
    /// Uniform in [0, 1), with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform below `count`, 0 when `count` is 0. The bias of the multiplication is below 2⁻³².
    pub fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_name_changes_the_stream() {
        let first = |r: &mut Rng| r.0.next_u64();
        let names = [(0, 0, 0, "a"), (1, 0, 0, "a"), (0, 1, 0, "a"), (0, 0, 1, "a"), (0, 0, 0, "b")];
        let mut drawn: Vec<u64> = names.iter().map(|n| first(&mut rng(n.0, n.1, n.2, n.3))).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), names.len());
        assert_eq!(first(&mut rng(3, 1, 4, "flip")), first(&mut rng(3, 1, 4, "flip")));
    }

    #[test]
    fn numbers_are_uniform_enough() {
        let mut r = rng(7, 0, 0, "test");
        let mut counts = [0usize; 10];
        (0..10_000).for_each(|_| counts[r.below(10)] += 1);
        assert!(counts.iter().all(|c| (850..1150).contains(c)), "{counts:?}");
        let mean = (0..10_000).map(|_| r.unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_eq!(r.below(0), 0);
    }
}
