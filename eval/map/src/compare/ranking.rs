//! The detections of a result in the order in which they count, sorted once for all resamples.
use crate::Result;
use crate::accumulate::by_falling_score;
use crate::curve::{Curve, Tally};
use crate::evaluator::Evaluator;
use crate::matching::{BLOCK, Flags, Outcomes, Rules};

/// All detections of an evaluator.
pub(super) struct Ranking {
    pub(super) groups: Vec<Ranked>,
    /// Positions of the pictures that are evaluated, among all.
    pub(super) evaluated: Vec<usize>,
    /// Pictures, those that are not evaluated too.
    pub(super) pictures: usize,
}

/// The detections of one category by falling score, ties by picture and then by rank.
pub(super) struct Ranked {
    /// Position of each detection's picture.
    pictures: Vec<u32>,
    /// Where a run of detections with the same score in the same picture ends; read at its start.
    ends: Vec<u32>,
    /// `flags[block * ranges + range][detection]`.
    flags: Vec<Vec<Flags>>,
    /// Objects to find of each picture that has any, per area range.
    objects: Vec<(u32, Vec<u64>)>,
}

impl Ranking {
    /// Of detections up to the `max_dets`th of their picture and category.
    pub(super) fn new(evaluator: &Evaluator, max_dets: usize) -> Result<Self> {
        let rules = evaluator.rules();
        let mut outcomes: Vec<(Outcomes, Vec<u32>)> =
            (0..evaluator.groups()).map(|_| (Outcomes::new(rules), Vec::new())).collect();
        let mut objects: Vec<Vec<(u32, Vec<u64>)>> = vec![Vec::new(); evaluator.groups()];
        let summaries = evaluator.each_cell(
            |picture| picture.record(),
            |picture, group, cell| {
                let (outcomes, pictures) = &mut outcomes[group as usize];
                pictures.resize(pictures.len() + cell.scores.len(), picture as u32);
                if cell.objects.iter().any(|&n| n > 0) {
                    objects[group as usize].push((picture as u32, cell.objects.clone()));
                }
                outcomes.append(cell);
            },
        )?;
        let evaluated = (0..summaries.len()).filter(|&at| summaries[at].evaluated).collect();
        let groups = outcomes
            .iter()
            .zip(objects)
            .map(|((outcomes, pictures), objects)| Ranked::new(outcomes, pictures, objects, max_dets));
        Ok(Ranking { groups: groups.collect(), evaluated, pictures: summaries.len() })
    }

    /// Refuses other ground truth: an error says in which picture (by position) and category (by position).
    pub(super) fn same_objects(&self, other: &Ranking) -> std::result::Result<(), (usize, usize)> {
        for (group, (a, b)) in self.groups.iter().zip(&other.groups).enumerate() {
            let length = a.objects.len().max(b.objects.len());
            let different = (0..length).find(|&at| a.objects.get(at) != b.objects.get(at));
            if let Some(at) = different {
                let picture = |ranked: &Ranked| ranked.objects.get(at).map(|(picture, _)| *picture);
                let first = [picture(a), picture(b)].into_iter().flatten().min().unwrap_or(0);
                return Err((first as usize, group));
            }
        }
        Ok(())
    }
}

impl Ranked {
    fn new(outcomes: &Outcomes, pictures: &[u32], objects: Vec<(u32, Vec<u64>)>, max_dets: usize) -> Self {
        let mut order = by_falling_score(&outcomes.scores);
        order.retain(|&d| (outcomes.ranks[d as usize] as usize) < max_dets);
        let pictures: Vec<u32> = order.iter().map(|&d| pictures[d as usize]).collect();
        let score = |at: usize| outcomes.scores[order[at] as usize];
        let mut ends: Vec<u32> = (1..=order.len() as u32).collect();
        for at in (1..order.len()).rev() {
            if pictures[at] == pictures[at - 1] && score(at) == score(at - 1) {
                ends[at - 1] = ends[at];
            }
        }
        let by_rank = |flags: &Vec<Flags>| order.iter().map(|&d| flags[d as usize]).collect();
        let flags = outcomes.flags.iter().map(by_rank).collect();
        Ranked { pictures, ends, flags, objects }
    }

    /// The objects to find in an area range when each picture counts as often as `counts` says.
    pub(super) fn objects(&self, range: usize, counts: &[u32]) -> u64 {
        self.objects.iter().map(|(picture, n)| n[range] * u64::from(counts[*picture as usize])).sum()
    }

    /// Shows the curve of each threshold in an area range when each picture counts as often as `counts` says: as if that
    /// many copies of it, next to each other by id, were in the data.
    pub(super) fn curves(
        &self,
        (range, rules): (usize, &Rules),
        counts: &[u32],
        objects: u64,
        mut show: impl FnMut(usize, &Curve),
    ) {
        for block in 0..rules.blocks() {
            let mut tally = Tally::new(rules.block(block).len());
            let any = self.tally(&self.flags[block * rules.ranges() + range], counts, &mut tally);
            // Where precision is read does not depend on what the score is.
            let score = any.then_some(0.0);
            for (t, hits) in (block * BLOCK..).zip(tally.into_hits()) {
                show(t, &Curve::new(hits, objects as f64, score));
            }
        }
    }

    /// Returns whether there was any detection.
    fn tally(&self, flags: &[Flags], counts: &[u32], tally: &mut Tally) -> bool {
        let (mut at, mut any) = (0, false);
        while at < flags.len() {
            let (count, end) = (counts[self.pictures[at] as usize], self.ends[at] as usize);
            any |= count > 0;
            if end == at + 1 && flags[at] == Flags::default() {
                tally.add_wrong(count.into());
            } else {
                // The detections of a copy come before those of the next one.
                for _ in 0..count {
                    flags[at..end].iter().for_each(|flag| tally.add(*flag, 0.0));
                }
            }
            at = end;
        }
        any
    }
}
