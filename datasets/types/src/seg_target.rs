//! What a segmenter should say of one picture: a class for every pixel.
use crate::{ClassIndex, Error, Result, Size};

/// A class for every pixel of one picture.
///
/// One byte per pixel: classes 0 to 254, and [`SegTarget::IGNORE`] for pixels that are neither learnt nor scored. So a set has
/// at most [`SegTarget::MAX_CLASSES`] classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegTarget {
    size: Size,
    classes: Vec<u8>,
}

impl SegTarget {
    /// The value of pixels without a class.
    pub const IGNORE: u8 = 255;
    /// Classes that one byte can tell apart beside [`SegTarget::IGNORE`].
    pub const MAX_CLASSES: usize = 255;

    /// A label map from its values, row by row.
    ///
    /// # Errors
    /// `Internal` when there is not one value per pixel.
    pub fn new(size: Size, classes: Vec<u8>) -> Result<Self> {
        if classes.len() as u64 != size.area() {
            return Err(Error::internal(format!(
                "a label map of {}x{} pixels with {} values",
                size.width,
                size.height,
                classes.len()
            )));
        }
        Ok(SegTarget { size, classes })
    }

    /// Width and height in pixels.
    pub fn size(&self) -> Size {
        self.size
    }

    /// # Shapes
    /// `[H, W]`, row by row.
    pub fn classes(&self) -> &[u8] {
        &self.classes
    }

    /// The values alone.
    pub fn into_classes(self) -> Vec<u8> {
        self.classes
    }

    /// The class of a pixel; `None` when it is ignored.
    ///
    /// # Panics
    /// When the pixel is outside the map.
    pub fn at(&self, x: u32, y: u32) -> Option<ClassIndex> {
        assert!(x < self.size.width && y < self.size.height, "pixel {x},{y} of {:?}", self.size);
        let value = self.classes[y as usize * self.size.width as usize + x as usize];
        (value != Self::IGNORE).then_some(ClassIndex(usize::from(value)))
    }

    /// Pixels of every value: entry 255 counts the ignored ones.
    pub fn counts(&self) -> [u64; 256] {
        let mut counts = [0; 256];
        self.classes.iter().for_each(|&class| counts[usize::from(class)] += 1);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_has_a_value_and_255_is_no_class() {
        let map = SegTarget::new(Size::new(3, 2), vec![0, 1, 255, 254, 255, 0]).unwrap();
        assert_eq!((map.at(2, 0), map.at(0, 1)), (None, Some(ClassIndex(254))));
        let counts = map.counts();
        assert_eq!((counts[0], counts[1], counts[254], counts[255]), (2, 1, 1, 2));
        assert!(SegTarget::new(Size::new(3, 2), vec![0; 5]).is_err());
    }
}
