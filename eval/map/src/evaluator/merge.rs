//! Joining evaluators, and what forbids it.
use super::{Evaluator, Picture, Source, count};
use crate::{Areas, Error, Params, Result};
use care_types::coco_json::{Category, Frequency};
use std::collections::BTreeMap;
use std::fmt::Debug;

impl Evaluator {
    /// Adds the pictures of another evaluator.
    ///
    /// # Errors
    /// `Input`, and nothing is added: pictures that are in both (the first id, and how many); other parameters,
    /// categories or [`Source`] (with both values); detections with boxes in one, without in the other.
    pub fn merge(&mut self, mut other: Evaluator) -> Result<()> {
        let cannot = |e: Error| e.context("evaluations cannot be merged");
        self.refuse_difference(&other).map_err(cannot)?;
        refuse_overlap(&self.pictures, other.pictures.keys().copied(), other.pictures.len())
            .map_err(cannot)?;
        self.areas = one_area_rule(self.areas, other.areas).map_err(cannot)?;
        self.pictures.append(&mut other.pictures);
        count::add(&mut self.funnel, other.funnel);
        Ok(())
    }

    pub(super) fn refuse_difference(&self, other: &Evaluator) -> Result<()> {
        let difference = params_difference(&self.params, &other.params)
            .or_else(|| category_difference(&self.categories, &other.categories))
            .or_else(|| source_difference(&self.source, &other.source));
        difference.map_or(Ok(()), |text| Err(Error::input(text)))
    }
}

/// Two results can be compared when all but the results is the same.
pub(crate) fn refuse_other_task(a: &Evaluator, b: &Evaluator) -> Result<()> {
    let difference = params_difference(&a.params, &b.params)
        .or_else(|| category_difference(&a.categories, &b.categories))
        .or_else(|| single("ground truth", &a.source.ground_truth, &b.source.ground_truth))
        .or_else(|| picture_difference(&a.pictures, &b.pictures));
    difference.map_or(Ok(()), |text| Err(Error::input(text)))
}

fn picture_difference(a: &BTreeMap<i64, Picture>, b: &BTreeMap<i64, Picture>) -> Option<String> {
    let missing = |in_one: &BTreeMap<i64, Picture>, in_other: &BTreeMap<i64, Picture>| {
        let mut ids = in_one.keys().filter(|id| !in_other.contains_key(id));
        ids.next().map(|first| (*first, 1 + ids.count()))
    };
    let text = |(first, count), one, other| {
        format!(
            "{count} pictures are in the {one} result, but not in the {other}; the first is the one with id {first}"
        )
    };
    missing(a, b)
        .map(|m| text(m, "first", "second"))
        .or_else(|| missing(b, a).map(|m| text(m, "second", "first")))
}

/// `more` ids must not be among the pictures.
pub(super) fn refuse_overlap(
    pictures: &BTreeMap<i64, Picture>,
    more: impl Iterator<Item = i64>,
    of: usize,
) -> Result<()> {
    let mut both = more.filter(|id| pictures.contains_key(id));
    let Some(first) = both.next() else { return Ok(()) };
    let count = 1 + both.count();
    Err(Error::input(format!(
        "{count} of {of} pictures were added before; the first is the one with id {first}"
    )))
}

/// Areas come from the same place for all detections.
pub(super) fn one_area_rule(first: Option<Areas>, second: Option<Areas>) -> Result<Option<Areas>> {
    match (first, second) {
        (Some(a), Some(b)) if a != b => {
            let [a, b] = [a, b].map(|areas| match areas {
                Areas::OfBoxes => "have boxes",
                Areas::OfMasks => "have no boxes",
                Areas::OfJoints => "have joints only",
            });
            Err(Error::input(format!(
                "detections here {a} and there {b}: areas come from boxes, masks or joints, the same for all"
            )))
        }
        _ => Ok(first.or(second)),
    }
}

/// The first parameter that differs, with both values.
fn params_difference(a: &Params, b: &Params) -> Option<String> {
    // Named one by one, so that a new parameter is not forgotten.
    let Params {
        iou_type,
        benchmark,
        quirks,
        iou_thrs,
        rec_thrs,
        max_dets,
        area_rng,
        area_rng_lbl,
        cat_ids,
        img_ids,
        use_cats,
        kpt_oks_sigmas,
        dilation_ratio,
    } = a;
    let list = |ids: &Option<Vec<i64>>| ids.clone().unwrap_or_default();
    let categories =
        |p: &Option<Vec<care_types::CategoryId>>| p.as_ref().map(|v| v.iter().map(|i| i.0).collect());
    let images = |p: &Option<Vec<care_types::ImageId>>| p.as_ref().map(|v| v.iter().map(|i| i.0).collect());
    single("iouType", &iou_type.as_str(), &b.iou_type.as_str())
        .or_else(|| single("benchmark", &benchmark.as_str(), &b.benchmark.as_str()))
        .or_else(|| single("pycocotools quirks", quirks, &b.quirks))
        .or_else(|| lists("iouThrs", iou_thrs, &b.iou_thrs))
        .or_else(|| lists("recThrs", rec_thrs, &b.rec_thrs))
        .or_else(|| lists("maxDets", max_dets, &b.max_dets))
        .or_else(|| lists("areaRng", area_rng, &b.area_rng))
        .or_else(|| lists("areaRngLbl", area_rng_lbl, &b.area_rng_lbl))
        .or_else(|| lists("catIds", &list(&categories(cat_ids)), &list(&categories(&b.cat_ids))))
        .or_else(|| lists("imgIds", &list(&images(img_ids)), &list(&images(&b.img_ids))))
        .or_else(|| single("useCats", use_cats, &b.use_cats))
        .or_else(|| lists("kpt_oks_sigmas", kpt_oks_sigmas, &b.kpt_oks_sigmas))
        .or_else(|| single("dilation_ratio", dilation_ratio, &b.dilation_ratio))
}

/// The first category that differs, with both values.
pub(super) fn category_difference(a: &[Category], b: &[Category]) -> Option<String> {
    let plain = |list: &[Category]| -> Vec<(i64, String, Option<&str>)> {
        let mut plain: Vec<_> =
            list.iter().map(|c| (c.id.0, c.name.clone(), c.frequency.map(Frequency::letter))).collect();
        plain.sort();
        plain
    };
    lists("categories", &plain(a), &plain(b))
}

/// Which of the two words differs, with both values.
fn source_difference(a: &Source, b: &Source) -> Option<String> {
    single("ground truth", &a.ground_truth, &b.ground_truth)
        .or_else(|| single("results", &a.results, &b.results))
}

/// Two values are the same when they are written the same: that tells floats apart by their bits.
fn single<T: Debug>(name: &str, a: &T, b: &T) -> Option<String> {
    let (a, b) = (format!("{a:?}"), format!("{b:?}"));
    (a != b).then(|| format!("{name}: {a} here and {b} there"))
}

fn lists<T: Debug>(name: &str, a: &[T], b: &[T]) -> Option<String> {
    let value = |list: &[T], at: usize| list.get(at).map(|v| format!("{v:?}"));
    let at = (0..a.len().max(b.len())).find(|&at| value(a, at) != value(b, at))?;
    let [here, there] = [a, b].map(|list| value(list, at).unwrap_or_else(|| "nothing".into()));
    Some(format!("{name}[{at}]: {here} here ({} in all) and {there} there ({} in all)", a.len(), b.len()))
}
