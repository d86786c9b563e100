//! A list of records, read in parts on all threads.
//!
//! Parts have a fixed size and are taken in the order of the file, so the result does not depend on the number of threads.
use care_types::coco_json::{Covered, Start};
use rayon::prelude::*;

/// Bytes of a part.
const PART: u64 = 1 << 20;
/// Parts that are held before they are taken.
const AT_ONCE: u64 = 16;

/// Reads the list that opens at a position, of a file of so many bytes. `read` gives what is in a part, `take` gets it in the
/// order of the file. The position behind the list; `None` when a part cannot be read.
pub(super) fn read_list<T: Send>(
    opening: u64,
    length: u64,
    read: impl Fn(Start, u64) -> Option<(T, Covered)> + Sync,
    mut take: impl FnMut(T) -> Option<()>,
) -> Option<u64> {
    let (mut start, mut at) = (Start::Opening(opening), opening);
    loop {
        let first = at;
        let number = AT_ONCE.min(1 + length.saturating_sub(first) / PART) as u32;
        let end = |i: u64| first + (i + 1) * PART;
        let parts: Vec<Option<(T, Covered)>> = (0..number)
            .into_par_iter()
            .with_max_len(1)
            .map(u64::from)
            .map(|i| read(if i == 0 { start } else { Start::After(first + i * PART) }, end(i)))
            .collect();
        for (i, part) in parts.into_iter().enumerate() {
            let follows = |c: &Covered| i == 0 || Start::Record(c.from) == start;
            let (items, covered) = match part {
                Some((items, covered)) if follows(&covered) => (items, covered),
                _ if i == 0 => return None,
                // What looked like the start of a record was none.
                _ => read(start, end(i as u64))?,
            };
            take(items)?;
            if covered.closed {
                return Some(covered.to);
            }
            (start, at) = (Start::Record(covered.to), covered.to);
        }
    }
}
