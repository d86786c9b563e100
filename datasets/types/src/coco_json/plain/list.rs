//! Lists of records, in parts that can be read side by side.
use super::blocks::Blocks;
use super::scan::{Scan, Scanned, Stop};
use std::path::Path;

/// How far before a part the end of the record before it is looked for.
const LOOK_BACK: u64 = 64;

/// How one record is read.
pub(super) trait Record {
    type Value<'a>
    where
        Self: 'a;

    /// Reads a record of the plain form.
    fn plain<'a>(&'a mut self, scan: &mut Scan<'a>) -> Scanned<Self::Value<'a>>;

    /// Reads any record as the general reader does; `None` when that refuses it.
    fn general(&mut self, text: &[u8]) -> Option<Self::Value<'_>>;
}

/// Where a part begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Behind the bracket that opens the list.
    Opening(u64),
    /// At a record.
    Record(u64),
    /// At the first record from here on, if one is recognised: behind a closing brace and a comma. It may turn out that
    /// this is no record; then the part before ends elsewhere.
    After(u64),
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Position of the first record.
    pub from: u64,
    /// Position of the record behind the last one; or behind the bracket, when the list is closed.
    pub to: u64,
    /// Whether the list ended.
    pub closed: bool,
}

/// Reads the records that begin before `to`.
pub(super) fn records<R: Record>(
    path: &Path,
    start: Start,
    to: u64,
    reader: &mut R,
    mut visit: impl FnMut(R::Value<'_>),
) -> Option<Covered> {
    let mut blocks = open(path, start, to)?;
    let from = blocks.position();
    let closed = |to| Some(Covered { from, to, closed: true });
    if matches!(start, Start::Opening(_)) && blocks.scan(|scan| scan.takes(b']'))? {
        return closed(blocks.position());
    }
    while blocks.position() < to {
        let mut scan = Scan::new(blocks.rest());
        let (bytes, more) = match one(reader, &mut scan, &mut visit) {
            Ok(more) => (scan.at, more),
            Err(Stop::More) => {
                blocks.more()?;
                continue;
            }
            Err(Stop::Odd) => odd(&mut blocks, reader, &mut visit)?,
        };
        blocks.pass(bytes);
        if !more {
            return closed(blocks.position());
        }
    }
    Some(Covered { from, to: blocks.position(), closed: false })
}

/// A record and what is behind it, up to the next record; whether there is one.
#[inline(always)]
fn one<'a, R: Record>(
    reader: &'a mut R,
    scan: &mut Scan<'a>,
    visit: &mut impl FnMut(R::Value<'_>),
) -> Scanned<bool> {
    let value = reader.plain(scan)?;
    let more = next_record(scan)?;
    visit(value);
    Ok(more)
}

fn next_record(scan: &mut Scan<'_>) -> Scanned<bool> {
    let more = scan.another(b']')?;
    match more && scan.next()? != b'{' {
        true => Err(Stop::Odd),
        false => Ok(more),
    }
}

/// As [`one`], for a record that is not of the plain form: the bytes it takes, and whether there is a next one.
#[cold]
fn odd<R: Record>(
    blocks: &mut Blocks,
    reader: &mut R,
    visit: &mut impl FnMut(R::Value<'_>),
) -> Option<(usize, bool)> {
    loop {
        let mut scan = Scan::new(blocks.rest());
        match scan.extent().and_then(|range| Ok((range, next_record(&mut scan)?))) {
            Ok((range, more)) => {
                let bytes = scan.at;
                visit(reader.general(&blocks.rest()[range])?);
                return Some((bytes, more));
            }
            Err(Stop::More) => blocks.more()?,
            Err(Stop::Odd) => return None,
        }
    }
}

fn open(path: &Path, start: Start, to: u64) -> Option<Blocks> {
    match start {
        Start::Opening(position) => {
            let mut blocks = Blocks::open(path, position, to)?;
            blocks.scan(|scan| scan.next())?;
            Some(blocks)
        }
        Start::Record(position) => Blocks::open(path, position, to),
        Start::After(position) => {
            let mut blocks = Blocks::open(path, position.saturating_sub(LOOK_BACK), to)?;
            let before = (position - blocks.position()) as usize;
            loop {
                if let Some(at) = record_after(blocks.rest(), before) {
                    blocks.pass(at);
                    return Some(blocks);
                }
                blocks.more()?;
            }
        }
    }
}

/// The first brace from a place on that opens a record.
fn record_after(bytes: &[u8], from: usize) -> Option<usize> {
    let opens = |&at: &usize| {
        let before = bytes[..at].trim_ascii_end();
        bytes[at] == b'{' && before.strip_suffix(b",").is_some_and(|b| b.trim_ascii_end().ends_with(b"}"))
    };
    (from..bytes.len()).find(opens)
}
