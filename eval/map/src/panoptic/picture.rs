//! One picture: checks, matches, counts.
use super::overlap::{Overlap, areas, overlaps};
use super::quality::{CategoryCounts, TruthNotes};
use super::records::{Categories, Segment};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Pixels without a segment.
const VOID: u32 = 0;

/// The segments of a picture.
#[derive(Clone, Copy, Debug)]
pub struct SegmentMap<'a> {
    /// Of each pixel, in any order that is the same for ground truth and prediction; 0 is void.
    pub ids: &'a [u32],
    /// What the ids are.
    pub segments: &'a [Segment],
}

/// What a picture adds.
pub(super) struct PictureCounts {
    /// By position of the category.
    pub(super) categories: BTreeMap<usize, CategoryCounts>,
    pub(super) notes: TruthNotes,
}

/// A segment with the pixels it has.
struct Known<'a> {
    segment: &'a Segment,
    area: u64,
    matched: bool,
}

pub(super) fn counts(
    categories: &Categories,
    truth: SegmentMap<'_>,
    prediction: SegmentMap<'_>,
) -> Result<PictureCounts> {
    if truth.ids.len() != prediction.ids.len() {
        let (t, p) = (truth.ids.len(), prediction.ids.len());
        return Err(Error::input(format!("the ground truth has {t} pixels, the prediction {p}")));
    }
    let overlaps = overlaps(truth.ids, prediction.ids);
    let truths = known(truth.segments, &areas(&overlaps, |o| o.truth));
    let truths = truths.map_err(|e| e.context("ground truth"))?;
    let found_areas = areas(&overlaps, |o| o.prediction);
    let found = known(prediction.segments, &found_areas).map_err(|e| e.context("prediction"))?;
    check_prediction(&found, &found_areas, categories).map_err(|e| e.context("prediction"))?;
    let notes = notes(&truths, &overlaps, categories);
    let mut picture = Picture { categories, overlaps: &overlaps, truths, found, counts: BTreeMap::new() };
    picture.match_pairs();
    picture.count_misses();
    picture.count_false_positives(truth.segments);
    Ok(PictureCounts { categories: picture.counts, notes })
}

/// Segments by id, with their areas.
fn known<'a>(segments: &'a [Segment], areas: &[(u32, u64)]) -> Result<BTreeMap<u32, Known<'a>>> {
    let mut known = BTreeMap::new();
    for (at, segment) in segments.iter().enumerate() {
        if segment.id == VOID {
            return Err(Error::input(format!("segments_info[{at}].id: 0 means no segment")));
        }
        let area = areas.binary_search_by_key(&segment.id, |a| a.0).map_or(0, |at| areas[at].1);
        if known.insert(segment.id, Known { segment, area, matched: false }).is_some() {
            let id = segment.id;
            return Err(Error::input(format!("segments_info[{at}].id: segment {id} for the second time")));
        }
    }
    Ok(known)
}

fn check_prediction(
    found: &BTreeMap<u32, Known<'_>>,
    areas: &[(u32, u64)],
    categories: &Categories,
) -> Result<()> {
    if let Some((id, _)) = areas.iter().find(|(id, _)| *id != VOID && !found.contains_key(id)) {
        return Err(Error::input(format!("segment {id} is in the PNG, but not in the JSON")));
    }
    for (id, known) in found {
        let category = known.segment.category_id;
        if known.area == 0 {
            return Err(Error::input(format!("segment {id} is in the JSON, but not in the PNG")));
        }
        if categories.position(category).is_none() {
            return Err(Error::input(format!(
                "segment {id}: category_id {category} is not a category of the ground truth"
            )));
        }
    }
    Ok(())
}

fn notes(truths: &BTreeMap<u32, Known<'_>>, overlaps: &[Overlap], categories: &Categories) -> TruthNotes {
    let mut notes = TruthNotes::default();
    for known in truths.values() {
        let segment = known.segment;
        notes.unknown_category += u64::from(categories.position(segment.category_id).is_none());
        notes.without_pixels += u64::from(known.area == 0);
        notes.area_differs += u64::from(segment.area.is_some_and(|a| a != known.area));
    }
    let ids = areas(overlaps, |o| o.truth);
    let unlisted = |&&(id, _): &&(u32, u64)| id != VOID && !truths.contains_key(&id);
    notes.unlisted = ids.iter().filter(unlisted).count() as u64;
    notes
}

struct Picture<'a> {
    categories: &'a Categories,
    overlaps: &'a [Overlap],
    truths: BTreeMap<u32, Known<'a>>,
    found: BTreeMap<u32, Known<'a>>,
    counts: BTreeMap<usize, CategoryCounts>,
}

impl Picture<'_> {
    fn shared(&self, truth: u32, prediction: u32) -> u64 {
        let at = self.overlaps.binary_search_by_key(&(truth, prediction), |o| (o.truth, o.prediction));
        at.map_or(0, |at| self.overlaps[at].pixels)
    }

    /// `None` for a category that is not evaluated.
    fn counts_of(&mut self, category: i64) -> Option<&mut CategoryCounts> {
        let position = self.categories.position(category)?;
        Some(self.counts.entry(position).or_default())
    }

    /// At most one pair of a segment has IoU > 0.5, so the order does not matter.
    fn match_pairs(&mut self) {
        for o in self.overlaps {
            let (Some(truth), Some(found)) = (self.truths.get(&o.truth), self.found.get(&o.prediction))
            else {
                continue;
            };
            let category = truth.segment.category_id;
            if truth.segment.iscrowd || category != found.segment.category_id {
                continue;
            }
            let union = found.area + truth.area - o.pixels - self.shared(VOID, o.prediction);
            let iou = o.pixels as f64 / union as f64;
            if iou <= 0.5 {
                continue;
            }
            if let Some(counts) = self.counts_of(category) {
                counts.add_match(iou);
            }
            self.truths.entry(o.truth).and_modify(|k| k.matched = true);
            self.found.entry(o.prediction).and_modify(|k| k.matched = true);
        }
    }

    fn count_misses(&mut self) {
        let missed = self.truths.values().filter(|k| !k.matched && !k.segment.iscrowd);
        let categories: Vec<i64> = missed.map(|k| k.segment.category_id).collect();
        for category in categories {
            if let Some(counts) = self.counts_of(category) {
                counts.misses += 1;
            }
        }
    }

    fn count_false_positives(&mut self, truth_list: &[Segment]) {
        // The last crowd of a category is the one that pq_compute keeps.
        let crowds = truth_list.iter().filter(|s| s.iscrowd);
        let crowds: BTreeMap<i64, u32> = crowds.map(|s| (s.category_id, s.id)).collect();
        let unmatched = self.found.iter().filter(|(_, k)| !k.matched);
        let wrong = unmatched.filter(|(id, known)| {
            let crowd = crowds.get(&known.segment.category_id);
            let excused = self.shared(VOID, **id) + crowd.map_or(0, |&crowd| self.shared(crowd, **id));
            excused as f64 / known.area as f64 <= 0.5
        });
        let categories: Vec<i64> = wrong.map(|(_, k)| k.segment.category_id).collect();
        for category in categories {
            if let Some(counts) = self.counts_of(category) {
                counts.false_positives += 1;
            }
        }
    }
}
