//! The state of an evaluation as bytes.
//!
//! A file is: 8 bytes of magic, the version (u32), the length of the body (u64), the body, the CRC-32 of all before
//! (u32); little-endian. The body is: the names of the classes; the ignored value plus 1, or 0; the two texts of the
//! source; the names of the pictures, ascending; the number of ignored pixels; and for each pair of classes with pixels
//! the pairs skipped since the one before, and the pixels. Numbers have 7 bits per byte, lowest first, the highest bit
//! saying that more follow; lists and texts begin with their length. Nothing is allocated for more items than there are
//! bytes left, but for the matrix, whose classes are named one by one.
use crate::confusion::ConfusionMatrix;
use crate::evaluator::{SegEvaluator, SegSource};
use care_types::{Error, Result};
use std::collections::BTreeSet;
use std::io::{Read, Write};

const MAGIC: [u8; 8] = *b"caremiou";
/// Of detections, which care-map reads.
const OTHER_MAGIC: [u8; 8] = *b"care-map";
/// The version that is written, and the only one so far.
const VERSION: u32 = 1;
const HEAD: usize = 20;
const CHECKSUM: usize = 4;

impl SegEvaluator {
    /// The state, to be kept or sent: classes, source, names of pictures, counts, with a version and a checksum. Evaluators
    /// of the same pictures have the same bytes, however they came to them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_list(&mut body, self.classes.iter());
        put(&mut body, self.ignore.map_or(0, |value| u64::from(value) + 1));
        put_text(&mut body, &self.source.ground_truth);
        put_text(&mut body, &self.source.results);
        put_list(&mut body, self.pictures.iter());
        put(&mut body, self.matrix.ignored());
        let pairs = self.matrix.counts().iter().enumerate().filter(|(_, pixels)| **pixels > 0);
        let mut next = 0;
        for (pair, &pixels) in pairs {
            put(&mut body, (pair - next) as u64);
            put(&mut body, pixels);
            next = pair + 1;
        }
        seal(&body)
    }

    /// Writes [`Self::to_bytes`].
    ///
    /// # Errors
    /// `Internal` when writing fails.
    pub fn write_to(&self, mut to: impl Write) -> Result<()> {
        to.write_all(&self.to_bytes())
            .and_then(|()| to.flush())
            .map_err(|e| Error::internal(format!("cannot write: {e}")).with_source(e))
    }

    /// The evaluator with this state.
    ///
    /// # Errors
    /// `Input` for anything else: a file of another kind or a newer version, a part of a file, a damaged file; the
    /// message says which, and where it can, what is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        read_body(open(bytes)?).map_err(|e| Error::input(format!("damaged: {e}")))
    }

    /// Reads [`Self::from_bytes`] to the end.
    ///
    /// # Errors
    /// `Input`, as there, and when reading fails.
    pub fn read_from(mut from: impl Read) -> Result<Self> {
        let fail = |e: std::io::Error| Error::input(format!("cannot read: {e}")).with_source(e);
        let mut file = Vec::new();
        from.by_ref().take(HEAD as u64).read_to_end(&mut file).map_err(fail)?;
        // One byte more than expected shows that there are too many.
        let rest = check_head(&file)?.saturating_add(CHECKSUM as u64 + 1);
        from.take(rest).read_to_end(&mut file).map_err(fail)?;
        Self::from_bytes(&file)
    }
}

fn seal(body: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEAD + body.len() + CHECKSUM);
    file.extend(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file.extend(crc32fast::hash(&file).to_le_bytes());
    file
}

