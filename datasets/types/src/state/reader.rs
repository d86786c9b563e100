//! Reading the body of a file.
use super::StateKind;
use super::seal::open;
use crate::{Error, Result};

/// Reads what [`super::StateWriter`] wrote, in the same order. Every error is `Input` and begins with the name of what was
/// to be read.
pub struct StateReader<'a> {
    rest: &'a [u8],
}

impl<'a> StateReader<'a> {
    /// Checks the seal.
    ///
    /// # Errors
    /// `Input` for another kind of file, another version, a part of a file, bytes behind the end, and damage.
    pub fn open(kind: StateKind, file: &'a [u8]) -> Result<Self> {
        Ok(StateReader { rest: open(kind, file)? })
    }

    fn take(&mut self, name: &str, n: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(n) else {
            return Err(Error::input(format!("{name}: {n} bytes expected, {} are left", self.rest.len())));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A number.
    ///
    /// # Errors
    /// `Input` at the end of the body, and for a number of more than 64 bits.
    pub fn number(&mut self, name: &str) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(name, 1)?[0];
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::input(format!("{name}: a number of more than 64 bits")))
    }

    /// A number that may be negative.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn signed(&mut self, name: &str) -> Result<i64> {
        let value = self.number(name)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// A number of things in memory.
    ///
    /// # Errors
    /// As [`Self::number`], and for more than this machine can count.
    pub fn size(&mut self, name: &str) -> Result<usize> {
        let value = self.number(name)?;
        usize::try_from(value).map_err(|_| Error::input(format!("{name}: {value} is too large")))
    }

    /// Yes or no, as 1 or 0.
    ///
    /// # Errors
    /// As [`Self::number`], and for other numbers.
    pub fn flag(&mut self, name: &str) -> Result<bool> {
        match self.number(name)? {
            n @ 0..=1 => Ok(n == 1),
            n => Err(Error::input(format!("{name}: {n}, not 0 or 1"))),
        }
    }

    /// A number to the bit.
    ///
    /// # Errors
    /// `Input` at the end of the body.
    pub fn float(&mut self, name: &str) -> Result<f64> {
        let bytes = self.take(name, 8)?;
        Ok(f64::from_bits(u64::from_le_bytes(std::array::from_fn(|i| bytes[i]))))
    }

    /// Bytes after their number.
    ///
    /// # Errors
    /// As [`Self::number`], and for more bytes than are left.
    pub fn bytes(&mut self, name: &str) -> Result<&'a [u8]> {
        let n = self.size(name)?;
        self.take(name, n)
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Self::bytes`], and for bytes that are not UTF-8.
    pub fn text(&mut self, name: &str) -> Result<String> {
        let text = std::str::from_utf8(self.bytes(name)?);
        text.map(String::from).map_err(|_| Error::input(format!("{name}: not UTF-8")))
    }

    /// A list whose items take a byte or more; `item` is told the name.
    ///
    /// # Errors
    /// As [`Self::number`], for more items than bytes are left, and those of `item`.
    pub fn list<T>(
        &mut self,
        name: &str,
        mut item: impl FnMut(&mut Self, &str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let n = self.size(name)?;
        if n > self.rest.len() {
            return Err(Error::input(format!(
                "{name}: {n} items, but only {} bytes are left",
                self.rest.len()
            )));
        }
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(item(self, name)?);
        }
        Ok(items)
    }

    /// Whether all was read.
    pub fn is_finished(&self) -> bool {
        self.rest.is_empty()
    }

    /// Checks that all was read.
    ///
    /// # Errors
    /// `Input` when something is left.
    pub fn end(&self) -> Result<()> {
        match self.rest.len() {
            0 => Ok(()),
            n => Err(Error::input(format!("{n} bytes are left after the end"))),
        }
    }
}
