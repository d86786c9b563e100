//! A file, a block at a time.
use super::scan::{Scan, Scanned, Stop};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes read at once: measured 64 KiB to 4 MiB, this is what stays in the second cache.
const BLOCK: usize = 256 << 10;

/// The bytes around a position in a file.
pub(super) struct Blocks {
    file: File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    base: u64,
    /// What is read already.
    at: usize,
    ended: bool,
}

impl Blocks {
    /// From a position of a file; `None` when it cannot be read.
    pub(super) fn open(path: &Path, position: u64) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::Start(position)).ok()?;
        Some(Blocks { file, buffer: Vec::with_capacity(BLOCK), base: position, at: 0, ended: false })
    }

    /// The position in the file.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    /// What is there from the position on.
    pub(super) fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Goes on.
    pub(super) fn pass(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Reads on; what is before the position is forgotten. `None` at the end of the file, and when it cannot be read.
    pub(super) fn more(&mut self) -> Option<()> {
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.at = 0;
        // A record that does not fit is met again from its start: the next attempt sees twice as much.
        let wanted = BLOCK.max(2 * self.buffer.len()) - self.buffer.len();
        let got = (&self.file).take(wanted as u64).read_to_end(&mut self.buffer).ok()?;
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
