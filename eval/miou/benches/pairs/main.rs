//! Pairs of 512x683 label maps counted per CPU second, on one thread, from memory, beside hotcoco and one addition per pixel.
//!
//! `cargo bench -p care-miou --bench pairs [-- PAIRS [ROUNDS]]`
//!
//! Maps are made, not read. Time is that of the thread (Unix); rounds are interleaved, and the best
//! of each is shown. The counts of all three must be equal.
mod clock;
mod maps;

use care_miou::{ConfusionMatrix, Error, Result, SegMap, Size};
use clock::cpu_seconds;
use hotcoco::semantic::SemanticEval;
use maps::{Pair, Random, mean_run, natural, noise};

const WIDTH: usize = 683;
const HEIGHT: usize = 512;
const IGNORE: u8 = 255;

/// Counts by label, then prediction.
type Counts = Vec<u64>;

/// From classes and pairs.
type Count = fn(usize, &[Pair]) -> Result<Counts>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).filter_map(|a| a.parse().ok());
    let pairs = arguments.next().unwrap_or(200);
    let rounds = arguments.next().unwrap_or(5);
    println!("pairs of {HEIGHT}x{WIDTH} per CPU second");
    println!(
        "{:<8} {:>7} {:>8} {:>9} {:>9} {:>9} {:>12}",
        "maps", "classes", "mean run", "care-miou", "hotcoco", "naive", "care/hotcoco"
    );
    for classes in [4, 19, 150] {
        for (name, make) in [("natural", natural as fn(usize, &mut Random) -> Pair), ("noise", noise)] {
            let mut random = Random::new(7);
            // Few different maps, since making them is slow, but each pair in its own memory.
            let different: Vec<Pair> = (0..10).map(|_| make(classes, &mut random)).collect();
            let set: Vec<Pair> = (0..pairs).map(|i: usize| different[i % different.len()].clone()).collect();
            let [ours, theirs, naive] = rates(classes, &set, rounds)?;
            println!(
                "{name:<8} {classes:>7} {:>8.1} {ours:>9.0} {theirs:>9.0} {naive:>9.0} {:>12.1}",
                mean_run(&set[0]),
                ours / theirs
            );
        }
    }
    Ok(())
}

/// Pairs per CPU second in the best round of each.
fn rates(classes: usize, set: &[Pair], rounds: usize) -> Result<[f64; 3]> {
    let counters: [(&str, Count); 3] =
        [("care-miou", count), ("hotcoco", count_with_hotcoco), ("naive", count_naively)];
    let mut best = [f64::INFINITY; 3];
    for _ in 0..rounds {
        let mut want = None;
        for (best, (name, count)) in best.iter_mut().zip(counters) {
            let start = cpu_seconds();
            let counts = count(classes, set)?;
            *best = best.min(cpu_seconds() - start);
            if want.get_or_insert_with(|| counts.clone()) != &counts {
                return Err(Error::internal(format!("{classes} classes: {name} counts something else")));
            }
        }
    }
    Ok(best.map(|seconds| set.len() as f64 / seconds))
}

fn count(classes: usize, pairs: &[Pair]) -> Result<Counts> {
    let size = Size::new(WIDTH as u32, HEIGHT as u32);
    let mut matrix = ConfusionMatrix::new(classes)?;
    for (label, prediction) in pairs {
        matrix.update(SegMap::new(label, size)?, SegMap::new(prediction, size)?, Some(IGNORE.into()))?;
    }
    Ok(matrix.counts().to_vec())
}

fn count_with_hotcoco(classes: usize, pairs: &[Pair]) -> Result<Counts> {
    let mut eval = SemanticEval::new(classes).ignore_index(Some(IGNORE.into()));
    for (label, prediction) in pairs {
        eval.update(label, prediction).map_err(|e| Error::internal(format!("hotcoco: {e}")))?;
    }
    Ok(eval.confusion().counts().to_vec())
}

fn count_naively(classes: usize, pairs: &[Pair]) -> Result<Counts> {
    let mut counts = vec![0u64; classes * classes];
    for (label, prediction) in pairs {
        for (&l, &p) in label.iter().zip(prediction) {
            if l != IGNORE {
                counts[usize::from(l) * classes + usize::from(p)] += 1;
            }
        }
    }
    Ok(counts)
}
