//! A list of records, read in parts on all threads.
//!
//! Parts have a fixed size and are taken in the order of the file, so the result does not depend on the number of threads.
use care_types::coco_json::{Covered, Start};
use rayon::prelude::*;

/// Bytes of a part.
const PART: u64 = 1 << 20;
/// Parts that are read before they are taken.
const AT_ONCE: u64 = 16;

/// Reads the list that opens at a position, of a file of so many bytes. `read` gives what is in a part; `take` gets it in the
/// order of the file, while the next ones are read. The position behind the list; `None` when a part cannot be read.
pub(super) fn read_list<T: Send>(
    opening: u64,
    length: u64,
    read: impl Fn(Start, u64) -> Option<(T, Covered)> + Sync,
    mut take: impl FnMut(T) -> Option<()> + Send,
) -> Option<u64> {
    let mut wave = next_wave((Start::Opening(opening), opening), length, &read)?;
    while let Next::At(at) = wave.next {
        let items = wave.items;
        let (next, taken) = rayon::join(
            || next_wave((Start::Record(at), at), length, &read),
            || items.into_iter().try_for_each(&mut take),
        );
        taken?;
        wave = next?;
    }
    wave.items.into_iter().try_for_each(take)?;
    match wave.next {
        Next::Closed(end) => Some(end),
        Next::At(_) => None,
    }
}

/// Parts that follow each other.
struct Wave<T> {
    items: Vec<T>,
    next: Next,
}

/// What is behind a part.
enum Next {
    /// The next record.
    At(u64),
    /// What follows the list.
    Closed(u64),
}

/// The parts from a position on.
fn next_wave<T: Send>(
    (mut start, first): (Start, u64),
    length: u64,
    read: &(impl Fn(Start, u64) -> Option<(T, Covered)> + Sync),
) -> Option<Wave<T>> {
    let number = AT_ONCE.min(1 + length.saturating_sub(first) / PART) as u32;
    let end = |i: u32| first + u64::from(i + 1) * PART;
    let guess = |i: u32| if i == 0 { start } else { Start::After(end(i - 1)) };
    let parts: Vec<Option<(T, Covered)>> =
        (0..number).into_par_iter().with_max_len(1).map(|i| read(guess(i), end(i))).collect();
    let mut items = Vec::with_capacity(parts.len());
    let mut next = Next::At(first);
    for (i, part) in (0..number).zip(parts) {
        let follows = |c: &Covered| i == 0 || Start::Record(c.from) == start;
        let (item, covered) = match part {
            Some((item, covered)) if follows(&covered) => (item, covered),
            _ if i == 0 => return None,
            // What looked like the start of a record was none.
            _ => read(start, end(i))?,
        };
        items.push(item);
        if covered.closed {
            next = Next::Closed(covered.to);
            break;
        }
        (start, next) = (Start::Record(covered.to), Next::At(covered.to));
    }
    Some(Wave { items, next })
}
