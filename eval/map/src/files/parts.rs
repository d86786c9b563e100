//! A list of records, read in parts on all threads.
//!
//! Parts have a fixed size and are taken in the order of the file, so the result does not depend on the number of threads.
use care_types::coco_json::{Covered, Start};
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};

/// Bytes of a part.
const PART: u64 = 1 << 20;
/// Parts that are read before they are taken, for each thread.
const AT_ONCE: usize = 4;

/// Reads the list that opens at a position, of a file of so many bytes. `read` fills an empty part; `take` gets the parts in
/// the order of the file, while the next ones are read, and leaves them empty. The position behind the list; `None` when a
/// part cannot be read.
pub(super) fn read_list<T: Default + Send>(
    opening: u64,
    length: u64,
    read: impl Fn(&mut T, Start, u64) -> Option<Covered> + Sync,
    mut take: impl FnMut(&mut T) -> Option<()> + Send,
) -> Option<u64> {
    // Memory that was filled once is filled again: asking the system for it each time would take as long as reading.
    let spare: Mutex<Vec<T>> = Mutex::default();
    let lock = || spare.lock().unwrap_or_else(PoisonError::into_inner);
    let read = |start, to| {
        let mut part = lock().pop().unwrap_or_default();
        read(&mut part, start, to).map(|covered| (part, covered))
    };
    let mut take_all = |parts: Vec<T>| {
        parts.into_iter().try_for_each(|mut part| {
            take(&mut part)?;
            lock().push(part);
            Some(())
        })
    };
    let mut wave = next_wave((Start::Opening(opening), opening), length, &read)?;
    while let Next::At(at) = wave.next {
        let parts = wave.parts;
        let (next, taken) =
            rayon::join(|| next_wave((Start::Record(at), at), length, &read), || take_all(parts));
        taken?;
        wave = next?;
    }
    take_all(wave.parts)?;
    match wave.next {
        Next::Closed(end) => Some(end),
        Next::At(_) => None,
    }
}

/// Parts that follow each other.
struct Wave<T> {
    parts: Vec<T>,
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
    let most = AT_ONCE * rayon::current_num_threads();
    let number = (most as u64).min(1 + length.saturating_sub(first) / PART) as u32;
    let end = |i: u32| first + u64::from(i + 1) * PART;
    let guess = |i: u32| if i == 0 { start } else { Start::After(end(i - 1)) };
    let guessed: Vec<Option<(T, Covered)>> =
        (0..number).into_par_iter().with_max_len(1).map(|i| read(guess(i), end(i))).collect();
    let mut parts = Vec::with_capacity(guessed.len());
    let mut next = Next::At(first);
    for (i, part) in (0..number).zip(guessed) {
        let follows = |c: &Covered| i == 0 || Start::Record(c.from) == start;
        let (part, covered) = match part {
            Some((part, covered)) if follows(&covered) => (part, covered),
            _ if i == 0 => return None,
            // What looked like the start of a record was none.
            _ => read(start, end(i))?,
        };
        parts.push(part);
        if covered.closed {
            next = Next::Closed(covered.to);
            break;
        }
        (start, next) = (Start::Record(covered.to), Next::At(covered.to));
    }
    Some(Wave { parts, next })
}
