//! Area and box of a mask, from its stretches of foreground as they come.
use super::MaskFacts;
use crate::{BoxXywh, Size};

/// What is known after some stretches.
pub(super) struct Extent {
    size: Size,
    height: u64,
    area: u64,
    /// The column in which the last stretch begins: number and first position.
    column: u64,
    top: u64,
    /// Columns of the first and the last pixel; rows, from the first to behind the last.
    first: Option<u64>,
    last: u64,
    rows: (u64, u64),
    /// The last stretch.
    start: u64,
    end: u64,
}

impl Extent {
    pub(super) fn new(size: Size) -> Self {
        let height = u64::from(size.height);
        let rows = (height, 0);
        Extent {
            size,
            height,
            area: 0,
            column: 0,
            top: 0,
            first: None,
            last: 0,
            rows,
            start: 0,
            end: u64::MAX,
        }
    }

    /// The next stretch, which is not empty and ends inside the picture.
    #[inline(always)]
    pub(super) fn add(&mut self, start: u64, end: u64) {
        self.area += end - start;
        // What touches the stretch before is one with it: a stretch over two columns is as high as the picture.
        let start = if start == self.end { self.start } else { start };
        (self.start, self.end) = (start, end);
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
            self.rows = (self.rows.0.min(start - self.top), self.rows.1.max(end - self.top));
        } else {
            self.last = (end - 1) / self.height;
            self.rows = (0, self.height);
        }
    }

    pub(super) fn facts(&self) -> MaskFacts {
        let bbox = self.first.map_or(BoxXywh::default(), |first| {
            let [x, y, w, h] = [first, self.rows.0, self.last - first + 1, self.rows.1 - self.rows.0];
            BoxXywh::new(x as f64, y as f64, w as f64, h as f64)
        });
        // No more pixels than the picture has, which fits.
        MaskFacts { size: self.size, area: self.area as u32, bbox }
    }
}
