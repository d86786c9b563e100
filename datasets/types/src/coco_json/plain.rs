//! A reader for files of the form that tools write, which streams and builds no tree; the general reader is its oracle.
//!
//! It reads what the general reader reads, to the same values, or gives up (`None`): on every mistake, and on what it does not
//! know. Whoever calls it then asks the general reader, which has the messages; so there is one grammar for people, and one
//! for speed that never has the last word. Single records that it does not know (escapes in names, nested fields of other
//! tools) are given to the general reader one by one.
//!
//! A list can be read in parts side by side: a part starts at what looks like a record, and is valid if the part before it
//! ends there ([`Covered`]).
mod annotations;
mod blocks;
mod list;
mod mask;
mod number;
mod outline;
mod results;
mod scan;

pub use list::{Covered, Start};
pub use outline::plain_dataset;
pub use results::PlainResult;

use super::Annotation;
use annotations::Annotations;
use blocks::Blocks;
use results::Results;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Reads the annotations that begin before `to`. Without `masks` those are checked, but left out.
pub fn plain_annotations(
    path: &Path,
    start: Start,
    to: u64,
    masks: bool,
    visit: impl FnMut(Annotation),
) -> Option<Covered> {
    list::records(path, start, to, &mut Annotations::new(masks), visit)
}

/// Reads the detections of a results file that begin before `to`.
pub fn plain_results(
    path: &Path,
    start: Start,
    to: u64,
    visit: impl FnMut(PlainResult<'_>),
) -> Option<Covered> {
    list::records(path, start, to, &mut Results::default(), visit)
}

/// The position behind the bracket that opens the list of a results file.
pub fn plain_results_opening(path: &Path) -> Option<u64> {
    let mut blocks = Blocks::open(path, mark(path)?, 0)?;
    blocks.scan(|scan| scan.take(b'['))?;
    Some(blocks.position())
}

/// Whether nothing but white space is behind a position.
pub fn plain_end(path: &Path, position: u64) -> bool {
    Blocks::open(path, position, position).is_some_and(|mut blocks| blocks.ends())
}

/// Length of the mark that some editors put in front of UTF-8. `None` for what is no plain file.
fn mark(path: &Path) -> Option<u64> {
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut first = Vec::new();
    file.take(3).read_to_end(&mut first).ok()?;
    Some(if first == b"\xEF\xBB\xBF" { 3 } else { 0 })
}

#[cfg(test)]
mod tests;
