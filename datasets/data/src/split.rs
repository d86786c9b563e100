//! Keeping a share of a set for validation: seeded, with every class in proportion.

use crate::Dataset;
use crate::annotated::AnnotatedSet;
use crate::rng::rng;
use care_types::CategoryId;
use std::collections::BTreeMap;

/// Splits a set into (training, validation); `fraction` of the pictures, at least one, go to validation.
///
/// Iterative stratification (Sechidis et al. 2011): pictures of the rarest class are dealt first, each to the side that lacks
/// most objects of it, so that also classes with a handful of objects are on both sides. Both keep the order of the set.
pub fn split_off(set: AnnotatedSet, fraction: f64, seed: u64) -> (AnnotatedSet, AnnotatedSet) {
    let n = set.len();
    let wanted = ((n as f64 * fraction).round() as usize).clamp(1.min(n), n.saturating_sub(1).max(1.min(n)));
    let classes: Vec<BTreeMap<CategoryId, usize>> = (0..n).map(|i| counts(&set, i)).collect();
    let mut totals: BTreeMap<CategoryId, usize> = BTreeMap::new();
    for (&id, &count) in classes.iter().flatten() {
        *totals.entry(id).or_default() += count;
    }
    // what the validation side still lacks, per class and in pictures
    let share = wanted as f64 / n.max(1) as f64;
    let mut lacks: BTreeMap<CategoryId, f64> =
        totals.iter().map(|(&id, &c)| (id, c as f64 * share)).collect();
    let mut rarest: Vec<(usize, CategoryId)> = totals.iter().map(|(&id, &c)| (c, id)).collect();
    rarest.sort();
    let mut order: Vec<usize> = (0..n).collect();
    let mut r = rng(seed, 0, n as u64, "split");
    (1..n).rev().for_each(|i| order.swap(i, r.below(i + 1)));
    let (mut taken, mut decided) = (Vec::new(), vec![false; n]);
    for (_, class) in rarest {
        for &i in order.iter().filter(|&&i| classes[i].contains_key(&class)) {
            if decided[i] {
                continue;
            }
            decided[i] = true;
            if taken.len() < wanted && lacks[&class] >= classes[i][&class] as f64 / 2.0 {
                taken.push(i);
                for (id, count) in &classes[i] {
                    *lacks.entry(*id).or_default() -= *count as f64;
                }
            }
        }
    }
    // pictures without objects, then whatever is left, fill the rest
    let empty = order.iter().filter(|&&i| classes[i].is_empty());
    let others = order.iter().filter(|&&i| !classes[i].is_empty());
    for &i in empty.chain(others) {
        if taken.len() < wanted && !taken.contains(&i) {
            taken.push(i);
        }
    }
    taken.sort_unstable();
    let rest: Vec<usize> = (0..n).filter(|i| taken.binary_search(i).is_err()).collect();
    (set.subset(&rest), set.subset(&taken))
}

fn counts(set: &AnnotatedSet, i: usize) -> BTreeMap<CategoryId, usize> {
    let mut counts = BTreeMap::new();
    for annotation in set.annotations(i) {
        *counts.entry(annotation.category_id).or_default() += 1;
    }
    counts
}
