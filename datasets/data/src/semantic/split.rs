//! Keeping a share of a set for validation: seeded, with every class on both sides where that is possible.

use rayon::prelude::*;

use super::SemanticSet;
use crate::rng::rng;

impl SemanticSet {
    /// Splits the set into (training, validation); `fraction` of the usable pictures, at least one, go to validation.
    ///
    /// Pictures of the class that fewest pictures have are dealt first, each to the side that lacks more of them, so that a
    /// class of a handful of pictures is on both sides (as [`crate::split_off`] does it for objects). Every label map is read
    /// once; one that cannot be read counts as without classes. Both sides keep the order of the set.
    pub fn split_off(&self, fraction: f64, seed: u64) -> (Self, Self) {
        // pictures that nothing can be learnt from, nor scored on, stay out of the deal and in the training part
        let usable = self.training_indices();
        let n = usable.len();
        let wanted =
            ((n as f64 * fraction).round() as usize).clamp(1.min(n), n.saturating_sub(1).max(1.min(n)));
        let classes: Vec<Vec<usize>> = usable.par_iter().map(|&i| self.classes_of(i)).collect();
        let mut totals = vec![0usize; self.labels().len()];
        classes.iter().flatten().for_each(|&class| totals[class] += 1);
        let share = wanted as f64 / n.max(1) as f64;
        let mut lacks: Vec<f64> = totals.iter().map(|&pictures| pictures as f64 * share).collect();
        let mut rarest: Vec<usize> = (0..totals.len()).collect();
        rarest.sort_by_key(|&class| (totals[class], class));
        let mut order: Vec<usize> = (0..n).collect();
        let mut r = rng(seed, 0, n as u64, "segsplit");
        (1..n).rev().for_each(|i| order.swap(i, r.below(i + 1)));
        let (mut taken, mut decided) = (vec![false; n], vec![false; n]);
        let mut left = wanted;
        for class in rarest {
            for &i in order.iter().filter(|&&i| classes[i].contains(&class)) {
                if !decided[i] && left > 0 && lacks[class] >= 0.5 {
                    (taken[i], left) = (true, left - 1);
                    classes[i].iter().for_each(|&class| lacks[class] -= 1.0);
                }
                decided[i] = true;
            }
        }
        // Pictures without classes, then whatever is left, fill the rest.
        let (full, empty): (Vec<usize>, Vec<usize>) = order.iter().partition(|&&i| decided[i]);
        for i in empty.into_iter().chain(full) {
            if left > 0 && !taken[i] {
                (taken[i], left) = (true, left - 1);
            }
        }
        let mut kept = vec![false; self.len()];
        usable.iter().zip(taken).for_each(|(&i, taken)| kept[i] = taken);
        let side = |wanted: bool| (0..self.len()).filter(|&i| kept[i] == wanted).collect::<Vec<_>>();
        (self.subset(&side(false)), self.subset(&side(true)))
    }

    /// The classes that picture `i` has pixels of.
    fn classes_of(&self, i: usize) -> Vec<usize> {
        let Ok(target) = self.target(i) else { return Vec::new() };
        let counts = target.counts();
        (0..self.labels().len()).filter(|&class| counts[class] > 0).collect()
    }
}
