//! The six kinds of object and how their outline is rasterised.

use super::dice::{cos, sin};

/// What can be seen in a demo picture. The order is the class order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Disc,
    Ring,
    Square,
    Triangle,
    Star,
    Cross,
}

pub(super) const SHAPES: [Shape; 6] =
    [Shape::Disc, Shape::Ring, Shape::Square, Shape::Triangle, Shape::Star, Shape::Cross];

/// The radius of the circle around every shape, in its own coordinates.
const UNIT: i64 = 4096;

/// Directions (times 4096) at 90°, 210°, 330°.
const THREE: [[i64; 2]; 3] = [[0, 4096], [-3547, -2048], [3547, -2048]];
/// Directions (times 4096) at 90°, 162°, 234°, 306°, 18°.
const FIVE: [[i64; 2]; 5] = [[0, 4096], [-3896, 1266], [-2408, -3314], [2408, -3314], [3896, 1266]];

impl Shape {
    /// Is the point inside? `UNIT` is the circumscribed circle.
    fn contains(self, u: i64, v: i64) -> bool {
        // How many of the half-planes `direction · p <= distance` hold the point.
        let inside = |directions: &[[i64; 2]], distance: i64| {
            directions.iter().filter(|d| d[0] * u + d[1] * v <= distance * UNIT).count()
        };
        match self {
            Shape::Disc => u * u + v * v <= UNIT * UNIT,
            Shape::Ring => (2340 * 2340..=UNIT * UNIT).contains(&(u * u + v * v)),
            Shape::Square => u.abs() <= 2896 && v.abs() <= 2896,
            Shape::Triangle => inside(&THREE, UNIT / 2) == 3,
            // A pentagram: five lines; its points lie outside exactly one of them. cos 72° * 4096 = 1266.
            Shape::Star => inside(&FIVE, 1266) >= 4,
            Shape::Cross => {
                let (a, b) = (u.abs().min(v.abs()), u.abs().max(v.abs()));
                a <= 1250 && b <= 3900
            }
        }
    }
}

/// Where and how large a shape lies in the picture. Lengths are in eighths of a pixel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pose {
    pub(super) center: [i32; 2],
    pub(super) radius: i32,
    /// 256ths of a turn.
    pub(super) angle: i32,
    /// Height over width before turning, in 256ths: a shape seen at a slant.
    pub(super) squash: i32,
}

/// The rasterised shape: how much of each pixel it covers.
pub(super) struct Stamp {
    /// Left and top in the picture; may be negative.
    pub(super) origin: [i32; 2],
    pub(super) size: [i32; 2],
    /// Row-major sixteenths: 0..=16.
    pub(super) coverage: Vec<u8>,
    /// Row-major: 256 at the centre of the shape, 0 at the circle around it.
    pub(super) depth: Vec<u16>,
    /// Row-major: pixels of the shape's outer border.
    pub(super) rim: Vec<bool>,
}

/// A pixel belongs to the mask when at least half of it is covered.
pub(super) const HALF: u8 = 8;

impl Stamp {
    /// Rasterises with 4 × 4 samples per pixel.
    pub(super) fn new(shape: Shape, pose: Pose) -> Self {
        let low = [0, 1].map(|axis| (pose.center[axis] - pose.radius).div_euclid(8));
        let high = [0, 1].map(|axis| (pose.center[axis] + pose.radius).div_euclid(8));
        let size = [high[0] - low[0] + 1, high[1] - low[1] + 1];
        let pixels = (size[0] * size[1]) as usize;
        let mut stamp = Stamp {
            origin: low,
            size,
            coverage: Vec::with_capacity(pixels),
            depth: Vec::with_capacity(pixels),
            rim: Vec::with_capacity(pixels),
        };
        let frame = Frame::new(pose);
        for y in low[1]..=high[1] {
            for x in low[0]..=high[0] {
                let [u, v] = frame.local(x * 8 + 4, y * 8 + 4);
                stamp.coverage.push(frame.coverage(shape, x, y));
                let far = (u * u + v * v) * 256 / (UNIT * UNIT);
                stamp.depth.push((256 - far).max(0) as u16);
                stamp.rim.push(!shape.contains(u * 9 / 8, v * 9 / 8));
            }
        }
        stamp
    }

    /// Every pixel of the stamp that lies in a `width × height` picture: (index in the stamp, x, y).
    pub(super) fn pixels(&self, width: i32, height: i32) -> impl Iterator<Item = (usize, i32, i32)> {
        let ([left, top], [w, h]) = (self.origin, self.size);
        let columns = (-left).max(0)..w.min(width - left);
        let rows = (-top).max(0)..h.min(height - top);
        rows.flat_map(move |y| columns.clone().map(move |x| ((y * w + x) as usize, left + x, top + y)))
    }

    /// How many pixels the mask has, in the picture or not.
    pub(super) fn area(&self) -> i32 {
        self.coverage.iter().filter(|&&c| c >= HALF).count() as i32
    }
}

/// The map from the picture to a shape's own coordinates.
struct Frame {
    center: [i32; 2],
    /// Per eighth of a pixel, in 65536ths: rows give u and v.
    matrix: [[i64; 2]; 2],
}

impl Frame {
    fn new(pose: Pose) -> Self {
        let [c, s] = [cos(pose.angle), sin(pose.angle)].map(i64::from);
        // 4096 * 65536 / 16384 (the scale of sine) = 16384 per radius.
        let u = |w: i64| w * 16384 / i64::from(pose.radius);
        let v = |w: i64| w * 16384 * 256 / (i64::from(pose.radius) * i64::from(pose.squash));
        Self { center: pose.center, matrix: [[u(c), u(s)], [v(-s), v(c)]] }
    }

    fn local(&self, x8: i32, y8: i32) -> [i64; 2] {
        let (dx, dy) = (i64::from(x8 - self.center[0]), i64::from(y8 - self.center[1]));
        self.matrix.map(|row| (row[0] * dx + row[1] * dy) >> 16)
    }

    fn coverage(&self, shape: Shape, x: i32, y: i32) -> u8 {
        let mut count = 0;
        for sy in [1, 3, 5, 7] {
            for sx in [1, 3, 5, 7] {
                let [u, v] = self.local(x * 8 + sx, y * 8 + sy);
                count += u8::from(shape.contains(u, v));
            }
        }
        count
    }
}
