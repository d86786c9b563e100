//! The band along the inside of a mask's outline, which boundary AP compares.
//!
//! A pixel belongs to the band when a pixel outside of the mask (or of the picture) is at most `d` rows and `d` columns away, with
//! `d = max(1, round(ratio · diagonal of the picture))` and ratio 0.02: what `d` erosions by 3×3 take away.
//! Source: Cheng et al., "Boundary IoU", CVPR 2021; <https://github.com/bowenc0221/boundary-iou-api>.

use crate::Result;
use care_types::Rle;

/// Width of the band in units of the picture's diagonal, as published numbers use it.
pub const BOUNDARY_RATIO: f64 = 0.02;

/// Width of the band in a picture of this size, pixels; Python's `round` (ties to even).
pub(crate) fn band_width(height: u32, width: u32, ratio: f64) -> u32 {
    let [h, w] = [height, width].map(f64::from);
    let diagonal = (h * h + w * w).sqrt();
    ((ratio * diagonal).round_ties_even() as u32).max(1)
}

/// The band of a mask.
///
/// # Errors
/// `Internal` never for a canonical mask; run lengths are checked all the same.
pub fn boundary(mask: &Rle, ratio: f64) -> Result<Rle> {
    let (height, width) = (mask.height, mask.width);
    let band = band_width(height, width, ratio);
    let columns = columns(mask);
    let Some((first, last)) = columns.first().zip(columns.last()).map(|(a, b)| (a.x, b.x)) else {
        return Ok(mask.clone());
    };
    let mut runs = Runs { height, ends: Vec::new() };
    let mut inner = Inner::new(height, band);
    let (mut ahead, mut behind) = (columns.iter().peekable(), columns.iter().peekable());
    // the inside of column x is known once column x + band has been seen; columns beyond the mask are empty
    for seen in first..=last + band {
        inner.see(ahead.next_if(|c| c.x == seen).map_or(&[], |c| &c.rows));
        let Some(x) = seen.checked_sub(band) else { continue };
        if let Some(column) = behind.next_if(|c| c.x == x) {
            inner.outside(&column.rows, |start, end| runs.push(x, start, end));
        }
    }
    Rle::from_counts(height, width, &runs.counts(width))
}

/// The rows of a mask in one column, as half-open ranges.
struct Column {
    x: u32,
    rows: Vec<(u32, u32)>,
}

/// The columns that hold anything, left to right.
fn columns(mask: &Rle) -> Vec<Column> {
    let (mut columns, mut position): (Vec<Column>, u64) = (Vec::new(), 0);
    let height = u64::from(mask.height);
    for pair in mask.counts().chunks(2) {
        let mut start = position + u64::from(pair[0]);
        position = start + pair.get(1).map_or(0, |&n| u64::from(n));
        while start < position {
            let (x, end) = ((start / height) as u32, position.min((start / height + 1) * height));
            let rows = ((start % height) as u32, (end - 1 - u64::from(x) * height) as u32 + 1);
            match columns.last_mut().filter(|c| c.x == x) {
                Some(column) => column.rows.push(rows),
                None => columns.push(Column { x, rows: vec![rows] }),
            }
            start = end;
        }
    }
    columns
}

/// How many of the last columns have each row deep inside.
struct Inner {
    deep: Vec<u32>,
    band: u32,
}

impl Inner {
    fn new(height: u32, band: u32) -> Self {
        Self { deep: vec![0; height as usize], band }
    }

    /// The next column: rows at least `band` from both ends of a range are deep inside.
    fn see(&mut self, rows: &[(u32, u32)]) {
        let mut done = 0;
        for &(start, end) in rows {
            let (from, to) = (start.saturating_add(self.band), end.saturating_sub(self.band));
            if from < to {
                self.deep[done as usize..from as usize].fill(0);
                self.deep[from as usize..to as usize].iter_mut().for_each(|n| *n += 1);
                done = to;
            }
        }
        self.deep[done as usize..].fill(0);
    }

    /// The parts of these rows that are not deep inside in all of the last `2 band + 1` columns.
    fn outside(&self, rows: &[(u32, u32)], mut push: impl FnMut(u32, u32)) {
        let kept = |y: u32| self.deep[y as usize] <= 2 * self.band;
        for &(start, end) in rows {
            let mut y = start;
            while y < end {
                let from = (y..end).find(|&y| kept(y)).unwrap_or(end);
                y = (from..end).find(|&y| !kept(y)).unwrap_or(end);
                if from < y {
                    push(from, y);
                }
            }
        }
    }
}

/// Ranges of column-major positions, joined where they touch.
struct Runs {
    height: u32,
    ends: Vec<(u64, u64)>,
}

impl Runs {
    fn push(&mut self, x: u32, start: u32, end: u32) {
        let at = u64::from(x) * u64::from(self.height);
        let (start, end) = (at + u64::from(start), at + u64::from(end));
        match self.ends.last_mut().filter(|last| last.1 == start) {
            Some(last) => last.1 = end,
            None => self.ends.push((start, end)),
        }
    }

    /// Run lengths, background first.
    fn counts(&self, width: u32) -> Vec<u32> {
        let (mut counts, mut position) = (Vec::with_capacity(2 * self.ends.len() + 1), 0);
        for &(start, end) in &self.ends {
            counts.extend([(start - position) as u32, (end - start) as u32]);
            position = end;
        }
        counts.push((u64::from(width) * u64::from(self.height) - position) as u32);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    /// By the definition, pixel by pixel.
    fn slow(mask: &[u8], (h, w): (i64, i64), band: i64) -> Vec<u8> {
        let inside =
            |x: i64, y: i64| (0..w).contains(&x) && (0..h).contains(&y) && mask[(y * w + x) as usize] != 0;
        let near = |x: i64, y: i64| (-band..=band).any(|dy| (-band..=band).any(|dx| !inside(x + dx, y + dy)));
        (0..h * w).map(|i| (i % w, i / w)).map(|(x, y)| u8::from(inside(x, y) && near(x, y))).collect()
    }

    #[test]
    fn the_band_is_what_the_definition_says() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for round in 0..300 {
            let (h, w) = (1 + rng.next_u32() % 40, 1 + rng.next_u32() % 40);
            let mut mask = vec![0u8; (h * w) as usize];
            for _ in 0..1 + rng.next_u32() % 4 {
                let (x0, y0) = (rng.next_u32() % w, rng.next_u32() % h);
                let (x1, y1) = (x0 + 1 + rng.next_u32() % (w - x0), y0 + 1 + rng.next_u32() % (h - y0));
                let value = u8::from(rng.next_u32() % 4 > 0);
                for y in y0..y1 {
                    mask[(y * w + x0) as usize..(y * w + x1) as usize].fill(value);
                }
            }
            let ratio = [0.02, 0.05, 0.1][round % 3];
            let band = boundary(&Rle::from_mask(&mask, h, w).unwrap(), ratio).unwrap();
            let wanted = slow(&mask, (h.into(), w.into()), band_width(h, w, ratio).into());
            assert_eq!(band, Rle::from_mask(&wanted, h, w).unwrap(), "round {round}: {h}x{w}");
        }
    }

    #[test]
    fn the_width_is_pythons() {
        // 0.02 * hypot(480, 640) = 16; tiny pictures have a band of one pixel
        assert_eq!(
            [band_width(480, 640, 0.02), band_width(3, 4, 0.02), band_width(75, 100, 0.02)],
            [16, 1, 2]
        );
    }
}
