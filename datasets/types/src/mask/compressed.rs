//! COCO's compressed run lengths: 5 bits per character from `0` to `o`, the sixth bit says "more follows", values
//! after the third are differences from the run before the last.
use super::{Rle, pixels};
use crate::{Error, Result};

/// 2^35 is more than any run or difference of runs needs.
pub(super) const MAX_CHARS: u32 = 7;

impl Rle {
    /// Reads a compressed string.
    ///
    /// # Errors
    /// `Input` for a character outside `0`–`o`, a string that ends inside a number, a negative or huge run, and runs
    /// that do not sum to `height * width`.
    pub fn from_compressed_str(height: u32, width: u32, text: &str) -> Result<Self> {
        pixels(height, width)?;
        let counts = decode(text.as_bytes())?;
        Self::from_counts(height, width, &counts)
    }

    /// Writes the compressed string (ASCII).
    pub fn to_compressed_string(&self) -> String {
        let mut text = String::with_capacity(self.counts().len() * 2);
        for (i, &count) in self.counts().iter().enumerate() {
            let before = if i > 2 { i64::from(self.counts()[i - 2]) } else { 0 };
            encode(i64::from(count) - before, &mut text);
        }
        text
    }
}

/// Appends one number.
pub(crate) fn encode(mut value: i64, text: &mut String) {
    loop {
        let low = (value & 0x1f) as u8;
        value >>= 5;
        // The sign is the fifth bit of the last character.
        let done = if low & 0x10 != 0 { value == -1 } else { value == 0 };
        text.push(char::from(b'0' + if done { low } else { low | 0x20 }));
        if done {
            return;
        }
    }
}

fn decode(text: &[u8]) -> Result<Vec<u32>> {
    let mut counts: Vec<u32> = Vec::with_capacity(text.len() / 2 + 1);
    let (mut value, mut chars) = (0i64, 0u32);
    for (at, &c) in text.iter().enumerate() {
        if !(b'0'..=b'o').contains(&c) {
            return Err(Error::input(format!(
                "compressed mask: character {at} is {:?}, not in '0'..='o'",
                c as char
            )));
        }
        let bits = i64::from(c - b'0');
        value |= (bits & 0x1f) << (5 * chars);
        chars += 1;
        if bits & 0x20 != 0 {
            if chars == MAX_CHARS {
                return Err(Error::input(format!(
                    "compressed mask: the number that ends after character {at} is too large"
                )));
            }
            continue;
        }
        if bits & 0x10 != 0 {
            value |= -1i64 << (5 * chars);
        }
        let n = counts.len();
        let run = value + if n > 2 { i64::from(counts[n - 2]) } else { 0 };
        let run = u32::try_from(run)
            .map_err(|_| Error::input(format!("compressed mask: run {n} is {run}, not a length")))?;
        counts.push(run);
        (value, chars) = (0, 0);
    }
    if chars > 0 {
        return Err(Error::input("compressed mask: the string ends inside a number"));
    }
    Ok(counts)
}
