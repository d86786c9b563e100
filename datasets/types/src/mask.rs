//! Binary masks as COCO stores them: run lengths down the columns, starting with background.
//!
//! Every [`Rle`] is canonical: its runs sum to `height * width`, and no run but the first is empty. What is read from
//! outside is checked ([`Rle::from_counts`], [`Rle::from_compressed_str`]), so no later step can hang or read past
//! the picture. Areas, boxes, unions and rasterised polygons equal pycocotools' `maskApi` bit for bit.
mod compressed;
mod extent;
mod overlap;
mod packed;
mod polygon;

use crate::{BoxXywh, Error, Result, Size};
#[cfg(test)]
pub(crate) use compressed::encode as append_compressed;
pub use packed::{MaskFacts, Span, common_pixels};
pub use polygon::Pen;

/// A mask as an annotation file gives it.
#[derive(Clone, Debug, PartialEq)]
pub enum Segmentation {
    /// Rings of `x, y` pairs in pixels; the mask is their union.
    Polygons(Vec<Vec<f64>>),
    /// Run lengths.
    Rle(Rle),
}

impl Segmentation {
    /// The mask without rings of fewer than three points, as mmdetection reads it; `None` when nothing is left.
    pub fn usable(&self) -> Option<Segmentation> {
        match self {
            Segmentation::Polygons(rings) => {
                let rings: Vec<Vec<f64>> = rings.iter().filter(|r| r.len() >= 6).cloned().collect();
                (!rings.is_empty()).then_some(Segmentation::Polygons(rings))
            }
            Segmentation::Rle(rle) => (!rle.is_empty()).then(|| Segmentation::Rle(rle.clone())),
        }
    }

    /// The mask in a picture of this size.
    ///
    /// # Errors
    /// `Input` when a ring has an odd number of coordinates, or when run lengths are for another size.
    pub fn to_rle(&self, size: Size) -> Result<Rle> {
        match self {
            Segmentation::Polygons(rings) => Rle::from_polygons(rings, size.height, size.width),
            Segmentation::Rle(rle) if rle.size() == size => Ok(rle.clone()),
            Segmentation::Rle(rle) => Err(Error::input(format!(
                "mask of {}x{} (height x width) in a picture of {}x{}",
                rle.height, rle.width, size.height, size.width
            ))),
        }
    }
}

/// A binary mask by run lengths: column by column, background first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rle {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    counts: Vec<u32>,
}

impl Rle {
    /// A mask without any pixel.
    ///
    /// # Errors
    /// `Input` when `height * width` does not fit 32 bits.
    pub fn empty(height: u32, width: u32) -> Result<Self> {
        Ok(Rle { height, width, counts: vec![pixels(height, width)?] })
    }

    /// From run lengths, which are checked and made canonical.
    ///
    /// # Errors
    /// `Input` when they do not sum to `height * width`.
    pub fn from_counts(height: u32, width: u32, counts: &[u32]) -> Result<Self> {
        let area = pixels(height, width)?;
        let sum: u64 = counts.iter().map(|&c| u64::from(c)).sum();
        if sum != u64::from(area) {
            return Err(Error::input(format!(
                "run lengths sum to {sum}, but a mask of {height}x{width} (height x width) has {area} pixels"
            )));
        }
        Ok(Rle { height, width, counts: canonical(counts) })
    }

    /// From a bitmap, row by row; anything but 0 is inside.
    ///
    /// # Errors
    /// `Input` when `data` has not `height * width` bytes.
    pub fn from_mask(data: &[u8], height: u32, width: u32) -> Result<Self> {
        let area = pixels(height, width)?;
        if data.len() != area as usize {
            return Err(Error::input(format!("a mask of {height}x{width} from {} bytes", data.len())));
        }
        let (h, w) = (height as usize, width as usize);
        let mut runs = Runs::default();
        for x in 0..w {
            for y in 0..h {
                runs.push(data[y * w + x] != 0, 1);
            }
        }
        Ok(Rle { height, width, counts: runs.finish() })
    }

    /// The bitmap, row by row, of 0 and 1.
    pub fn to_mask(&self) -> Vec<u8> {
        let (h, w) = (self.height as usize, self.width as usize);
        let mut data = vec![0u8; h * w];
        for (start, end) in self.foreground() {
            for p in start as usize..end as usize {
                data[p % h * w + p / h] = 1;
            }
        }
        data
    }

    /// The run lengths: background, foreground, background, …
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        Size { width: self.width, height: self.height }
    }

    /// Number of pixels inside.
    pub fn area(&self) -> u32 {
        self.counts.iter().skip(1).step_by(2).sum()
    }

    /// True without a pixel inside.
    pub fn is_empty(&self) -> bool {
        self.counts.len() < 2
    }

    /// The smallest box around the pixels inside; all zero when there are none.
    pub fn bbox(&self) -> BoxXywh {
        let (mut x0, mut x1, mut y0, mut y1) = (u32::MAX, 0, u32::MAX, 0);
        for (start, end) in self.foreground() {
            let (first, last) = (start, end - 1);
            let (xs, xe) = (first / self.height, last / self.height);
            x0 = x0.min(xs);
            x1 = x1.max(xe);
            let (ys, ye) =
                if xs < xe { (0, self.height - 1) } else { (first % self.height, last % self.height) };
            y0 = y0.min(ys);
            y1 = y1.max(ye);
        }
        if x0 == u32::MAX {
            return BoxXywh::default();
        }
        BoxXywh::new(x0.into(), y0.into(), f64::from(x1 - x0 + 1), f64::from(y1 - y0 + 1))
    }

    /// The foreground runs as half-open ranges of column-major positions.
    fn foreground(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut position = 0;
        self.counts.chunks(2).filter_map(move |pair| {
            let start = position + pair[0];
            let length = *pair.get(1)?;
            position = start + length;
            Some((start, position))
        })
    }
}

/// `height * width`, which must fit the 32 bits of a run.
fn pixels(height: u32, width: u32) -> Result<u32> {
    height.checked_mul(width).ok_or_else(|| {
        Error::input(format!("a mask of {height}x{width} (height x width) is too large: 2^32 pixels at most"))
    })
}

/// The same mask without empty runs, except for an empty first one.
fn canonical(counts: &[u32]) -> Vec<u32> {
    let mut runs = Runs::default();
    for (i, &count) in counts.iter().enumerate() {
        runs.push(i % 2 == 1, count);
    }
    runs.finish()
}

/// Collects runs, joining equal neighbours.
#[derive(Default)]
struct Runs {
    counts: Vec<u32>,
    value: bool,
    length: u32,
}

impl Runs {
    fn push(&mut self, value: bool, length: u32) {
        if length == 0 {
            return;
        }
        if value != self.value {
            self.counts.push(self.length);
            self.length = 0;
            self.value = value;
        }
        self.length += length;
    }

    fn finish(mut self) -> Vec<u32> {
        self.counts.push(self.length);
        self.counts
    }
}

#[cfg(test)]
mod tests;
