//! What is kept of a picture: which objects it had, and what became of its detections, in bits.
//!
//! A record is: 1 bit, whether the picture is evaluated (else nothing follows); the ids of its objects, ascending, as
//! their number, the first, and the steps; 1 bit, whether it has detections; its cells, each after a bit 1; a bit 0.
//!
//! A cell is: the groups skipped since the one before; the number of detections; 1 bit, whether there are objects to
//! find, and if so their number in each area range; the detections by falling score.
//!
//! A detection is: 64 bits of score; for each area range `0` and 1 bit (found nothing: is that held against it?) or `1`
//! and, for each block of thresholds, the bits of what matched and of what is ignored. With COCO's 10 thresholds and 4
//! area ranges, a false positive takes 9 bytes and a detection that found something at most 18.5.
use super::bits::{BitReader, BitWriter};
use crate::matching::{BLOCK, Flags, Outcomes, Rules};

/// The sizes that records are made for.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    thresholds: usize,
    ranges: usize,
    groups: usize,
    max_dets: usize,
}

impl Layout {
    pub(crate) fn new(rules: &Rules, groups: usize) -> Self {
        let (thresholds, ranges) = (rules.thresholds(), rules.ranges());
        Layout { thresholds, ranges, groups, max_dets: rules.max_dets() }
    }

    fn blocks(self) -> usize {
        self.thresholds.div_ceil(BLOCK)
    }

    /// Thresholds of a block, and the mask of their bits.
    fn block(self, block: usize) -> (u32, u32) {
        let bits = (self.thresholds - block * BLOCK).min(BLOCK) as u32;
        (bits, u32::MAX >> (BLOCK as u32 - bits))
    }
}

/// Writes the record of a picture.
pub(crate) struct RecordWriter {
    bits: BitWriter,
    layout: Layout,
    /// The first group that can be next.
    next: u32,
}

impl RecordWriter {
    /// `annotation_ids` are ascending; `has_detections` also when all are beyond maxDets.
    pub(crate) fn new(layout: Layout, annotation_ids: &[i64], has_detections: bool) -> Self {
        let mut bits = BitWriter::default();
        bits.put_bit(true);
        bits.put_count(annotation_ids.len() as u32);
        let mut before = None;
        for &id in annotation_ids {
            bits.put_long(match before {
                None => (id << 1 ^ id >> 63) as u64,
                Some(before) => id.wrapping_sub(before) as u64,
            });
            before = Some(id);
        }
        bits.put_bit(has_detections);
        RecordWriter { bits, layout, next: 0 }
    }

    /// Adds the outcomes of a cell, which belongs to a later group than those before.
    pub(crate) fn cell(&mut self, group: u32, outcomes: &Outcomes) {
        let (bits, layout) = (&mut self.bits, self.layout);
        bits.put_bit(true);
        bits.put_count(group - self.next);
        self.next = group + 1;
        bits.put_count(outcomes.scores.len() as u32);
        let any = outcomes.objects.iter().any(|&n| n > 0);
        bits.put_bit(any);
        if any {
            outcomes.objects.iter().for_each(|&n| bits.put_count(n as u32));
        }
        for (d, score) in outcomes.scores.iter().enumerate() {
            bits.put_u64(score.to_bits());
            for range in 0..layout.ranges {
                put_flags(bits, layout, |block| outcomes.flags[block * layout.ranges + range][d]);
            }
        }
    }

    pub(crate) fn finish(mut self) -> Record {
        self.bits.put_bit(false);
        Record(self.bits.finish())
    }
}

/// What became of a detection in one area range.
fn put_flags(bits: &mut BitWriter, layout: Layout, flags: impl Fn(usize) -> Flags) {
    let ignored = flags(0).ignored != 0;
    let plain = |block| {
        let all = if ignored { layout.block(block).1 } else { 0 };
        flags(block) == Flags { matched: 0, ignored: all }
    };
    if (0..layout.blocks()).all(plain) {
        bits.put_bit(false);
        bits.put_bit(ignored);
        return;
    }
    bits.put_bit(true);
    for block in 0..layout.blocks() {
        let (width, _) = layout.block(block);
        bits.put(flags(block).matched, width);
        bits.put(flags(block).ignored, width);
    }
}

