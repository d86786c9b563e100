//! Files that hold the state of an evaluation, of detections or of segmentations: numbers and texts in a body that is
//! sealed, so that a part of a file, a damaged file and a file of another kind are told and never taken for a state.
//!
//! A file is: 8 bytes that name its [kind](StateKind), the version of the format (u32), the length of the body (u64), the
//! body, the CRC-32 of all before (u32); little-endian. Inside the body, numbers have 7 bits per byte, lowest first, the
//! highest bit saying that more follow; lists and texts begin with their length. Nothing is allocated for more items than
//! there are bytes left. What the body means is the business of the crate that writes it.
//! ```
//! use care_types::state::{StateKind, StateReader, StateWriter};
//! let mut writer = StateWriter::new(StateKind::Detections);
//! writer.list([3, -700].iter(), |to, n| to.signed(*n));
//! let file = writer.seal();
//! let mut reader = StateReader::open(StateKind::Detections, &file)?;
//! assert_eq!(reader.list("numbers", |from, name| from.signed(name))?, [3, -700]);
//! reader.end()?;
//! assert!(StateReader::open(StateKind::Detections, &file[1..]).is_err());
//! # Ok::<(), care_types::Error>(())
//! ```
mod reader;
mod seal;
mod writer;

pub use reader::StateReader;
pub use seal::{StateKind, read_state, write_state};
pub use writer::StateWriter;
