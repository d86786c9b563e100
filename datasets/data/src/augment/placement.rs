//! Where pixels end up: scale and shift per axis, for boxes, polygons and masks alike.

use care_types::{BoxXyxy, DetTarget, Rle, Segmentation, Size};

/// A box must be at least this wide and high in the result, or it is dropped: mmdetection's rule for annotations.
const MIN_SIDE: f32 = 1.0;

/// `out = scale * in + shift`, in continuous pixel coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Pixels of the result per pixel of the original; negative when mirrored.
    pub scale: f64,
    /// Where the original's 0 ends up.
    pub shift: f64,
}

impl Axis {
    /// Scaled about 0.
    pub fn scaled(scale: f64) -> Self {
        Self { scale, shift: 0.0 }
    }

    /// Moved.
    pub fn shifted(shift: f64) -> Self {
        Self { scale: 1.0, shift }
    }

    /// Mirrored within a picture of this side: x becomes side − x.
    pub fn mirrored(side: u32) -> Self {
        Self { scale: -1.0, shift: f64::from(side) }
    }

    /// This, then `next`.
    pub fn then(self, next: Self) -> Self {
        Self { scale: self.scale * next.scale, shift: self.shift * next.scale + next.shift }
    }

    /// A coordinate of the original in the result.
    pub fn apply(self, v: f64) -> f64 {
        self.scale * v + self.shift
    }

    /// The pixel of the original (of `side` pixels) that covers the centre of pixel `out`, if any.
    fn source(self, out: u32, side: u32) -> Option<u32> {
        let v = ((f64::from(out) + 0.5 - self.shift) / self.scale).floor();
        (v >= 0.0 && v < f64::from(side)).then_some(v as u32)
    }
}

/// Where a picture ends up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// Left to right.
    pub x: Axis,
    /// Top to bottom.
    pub y: Axis,
}

impl Placement {
    /// Scaled about the upper left corner.
    pub fn scaled(x: f64, y: f64) -> Self {
        Self { x: Axis::scaled(x), y: Axis::scaled(y) }
    }

    /// Moved.
    pub fn shifted(x: f64, y: f64) -> Self {
        Self { x: Axis::shifted(x), y: Axis::shifted(y) }
    }

    /// This, then `next`.
    pub fn then(self, next: Self) -> Self {
        Self { x: self.x.then(next.x), y: self.y.then(next.y) }
    }

    /// A box in the result, not clipped.
    pub fn bbox(&self, b: BoxXyxy) -> BoxXyxy {
        let ends = |axis: Axis, a: f32, b: f32| {
            let (a, b) = (axis.apply(f64::from(a)) as f32, axis.apply(f64::from(b)) as f32);
            (a.min(b), a.max(b))
        };
        let ((x0, x1), (y0, y1)) = (ends(self.x, b.x0, b.x1), ends(self.y, b.y0, b.y1));
        BoxXyxy { x0, y0, x1, y1 }
    }

    /// A mask of a picture of size `from` in a result of size `to`: polygons keep their corners (outside the result, too),
    /// run lengths take the nearest pixel.
    pub fn mask(&self, mask: &Segmentation, from: Size, to: Size) -> Option<Segmentation> {
        match mask {
            Segmentation::Polygons(rings) => {
                let point = |p: &[f64]| match p {
                    [x, y] => vec![self.x.apply(*x), self.y.apply(*y)],
                    rest => rest.to_vec(),
                };
                let ring = |ring: &Vec<f64>| ring.chunks(2).flat_map(point).collect();
                Some(Segmentation::Polygons(rings.iter().map(ring).collect()))
            }
            Segmentation::Rle(rle) if rle.size() == from => self.rle(rle, to).map(Segmentation::Rle),
            Segmentation::Rle(_) => None,
        }
    }

    fn rle(&self, rle: &Rle, to: Size) -> Option<Rle> {
        let (from, pixels) = (rle.size(), rle.to_mask());
        let columns: Vec<Option<u32>> = (0..to.width).map(|x| self.x.source(x, from.width)).collect();
        let mut out = Vec::with_capacity(to.area() as usize);
        for y in 0..to.height {
            let row = self.y.source(y, from.height);
            let pixel = |column: &Option<u32>| match (column, row) {
                (Some(x), Some(y)) => pixels[y as usize * from.width as usize + *x as usize],
                _ => 0,
            };
            out.extend(columns.iter().map(pixel));
        }
        Rle::from_mask(&out, to.height, to.width).ok()
    }

    /// Objects in the result, clipped to it. An object is dropped when less than a pixel of its box's width or height is
    /// left.
    pub fn target(&self, target: &DetTarget, from: Size, to: Size) -> DetTarget {
        let mut out = DetTarget::default();
        for k in 0..target.len() {
            let bbox = self.bbox(target.boxes[k]).clipped(to);
            if bbox.width() < MIN_SIDE || bbox.height() < MIN_SIDE {
                continue;
            }
            let mask = target.masks[k].as_ref().and_then(|m| self.mask(m, from, to));
            out.push(bbox, target.classes[k], target.ignore[k], mask);
        }
        out
    }
}
