//! Which prior learns which object: mmdetection's `MaxIoUAssigner`, quirks included.
//!
//! 1. A prior is background when its best overlap lies in the negative range, an object when it reaches
//!    `pos_iou`, and ignored between.
//! 2. With `match_low_quality`, every prior that *equals* an object's best overlap (float equality) gets that
//!    object if the overlap reaches `min_pos_iou`; a later object overwrites an earlier one. With
//!    `min_pos_iou` 0, an object that overlaps nothing takes every prior of overlap 0 (kept on purpose:
//!    published numbers depend on it).
//! 3. Priors covered by an ignore region by more than `ignore_iof` have overlap -1 with everything.
//!
//! Source: <https://github.com/open-mmlab/mmdetection/blob/v3.3.0/mmdet/models/task_modules/assigners/max_iou_assigner.py>

use crate::iou::Overlap;
use care_types::BoxXyxy;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Thresholds of the assignment, compared in f32.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// Overlap from which a prior is positive.
    pub pos_iou: f32,
    /// Overlaps in `[low, high)` are background.
    pub neg_iou: (f32, f32),
    /// Smallest best overlap for which an object claims its best priors.
    pub min_pos_iou: f32,
    /// Whether objects claim their best priors at all.
    pub match_low_quality: bool,
    /// Share of a prior inside an ignore region above which the prior is ignored; `None`: regions are not
    /// looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_iof: Option<f32>,
}

impl Matcher {
    /// RetinaNet: .5 / .4, every object gets its best priors.
    pub const RETINANET: Matcher = Matcher {
        pos_iou: 0.5,
        neg_iou: (0.0, 0.4),
        min_pos_iou: 0.0,
        match_low_quality: true,
        ignore_iof: None,
    };
    /// Region proposals: .7 / .3 / .3.
    pub const RPN: Matcher = Matcher {
        pos_iou: 0.7,
        neg_iou: (0.0, 0.3),
        min_pos_iou: 0.3,
        match_low_quality: true,
        ignore_iof: None,
    };
    /// Regions of Mask R-CNN's second stage: .5 / .5 / .5.
    pub const ROI: Matcher = Matcher {
        pos_iou: 0.5,
        neg_iou: (0.0, 0.5),
        min_pos_iou: 0.5,
        match_low_quality: true,
        ignore_iof: None,
    };

    /// Assigns every prior.
    pub fn assign(&self, priors: &[BoxXyxy], objects: &[BoxXyxy], ignore: &[BoxXyxy]) -> Assignment {
        if objects.is_empty() {
            let matches = vec![Match::Background; priors.len()];
            return Assignment { matches, max_overlap: vec![0.0; priors.len()] };
        }
        let covered: Vec<bool> = priors.par_iter().map(|p| self.is_ignored(p, ignore)).collect();
        let best_of_object = best_overlaps(priors, objects, &covered);
        let (matches, max_overlap) = priors
            .par_iter()
            .zip(&covered)
            .map(|(prior, &covered)| self.assign_one(prior, covered, objects, &best_of_object))
            .unzip();
        Assignment { matches, max_overlap }
    }

    fn is_ignored(&self, prior: &BoxXyxy, ignore: &[BoxXyxy]) -> bool {
        let Some(limit) = self.ignore_iof.filter(|&t| t > 0.0) else { return false };
        ignore.iter().any(|region| Overlap::Iof.of(prior, region) > limit)
    }

    fn assign_one(
        &self,
        prior: &BoxXyxy,
        covered: bool,
        objects: &[BoxXyxy],
        best_of_object: &[f32],
    ) -> (Match, f32) {
        let (mut best, mut arg, mut claimed_by) = (f32::NEG_INFINITY, 0, None);
        for (i, object) in objects.iter().enumerate() {
            let overlap = overlap_unless(covered, object, prior);
            if overlap > best {
                (best, arg) = (overlap, i);
            }
            let wanted = best_of_object[i] >= self.min_pos_iou && overlap == best_of_object[i];
            if self.match_low_quality && wanted {
                claimed_by = Some(i);
            }
        }
        let by_threshold = if best >= self.pos_iou {
            Match::Object(arg)
        } else if best >= self.neg_iou.0 && best < self.neg_iou.1 {
            Match::Background
        } else {
            Match::Ignore
        };
        (claimed_by.map_or(by_threshold, Match::Object), best)
    }
}

