//! How much of a set each class covers: for class weights, and to see a class that has no pixels before training does.

use care_types::{ImageId, SegTarget};
use rayon::prelude::*;
use serde::Serialize;

use super::SemanticSet;
use crate::Error;

/// Pixels per class over a set.
#[derive(Debug, Default, Serialize)]
pub struct ClassShares {
    /// Per class, in class order.
    pub pixels: Vec<u64>,
    /// Pictures with at least one pixel of the class, in class order.
    pub pictures: Vec<usize>,
    /// Pixels without a class.
    pub ignored: u64,
    /// Label maps that were counted.
    pub counted: usize,
    /// Label maps that could not be read: the picture's number in its part, and why.
    #[serde(skip)]
    pub failed: Vec<(ImageId, Error)>,
}

impl ClassShares {
    /// Pixels that have a class.
    pub fn total(&self) -> u64 {
        self.pixels.iter().sum()
    }

    /// Shares of the pixels that have a class, in class order; they add up to 1 (all 0 without pixels).
    pub fn shares(&self) -> Vec<f64> {
        let total = self.total().max(1) as f64;
        self.pixels.iter().map(|&pixels| pixels as f64 / total).collect()
    }

    /// Share of the ignored pixels in all pixels.
    pub fn ignored_share(&self) -> f64 {
        self.ignored as f64 / (self.total() + self.ignored).max(1) as f64
    }
}

/// Counts the pixels of every class in the label maps of a set, in parallel; pictures are not decoded. A label map that is not
/// there or cannot be read is listed and not counted. The result does not depend on the number of threads.
pub fn class_shares(set: &SemanticSet) -> ClassShares {
    let each: Vec<_> = (0..set.len()).into_par_iter().map(|i| set.target(i).map(|t| t.counts())).collect();
    let classes = set.labels().len();
    let mut shares =
        ClassShares { pixels: vec![0; classes], pictures: vec![0; classes], ..ClassShares::default() };
    for (i, counts) in each.into_iter().enumerate() {
        match counts {
            Ok(counts) => {
                shares.counted += 1;
                shares.ignored += counts[usize::from(SegTarget::IGNORE)];
                for (class, &count) in counts[..classes].iter().enumerate() {
                    shares.pixels[class] += count;
                    shares.pictures[class] += usize::from(count > 0);
                }
            }
            Err(error) => shares.failed.push((set.id(i), error)),
        }
    }
    shares
}
