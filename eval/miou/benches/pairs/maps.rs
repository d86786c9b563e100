//! Pairs of label maps: *natural* ones are 60 regions around random points with ragged borders, every twentieth ignored, and
//! the prediction is the label moved by a few pixels, with another class in every fifth region; *noise* is drawn for each
//! pixel, one in `classes + 1` of the labels ignored.
use crate::{HEIGHT, IGNORE, WIDTH};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Label and prediction.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() >> 32) as usize % n
    }
}

pub(crate) fn natural(classes: usize, random: &mut Random) -> Pair {
    let points: Vec<[i32; 2]> =
        (0..60).map(|_| [random.below(WIDTH) as i32, random.below(HEIGHT) as i32]).collect();
    let labels: Vec<u8> =
        (0..60).map(|_| if random.below(20) == 0 { IGNORE } else { random.below(classes) as u8 }).collect();
    let predictions: Vec<u8> = labels
        .iter()
        .map(|&l| if l == IGNORE || random.below(5) == 0 { random.below(classes) as u8 } else { l })
        .collect();
    let region = ragged_regions(&points, random);
    let value = |of: &[u8], y: usize, x: usize| of[region[y * (WIDTH + 8) + x]];
    let at = |i: usize| (i / WIDTH, i % WIDTH);
    let label = (0..WIDTH * HEIGHT).map(at).map(|(y, x)| value(&labels, y, x)).collect();
    let prediction = (0..WIDTH * HEIGHT).map(at).map(|(y, x)| value(&predictions, y + 2, x + 3)).collect();
    (label, prediction)
}

/// The nearest point of each pixel, seen through a jitter that changes every third pixel, on a margin of 8 more.
fn ragged_regions(points: &[[i32; 2]], random: &mut Random) -> Vec<usize> {
    let mut regions = Vec::with_capacity((WIDTH + 8) * (HEIGHT + 8));
    let mut jitter = [0; 2];
    for y in 0..HEIGHT + 8 {
        for x in 0..WIDTH + 8 {
            if x % 3 == 0 {
                jitter = [random.below(5) as i32 - 2, random.below(5) as i32 - 2];
            }
            let [px, py] = [x as i32 + jitter[0], y as i32 + jitter[1]];
            let distance = |i: &usize| (points[*i][0] - px).pow(2) + (points[*i][1] - py).pow(2);
            regions.push((0..points.len()).min_by_key(distance).unwrap_or(0));
        }
    }
    regions
}

pub(crate) fn noise(classes: usize, random: &mut Random) -> Pair {
    let mut pixel = || {
        let label = random.below(classes + 1);
        (if label == classes { IGNORE } else { label as u8 }, random.below(classes) as u8)
    };
    (0..WIDTH * HEIGHT).map(|_| pixel()).unzip()
}

/// Pixels per run of equal pairs.
pub(crate) fn mean_run((label, prediction): &Pair) -> f64 {
    let steps =
        (1..label.len()).filter(|&i| label[i] != label[i - 1] || prediction[i] != prediction[i - 1]).count();
    label.len() as f64 / (steps + 1) as f64
}
