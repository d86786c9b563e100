//! A file, a block at a time.
use super::scan::{Scan, Scanned, Stop};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes read at once: enough for few calls, and few enough to stay in the second cache.
const BLOCK: usize = 64 << 10;
/// Bytes behind the end of a part that are read with it, because a record may begin before the end.
const BEHIND: u64 = 2 << 10;

/// The bytes around a position in a file.
pub(super) struct Blocks {
    file: File,
    buffer: Vec<u8>,
    /// How much of the buffer is filled.
    filled: usize,
    /// Where in the file the buffer begins.
    base: u64,
    /// What is read already.
    at: usize,
    /// Where reading is expected to stop.
    until: u64,
    ended: bool,
}

impl Blocks {
    /// From a position of a file; `None` when it cannot be read. Bytes far behind `until` will hardly be asked for.
    pub(super) fn open(path: &Path, position: u64, until: u64) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::Start(position)).ok()?;
        let buffer = vec![0; BLOCK];
        let until = until.saturating_add(BEHIND);
        Some(Blocks { file, buffer, filled: 0, base: position, at: 0, until, ended: false })
    }

    /// The position in the file.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What is there from the position on.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.at..self.filled]
    }

    /// Goes on.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Reads on; what is before the position is forgotten. `None` at the end of the file, and when it cannot be read.
    pub(super) fn more(&mut self) -> Option<()> {
        self.buffer.copy_within(self.at..self.filled, 0);
        self.base += self.at as u64;
        self.filled -= self.at;
        self.at = 0;
        // A record that does not fit is met again from its start: let there be twice as much of it each time.
        if 2 * self.filled > self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        let expected = self.until.saturating_sub(self.base + self.filled as u64);
        let wanted = if expected == 0 { BLOCK } else { usize::try_from(expected).unwrap_or(usize::MAX) };
        let end = self.buffer.len().min(self.filled.saturating_add(wanted));
        let got = loop {
            match self.file.read(&mut self.buffer[self.filled..end]) {
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other.ok()?,
            }
        };
        self.filled += got;
        self.ended = got == 0;
        (got > 0).then_some(())
    }

    /// Reads something and passes over it, however many blocks that takes. `None` when it is odd.
    pub(super) fn scan<T>(&mut self, read: impl Fn(&mut Scan<'_>) -> Scanned<T>) -> Option<T> {
        loop {
            let mut scan = Scan::new(self.rest());
            match read(&mut scan) {
                Ok(value) => {
                    let bytes = scan.at;
                    self.pass(bytes);
                    return Some(value);
                }
                Err(Stop::More) => self.more()?,
                Err(Stop::Odd) => return None,
            }
        }
    }

    /// Whether only white space is left.
    pub(super) fn ends(&mut self) -> bool {
        // `next` only ever fails for want of bytes.
        self.scan(|scan| scan.next()).is_none() && self.ended
    }
}
