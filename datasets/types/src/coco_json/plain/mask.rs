//! Run lengths inside records.
use super::scan::{Scan, Scanned, Stop};
use crate::{MaskFacts, Rle};

/// Bytes of a string that are looked at together.
const LANES: usize = 32;

/// `size` and `counts` of a mask, as they stand in a file.
pub(super) struct RunLengths {
    pub(super) height: u32,
    pub(super) width: u32,
    counts: Counts,
}

enum Counts {
    /// Where the string is, and whether it has escapes.
    Text(std::ops::Range<usize>, bool),
    List(Vec<u32>),
}

impl RunLengths {
    /// An object with both, and with nothing else.
    pub(super) fn scan(scan: &mut Scan<'_>) -> Scanned<Self> {
        let (mut size, mut counts) = (None, None);
        scan.take(b'{')?;
        loop {
            match scan.key()? {
                b"size" if size.is_none() => size = Some(sides(scan)?),
                b"counts" if counts.is_none() => counts = Some(Counts::scan(scan)?),
                _ => return Err(Stop::Odd),
            }
            if !scan.another(b'}')? {
                break;
            }
        }
        let ([height, width], counts) = size.zip(counts).ok_or(Stop::Odd)?;
        Ok(RunLengths { height, width, counts })
    }

    /// The compressed string, without escapes, and what it says. `space` is where it is put if need be.
    pub(super) fn facts<'a>(self, bytes: &'a [u8], space: &'a mut Vec<u8>) -> Scanned<(MaskFacts, &'a [u8])> {
        let (height, width) = (self.height, self.width);
        let text = match self.counts {
            Counts::Text(range, false) => &bytes[range],
            Counts::Text(range, true) => unescaped(&bytes[range], space)?,
            Counts::List(_) => {
                let rle = self.rle(bytes, space)?;
                *space = rle.to_compressed_string().into_bytes();
                return Ok((MaskFacts::of(&rle), space));
            }
        };
        let facts = MaskFacts::of_compressed(height, width, text).ok_or(Stop::Odd)?;
        Ok((facts, text))
    }

    /// The mask.
    pub(super) fn rle(self, bytes: &[u8], space: &mut Vec<u8>) -> Scanned<Rle> {
        let text = match self.counts {
            Counts::List(list) => {
                return Rle::from_counts(self.height, self.width, &list).map_err(|_| Stop::Odd);
            }
            Counts::Text(range, false) => &bytes[range],
            Counts::Text(range, true) => unescaped(&bytes[range], space)?,
        };
        let text = std::str::from_utf8(text).map_err(|_| Stop::Odd)?;
        Rle::from_compressed_str(self.height, self.width, text).map_err(|_| Stop::Odd)
    }
}

/// `[height, width]`
fn sides(scan: &mut Scan<'_>) -> Scanned<[u32; 2]> {
    scan.take(b'[')?;
    let height = natural(scan)?;
    scan.take(b',')?;
    let width = natural(scan)?;
    scan.take(b']')?;
    Ok([height, width])
}

fn natural(scan: &mut Scan<'_>) -> Scanned<u32> {
    u32::try_from(scan.whole()?).map_err(|_| Stop::Odd)
}

impl Counts {
    fn scan(scan: &mut Scan<'_>) -> Scanned<Self> {
        match scan.next()? {
            b'"' => {
                scan.at += 1;
                let from = scan.at;
                let escaped = to_quote(scan)?;
                Ok(Counts::Text(from..scan.at - 1, escaped))
            }
            b'[' => {
                scan.at += 1;
                let mut list = Vec::new();
                if !scan.takes(b']')? {
                    list.push(natural(scan)?);
                    while scan.another(b']')? {
                        list.push(natural(scan)?);
                    }
                }
                Ok(Counts::List(list))
            }
            _ => Err(Stop::Odd),
        }
    }
}

/// Goes behind the quote that ends a string; whether there are escapes.
fn to_quote(scan: &mut Scan<'_>) -> Scanned<bool> {
    let mut escaped = false;
    loop {
        while let Some(lanes) = scan.bytes.get(scan.at..).and_then(|rest| rest.first_chunk::<LANES>()) {
            if lanes.iter().fold(false, |found, &b| found | (b == b'"') | (b == b'\\')) {
                break;
            }
            scan.at += LANES;
        }
        loop {
            let byte = scan.peek()?;
            scan.at += 1;
            match byte {
                b'"' => return Ok(escaped),
                b'\\' => {
                    scan.at += 1;
                    escaped = true;
                    break;
                }
                _ => {}
            }
        }
    }
}

/// The only escape that a compressed mask needs is that of the backslash itself.
fn unescaped<'a>(mut text: &[u8], space: &'a mut Vec<u8>) -> Scanned<&'a [u8]> {
    space.clear();
    while let Some(at) = backslash(text) {
        if text.get(at + 1) != Some(&b'\\') {
            return Err(Stop::Odd);
        }
        space.extend_from_slice(&text[..=at]);
        text = &text[at + 2..];
    }
    space.extend_from_slice(text);
    Ok(space)
}

/// Where the first backslash is.
fn backslash(text: &[u8]) -> Option<usize> {
    let has = |lanes: &[u8]| lanes.iter().fold(false, |found, &b| found | (b == b'\\'));
    let clean = text.chunks_exact(LANES).take_while(|lanes| !has(lanes)).count() * LANES;
    text[clean..].iter().position(|&b| b == b'\\').map(|at| clean + at)
}
