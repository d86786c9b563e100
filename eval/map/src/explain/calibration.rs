//! Whether scores mean what they say: of detections with score 0.8, are 80 % right?
use super::judge::{Judged, Verdict};
use super::scene::Facts;
use care_types::CategoryId;
use serde::Serialize;

/// Detections whose score lies in one interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Scores above this, and 0 itself in the first bin.
    pub from: f64,
    /// Scores up to this, included.
    pub to: f64,
    /// Number of detections.
    pub detections: u64,
    /// Mean score; −1 in an empty bin.
    pub mean_score: f64,
    /// Share of true positives; −1 in an empty bin.
    pub precision: f64,
}

/// Reliability of scores: [Guo et al., 2017](https://arxiv.org/abs/1706.04599), section 3, with "is a true positive at
/// this IoU" for "is right". Bin m of M holds scores in ((m − 1)/M, m/M].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reliability {
    /// Expected calibration error: mean over detections of |precision − mean score| of their bin; −1 without detections.
    pub ece: f64,
    /// The largest |precision − mean score| of a bin; −1 without detections.
    pub mce: f64,
    /// Detections in the bins. Those that count neither way (crowds) are left out.
    pub detections: u64,
    /// Detections left out because their score is not in [0, 1]: such scores are no probabilities.
    pub outside: u64,
    /// Ascending, of equal width.
    pub bins: Vec<Bin>,
}

/// Reliability of one category.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryReliability {
    /// −1 when categories are not told apart.
    pub id: CategoryId,
    /// Of the ground truth.
    pub name: String,
    /// The figures.
    #[serde(flatten)]
    pub reliability: Reliability,
}

/// Calibration of all detections together and of each category. All scores take part, whatever the score threshold: a
/// detector that writes many low scores is mostly judged by those.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// All detections.
    pub overall: Reliability,
    /// By ascending category id.
    pub per_category: Vec<CategoryReliability>,
}

/// Sums of one bin.
#[derive(Clone, Copy, Default)]
struct Tally {
    detections: u64,
    hits: u64,
    scores: f64,
}

struct Tallies {
    bins: Vec<Tally>,
    outside: u64,
}

impl Tallies {
    fn new(bins: usize) -> Self {
        Tallies { bins: vec![Tally::default(); bins], outside: 0 }
    }

    fn add(&mut self, score: f64, hit: bool) {
        if !(0.0..=1.0).contains(&score) {
            self.outside += 1;
            return;
        }
        let bin = bin_of(score, self.bins.len());
        let tally = &mut self.bins[bin];
        tally.detections += 1;
        tally.hits += u64::from(hit);
        tally.scores += score;
    }

    fn merge(&mut self, other: &Tallies) {
        for (a, b) in self.bins.iter_mut().zip(&other.bins) {
            a.detections += b.detections;
            a.hits += b.hits;
            a.scores += b.scores;
        }
        self.outside += other.outside;
    }

    fn figures(&self) -> Reliability {
        let bins: Vec<Bin> = self.bins.iter().enumerate().map(|(m, t)| t.bin(m, self.bins.len())).collect();
        let detections: u64 = bins.iter().map(|b| b.detections).sum();
        let gap = |b: &Bin| (b.precision - b.mean_score).abs();
        let filled = || bins.iter().filter(|b| b.detections > 0);
        let (mut ece, mut mce) = (-1.0, -1.0);
        if detections > 0 {
            ece = filled().map(|b| b.detections as f64 / detections as f64 * gap(b)).sum();
            mce = filled().map(gap).fold(0.0, f64::max);
        }
        Reliability { ece, mce, detections, outside: self.outside, bins }
    }
}

impl Tally {
    fn bin(&self, m: usize, bins: usize) -> Bin {
        let mean = |sum: f64| if self.detections == 0 { -1.0 } else { sum / self.detections as f64 };
        Bin {
            from: edge(m, bins),
            to: edge(m + 1, bins),
            detections: self.detections,
            mean_score: mean(self.scores),
            precision: mean(self.hits as f64),
        }
    }
}

fn edge(m: usize, bins: usize) -> f64 {
    m as f64 / bins as f64
}

/// The first bin whose upper edge is not below the score (in [0, 1]).
fn bin_of(score: f64, bins: usize) -> usize {
    // The product may round across an edge by one bin; the edges themselves decide.
    let mut bin = ((score * bins as f64) as usize).min(bins - 1);
    while bin > 0 && score <= edge(bin, bins) {
        bin -= 1;
    }
    while bin + 1 < bins && score > edge(bin + 1, bins) {
        bin += 1;
    }
    bin
}

pub(super) fn calibration(judged: &Judged, facts: &Facts, bins: usize) -> Calibration {
    let mut tallies: Vec<Tallies> = facts.categories.iter().map(|_| Tallies::new(bins)).collect();
    for cell in &judged.cells {
        let tally = &mut tallies[cell.category as usize];
        for d in judged.of(cell).iter().filter(|d| d.verdict != Verdict::Ignored) {
            tally.add(d.score, matches!(d.verdict, Verdict::Hit(_)));
        }
    }
    let mut all = Tallies::new(bins);
    tallies.iter().for_each(|t| all.merge(t));
    let named = facts.categories.iter().zip(&tallies);
    let per_category = named.map(|((id, name), tally)| CategoryReliability {
        id: *id,
        name: name.clone(),
        reliability: tally.figures(),
    });
    Calibration { overall: all.figures(), per_category: per_category.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_on_an_edge_belongs_to_the_bin_below() {
        for bins in [1, 2, 3, 7, 10, 15, 49, 100] {
            for m in 0..=bins {
                let expected = m.max(1) - 1;
                assert_eq!(bin_of(edge(m, bins), bins), expected, "edge {m} of {bins} bins");
            }
            for m in 0..bins {
                let above = f64::from_bits(edge(m, bins).to_bits() + 1);
                assert_eq!(bin_of(above, bins), m, "just above edge {m} of {bins} bins");
            }
        }
    }
}