fn open(file: &[u8]) -> Result<&[u8]> {
    let expected = check_head(file)?.saturating_add((HEAD + CHECKSUM) as u64);
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

/// The length of the body.
fn check_head(file: &[u8]) -> Result<u64> {
    let magic = &file[..file.len().min(MAGIC.len())];
    if magic == OTHER_MAGIC {
        return Err(Error::input("the state of a detection's evaluation, not of a segmentation's"));
    }
    if !MAGIC.starts_with(magic) {
        let text = magic.escape_ascii();
        return Err(Error::input(format!("not the state of an evaluation: the file starts with `{text}`")));
    }
    let Some(head) = file.first_chunk::<HEAD>() else {
        return Err(Error::input(format!("cut off: {} bytes, but the head has {HEAD}", file.len())));
    };
    let version = u32::from_le_bytes(std::array::from_fn(|i| head[8 + i]));
    if version != VERSION {
        let newer = if version > VERSION { ": it was written by a newer program" } else { "" };
        return Err(Error::input(format!("format {version}, and this program reads {VERSION}{newer}")));
    }
    Ok(u64::from_le_bytes(std::array::from_fn(|i| head[12 + i])))
}

fn read_body(mut from: &[u8]) -> Result<SegEvaluator> {
    let classes = take_list(&mut from, "classes")?;
    let ignore = match take(&mut from, "ignored value")? {
        0 => None,
        n => Some(u16::try_from(n - 1).map_err(|_| Error::input(format!("ignored value: {}", n - 1)))?),
    };
    let mut evaluator = SegEvaluator::new(classes, ignore)?;
    let ground_truth = take_text(&mut from, "ground truth")?;
    evaluator.source = SegSource { ground_truth, results: take_text(&mut from, "results")? };
    let pictures = take_list(&mut from, "pictures")?;
    if let Some(pair) = pictures.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(Error::input(format!("pictures: {:?} after {:?}", pair[1], pair[0])));
    }
    let ignored = take(&mut from, "ignored pixels")?;
    let counts = take_counts(&mut from, evaluator.classes.len())?;
    evaluator.matrix = ConfusionMatrix::from_counts(&counts, ignored, pictures.len() as u64)?;
    evaluator.pictures = BTreeSet::from_iter(pictures);
    Ok(evaluator)
}

/// `[classes, classes]`
fn take_counts(from: &mut &[u8], classes: usize) -> Result<Vec<u64>> {
    let mut counts = vec![0; classes * classes];
    let mut rest = &mut counts[..];
    while !from.is_empty() {
        let skipped = usize::try_from(take(from, "counts")?).unwrap_or(usize::MAX);
        let pixels = take(from, "counts")?;
        let Some((count, after)) = rest.get_mut(skipped..).and_then(<[u64]>::split_first_mut) else {
            return Err(Error::input(format!("counts: of more pairs than {classes} classes have")));
        };
        *count = pixels;
        rest = after;
    }
    Ok(counts)
}

fn put(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    put(to, text.len() as u64);
    to.extend(text.as_bytes());
}

fn put_list<'a>(to: &mut Vec<u8>, texts: impl ExactSizeIterator<Item = &'a String>) {
    put(to, texts.len() as u64);
    texts.for_each(|text| put_text(to, text));
}

fn take(from: &mut &[u8], name: &str) -> Result<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, rest)) = from.split_first() else {
            return Err(Error::input(format!("{name}: the data end here")));
        };
        *from = rest;
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

fn take_text(from: &mut &[u8], name: &str) -> Result<String> {
    let length = take(from, name)?;
    let Some((text, rest)) = usize::try_from(length).ok().and_then(|n| from.split_at_checked(n)) else {
        return Err(Error::input(format!("{name}: {length} bytes expected, {} are left", from.len())));
    };
    *from = rest;
    String::from_utf8(text.into()).map_err(|_| Error::input(format!("{name}: not UTF-8")))
}

fn take_list(from: &mut &[u8], name: &str) -> Result<Vec<String>> {
    let n = take(from, name)?;
    if n > from.len() as u64 {
        return Err(Error::input(format!("{name}: {n} items, but only {} bytes are left", from.len())));
    }
    (0..n).map(|_| take_text(from, name)).collect()
}
