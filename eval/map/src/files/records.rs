//! What boxes and masks of a results file have in common: where each record belongs, and what is counted.
use crate::Areas;
use crate::cells::{Key, sort};
use crate::columns::{Place, place};
use crate::funnel::DetectionFunnel;
use crate::selection::Selection;
use care_types::coco_json::PlainResult;
use rayon::prelude::*;

/// Of a part of the file.
#[derive(Default)]
pub(super) struct Head {
    /// Category and picture of each evaluated record, by position.
    cells: Vec<(u32, u32)>,
    pub(super) count: DetectionFunnel,
    /// Where areas come from, as the part's first record has it.
    areas: Option<Areas>,
}

impl Head {
    /// The next record: where areas come from, and category and picture if it is evaluated. `None` for what has to go the
    /// general way.
    pub(super) fn add(
        &mut self,
        record: &PlainResult<'_>,
        selection: &Selection,
    ) -> Option<(Areas, Option<(u32, u32)>)> {
        let areas = match self.areas {
            Some(areas) => areas,
            None => *self.areas.insert(areas_of(record)?),
        };
        let count = &mut self.count;
        count.in_results += 1;
        match place(record.image_id.0, record.category_id.0, selection) {
            Place::UnknownImage => return None,
            Place::UnknownCategory => count.unknown_category += 1,
            Place::NotSelected => count.not_selected += 1,
            Place::Cell { category, image } => {
                self.cells.push((category, image));
                return Some((areas, Some((category, image))));
            }
        }
        Some((areas, None))
    }
}

/// Where areas come from, if this record is the first one; `None` for joints.
fn areas_of(record: &PlainResult<'_>) -> Option<Areas> {
    match (record.bbox, record.segmentation, record.has_keypoints) {
        (Some(_), ..) => Some(Areas::OfBoxes),
        (None, None, true) => None,
        _ => Some(Areas::OfMasks),
    }
}

/// Of all parts so far.
#[derive(Default)]
pub(super) struct Taken {
    keys: Vec<Key>,
    pub(super) count: DetectionFunnel,
    areas: Option<Areas>,
}

impl Taken {
    /// Adds the next part, and empties it; `None` when its first record has areas from elsewhere than that of the file.
    pub(super) fn add(&mut self, part: &mut Head) -> Option<()> {
        match (self.areas, part.areas.take()) {
            (Some(before), Some(areas)) if before != areas => return None,
            (before, areas) => self.areas = before.or(areas),
        }
        let rows = self.keys.len() as u32..;
        let key = |((category, image), record)| Key { category, image, record };
        self.keys.extend(part.cells.drain(..).zip(rows).map(key));
        let count = std::mem::take(&mut part.count);
        self.count.in_results += count.in_results;
        self.count.unknown_category += count.unknown_category;
        self.count.not_selected += count.not_selected;
        self.count.negative_size += count.negative_size;
        Some(())
    }

    /// The keys and their rows in the order of cells; takes the keys.
    pub(super) fn sorted<R: Copy + Send + Sync>(
        &mut self,
        rows: Vec<R>,
        selection: &Selection,
    ) -> (Vec<Key>, Vec<R>) {
        let keys = sort(std::mem::take(&mut self.keys), selection);
        let rows = keys.par_iter().map(|k| rows[k.record as usize]).collect();
        (keys, rows)
    }
}
