//! Masks that stay compressed until they are needed: most detections are never compared with anything.
use super::Rle;
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
        let mut outline = Outline::new(height, pixels(height, width).ok()?);
        let mut position = 0;
        let mut last = None;
        runs(text, |inside, length| {
            let start = match last {
                // An empty run of background joins its neighbours.
                Some((start, end)) if end == position => start,
                _ => position,
            };
            position += u64::from(length);
            if inside && length > 0 {
                last = Some((start, position));
                outline.add(start, position, length)?;
            }
            Some(())
        })?;
        let size = Size { width, height };
        (position == outline.total).then(|| MaskFacts { size, area: outline.area, bbox: outline.bbox() })
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

/// The box and the area of runs that come in order.
struct Outline {
    height: u64,
    total: u64,
    area: u32,
    /// The column of the last run: number and first position.
    column: u64,
    top: u64,
    first: Option<u64>,
    last: u64,
    low: u64,
    high: u64,
}

impl Outline {
    fn new(height: u32, total: u32) -> Self {
        let (height, total) = (height.into(), total.into());
        Outline { height, total, area: 0, column: 0, top: 0, first: None, last: 0, low: height, high: 0 }
    }

    /// The run from `start` to `end`, of which the last `length` are new.
    #[inline(always)]
    fn add(&mut self, start: u64, end: u64, length: u32) -> Option<()> {
        if end > self.total {
            return None;
        }
        self.area += length;
        if start >= self.top + 2 * self.height {
            self.column = start / self.height;
            self.top = self.column * self.height;
        } else if start >= self.top + self.height {
            self.column += 1;
            self.top += self.height;
        }
        self.first.get_or_insert(self.column);
        if end <= self.top + self.height {
            self.last = self.column;
            self.low = self.low.min(start - self.top);
            self.high = self.high.max(end - self.top);
        } else {
            self.last = (end - 1) / self.height;
            (self.low, self.high) = (0, self.height);
        }
        Some(())
    }

    fn bbox(&self) -> BoxXywh {
        let Some(first) = self.first else { return BoxXywh::default() };
        let [x, y, w, h] = [first, self.low, self.last - first + 1, self.high - self.low];
        BoxXywh::new(x as f64, y as f64, w as f64, h as f64)
    }
}
