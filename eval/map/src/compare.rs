//! Two results for the same pictures: which is better, and could that be chance?
mod draws;
mod figures;
mod hits;
mod interval;
mod lane;
mod ranking;

#[cfg(test)]
pub(crate) use draws::mix;

use crate::evaluator::{self, Evaluator};
use crate::{Error, Result};
use care_types::CategoryId;
use figures::Figures;
use rayon::prelude::*;
use serde::Serialize;

/// How to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareOptions {
    /// How many times the pictures are drawn.
    pub resamples: usize,
    /// Of the draws.
    pub seed: u64,
    /// How sure the intervals are, in (0, 1).
    pub level: f64,
}

impl Default for CompareOptions {
    /// 1,000 resamples, seed 0, intervals of 95 %.
    fn default() -> Self {
        CompareOptions { resamples: 1000, seed: 0, level: 0.95 }
    }
}

/// Which of two results is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The first: the interval is above 0.
    A,
    /// The second: the interval is below 0.
    B,
    /// The interval contains 0.
    Undecided,
}

/// One figure of two results. Figures are fractions in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// As in [`crate::figures`].
    pub name: &'static str,
    /// Of the first result, on all pictures.
    pub a: f64,
    /// Of the second.
    pub b: f64,
    /// `a - b`.
    pub delta: f64,
    /// The lower end of the interval of `delta`.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// In which share of the resamples the first result is better.
    pub a_better: f64,
    /// Resamples in which the figure is defined: a rare category can be in none of the pictures that were drawn.
    pub resamples: usize,
    /// What the interval says.
    pub verdict: Verdict,
}

/// The figures of one category: range `all`, the third (or last) maxDets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryDifference {
    /// −1 when categories are not told apart.
    pub id: CategoryId,
    /// Of the ground truth.
    pub name: String,
    /// `AP`, `AP50`, `AR100`.
    pub figures: Vec<Difference>,
}

/// Two results compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Those of [`crate::Params::figures`] that are defined.
    pub figures: Vec<Difference>,
    /// Of the categories with objects, by ascending id.
    pub per_category: Vec<CategoryDifference>,
    /// Pictures that were evaluated, and drawn from.
    pub pictures: usize,
    /// Times that they were drawn.
    pub resamples: usize,
    /// Of the draws.
    pub seed: u64,
    /// How sure the intervals are.
    pub level: f64,
}

impl Comparison {
    /// A figure by its name.
    pub fn figure(&self, name: &str) -> Option<&Difference> {
        self.figures.iter().find(|d| d.name == name)
    }

    /// What can be said of a figure: `A is better than B: ΔAP = 0.012, 95 % interval [0.004, 0.020]`.
    pub fn statement(&self, figure: &Difference, a: &str, b: &str) -> String {
        let Difference { name, delta, low, high, .. } = figure;
        let verdict = match figure.verdict {
            Verdict::A => format!("{a} is better than {b}"),
            Verdict::B => format!("{a} is worse than {b}"),
            Verdict::Undecided => format!("{a} and {b} cannot be told apart"),
        };
        // Percent with two decimals at most.
        let percent = (self.level * 1e4).round() / 1e2;
        format!("{verdict}: Δ{name} = {delta:.3}, {percent} % interval [{low:.3}, {high:.3}]")
    }
}

/// Compares two results for the same ground truth by a paired bootstrap over pictures: pictures are drawn with
/// replacement, as many as there are, both results are scored on them as [`crate::evaluate`] scores a data set with that
/// many copies of each picture, and the differences of all resamples give percentile intervals (Efron, Tibshirani: An
/// Introduction to the Bootstrap, 1993, chapter 13). Copies of a picture have neighbouring ids, which decides ties.
///
/// Figures are those of [`crate::evaluate`]; AP is at the third (or last) maxDets when 100 is not among them, where
/// `evaluate` leaves it undefined. The same bits for the same seed, at any number of threads.
///
/// # Errors
/// `Config` for options that cannot be. `Input` for evaluators of other parameters, categories, ground truth or pictures,
/// or without pictures.
pub fn compare(a: &Evaluator, b: &Evaluator, options: &CompareOptions) -> Result<Comparison> {
    let &CompareOptions { resamples, seed, level } = options;
    if resamples == 0 || !(level > 0.0 && level < 1.0) {
        return Err(Error::config(format!(
            "{resamples} resamples at level {level}: there must be 1 or more, and a level between 0 and 1"
        )));
    }
    evaluator::refuse_other_task(a, b).map_err(|e| e.context("results cannot be compared"))?;
    let (left, right) = (Figures::new(a)?, Figures::new(b)?);
    let (evaluated, pictures) = (&left.ranking().evaluated, left.ranking().pictures);
    if evaluated.is_empty() {
        return Err(Error::input("results cannot be compared: there are no pictures"));
    }
    same_objects(a, &left, &right)?;
    let figures = |counts: &[u32]| [left.of(counts), right.of(counts)];
    let whole = figures(&vec![1; pictures]);
    let resampled: Vec<[Vec<f64>; 2]> = (0..resamples)
        .into_par_iter()
        .map(|resample| {
            let mut counts = vec![0; pictures];
            for (at, count) in evaluated.iter().zip(draws::counts(seed, resample as u64, evaluated.len())) {
                counts[*at] = count;
            }
            figures(&counts)
        })
        .collect();
    let difference = |name, at| interval::difference(name, at, &whole, &resampled, level);
    let (names, category_names) = (left.names(), left.category_names());
    let per_category = a.group_names().into_iter().enumerate().filter_map(|(k, (id, name))| {
        let at = |n| names.len() + k * category_names.len() + n;
        let figures: Vec<_> =
            category_names.iter().enumerate().filter_map(|(n, figure)| difference(figure, at(n))).collect();
        (!figures.is_empty()).then_some(CategoryDifference { id: CategoryId(id), name, figures })
    });
    Ok(Comparison {
        figures: names.iter().enumerate().filter_map(|(at, name)| difference(name, at)).collect(),
        per_category: per_category.collect(),
        pictures: evaluated.len(),
        resamples,
        seed,
        level,
    })
}

fn same_objects(a: &Evaluator, left: &Figures<'_>, right: &Figures<'_>) -> Result<()> {
    left.ranking().same_objects(right.ranking()).map_err(|(picture, group)| {
        let picture = a.images().nth(picture).map_or(0, |id| id.0);
        let (category, name) = a.group_names().swap_remove(group);
        Error::input(format!(
            "results cannot be compared: picture {picture} has other objects of category {category} ({name}) in the \
             one than in the other"
        ))
    })
}
