//! From the records of pictures to what is kept of them.
use super::record::{Layout, Record, RecordWriter};
use crate::cells::{Cell, Cells, cells_of_category};
use crate::columns::{self, Found, Truth};
use crate::funnel::Funnel;
use crate::matching::{Matcher, Rules};
use crate::selection::Selection;
use crate::shape::Shape;
use crate::{IouType, Params, Result, outlined, poses};
use care_types::coco_json::{Dataset, ResultRecord};
use rayon::prelude::*;

/// What one picture is kept as.
pub(crate) struct Matched {
    /// Position among the evaluated pictures.
    pub(crate) image: u32,
    pub(crate) record: Record,
    /// Whether an object has id 0.
    pub(crate) id_zero: bool,
}

/// Matches the evaluated pictures of the selection; one record for each, by position.
pub(crate) fn records(
    gt: &Dataset,
    dt: &[ResultRecord],
    params: &Params,
    (selection, rules): (&Selection, &Rules),
    funnel: &mut Funnel,
) -> Result<Vec<Matched>> {
    Ok(match params.iou_type {
        IouType::Bbox => {
            let truths = columns::truth_boxes(gt, selection, funnel)?;
            let found = columns::found_boxes(dt, selection, funnel)?;
            Pictures { gt, selection, rules, truths, found }.records(funnel)
        }
        IouType::Segm => {
            let truths = columns::truth_masks(gt, selection, funnel)?;
            let found = columns::found_masks(gt, dt, selection, funnel)?;
            Pictures { gt, selection, rules, truths, found }.records(funnel)
        }
        IouType::Keypoints => {
            let truths = poses::truth_poses(gt, &params.kpt_oks_sigmas, selection, funnel)?;
            let found = poses::found_poses(dt, &params.kpt_oks_sigmas, selection, funnel)?;
            Pictures { gt, selection, rules, truths, found }.records(funnel)
        }
        IouType::Boundary => {
            let truths = outlined::truths(gt, params.dilation_ratio, selection, funnel)?;
            let found = outlined::found((gt, dt), params.dilation_ratio, selection, funnel)?;
            Pictures { gt, selection, rules, truths, found }.records(funnel)
        }
    })
}

struct Pictures<'a, S> {
    gt: &'a Dataset,
    selection: &'a Selection,
    rules: &'a Rules,
    truths: Cells<Vec<Truth<S>>>,
    found: Cells<Vec<Found<S>>>,
}

/// A cell of a picture.
struct Placed {
    image: u32,
    group: u32,
    cell: Cell,
}

impl<S: Shape> Pictures<'_, S> {
    fn records(&self, funnel: &mut Funnel) -> Vec<Matched> {
        let ids = self.annotation_ids();
        let cells = self.cells();
        let start = |image| cells.partition_point(|c| c.image < image);
        let matched: Vec<(Matched, usize)> = (0..self.selection.images.len() as u32)
            .into_par_iter()
            .map_init(
                || Matcher::new(self.rules, &self.truths.items, &self.found.items),
                |matcher, image| {
                    let cells = &cells[start(image)..start(image + 1)];
                    let from = ids.partition_point(|&(i, _)| i < image);
                    let to = ids.partition_point(|&(i, _)| i <= image);
                    self.record(image, &ids[from..to], cells, matcher)
                },
            )
            .collect();
        let dropped: usize = matched.iter().map(|(_, dropped)| dropped).sum();
        funnel.detections.beyond_max_dets += dropped;
        funnel.detections.used = self.found.keys.len() - dropped;
        matched.into_iter().map(|(matched, _)| matched).collect()
    }

    /// The record of a picture, and how many of its detections are beyond maxDets.
    fn record(
        &self,
        image: u32,
        ids: &[(u32, i64)],
        cells: &[Placed],
        matcher: &mut Matcher<'_, Vec<Found<S>>>,
    ) -> (Matched, usize) {
        let ids: Vec<i64> = ids.iter().map(|&(_, id)| id).collect();
        let has_detections = cells.iter().any(|c| !c.cell.found.is_empty());
        let layout = Layout::new(self.rules, self.selection.groups());
        let mut writer = RecordWriter::new(layout, &ids, has_detections);
        let mut dropped = 0;
        for placed in cells {
            let outcomes = matcher.outcomes_of(&placed.cell);
            writer.cell(placed.group, outcomes);
            dropped += outcomes.dropped;
        }
        (Matched { image, record: writer.finish(), id_zero: ids.contains(&0) }, dropped)
    }

    /// By picture, then by group.
    fn cells(&self) -> Vec<Placed> {
        let (truths, found) = (&self.truths.keys, &self.found.keys);
        let mut cells: Vec<Placed> = Vec::new();
        for group in 0..self.selection.groups() as u32 {
            cells.extend(cells_of_category(truths, found, group).into_iter().map(|cell| {
                let first = truths[cell.truths.clone()].first().or(found[cell.found.clone()].first());
                Placed { image: first.map_or(0, |key| key.image), group, cell }
            }));
        }
        cells.sort_by_key(|c| c.image);
        cells
    }

    /// The ids of all objects, by picture, ascending.
    fn annotation_ids(&self) -> Vec<(u32, i64)> {
        let id = |record: u32| self.gt.annotations[record as usize].id;
        let mut ids: Vec<(u32, i64)> =
            self.truths.keys.iter().map(|key| (key.image, id(key.record))).collect();
        ids.sort_unstable();
        ids
    }
}
