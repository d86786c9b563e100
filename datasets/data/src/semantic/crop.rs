//! mmsegmentation's `RandomCrop`: a window that no single class fills.

use care_types::{SegTarget, Size};
use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::{Error, Result};

/// Windows that are looked at before one is taken as it is.
const ATTEMPTS: usize = 10;
/// Sides above this are taken for a mistake.
const MAX_SIDE: u32 = 16_384;
/// The backbone halves sides five times.
const MIN_SIDE: u32 = 32;

/// A window of fixed size; a picture that is smaller is padded to it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomCrop {
    /// Width and height in pixels.
    pub size: [u32; 2],
    /// A window is drawn again (up to ten times) when one class covers this share of its pixels or more, or is the only one;
    /// ignored pixels do not count. 1 takes the first window.
    pub cat_max_ratio: f64,
}

impl Default for RandomCrop {
    /// 512×512, three quarters.
    fn default() -> Self {
        Self { size: [512, 512], cat_max_ratio: 0.75 }
    }
}

/// A part of a picture, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) size: Size,
}

impl RandomCrop {
    pub(super) fn check(&self) -> Result<()> {
        let [width, height] = self.size;
        if width.min(height) < MIN_SIDE || width.max(height) > MAX_SIDE {
            return Err(Error::config(format!(
                "augment.crop.size is {width}x{height}, expected sides of {MIN_SIDE} to {MAX_SIDE} pixels"
            )));
        }
        if !(self.cat_max_ratio > 0.0 && self.cat_max_ratio <= 1.0) {
            return Err(Error::config(format!(
                "augment.crop.cat_max_ratio is {}, expected above 0 and at most 1",
                self.cat_max_ratio
            )));
        }
        Ok(())
    }

    /// The size that samples have.
    pub(super) fn size(&self) -> Size {
        Size::new(self.size[0], self.size[1])
    }

    /// A window of a label map. After ten refused ones the eleventh is taken unseen, as the reference does.
    pub(super) fn window(&self, target: &SegTarget, rng: &mut Rng) -> Window {
        let full = target.size();
        let size = Size::new(full.width.min(self.size[0]), full.height.min(self.size[1]));
        let mut draw = || Window {
            y: rng.below((full.height - size.height) as usize + 1) as u32,
            x: rng.below((full.width - size.width) as usize + 1) as u32,
            size,
        };
        let first = draw();
        if self.cat_max_ratio >= 1.0 {
            return first;
        }
        let mut window = first;
        for _ in 0..ATTEMPTS {
            if self.allows(target, window) {
                break;
            }
            window = draw();
        }
        window
    }

    fn allows(&self, target: &SegTarget, window: Window) -> bool {
        let mut counts = [0u64; 256];
        for row in rows(target, window) {
            row.iter().for_each(|&class| counts[usize::from(class)] += 1);
        }
        let counts = &counts[..usize::from(SegTarget::IGNORE)];
        let (total, most) = (counts.iter().sum::<u64>(), counts.iter().max().copied().unwrap_or(0));
        counts.iter().filter(|&&c| c > 0).count() > 1 && most as f64 / (total as f64) < self.cat_max_ratio
    }
}

/// The rows of a window of a label map.
pub(super) fn rows(target: &SegTarget, window: Window) -> impl Iterator<Item = &[u8]> {
    let [x, width] = [window.x, window.size.width].map(|v| v as usize);
    let stride = target.size().width as usize;
    let rows = target.classes().chunks_exact(stride).skip(window.y as usize);
    rows.take(window.size.height as usize).map(move |row| &row[x..x + width])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::rng;

    /// Class 0 everywhere but for one column band of class 1; ignored below.
    fn banded() -> SegTarget {
        let class = |x: u32, y: u32| match (x, y) {
            (_, y) if y >= 40 => 255,
            (30..50, _) => 1,
            _ => 0,
        };
        let classes = (0..60 * 100).map(|i| class(i % 100, i / 100)).collect();
        SegTarget::new(Size::new(100, 60), classes).unwrap()
    }

    #[test]
    fn a_window_that_one_class_fills_is_drawn_again() {
        let crop = RandomCrop { size: [30, 30], cat_max_ratio: 0.75 };
        let target = banded();
        let draw = |c: &RandomCrop, i| c.window(&target, &mut rng(5, 0, i, "crop"));
        let good = |w: &Window| crop.allows(&target, *w);
        let any = RandomCrop { cat_max_ratio: 1.0, ..crop };
        let limited = (0..400).filter(|&i| good(&draw(&crop, i))).count();
        let free = (0..400).filter(|&i| good(&draw(&any, i))).count();
        // Half of the windows are good: ten draws nearly always find one, and where the first is good it is taken.
        assert!(free < 250 && limited > 390, "{free} and {limited} of 400");
        assert!((0..400).all(|i| !good(&draw(&any, i)) || draw(&any, i) == draw(&crop, i)));
    }

    #[test]
    fn hopeless_maps_still_give_a_window_inside() {
        let flat = SegTarget::new(Size::new(20, 50), vec![3; 1000]).unwrap();
        for i in 0..50 {
            let w =
                RandomCrop { size: [30, 30], cat_max_ratio: 0.5 }.window(&flat, &mut rng(1, 0, i, "crop"));
            assert_eq!((w.x, w.size), (0, Size::new(20, 30)));
            assert!(w.y + w.size.height <= 50);
        }
    }
}
