//! Random choices of a training step: what is drawn follows from the step's seed and the purpose, never from threads or order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The source of a step's random choices (sampled regions, dropped channels).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Draw {
    /// Differs from step to step.
    pub seed: u64,
}

impl Draw {
    /// The stream for a purpose and a picture of the batch.
    pub(crate) fn stream(self, purpose: u64, picture: usize) -> Stream {
        let mut key = [0u8; 32];
        for (part, value) in key.chunks_exact_mut(8).zip([self.seed, purpose, picture as u64]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        Stream(ChaCha8Rng::from_seed(key))
    }
}

/// A stream of random numbers.
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// Uniform below `count`, which is not 0. The bias of the multiplication is below 2⁻³².
    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / (1 << 24) as f32
    }

    /// `count` of the items, each equally likely, in their order; all of them when there are not more.
    pub(crate) fn choose(&mut self, mut items: Vec<usize>, count: usize) -> Vec<usize> {
        if items.len() <= count {
            return items;
        }
        for i in 0..count {
            let other = i + self.below(items.len() - i);
            items.swap(i, other);
        }
        items.truncate(count);
        items.sort_unstable();
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_follow_from_the_name_and_are_fair() {
        let draw = Draw { seed: 5 };
        let chosen = |d: Draw, purpose, picture| d.stream(purpose, picture).choose((0..100).collect(), 10);
        assert_eq!(chosen(draw, 1, 0), chosen(draw, 1, 0));
        for other in [chosen(Draw { seed: 6 }, 1, 0), chosen(draw, 2, 0), chosen(draw, 1, 1)] {
            assert_ne!(other, chosen(draw, 1, 0));
        }
        let mut counts = [0; 20];
        for seed in 0..2000 {
            let picked = Draw { seed }.stream(0, 0).choose((0..20).collect(), 5);
            assert!(picked.len() == 5 && picked.windows(2).all(|w| w[0] < w[1]));
            picked.into_iter().for_each(|i| counts[i] += 1);
        }
        assert!(counts.iter().all(|c| (420..580).contains(c)), "{counts:?}");
        assert_eq!(draw.stream(0, 0).choose(vec![7, 3], 5), [7, 3]);
    }
}