/// What one prior is to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Nothing: between the thresholds, or inside an ignore region.
    Ignore,
    /// That there is no object.
    Background,
    /// The object of this index.
    Object(usize),
}

/// One entry per prior.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// What each prior is to learn.
    pub matches: Vec<Match>,
    /// Its best overlap with any object; -1 inside ignore regions, 0 when there are no objects.
    pub max_overlap: Vec<f32>,
}

/// The object comes first: its area is the first term of the union's sum.
#[inline]
fn overlap_unless(covered: bool, object: &BoxXyxy, prior: &BoxXyxy) -> f32 {
    if covered { -1.0 } else { Overlap::Iou.of(object, prior) }
}

/// Best overlap of each object over all priors. Overlaps are computed again where they are needed rather than
/// stored: 200,000 anchors × 100 objects would be 80 MB. A maximum does not depend on the order.
fn best_overlaps(priors: &[BoxXyxy], objects: &[BoxXyxy], covered: &[bool]) -> Vec<f32> {
    let best = |object: &BoxXyxy| {
        let overlaps = priors.iter().zip(covered).map(|(p, &c)| overlap_unless(c, object, p));
        overlaps.fold(f32::NEG_INFINITY, f32::max)
    };
    objects.par_iter().map(best).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bx(x0: f32, y0: f32, x1: f32, y1: f32) -> BoxXyxy {
        BoxXyxy { x0, y0, x1, y1 }
    }

    #[test]
    fn thresholds_separate_positive_ignored_and_background() {
        let object = [bx(0., 0., 10., 10.)];
        let priors = [bx(0., 0., 10., 10.), bx(0., 0., 10., 4.5), bx(0., 0., 10., 3.)];
        let m = Matcher { match_low_quality: false, ..Matcher::RETINANET };
        let a = m.assign(&priors, &object, &[]);
        assert_eq!(a.matches, [Match::Object(0), Match::Ignore, Match::Background]);
    }

    #[test]
    fn a_later_object_takes_a_tied_prior() {
        let objects = [bx(0., 0., 8., 8.), bx(0., 0., 8., 8.)];
        let a = Matcher::RETINANET.assign(&[bx(0., 0., 8., 2.)], &objects, &[]);
        assert_eq!(a.matches, [Match::Object(1)]);
    }

    #[test]
    fn an_object_that_overlaps_nothing_takes_every_free_prior() {
        let objects = [bx(500., 500., 510., 510.)];
        let a = Matcher::RETINANET.assign(&[bx(0., 0., 8., 8.), bx(9., 9., 12., 12.)], &objects, &[]);
        assert_eq!(a.matches, [Match::Object(0); 2]);
    }

    #[test]
    fn priors_in_ignore_regions_learn_nothing() {
        let m = Matcher { ignore_iof: Some(0.5), ..Matcher::RETINANET };
        let priors = [bx(0., 0., 10., 10.), bx(20., 20., 30., 30.)];
        let a = m.assign(&priors, &[bx(0., 0., 10., 10.)], &[bx(18., 18., 40., 40.)]);
        assert_eq!(a.matches, [Match::Object(0), Match::Ignore]);
        assert_eq!(a.max_overlap, [1.0, -1.0]);
    }

    #[test]
    fn no_objects_means_background_everywhere() {
        let m = Matcher { ignore_iof: Some(0.5), ..Matcher::RETINANET };
        let a = m.assign(&[bx(0., 0., 10., 10.)], &[], &[bx(0., 0., 10., 10.)]);
        assert_eq!(a.matches, [Match::Background]);
    }
}
