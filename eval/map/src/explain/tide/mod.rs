//! What costs how much average precision: TIDE's error types.
mod classify;
mod repair;

use super::scene::{Facts, Scene};
use crate::shape::Shape;
use care_types::CategoryId;
use repair::{Pool, Variant};
use serde::Serialize;

/// A type of mistake, from [Bolya et al., 2020](https://arxiv.org/abs/2008.08115), section 2.2. A detection that is no
/// true positive gets the first type that fits, in the order Loc, Cls, Dupe, Bkg, Both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum TideKind {
    /// Wrong category: IoU ≥ the IoU threshold with an object of another category.
    Cls,
    /// Badly placed: the largest IoU with objects of its category is from the background threshold to the IoU
    /// threshold, both included.
    Loc,
    /// Wrong category and badly placed: what fits nothing else.
    Both,
    /// Duplicate: IoU ≥ the IoU threshold with an object of its category that a higher score has found.
    Dupe,
    /// Background: the largest IoU with any object is at most the background threshold.
    Bkg,
    /// An object that nothing found, and that no Cls or Loc mistake would find when corrected.
    Miss,
}

impl TideKind {
    /// In the order of the paper and of `tidecv`'s output.
    pub const ALL: [TideKind; 6] =
        [TideKind::Cls, TideKind::Loc, TideKind::Both, TideKind::Dupe, TideKind::Bkg, TideKind::Miss];
}

/// One type of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TideError {
    /// Which.
    pub kind: TideKind,
    /// How much [`Tide::ap`] would rise if all mistakes of this type, and no others, were corrected; at least 0.
    #[serde(rename = "dAP")]
    pub dap: f64,
    /// Number of mistakes, `tidecv`'s `count_errors`. Detections that a crowd absorbs are among them.
    pub count: u64,
}

/// Mistakes of one category: of the detection's, and of the object's for [`TideKind::Miss`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CategoryTide {
    /// −1 when categories are not told apart.
    pub id: CategoryId,
    /// Of the ground truth.
    pub name: String,
    /// Average precision; −1 with neither objects nor detections, 0 with detections only.
    pub ap: f64,
    /// By [`TideKind::ALL`].
    pub counts: [u64; 6],
}

/// What each type of mistake costs: the numbers of the package [`tidecv`](https://github.com/dbolya/tide) 1.0.1 (there
/// in percent, here in [0, 1]), which the paper's tables come from.
///
/// It differs from COCO's evaluation, and these numbers follow it:
/// - the most detections of a picture are counted over all categories (the largest `maxDets`, 100 by default);
/// - IoU ≥ the threshold as it is; of equal IoUs the object *earlier* in the file wins;
/// - a detection is absorbed by a crowd of its category when its IoU with it is *above* the threshold; it is then neither
///   hit nor false positive, but it still gets a type of mistake, and correcting that can make it a hit;
/// - object areas play no role;
/// - ties of scores are in the order of pictures in the ground truth's file; after a correction, false positives come
///   before hits;
/// - precision has no 2⁻⁵² in its denominator; a category with detections but no objects has average precision 0 and
///   counts in the mean (COCO leaves it out), so [`Tide::ap`] may be below COCO's AP50.
///
/// Selection and reading are those of `evaluate`; detections of unknown categories are dropped, where `tidecv` would make
/// a category of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tide {
    /// IoU threshold of a match.
    pub iou: f64,
    /// IoU up to which a detection is on background.
    pub background_iou: f64,
    /// Mean over categories; −1 with neither objects nor detections.
    pub ap: f64,
    /// By [`TideKind::ALL`].
    pub errors: [TideError; 6],
    /// How much [`Tide::ap`] would rise if every false positive had a lower score than every hit ("FalsePos").
    pub false_positives_dap: f64,
    /// How much [`Tide::ap`] would rise if no object were missed, without new detections ("FalseNeg").
    pub false_negatives_dap: f64,
    /// By ascending category id.
    pub per_category: Vec<CategoryTide>,
}

pub(super) fn tide<S: Shape>(scene: &Scene<S>, facts: &Facts, [iou, background_iou]: [f64; 2]) -> Tide {
    let outcomes = classify::outcomes(scene, facts, [iou, background_iou]);
    let pools = Pool::of_categories(outcomes, facts.categories.len());
    let mean = |variant: Variant| {
        let aps: Vec<f64> = pools.iter().filter_map(|p| p.ap(variant)).collect();
        if aps.is_empty() { -1.0 } else { aps.iter().sum::<f64>() / aps.len() as f64 }
    };
    let ap = mean(Variant::AsIs);
    // Without a base there is nothing to gain.
    let gain = |variant: Variant| if ap < 0.0 { 0.0 } else { mean(variant).max(0.0) - ap };
    let errors = TideKind::ALL.map(|kind| TideError {
        kind,
        // Corrections reorder ties, which can cost a little; tidecv cuts that off too.
        dap: gain(Variant::Corrected(kind)).max(0.0),
        count: pools.iter().map(|p| p.counts[kind as usize]).sum(),
    });
    let category = |((id, name), pool): (&(CategoryId, String), &Pool)| CategoryTide {
        id: *id,
        name: name.clone(),
        ap: pool.ap(Variant::AsIs).unwrap_or(-1.0),
        counts: pool.counts,
    };
    Tide {
        iou,
        background_iou,
        ap,
        errors,
        false_positives_dap: gain(Variant::FalsePositivesLast),
        false_negatives_dap: gain(Variant::NothingMissed),
        per_category: facts.categories.iter().zip(&pools).map(category).collect(),
    }
}
