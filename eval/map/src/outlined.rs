//! Masks with the bands along their outlines.
use crate::Result;
use crate::boundary::boundary;
use crate::cells::Cells;
use crate::columns::{self, Found, Truth};
use crate::funnel::Funnel;
use crate::selection::Selection;
use crate::shape::{Mask, Shape};
use care_types::Rle;
use care_types::coco_json::{Dataset, ResultRecord};
use rayon::prelude::*;

/// A mask and its band.
pub(crate) struct Outlined<'a> {
    mask: Mask<'a>,
    band: Rle,
}

impl Shape for Outlined<'_> {
    /// The smaller one of the IoUs of masks and bands; a crowd's outline is nothing that could be found.
    fn iou(&self, truth: &Self, crowd: bool) -> f64 {
        let iou = self.mask.iou(&truth.mask, crowd);
        if crowd || iou <= 0.0 {
            return iou;
        }
        // As for masks: sizes agree; if not, nothing matches.
        iou.min(self.band.iou(&truth.band, false).unwrap_or(-1.0))
    }
}

pub(crate) fn truths<'a>(
    gt: &'a Dataset,
    ratio: f64,
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Truth<Outlined<'a>>>>> {
    let Cells { keys, items } = columns::truth_masks(gt, selection, funnel)?;
    let with_band = |t: Truth<Mask<'a>>| {
        let Truth { shape, area, crowd, ignored, uncounted } = t;
        Ok(Truth { shape: outlined(shape, ratio)?, area, crowd, ignored, uncounted })
    };
    Ok(Cells { keys, items: items.into_par_iter().map(with_band).collect::<Result<_>>()? })
}

pub(crate) fn found<'a>(
    (gt, dt): (&Dataset, &'a [ResultRecord]),
    ratio: f64,
    selection: &Selection,
    funnel: &mut Funnel,
) -> Result<Cells<Vec<Found<Outlined<'a>>>>> {
    let Cells { keys, items } = columns::found_masks(gt, dt, selection, funnel)?;
    let with_band = |f: Found<Mask<'a>>| {
        let Found { shape, area, score, forgiven } = f;
        Ok(Found { shape: outlined(shape, ratio)?, area, score, forgiven })
    };
    Ok(Cells { keys, items: items.into_par_iter().map(with_band).collect::<Result<_>>()? })
}

fn outlined(mask: Mask<'_>, ratio: f64) -> Result<Outlined<'_>> {
    let band = boundary(mask.rle(), ratio)?;
    Ok(Outlined { mask, band })
}
