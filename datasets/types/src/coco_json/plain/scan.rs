//! A cursor over JSON text that may end anywhere.
use std::ops::Range;

/// Why a value was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end inside it.
    More,
    /// It is not of the plain form; whether it is an error is for the general reader to say.
    Odd,
}

pub(super) type Scanned<T> = Result<T, Stop>;

/// Deeper values are left to the general reader, which has a limit of its own.
const DEEPEST: usize = 100;

pub(super) struct Scan<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Scan { bytes, at: 0 }
    }

    /// The next byte, which stays.
    #[inline(always)]
    pub(super) fn peek(&self) -> Scanned<u8> {
        self.bytes.get(self.at).copied().ok_or(Stop::More)
    }

    /// The next byte that is no white space, which stays.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Scanned<u8> {
        loop {
            match self.peek()? {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                byte => return Ok(byte),
            }
        }
    }

    /// Takes a byte that must come next, white space aside.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> Scanned<()> {
        if self.next()? != byte {
            return Err(Stop::Odd);
        }
        self.at += 1;
        Ok(())
    }

    /// Takes a byte if it comes next, white space aside.
    #[inline(always)]
    pub(super) fn takes(&mut self, byte: u8) -> Scanned<bool> {
        let there = self.next()? == byte;
        self.at += usize::from(there);
        Ok(there)
    }

    /// Takes a word (`null`, `true`, `false`), whose first letter comes next.
    pub(super) fn word(&mut self, word: &[u8]) -> Scanned<()> {
        let there = &self.bytes[self.at..self.bytes.len().min(self.at + word.len())];
        if there != word {
            return Err(if word.starts_with(there) { Stop::More } else { Stop::Odd });
        }
        self.at += word.len();
        Ok(())
    }

    /// `null`, which is taken, or something else, which stays.
    pub(super) fn null(&mut self) -> Scanned<bool> {
        let there = self.next()? == b'n';
        if there {
            self.word(b"null")?;
        }
        Ok(there)
    }

    /// The name of a field and the colon behind it. Names with escapes or beyond ASCII are odd.
    #[inline(always)]
    pub(super) fn key(&mut self) -> Scanned<&'a [u8]> {
        self.take(b'"')?;
        let from = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' | 0x80.. | ..0x20 => return Err(Stop::Odd),
                _ => self.at += 1,
            }
        }
        let key = &self.bytes[from..self.at];
        self.at += 1;
        self.take(b':')?;
        Ok(key)
    }

    /// After a field or an item: true when another follows, false at the end, which is taken.
    #[inline(always)]
    pub(super) fn another(&mut self, end: u8) -> Scanned<bool> {
        let byte = self.next()?;
        self.at += 1;
        match byte {
            b',' => Ok(true),
            byte if byte == end => Ok(false),
            _ => Err(Stop::Odd),
        }
    }

    /// A value of any kind, found by its brackets; whether it is well formed is left open.
    pub(super) fn extent(&mut self) -> Scanned<Range<usize>> {
        let first = self.next()?;
        let from = self.at;
        match first {
            b'{' | b'[' => self.brackets()?,
            b'"' => self.string_end()?,
            _ => {
                while !matches!(self.peek()?, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
                    self.at += 1;
                }
            }
        }
        Ok(from..self.at)
    }

    fn brackets(&mut self) -> Scanned<()> {
        let mut depth = 0;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string_end()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            match depth {
                0 => return Ok(()),
                DEEPEST.. => return Err(Stop::Odd),
                _ => {}
            }
        }
    }

    /// Takes a string, escapes and all.
    fn string_end(&mut self) -> Scanned<()> {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }
}
