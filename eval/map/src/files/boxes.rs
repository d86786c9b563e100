//! Boxes of a results file.
use super::read_results;
use super::records::{add_counts, areas_of, cell_of, one_rule};
use crate::Areas;
use crate::cells::{Cells, Key, sort};
use crate::columns::Truth;
use crate::detections::{Detections, Facts};
use crate::funnel::{DetectionFunnel, Funnel};
use crate::selection::Selection;
use care_types::BoxXywh;
use care_types::coco_json::PlainResult;
use std::path::Path;

/// A detection.
struct Row {
    bbox: BoxXywh,
    score: f64,
    area: f64,
}

/// Detections in the order of the file, and where they belong in the order of cells.
pub(super) struct Boxes {
    rows: Vec<Row>,
    /// Row of each position.
    order: Vec<u32>,
}

/// What a part of the file has.
#[derive(Default)]
struct Part {
    keys: Vec<(u32, u32)>,
    rows: Vec<Row>,
    count: DetectionFunnel,
    /// As the part's first record has it.
    areas: Option<Areas>,
}

/// Reads a results file for an evaluation of boxes.
pub(super) fn read(path: &Path, selection: &Selection, funnel: &mut Funnel) -> Option<Cells<Boxes>> {
    let (mut keys, mut rows) = (Vec::new(), Vec::new());
    let mut areas = None;
    let read = |part: &mut Part, record: PlainResult<'_>| part.add(record, selection);
    read_results(path, read, |part: Part| {
        areas = one_rule(areas, part.areas)?;
        let before = rows.len() as u32;
        let key = |(&(category, image), record)| Key { category, image, record };
        keys.extend(part.keys.iter().zip(before..).map(key));
        rows.extend(part.rows);
        add_counts(&mut funnel.detections, &part.count);
        Some(())
    })?;
    let keys = sort(keys, selection);
    let order = keys.iter().map(|k| k.record).collect();
    Some(Cells { keys, items: Boxes { rows, order } })
}

impl Part {
    fn add(&mut self, record: PlainResult<'_>, selection: &Selection) -> Option<()> {
        let areas = *self.areas.get_or_insert(areas_of(&record)?);
        let Some(key) = cell_of(&record, selection, &mut self.count)? else { return Some(()) };
        let (bbox, area) = match (areas, record.bbox, record.segmentation) {
            (Areas::OfBoxes, Some(bbox), _) => (bbox, bbox.area()),
            (Areas::OfMasks, bbox, Some((mask, _))) => (bbox.unwrap_or(mask.bbox), mask.area.into()),
            _ => return None,
        };
        self.count.negative_size += usize::from(record.bbox.is_some_and(|b| b.w < 0.0 || b.h < 0.0));
        // Adding zero makes -0.0 equal to 0.0 for sorting by bits.
        self.rows.push(Row { bbox, score: record.score + 0.0, area });
        self.keys.push(key);
        Some(())
    }
}

impl Detections for Boxes {
    type Truth = BoxXywh;
    type Space = ();

    fn facts(&self, at: usize) -> Facts {
        let &Row { score, area, .. } = self.row(at);
        Facts { score, area, forgiven: false }
    }

    fn ious(&self, order: &[usize], truths: &[Truth<BoxXywh>], (): &mut (), ious: &mut Vec<f64>) {
        for &d in order {
            let bbox = self.row(d).bbox;
            ious.extend(truths.iter().map(|t| bbox.iou(&t.shape, t.crowd)));
        }
    }
}

impl Boxes {
    fn row(&self, at: usize) -> &Row {
        &self.rows[self.order[at] as usize]
    }
}
