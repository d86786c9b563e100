//! A map of classes, borrowed: what is labelled, or what is predicted.
use crate::isa::Pixel;
use care_types::{Error, Result, Size};

/// What a pixel of a [`SegMap`] may be: `u8` or `u16`.
pub trait PixelValue: Pixel {}

impl PixelValue for u8 {}
impl PixelValue for u16 {}

/// One value per pixel, row by row: a class index, or (in labels) the ignored value.
#[derive(Clone, Copy, Debug)]
pub struct SegMap<'a, T> {
    values: &'a [T],
    size: Size,
}

impl<'a, T: PixelValue> SegMap<'a, T> {
    /// Views `size.height * size.width` values as a map.
    ///
    /// # Errors
    /// `Input` when there are more or fewer values, or 2³² pixels or more.
    pub fn new(values: &'a [T], size: Size) -> Result<Self> {
        let Size { width, height } = size;
        if values.len() as u64 != size.area() {
            return Err(Error::input(format!(
                "a map of {height}x{width} (height x width) from {} values instead of {}",
                values.len(),
                size.area()
            )));
        }
        if size.area() > u64::from(u32::MAX) {
            return Err(Error::input(format!(
                "a map of {height}x{width} (height x width) is too large: less than 2^32 pixels"
            )));
        }
        Ok(SegMap { values, size })
    }

    /// The values, row by row.
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        self.size
    }
}
