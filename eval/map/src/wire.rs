//! Files of this crate: a sealed box around a body, and numbers inside the body.
//!
//! A file is: 8 bytes of magic, the version (u32), the length of the body (u64), the body, the CRC-32 of all before
//! (u32); little-endian. Nothing is allocated for more items than there are bytes left.
use crate::{Error, Result};
use std::io::Read;

const MAGIC: [u8; 8] = *b"care-map";
/// Of segmentations, which care-miou reads.
const OTHER_MAGIC: [u8; 8] = *b"caremiou";
/// The version that is written, and the only one so far.
pub(crate) const VERSION: u32 = 1;
const HEAD: usize = 20;
const CHECKSUM: usize = 4;

/// Puts a body into a file.
pub(crate) fn seal(body: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEAD + body.len() + CHECKSUM);
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file.extend(crc32fast::hash(&file).to_le_bytes());
    file
}

/// The body of a file.
pub(crate) fn open(file: &[u8]) -> Result<&[u8]> {
    let length = check_head(file)?;
    let expected = (HEAD + CHECKSUM) as u64 + length;
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

/// Reads a whole file, but not more of a file that is none, or that is longer than it says.
pub(crate) fn read(mut from: impl Read) -> Result<Vec<u8>> {
    let fail = |e: std::io::Error| Error::input(format!("cannot read: {e}")).with_source(e);
    let mut file = Vec::new();
    from.by_ref().take(HEAD as u64).read_to_end(&mut file).map_err(fail)?;
    let rest = check_head(&file)?.saturating_add(CHECKSUM as u64);
    from.take(rest.saturating_add(1)).read_to_end(&mut file).map_err(fail)?;
    Ok(file)
}

/// The length of the body.
fn check_head(file: &[u8]) -> Result<u64> {
    let magic = &file[..file.len().min(MAGIC.len())];
    if magic == OTHER_MAGIC {
        return Err(Error::input("the state of a segmentation's evaluation, not of a detection's"));
    }
    if !MAGIC.starts_with(magic) {
        let text = magic.escape_ascii();
        return Err(Error::input(format!("not the state of an evaluation: the file starts with `{text}`")));
    }
    let Some(head) = file.first_chunk::<HEAD>() else {
        return Err(Error::input(format!("cut off: {} bytes, but the head has {HEAD}", file.len())));
    };
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if version != VERSION {
        let newer = if version > VERSION { ": it was written by a newer program" } else { "" };
        return Err(Error::input(format!("format {version}, and this program reads {VERSION}{newer}")));
    }
    let length: [u8; 8] = std::array::from_fn(|i| head[12 + i]);
    let length = u64::from_le_bytes(length);
    if length > i64::MAX as u64 {
        return Err(Error::input(format!("damaged: a body of {length} bytes")));
    }
    Ok(length)
}

/// Writes numbers.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    /// 7 bits per byte, lowest first; the highest bit says that more follow.
    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// As [`Self::number`], small negative numbers being short too.
    pub(crate) fn signed(&mut self, value: i64) {
        self.number((value << 1 ^ value >> 63) as u64);
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.0.extend(value.to_bits().to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// The number of items, then each.
    pub(crate) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|i| item(self, i));
    }
}

/// Reads what [`Writer`] wrote. Errors begin with the name of what was to be read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, name: &str, n: usize) -> Result<&'a [u8]> {
        let Some((taken, rest)) = self.0.split_at_checked(n) else {
            return Err(Error::input(format!("{name}: {n} bytes expected, {} are left", self.0.len())));
        };
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<u64> {
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

    pub(crate) fn signed(&mut self, name: &str) -> Result<i64> {
        let value = self.number(name)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub(crate) fn size(&mut self, name: &str) -> Result<usize> {
        let value = self.number(name)?;
        usize::try_from(value).map_err(|_| Error::input(format!("{name}: {value} is too large")))
    }

    pub(crate) fn float(&mut self, name: &str) -> Result<f64> {
        let bytes = self.take(name, 8)?;
        Ok(f64::from_bits(u64::from_le_bytes(std::array::from_fn(|i| bytes[i]))))
    }

    pub(crate) fn bytes(&mut self, name: &str) -> Result<&'a [u8]> {
        let n = self.size(name)?;
        self.take(name, n)
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String> {
        let text = std::str::from_utf8(self.bytes(name)?);
        text.map(String::from).map_err(|_| Error::input(format!("{name}: not UTF-8")))
    }

    /// A list whose items take a byte or more.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        mut item: impl FnMut(&mut Self, &str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let n = self.size(name)?;
        if n > self.0.len() {
            return Err(Error::input(format!("{name}: {n} items, but only {} bytes are left", self.0.len())));
        }
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(item(self, name)?);
        }
        Ok(items)
    }

    pub(crate) fn end(&self) -> Result<()> {
        match self.0.len() {
            0 => Ok(()),
            n => Err(Error::input(format!("{n} bytes are left after the last picture"))),
        }
    }
}
