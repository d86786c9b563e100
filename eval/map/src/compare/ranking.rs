//! The detections of a result in the order in which they count, sorted once for all resamples.
use super::hits::Hits;
use super::lane::Lane;
use crate::Result;
use crate::accumulate::by_falling_score;
use crate::evaluator::Evaluator;
use crate::matching::{Flags, Outcomes, Rules};

/// The detections that a figure is about.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// Position of the area range.
    pub(super) range: usize,
    /// Up to this one of their picture and category.
    pub(super) max_dets: usize,
}

/// The parts that are wanted.
#[derive(Default)]
pub(super) struct Parts {
    /// For precision.
    pub(super) precision: Vec<Part>,
    /// For recall.
    pub(super) recall: Vec<Part>,
}

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
    /// Those of each part for precision.
    pub(super) lanes: Vec<Lane>,
    /// Those of each part for recall.
    pub(super) hits: Vec<Hits>,
    /// Objects to find of each picture that has any, per area range.
    objects: Vec<(u32, Vec<u64>)>,
}

impl Ranking {
    pub(super) fn new(evaluator: &Evaluator, parts: &Parts) -> Result<Self> {
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
            .map(|((outcomes, pictures), objects)| Ranked::new((outcomes, pictures), objects, parts, rules));
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
    /// `pictures` are those of the outcomes, ascending.
    fn new(
        (outcomes, pictures): (&Outcomes, &[u32]),
        objects: Vec<(u32, Vec<u64>)>,
        parts: &Parts,
        rules: &Rules,
    ) -> Self {
        let by_score = by_falling_score(&outcomes.scores);
        let place = |d: u32| (pictures[d as usize], outcomes.scores[d as usize]);
        let kept = |d: usize, part: &Part| (outcomes.ranks[d] as usize) < part.max_dets;
        let flags = |part: &Part| -> Vec<&[Flags]> {
            (0..rules.blocks())
                .map(|block| &outcomes.flags[block * rules.ranges() + part.range][..])
                .collect()
        };
        let lanes = parts.precision.iter().map(|part| {
            let order: Vec<u32> = by_score.iter().copied().filter(|&d| kept(d as usize, part)).collect();
            Lane::new(&order, place, &flags(part), rules)
        });
        let hits =
            parts.recall.iter().map(|part| Hits::new(pictures, |d| kept(d, part), &flags(part), rules));
        Ranked { lanes: lanes.collect(), hits: hits.collect(), objects }
    }

    /// The objects to find in each area range when each picture counts as often as `counts` says.
    pub(super) fn objects(&self, ranges: usize, counts: &[u32]) -> Vec<u64> {
        let mut sums = vec![0; ranges];
        for (picture, objects) in &self.objects {
            let count = u64::from(counts[*picture as usize]);
            sums.iter_mut().zip(objects).for_each(|(sum, n)| *sum += count * n);
        }
        sums
    }
}
