//! From records to poses; every check of joints is here.
use crate::cells::Cells;
use crate::columns::{self, Found, Truth};
use crate::funnel::Funnel;
use crate::keypoints::Pose;
use crate::selection::Selection;
use crate::{Areas, Error, Result};
use care_types::BoxXywh;
use care_types::coco_json::{Dataset, ResultRecord};

/// The labelled poses. An object without joints needs a box, and every one its area.
pub(crate) fn truth_poses<'a>(
    gt: &'a Dataset,
    sigmas: &'a [f64],
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Truth<Pose<'a>>>>> {
    columns::truths(gt, selection, funnel, |_, a| {
        let joints = joints(a.keypoints.as_deref(), sigmas.len())?;
        let missing =
            |field: &str| Error::input(format!("{field}: missing; it is needed to evaluate keypoints"));
        a.num_keypoints.ok_or_else(|| missing("num_keypoints"))?;
        let area = a.area.ok_or_else(|| missing("area"))?;
        let pose = Pose { joints, area, bbox: a.bbox.unwrap_or_default(), sigmas };
        match a.bbox {
            None if !pose.has_labels() => {
                Err(Error::input("bbox: missing; no joint is labelled, so it stands for them"))
            }
            _ => Ok((pose, area)),
        }
    })
}

/// The predicted poses. Their areas are those of their boxes when the first record has one, of their masks when that has
/// a mask, and else of the boxes around their joints, as pycocotools has it.
pub(crate) fn found_poses<'a>(
    dt: &'a [ResultRecord],
    sigmas: &'a [f64],
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Found<Pose<'a>>>>> {
    let areas = columns::areas(dt, selection);
    columns::found(dt, selection, funnel, |_, r| {
        let joints = joints(r.keypoints.as_deref(), sigmas.len())?;
        let missing = |field: &str| {
            Error::input(format!(
                "{field}: missing, but areas come from it, because the first result has one"
            ))
        };
        let area = match areas {
            Areas::OfBoxes => r.bbox.ok_or_else(|| missing("bbox"))?.area(),
            Areas::OfMasks => r.segmentation.as_ref().ok_or_else(|| missing("segmentation"))?.area().into(),
            Areas::OfJoints => around(joints).area(),
        };
        Ok((Pose { joints, area, bbox: BoxXywh::default(), sigmas }, area))
    })
}

/// The joints of a record, checked.
fn joints(keypoints: Option<&[f64]>, count: usize) -> Result<&[f64]> {
    let joints =
        keypoints.ok_or_else(|| Error::input("keypoints: missing; they are needed to evaluate keypoints"))?;
    if joints.len() != 3 * count {
        return Err(Error::input(format!(
            "keypoints: {} numbers, expected {}: x, y and visibility of {count} joints, as many as kpt_oks_sigmas",
            joints.len(),
            3 * count
        )));
    }
    match joints.iter().position(|v| !v.is_finite()) {
        Some(at) => Err(Error::input(format!("keypoints[{at}]: {} is not a finite number", joints[at]))),
        None => Ok(joints),
    }
}

/// The box around all joints.
fn around(joints: &[f64]) -> BoxXywh {
    let ends = |axis: usize| {
        let values = joints.chunks_exact(3).map(|joint| joint[axis]);
        values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
    };
    let ([x0, x1], [y0, y1]) = (ends(0), ends(1));
    BoxXywh::new(x0, y0, x1 - x0, y1 - y0)
}
