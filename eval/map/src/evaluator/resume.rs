//! Going on after a kill, and figures before the end.
use super::{Evaluator, count};
use crate::federation::has_area;
use crate::funnel::Funnel;
use crate::metrics::CocoMetrics;
use crate::selection::Positions;
use crate::{Benchmark, Error, Result};
use care_types::coco_json::Dataset;
use std::collections::BTreeMap;

impl Evaluator {
    /// Goes on from a stored state: a new evaluator, with the [`Source`](super::Source) and areas that it is to have, takes
    /// what [`Self::to_bytes`] of an earlier one gave. Pictures that it then [contains](Self::contains) need not be
    /// looked at again; the others are added, and the figures are those of a run that was never interrupted.
    ///
    /// A state is a whole: write it to a new file beside the old one and rename that, so that a kill leaves the one or
    /// the other. `gt` is the ground truth of all pictures. That objects have other boxes than before is only noticed
    /// when [`Source::ground_truth`](super::Source::ground_truth) says so, with a hash for instance.
    ///
    /// ```no_run
    /// use care_map::{CocoMetrics, Evaluator, Params, Result, Source};
    /// use care_types::coco_json::{Dataset, Image, ResultRecord};
    ///
    /// fn score(gt: &Dataset, source: Source, detect: impl Fn(&Image) -> Vec<ResultRecord>) -> Result<CocoMetrics> {
    ///     let mut run = Evaluator::new(&gt.categories, &Params::default())?.with_source(source);
    ///     if let Ok(state) = std::fs::read("run.state") {
    ///         run = run.resume(&state, gt)?;
    ///     }
    ///     for image in &gt.images {
    ///         if !run.contains(image.id) {
    ///             let objects = gt.annotations.iter().filter(|a| a.image_id == image.id).cloned().collect();
    ///             run.add(image, objects, &detect(image))?;
    ///             // Now and then; what was not stored is looked at again after a kill.
    ///             let stored = std::fs::write("run.state.new", run.to_bytes());
    ///             stored.and_then(|()| std::fs::rename("run.state.new", "run.state")).expect("a folder to write to");
    ///         }
    ///     }
    ///     run.finish_so_far(gt)
    /// }
    /// ```
    ///
    /// # Errors
    /// `Input`, naming what differs, with the value here and the value there, in the state: other parameters, categories
    /// or source; a picture that is not in `gt`, or has other objects there (by their ids, but with quirks); areas from
    /// elsewhere; pictures that this evaluator has already. And as [`Self::from_bytes`].
    pub fn resume(mut self, state: &[u8], gt: &Dataset) -> Result<Self> {
        let state = Self::from_bytes(state)?;
        self.refuse_difference(&state)
            .and_then(|()| state.refuse_other_truth(gt))
            .map_err(|e| e.context("the state is of another evaluation"))?;
        self.merge(state)?;
        Ok(self)
    }

    /// The figures of the pictures that were added, out of those of `gt`: pictures that were not added count as not
    /// selected, as if `imgIds` named the others. When all were added, these are the figures of [`Self::finish`].
    ///
    /// # Errors
    /// As [`Self::finish`], but for `imgIds` that were not added. `Input` when none of the pictures to evaluate was added,
    /// and for a picture that is not in `gt`, or has other objects there (by their ids, but with quirks).
    pub fn finish_so_far(&self, gt: &Dataset) -> Result<CocoMetrics> {
        self.refuse_other_truth(gt)?;
        let known = Positions::ascending(gt.images.iter().map(|i| i.id.0));
        let missing = known.ids.iter().copied().filter(|id| !self.pictures.contains_key(id));
        let missing = Positions::ascending(missing);
        let none = self.select(Positions::ascending(std::iter::empty()), known, self.params.quirks);
        let mut funnel = Funnel::default();
        count::count_own((gt, &[]), &missing, &none, false, &mut funnel);
        let orphans = gt.annotations.iter().filter(|a| none.known_images.get(a.image_id.0).is_none()).count();
        // Pictures that come one by one bring no objects of unknown pictures.
        let unknown = &mut funnel.annotations.unknown_image;
        *unknown = orphans.saturating_sub(self.funnel.annotations.unknown_image);
        funnel.annotations.in_ground_truth += *unknown;
        let metrics = self.finish_with(&missing.ids, funnel)?;
        match metrics.funnel.images.evaluated {
            0 => Err(Error::input("none of the pictures to evaluate was added")),
            _ => Ok(metrics),
        }
    }

    /// Every picture must be one of `gt`, with the same objects of evaluated categories.
    fn refuse_other_truth(&self, gt: &Dataset) -> Result<()> {
        let mut objects: BTreeMap<i64, Vec<i64>> = gt.images.iter().map(|i| (i.id.0, Vec::new())).collect();
        let unknown = self.pictures.keys().filter(|id| !objects.contains_key(id));
        let (first, count) = (unknown.clone().next(), unknown.count());
        if let Some(first) = first {
            let all = self.pictures.len();
            return Err(Error::input(format!(
                "{count} of its {all} pictures are not in the ground truth; the first is the one with id {first}"
            )));
        }
        if self.params.quirks {
            // There, objects with repeated ids are moved from one picture to another.
            return Ok(());
        }
        for a in &gt.annotations {
            let left_out = self.params.benchmark == Benchmark::Lvis && !has_area(a.area);
            if !left_out && self.selection.categories.get(a.category_id.0).is_some() {
                objects.entry(a.image_id.0).and_modify(|ids| ids.push(a.id));
            }
        }
        let summaries = self.each_cell(|picture| &picture.record, |_, _, _| ())?;
        let mut evaluated = self.pictures.keys().zip(&summaries).filter(|(_, summary)| summary.evaluated);
        let difference = evaluated.find_map(|(id, summary)| {
            let here = objects.get_mut(id).map(std::mem::take).unwrap_or_default();
            object_difference(here, &summary.annotation_ids).map(|text| format!("picture {id}: {text}"))
        });
        difference.map_or(Ok(()), |text| Err(Error::input(text)))
    }
}

/// The smallest id that only one side has; `there` ascending.
fn object_difference(mut here: Vec<i64>, there: &[i64]) -> Option<String> {
    here.sort_unstable();
    let at = (0..here.len().max(there.len())).find(|&at| here.get(at) != there.get(at))?;
    let (side, other, id) = match (here.get(at), there.get(at)) {
        (Some(a), Some(b)) if a > b => ("there", "here", b),
        (Some(a), _) => ("here", "there", a),
        (None, b) => ("there", "here", b?),
    };
    Some(format!("annotation {id} is {side}, but not {other}"))
}
