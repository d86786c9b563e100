//! Boxes of a results file.
use super::read_results;
use super::records::{Head, Taken};
use crate::Areas;
use crate::cells::Cells;
use crate::columns::Truth;
use crate::detections::{Detections, Facts};
use crate::funnel::DetectionFunnel;
use crate::selection::Selection;
use care_types::BoxXywh;
use care_types::coco_json::PlainResult;
use std::path::Path;

/// A detection.
#[derive(Clone, Copy)]
struct Row {
    bbox: BoxXywh,
    score: f64,
    area: f64,
}

/// Detections in the order of cells.
pub(super) struct Boxes {
    rows: Vec<Row>,
}

/// What a part of the file has.
#[derive(Default)]
struct Part {
    head: Head,
    rows: Vec<Row>,
}

/// Reads a results file for an evaluation of boxes.
pub(super) fn read(path: &Path, selection: &Selection) -> Option<(Cells<Boxes>, DetectionFunnel)> {
    let (mut taken, mut rows) = (Taken::default(), Vec::new());
    let read = |part: &mut Part, record: PlainResult<'_>| part.add(record, selection);
    read_results(path, read, |part: &mut Part| {
        rows.append(&mut part.rows);
        taken.add(&mut part.head)
    })?;
    let (keys, rows) = taken.sorted(rows, selection);
    Some((Cells { keys, items: Boxes { rows } }, taken.count))
}

impl Part {
    fn add(&mut self, record: PlainResult<'_>, selection: &Selection) -> Option<()> {
        let (areas, Some(_)) = self.head.add(&record, selection)? else { return Some(()) };
        let (bbox, area) = match (areas, record.bbox, record.segmentation) {
            (Areas::OfBoxes, Some(bbox), _) => (bbox, bbox.area()),
            (Areas::OfMasks, bbox, Some((mask, _))) => (bbox.unwrap_or(mask.bbox), mask.area.into()),
            _ => return None,
        };
        self.head.count.negative_size += usize::from(record.bbox.is_some_and(|b| b.w < 0.0 || b.h < 0.0));
        // Adding zero makes -0.0 equal to 0.0 for sorting by bits.
        self.rows.push(Row { bbox, score: record.score + 0.0, area });
        Some(())
    }
}

impl Detections for Boxes {
    type Truth = BoxXywh;
    type Space = ();

    fn facts(&self, at: usize) -> Facts {
        let Row { score, area, .. } = self.rows[at];
        Facts { score, area, forgiven: false }
    }

    fn ious(&self, order: &[usize], truths: &[Truth<BoxXywh>], (): &mut (), ious: &mut Vec<f64>) {
        for &d in order {
            let bbox = self.rows[d].bbox;
            ious.extend(truths.iter().map(|t| bbox.iou(&t.shape, t.crowd)));
        }
    }
}
