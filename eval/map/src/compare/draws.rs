//! Random numbers by position: the same on every machine and any number of threads, because nothing is carried on.
//!
//! SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014;
//! <https://prng.di.unimi.it/splitmix64.c>): number `j` of a stream is `mix(start + j * STEP)`.

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The generator's output function: a bijection in which every bit of the value changes half of the result.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// Number `j` (from 1) of the stream that starts here.
fn number(start: u64, j: u64) -> u64 {
    mix(start.wrapping_add(j.wrapping_mul(STEP)))
}

/// How often each of `n` pictures is drawn when `n` are drawn with replacement. The stream of a resample starts at its
/// number in the stream that starts at the seed.
pub(super) fn counts(seed: u64, resample: u64, n: usize) -> Vec<u32> {
    let start = number(seed, resample + 1);
    let mut counts = vec![0; n];
    for j in 1..=n as u64 {
        // The bias of the multiplication is below n / 2^64.
        let drawn = (u128::from(number(start, j)) * n as u128) >> 64;
        counts[drawn as usize] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_splitmix64() {
        // The published generator, seeded with 1234567.
        let published = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([1, 2, 3].map(|j| number(1_234_567, j)), published);
    }

    #[test]
    fn pictures_are_drawn_evenly_and_differently_each_time() {
        let n = 1000;
        let (a, b) = (counts(7, 0, n), counts(7, 1, n));
        assert_eq!((a.iter().sum::<u32>(), b.iter().sum::<u32>()), (1000, 1000));
        assert_ne!(a, b);
        assert_ne!(a, counts(8, 0, n));
        // A picture is missed with probability 1/e.
        let missed = a.iter().filter(|&&k| k == 0).count();
        assert!((320..420).contains(&missed), "{missed}");
        let mut sums = vec![0; n];
        (0..1000).for_each(|r| sums.iter_mut().zip(counts(7, r, n)).for_each(|(s, k)| *s += k));
        assert!(
            sums.iter().all(|s| (840..1160).contains(s)),
            "{:?} {:?}",
            sums.iter().min(),
            sums.iter().max()
        );
    }
}