/// The bits of a picture.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Record(pub(crate) Box<[u8]>);

/// What a record begins with.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Summary {
    /// False for a picture that is not among `imgIds`.
    pub(crate) evaluated: bool,
    /// Of its objects, ascending.
    pub(crate) annotation_ids: Vec<i64>,
    /// Whether it has detections.
    pub(crate) has_detections: bool,
}

impl Record {
    /// Of a picture that is not evaluated.
    pub(crate) fn not_evaluated() -> Self {
        let mut bits = BitWriter::default();
        bits.put_bit(false);
        Record(bits.finish())
    }

    /// Shows each cell, as its group and its outcomes, which may be moved out of `cell`. `None` when the bits are not
    /// those of a record; cells before the damage are shown.
    pub(crate) fn read(
        &self,
        layout: Layout,
        cell: &mut Outcomes,
        mut show: impl FnMut(u32, &mut Outcomes),
    ) -> Option<Summary> {
        let mut bits = BitReader::new(&self.0);
        let mut summary = Summary { evaluated: bits.take_bit()?, ..Summary::default() };
        if summary.evaluated {
            summary.annotation_ids = take_ids(&mut bits)?;
            summary.has_detections = bits.take_bit()?;
            let mut next = 0u32;
            while bits.take_bit()? {
                let group = next.checked_add(bits.take_count()?)?;
                if group as usize >= layout.groups {
                    return None;
                }
                next = group + 1;
                cell.clear();
                take_cell(&mut bits, layout, cell)?;
                show(group, cell);
            }
        }
        bits.is_finished().then_some(summary)
    }
}

fn take_ids(bits: &mut BitReader<'_>) -> Option<Vec<i64>> {
    let mut ids: Vec<i64> = Vec::new();
    for _ in 0..bits.take_count()? {
        let step = bits.take_long()?;
        ids.push(match ids.last() {
            None => (step >> 1) as i64 ^ -((step & 1) as i64),
            Some(before) => before.checked_add_unsigned(step)?,
        });
    }
    Some(ids)
}

fn take_cell(bits: &mut BitReader<'_>, layout: Layout, cell: &mut Outcomes) -> Option<()> {
    let detections = bits.take_count()?;
    if detections as usize > layout.max_dets {
        return None;
    }
    if bits.take_bit()? {
        for n in &mut cell.objects {
            *n = bits.take_count()?.into();
        }
    }
    let mut before = f64::INFINITY;
    for rank in 0..detections {
        let score = f64::from_bits(bits.take_u64()?);
        // By falling score, finite, and no -0.0: the order of all detections depends on it.
        if !score.is_finite() || score > before || score.to_bits() == (-0.0f64).to_bits() {
            return None;
        }
        before = score;
        cell.scores.push(score);
        cell.ranks.push(rank);
        for range in 0..layout.ranges {
            take_flags(bits, layout, |block, flags| cell.flags[block * layout.ranges + range].push(flags))?;
        }
    }
    Some(())
}

