//! The detections of a result in the order in which they count, sorted once for all resamples.
use super::lane::Lane;
use crate::Result;
use crate::accumulate::by_falling_score;
use crate::evaluator::Evaluator;
use crate::matching::{Flags, Outcomes, Rules};

/// All detections of an evaluator.
pub(super) struct Ranking {
    pub(super) groups: Vec<Ranked>,
    /// Positions of the pictures that are evaluated, among all.
    pub(super) evaluated: Vec<usize>,
    /// Pictures, those that are not evaluated too.
    pub(super) pictures: usize,
}

/// The detections of one category.
pub(super) struct Ranked {
    /// Those of each area range.
    pub(super) lanes: Vec<Lane>,
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
        let groups = outcomes.iter().zip(objects).map(|((outcomes, pictures), objects)| {
            Ranked::new(outcomes, pictures, objects, (max_dets, rules))
        });
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
    fn new(
        outcomes: &Outcomes,
        pictures: &[u32],
        objects: Vec<(u32, Vec<u64>)>,
        (max_dets, rules): (usize, &Rules),
    ) -> Self {
        let mut order = by_falling_score(&outcomes.scores);
        order.retain(|&d| (outcomes.ranks[d as usize] as usize) < max_dets);
        let place = |d: u32| (pictures[d as usize], outcomes.scores[d as usize]);
        let lanes = (0..rules.ranges()).map(|range| {
            let flags: Vec<&[Flags]> = (0..rules.blocks())
                .map(|block| &outcomes.flags[block * rules.ranges() + range][..])
                .collect();
            Lane::new(&order, place, &flags, rules)
        });
        Ranked { lanes: lanes.collect(), objects }
    }

    /// The objects to find in an area range when each picture counts as often as `counts` says.
    pub(super) fn objects(&self, range: usize, counts: &[u32]) -> u64 {
        self.objects.iter().map(|(picture, n)| n[range] * u64::from(counts[*picture as usize])).sum()
    }
}
