//! Which priors a two-stage head learns from: mmdetection's `RandomSampler`.
//!
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/task_modules/samplers/random_sampler.py>

use crate::draw::Stream;
use crate::matcher::Match;
use care_nn::{Error, Result};
use serde::{Deserialize, Serialize};

/// How many priors of a picture are learnt from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampler {
    /// Priors per picture, objects and background.
    pub num: usize,
    /// At most this share of them are objects; background fills up.
    pub pos_fraction: f64,
}

/// Chosen priors, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Priors of objects.
    pub positives: Vec<usize>,
    /// Priors of background.
    pub negatives: Vec<usize>,
}

impl Sampler {
    /// Region proposals: 256, half of them objects.
    pub const RPN: Sampler = Sampler { num: 256, pos_fraction: 0.5 };
    /// Box and mask head: 512, a quarter objects.
    pub const ROI: Sampler = Sampler { num: 512, pos_fraction: 0.25 };

    /// # Errors
    /// `Config` unless something is learnt from, and the share is one.
    pub fn check(&self, key: &str) -> Result<()> {
        if self.num > 0 && (0.0..=1.0).contains(&self.pos_fraction) {
            return Ok(());
        }
        let Self { num, pos_fraction } = self;
        Err(Error::config(format!(
            "{key}: expected num >= 1 and pos_fraction from 0 to 1, got {num} and {pos_fraction}"
        )))
    }

    pub(crate) fn sample(&self, matches: &[Match], stream: &mut Stream) -> Sampled {
        let of = |wanted: fn(&Match) -> bool| -> Vec<usize> {
            matches.iter().enumerate().filter(|(_, m)| wanted(m)).map(|(i, _)| i).collect()
        };
        let most = (self.num as f64 * self.pos_fraction) as usize;
        let positives = stream.choose(of(|m| matches!(m, Match::Object(_))), most);
        let negatives = stream.choose(of(|m| *m == Match::Background), self.num - positives.len());
        Sampled { positives, negatives }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Draw;

    #[test]
    fn background_fills_up_what_objects_leave() {
        let mut matches = vec![Match::Background; 90];
        matches.extend(vec![Match::Object(0); 10]);
        matches.extend(vec![Match::Ignore; 10]);
        let sample = |num, pos_fraction| {
            let s = Sampler { num, pos_fraction }.sample(&matches, &mut Draw::default().stream(0, 0));
            (s.positives.len(), s.negatives.len())
        };
        assert_eq!(sample(40, 0.5), (10, 30));
        assert_eq!(sample(40, 0.1), (4, 36));
        assert_eq!(sample(1000, 0.5), (10, 90));
    }
}
