//! From what was kept of the pictures to the figures.
use super::record::Summary;
use super::{Evaluator, Picture, Record, count};
use crate::funnel::Funnel;
use crate::matching::Outcomes;
use crate::metrics::CocoMetrics;
use crate::selection::{Positions, Selection};
use crate::{Error, Result, accumulate, summary};

impl Evaluator {
    /// The figures of all pictures that were added.
    ///
    /// # Errors
    /// `Input` without pictures, and for [`crate::Params::quirks`] with annotation ids that occur more than once.
    /// `Config` for an id in `imgIds` that was not added.
    pub fn finish(&self) -> Result<CocoMetrics> {
        let wanted = self.params.img_ids.as_deref().unwrap_or_default();
        if let Some(id) = wanted.iter().find(|id| !self.contains(**id)) {
            return Err(Error::config(format!(
                "evaluation parameters: imgIds has {id}, which is not in the ground truth"
            )));
        }
        self.finish_with(&[], Funnel::default())
    }

    /// The figures, with pictures of these ids beside, which are not evaluated, and what was counted in them.
    pub(super) fn finish_with(&self, others: &[i64], of_others: Funnel) -> Result<CocoMetrics> {
        if self.pictures.is_empty() {
            return Err(Error::input("the ground truth has no images"));
        }
        let mut outcomes = self.empty_outcomes();
        let show = |_, group: u32, cell: &mut Outcomes| outcomes[group as usize].append(cell);
        let summaries = self.each_cell(|picture| &picture.record, show)?;
        let mut funnel = self.whole_funnel(&summaries);
        count::add(&mut funnel, of_others);
        funnel.images.in_ground_truth += others.len();
        funnel.images.not_selected += others.len();
        let selection = self.whole_selection(&summaries, others);
        let duplicates = funnel.annotations.duplicate_ids;
        if self.params.quirks && duplicates > 0 {
            return Err(Error::input(format!(
                "{duplicates} annotations have the id of another one: what pycocotools makes of them can only be \
                 found with all pictures at once"
            )));
        }
        let odd_ids = funnel.annotations.id_zero > 0 && duplicates == 0 && self.params.tells_quirks();
        let curves = accumulate::curves_of(&outcomes, &self.rules, &self.params);
        let mut metrics = summary::summarize(curves, &selection, &self.params, funnel);
        if odd_ids {
            metrics.pycocotools_stats = Some(self.pycocotools_stats(&selection)?);
        }
        Ok(metrics)
    }

    fn pycocotools_stats(&self, selection: &Selection) -> Result<Vec<f64>> {
        let mut outcomes = self.empty_outcomes();
        let show = |_, group: u32, cell: &mut Outcomes| outcomes[group as usize].append(cell);
        self.each_cell(|picture| picture.pycocotools.as_ref().unwrap_or(&picture.record), show)?;
        let curves = accumulate::curves_of(&outcomes, &self.rules, &self.params);
        Ok(summary::summarize(curves, selection, &self.params, Funnel::default()).stats)
    }

    fn empty_outcomes(&self) -> Vec<Outcomes> {
        (0..self.selection.groups()).map(|_| Outcomes::new(&self.rules)).collect()
    }

    /// Shows every cell, as the position of its picture (by ascending id), its group and its outcomes. Returns what the
    /// pictures' records begin with.
    pub(crate) fn each_cell(
        &self,
        record: impl Fn(&Picture) -> &Record,
        mut show: impl FnMut(usize, u32, &mut Outcomes),
    ) -> Result<Vec<Summary>> {
        let (layout, mut cell) = (self.layout(), Outcomes::new(&self.rules));
        let mut summaries = Vec::with_capacity(self.pictures.len());
        for (at, (id, picture)) in self.pictures.iter().enumerate() {
            let summary = record(picture).read(layout, &mut cell, |group, cell| show(at, group, cell));
            summaries.push(summary.ok_or_else(|| damaged(*id))?);
        }
        Ok(summaries)
    }

    fn whole_selection(&self, summaries: &[Summary], others: &[i64]) -> Selection {
        let evaluated = self.pictures.keys().zip(summaries).filter(|(_, s)| s.evaluated).map(|(id, _)| *id);
        let known = Positions::ascending(self.pictures.keys().chain(others).copied());
        Selection {
            names: self.selection.names.clone(),
            frequencies: self.selection.frequencies.clone(),
            ..self.select(Positions::ascending(evaluated), known, self.params.quirks)
        }
    }

    /// The funnel with what follows from the pictures.
    fn whole_funnel(&self, summaries: &[Summary]) -> Funnel {
        let mut funnel = self.funnel.clone();
        let evaluated = || summaries.iter().filter(|s| s.evaluated);
        funnel.images.in_ground_truth = summaries.len();
        funnel.images.evaluated = evaluated().count();
        funnel.images.not_selected = summaries.len() - funnel.images.evaluated;
        funnel.images.without_objects = evaluated().filter(|s| s.annotation_ids.is_empty()).count();
        funnel.images.without_detections = evaluated().filter(|s| !s.has_detections).count();
        let mut ids: Vec<i64> = summaries.iter().flat_map(|s| &s.annotation_ids).copied().collect();
        ids.sort_unstable();
        funnel.annotations.duplicate_ids = ids.windows(2).filter(|pair| pair[0] == pair[1]).count();
        funnel
    }
}

pub(super) fn damaged(image: i64) -> Error {
    Error::internal(format!("picture {image}: what was kept of it cannot be read"))
}
