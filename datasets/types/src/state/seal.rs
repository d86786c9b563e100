//! The box around a body.
use crate::{Error, Result};
use std::io::{Read, Write};

/// Name, version, length of the body.
pub(super) const HEAD: usize = 20;
/// Where the length of the body is.
const LENGTH: std::ops::Range<usize> = 12..HEAD;
const CHECKSUM: usize = 4;

/// What a state is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateKind {
    /// Boxes or masks: care-map's.
    Detections,
    /// Label maps: care-miou's.
    Segmentations,
}

impl StateKind {
    const ALL: [StateKind; 2] = [StateKind::Detections, StateKind::Segmentations];

    /// The kind of a file, by its first 8 bytes; `None` for a file that holds no state.
    pub fn of(file: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| file.starts_with(kind.magic()))
    }

    fn magic(self) -> &'static [u8; 8] {
        match self {
            StateKind::Detections => b"care-map",
            StateKind::Segmentations => b"caremiou",
        }
    }

    /// The version that is written, and the only one that is read.
    fn version(self) -> u32 {
        match self {
            StateKind::Detections => 2,
            StateKind::Segmentations => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            StateKind::Detections => "detections",
            StateKind::Segmentations => "segmentations",
        }
    }
}

/// The head of a file without a body.
pub(super) fn head(kind: StateKind) -> Vec<u8> {
    let mut head = kind.magic().to_vec();
    head.extend(kind.version().to_le_bytes());
    head.extend([0; LENGTH.end - LENGTH.start]);
    head
}

/// Fills in the length and adds the checksum.
pub(super) fn finish(file: &mut Vec<u8>) {
    let length = (file.len() - HEAD) as u64;
    file[LENGTH].copy_from_slice(&length.to_le_bytes());
    file.extend(crc32fast::hash(file).to_le_bytes());
}

/// The body of a file.
pub(super) fn open(kind: StateKind, file: &[u8]) -> Result<&[u8]> {
    let expected = check_head(kind, file)?.saturating_add((HEAD + CHECKSUM) as u64);
    let got = file.len() as u64;
    if got < expected {
        return Err(Error::input(format!("cut off: {got} of {expected} bytes are there")));
    }
    if got > expected {
        return Err(Error::input(format!("{} bytes too many at the end", got - expected)));
    }
    let (sealed, checksum) = file.split_at(file.len() - CHECKSUM);
    if crc32fast::hash(sealed).to_le_bytes() != *checksum {
        return Err(Error::input("damaged: the checksum does not fit"));
    }
    Ok(&sealed[HEAD..])
}

/// Reads a whole file of this kind, but not more of a file that is none, or that is longer than it says.
///
/// # Errors
/// `Input` when reading fails, for another kind of file and another version. What is cut off or damaged is told by
/// [`super::StateReader::open`].
pub fn read_state(kind: StateKind, mut from: impl Read) -> Result<Vec<u8>> {
    let fail = |e: std::io::Error| Error::input(format!("cannot read: {e}")).with_source(e);
    let mut file = Vec::new();
    from.by_ref().take(HEAD as u64).read_to_end(&mut file).map_err(fail)?;
    // One byte more than expected shows that there are too many.
    let rest = check_head(kind, &file)?.saturating_add(CHECKSUM as u64 + 1);
    from.take(rest).read_to_end(&mut file).map_err(fail)?;
    Ok(file)
}

/// Writes a whole file.
///
/// # Errors
/// `Internal` when writing fails.
pub fn write_state(file: &[u8], mut to: impl Write) -> Result<()> {
    to.write_all(file)
        .and_then(|()| to.flush())
        .map_err(|e| Error::internal(format!("cannot write: {e}")).with_source(e))
}

/// The length of the body.
fn check_head(kind: StateKind, file: &[u8]) -> Result<u64> {
    let start = &file[..file.len().min(kind.magic().len())];
    if let Some(other) = StateKind::of(file).filter(|other| *other != kind) {
        return Err(Error::input(format!(
            "the state of an evaluation of {}, expected one of {}",
            other.name(),
            kind.name()
        )));
    }
    if !kind.magic().starts_with(start) {
        let text = start.escape_ascii();
        return Err(Error::input(format!("not the state of an evaluation: the file starts with `{text}`")));
    }
    let Some(head) = file.first_chunk::<HEAD>() else {
        return Err(Error::input(format!("cut off: {} bytes, but the head has {HEAD}", file.len())));
    };
    let version = u32::from_le_bytes(std::array::from_fn(|i| head[8 + i]));
    let known = kind.version();
    if version != known {
        let newer = if version > known { ": it was written by a newer program" } else { "" };
        return Err(Error::input(format!("format {version}, and this program reads {known}{newer}")));
    }
    let length = u64::from_le_bytes(std::array::from_fn(|i| head[LENGTH.start + i]));
    if length > i64::MAX as u64 {
        return Err(Error::input(format!("damaged: a body of {length} bytes")));
    }
    Ok(length)
}
