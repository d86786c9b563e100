//! Masks that stay compressed until they are needed: most detections are never compared with anything.
use super::Rle;
use super::extent::Extent;
use super::pixels;
use crate::{BoxXywh, Size};

/// What is known of a mask without its runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MaskFacts {
    /// Of the picture.
    pub size: Size,
    /// Number of pixels inside.
    pub area: u32,
    /// The smallest box around them, as [`Rle::bbox`] gives it.
    pub bbox: BoxXywh,
}

impl MaskFacts {
    /// Of a mask.
    pub fn of(rle: &Rle) -> Self {
        MaskFacts { size: rle.size(), area: rle.area(), bbox: rle.bbox() }
    }

    /// Of a compressed string, which is checked. `None` for what [`Rle::from_compressed_str`] refuses.
    pub fn of_compressed(height: u32, width: u32, text: &[u8]) -> Option<Self> {
        let size = Size { width, height };
        let area = u64::from(pixels(height, width).ok()?);
        let mut extent = Extent::new(size);
        let mut position = 0;
        runs(text, |inside, length| {
            let start = position;
            position += u64::from(length);
            if position > area {
                return None;
            }
            if inside && length > 0 {
                extent.add(start, position);
            }
            Some(())
        })?;
        (position == area).then(|| extent.facts())
    }
}

/// A stretch of foreground: column-major positions from the first to behind the last.
pub type Span = (u32, u32);

impl Rle {
    /// Appends the stretches of foreground of this mask.
    pub fn append_spans(&self, to: &mut Vec<Span>) {
        to.extend(self.foreground());
    }

    /// Appends the stretches of foreground of a compressed string that is known from [`MaskFacts::of_compressed`]; of another
    /// one, what can be read of it.
    pub fn append_compressed_spans(text: &[u8], to: &mut Vec<Span>) {
        let mut position = 0u32;
        runs(text, |inside, length| {
            let start = position;
            position = position.checked_add(length)?;
            if inside {
                to.push((start, position));
            }
            Some(())
        });
    }
}

/// Pixels that two masks of one size have in common, from their stretches in order.
pub fn common_pixels(a: &[Span], b: &[Span]) -> u32 {
    let (Some(first_a), Some(first_b)) = (a.first(), b.first()) else { return 0 };
    // What ends before the other mask begins meets nothing.
    let mut i = a.partition_point(|span| span.1 <= first_b.0);
    let mut j = b.partition_point(|span| span.1 <= first_a.0);
    let mut pixels = 0;
    while let (Some(&(a0, a1)), Some(&(b0, b1))) = (a.get(i), b.get(j)) {
        pixels += a1.min(b1).saturating_sub(a0.max(b0));
        // Without branches: which one ends first is anybody's guess.
        i += usize::from(a1 <= b1);
        j += usize::from(b1 <= a1);
    }
    pixels
}

/// Calls `visit(inside, length)` for every run of a compressed string.
#[inline(always)]
fn runs(text: &[u8], mut visit: impl FnMut(bool, u32) -> Option<()>) -> Option<()> {
    let mut at = 0;
    // Values after the third are differences from the run before the last; the first counts for none of them.
    let (mut background, mut foreground) = (0, 0);
    if !text.is_empty() {
        visit(false, u32::try_from(value(text, &mut at)?).ok()?)?;
    }
    while at < text.len() {
        foreground += value(text, &mut at)?;
        visit(true, u32::try_from(foreground).ok()?)?;
        if at == text.len() {
            break;
        }
        background += value(text, &mut at)?;
        visit(false, u32::try_from(background).ok()?)?;
    }
    Some(())
}

/// The number that starts at a character.
#[inline(always)]
fn value(text: &[u8], at: &mut usize) -> Option<i64> {
    let bits = text.get(*at)?.wrapping_sub(b'0');
    *at += 1;
    if bits < 0x20 {
        // The sign is the fifth bit.
        return Some(i64::from((bits << 3) as i8 >> 3));
    }
    long_value(text, at, bits)
}

fn long_value(text: &[u8], at: &mut usize, first: u8) -> Option<i64> {
    let (mut value, mut shift, mut bits) = (0, 0, first);
    loop {
        if bits > 0x3f {
            return None;
        }
        value |= i64::from(bits & 0x1f) << shift;
        shift += 5;
        if bits & 0x20 == 0 {
            let sign = if bits & 0x10 != 0 { -1 << shift } else { 0 };
            return Some(value | sign);
        }
        if shift == 5 * super::compressed::MAX_CHARS {
            return None;
        }
        bits = text.get(*at)?.wrapping_sub(b'0');
        *at += 1;
    }
}
