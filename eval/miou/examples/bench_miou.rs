//! Pairs of 512x683 maps counted per CPU second, on one thread, from memory.
//!
//! `cargo run --release -p care-miou --example bench_miou [-- PAIRS [ROUNDS]]`
//!
//! Maps are made, not read. *natural*: 60 regions around random points with ragged borders, every twentieth ignored; the
//! prediction is the label moved by a few pixels, with another class in every fifth region. *noise*: labels (one in
//! `classes + 1` ignored) and predictions drawn for each pixel. Time is that of the thread where the system tells it
//! (Linux), and the best of several rounds over all pairs is shown. The naive column is one addition per pixel.
use care_miou::{ConfusionMatrix, Result, SegMap, Size};
use std::hint::black_box;
use std::time::Instant;

const WIDTH: usize = 683;
const HEIGHT: usize = 512;
const IGNORE: u8 = 255;

/// Label and prediction.
type Pair = (Vec<u8>, Vec<u8>);

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let pairs = arguments.next().unwrap_or(200);
    let rounds = arguments.next().unwrap_or(5);
    println!(
        "{:<10} {:>7} {:>9} {:>12} {:>9} {:>14}",
        "maps", "classes", "mean run", "pairs/CPU s", "GB/s", "naive pairs/s"
    );
    for classes in [4, 19, 150] {
        for (name, make) in [("natural", natural as fn(usize, &mut Random) -> Pair), ("noise", noise)] {
            let mut random = Random(7);
            // Few different maps, since making them is slow, but each pair in its own memory.
            let different: Vec<Pair> = (0..10).map(|_| make(classes, &mut random)).collect();
            let set: Vec<Pair> = (0..pairs).map(|i: usize| different[i % different.len()].clone()).collect();
            let fast = best(rounds, || count(classes, &set))?;
            let few = &set[..set.len().min(20)];
            let naive = best(rounds, || count_naively(classes, few))?;
            let rate = set.len() as f64 / fast;
            println!(
                "{name:<10} {classes:>7} {:>9.1} {rate:>12.0} {:>9.2} {:>14.0}",
                mean_run(&set[0]),
                rate * (2 * WIDTH * HEIGHT) as f64 / 1e9,
                few.len() as f64 / naive
            );
        }
    }
    Ok(())
}

fn count(classes: usize, pairs: &[Pair]) -> Result<()> {
    let size = Size::new(WIDTH as u32, HEIGHT as u32);
    let mut matrix = ConfusionMatrix::new(classes)?;
    for (label, prediction) in pairs {
        matrix.update(SegMap::new(label, size)?, SegMap::new(prediction, size)?, Some(IGNORE.into()))?;
    }
    black_box(matrix.metrics());
    Ok(())
}

fn count_naively(classes: usize, pairs: &[Pair]) -> Result<()> {
    let mut counts = vec![0u64; classes * classes];
    for (label, prediction) in pairs {
        for (&l, &p) in label.iter().zip(prediction) {
            if l != IGNORE {
                counts[usize::from(l) * classes + usize::from(p)] += 1;
            }
        }
    }
    black_box(counts);
    Ok(())
}

/// Seconds of the fastest round.
fn best(rounds: usize, mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let clock = Clock::now();
        run()?;
        best = best.min(clock.seconds());
    }
    Ok(best)
}

fn natural(classes: usize, random: &mut Random) -> Pair {
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

fn noise(classes: usize, random: &mut Random) -> Pair {
    let mut pixel = || {
        let label = random.below(classes + 1);
        (if label == classes { IGNORE } else { label as u8 }, random.below(classes) as u8)
    };
    (0..WIDTH * HEIGHT).map(|_| pixel()).unzip()
}

/// Pixels per run of equal pairs.
fn mean_run((label, prediction): &Pair) -> f64 {
    let steps =
        (1..label.len()).filter(|&i| label[i] != label[i - 1] || prediction[i] != prediction[i - 1]).count();
    label.len() as f64 / (steps + 1) as f64
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize) % n
    }
}

/// CPU time of this thread, where the system tells it.
struct Clock {
    wall: Instant,
    thread: Option<f64>,
}

impl Clock {
    fn now() -> Self {
        Clock { wall: Instant::now(), thread: Clock::thread() }
    }

    fn seconds(&self) -> f64 {
        match (self.thread, Clock::thread()) {
            (Some(start), Some(now)) => now - start,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }

    fn thread() -> Option<f64> {
        std::thread::yield_now(); // brings the kernel's account up to date
        let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(account.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
    }
}