fn take_flags(bits: &mut BitReader<'_>, layout: Layout, mut push: impl FnMut(usize, Flags)) -> Option<()> {
    if !bits.take_bit()? {
        let ignored = bits.take_bit()?;
        for block in 0..layout.blocks() {
            push(block, Flags { matched: 0, ignored: if ignored { layout.block(block).1 } else { 0 } });
        }
        return Some(());
    }
    for block in 0..layout.blocks() {
        let (width, _) = layout.block(block);
        push(block, Flags { matched: bits.take(width)?, ignored: bits.take(width)? });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Params;
    use proptest::prelude::*;

    fn rules(thresholds: usize) -> Rules {
        Rules::new(&Params { iou_thrs: vec![0.5; thresholds], ..Params::default() })
    }

    /// A cell with `scores` and flags made of `seed`.
    fn cell(rules: &Rules, mut scores: Vec<f64>, objects: [u64; 4], seed: u64) -> Outcomes {
        let mut cell = Outcomes::new(rules);
        scores.sort_by(|a, b| b.total_cmp(a));
        cell.ranks = (0..scores.len() as u32).collect();
        cell.objects = objects.to_vec();
        let ranges = rules.ranges();
        for (at, flags) in cell.flags.iter_mut().enumerate() {
            let all = u32::MAX >> (BLOCK - rules.block(at / ranges).len());
            flags.extend((0..scores.len()).map(|d| {
                let bits = crate::compare::mix(seed ^ (d * ranges + at % ranges) as u64);
                match bits % 3 {
                    0 => Flags::default(),
                    1 => Flags { matched: 0, ignored: all },
                    _ => Flags { matched: (bits >> 32) as u32 & all, ignored: (bits >> 8) as u32 & all },
                }
            }));
        }
        cell.scores = scores;
        cell
    }

    #[test]
    fn records_that_no_matching_writes_are_refused() {
        let params = Params { max_dets: vec![2], ..Params::default() };
        let rules = Rules::new(&params);
        let layout = Layout::new(&rules, 3);
        let readable = |group: u32, scores: &[f64]| {
            let mut written = cell(&rules, vec![0.0; scores.len()], [0; 4], 1);
            written.scores = scores.to_vec();
            let mut writer = RecordWriter::new(layout, &[5], true);
            writer.cell(group, &written);
            writer.finish().read(layout, &mut Outcomes::new(&rules), |_, _| ()).is_some()
        };
        assert!(readable(2, &[0.5, 0.5]) && readable(0, &[0.5, -0.5]) && readable(0, &[]));
        let bad: [(u32, &[f64]); 6] = [
            (3, &[0.5]),
            (0, &[0.5, 0.6]),
            (0, &[0.5, 0.4, 0.3]),
            (0, &[f64::NAN]),
            (0, &[f64::INFINITY]),
            (0, &[-0.0]),
        ];
        let accepted: Vec<_> = bad.iter().filter(|(group, scores)| readable(*group, scores)).collect();
        assert!(accepted.is_empty(), "{accepted:?}");
    }

    proptest! {
        #[test]
        fn records_come_back(
            thresholds in prop_oneof![Just(10usize), Just(1), Just(32), Just(33), Just(70)],
            mut ids in prop::collection::vec(prop_oneof![any::<i64>(), 0..1000i64], 0..5),
            cells in prop::collection::btree_map(
                0..80u32,
                (prop::collection::vec(prop_oneof![-3.0..3.0f64, Just(0.0)], 0..5), any::<[u32; 4]>(), any::<u64>()),
                0..6,
            ),
            has_detections in any::<bool>(),
        ) {
            ids.sort_unstable();
            let rules = rules(thresholds);
            let layout = Layout::new(&rules, 80);
            let cells: Vec<(u32, Outcomes)> = cells
                .into_iter()
                .map(|(group, (scores, n, seed))| (group, cell(&rules, scores, n.map(u64::from), seed)))
                .collect();
            let mut writer = RecordWriter::new(layout, &ids, has_detections);
            cells.iter().for_each(|(group, cell)| writer.cell(*group, cell));
            let record = writer.finish();
            let mut seen = Vec::new();
            let mut buffer = Outcomes::new(&rules);
            let summary = record.read(layout, &mut buffer, |group, cell| {
                let mut copy = Outcomes::new(&rules);
                copy.append(cell);
                seen.push((group, copy));
            });
            prop_assert_eq!(summary, Some(Summary { evaluated: true, annotation_ids: ids, has_detections }));
            prop_assert_eq!(seen.len(), cells.len());
            for ((group, cell), (other_group, other)) in cells.iter().zip(&seen) {
                prop_assert_eq!(group, other_group);
                prop_assert_eq!(&cell.scores, &other.scores);
                prop_assert_eq!(&cell.ranks, &other.ranks);
                prop_assert_eq!(&cell.flags, &other.flags);
                prop_assert_eq!(&cell.objects, &other.objects);
            }
        }
    }
}
