//! Boxes, sizes, and the one record of how a picture was resized.
//!
//! Pixel coordinates are continuous: the left edge of the first pixel is 0, and a box's width is `x1 - x0`
//! (no `+ 1` anywhere).
use serde::{Deserialize, Serialize};

/// Two corners, in pixels. Networks and drawing use this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BoxXyxy {
    /// Left.
    pub x0: f32,
    /// Top.
    pub y0: f32,
    /// Right.
    pub x1: f32,
    /// Bottom.
    pub y1: f32,
}

impl BoxXyxy {
    /// A box from left, top, right, bottom.
    pub fn new(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        BoxXyxy { x0, y0, x1, y1 }
    }

    /// `x1 - x0`; negative for an inverted box.
    pub fn width(&self) -> f32 {
        self.x1 - self.x0
    }

    /// `y1 - y0`; negative for an inverted box.
    pub fn height(&self) -> f32 {
        self.y1 - self.y0
    }

    /// Width times height; an inverted box has none.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Left, top, right, bottom.
    pub fn to_array(self) -> [f32; 4] {
        [self.x0, self.y0, self.x1, self.y1]
    }

    /// The part inside a picture of this size.
    pub fn clipped(&self, size: Size) -> Self {
        let (w, h) = (size.width as f32, size.height as f32);
        BoxXyxy::new(
            self.x0.clamp(0.0, w),
            self.y0.clamp(0.0, h),
            self.x1.clamp(0.0, w),
            self.y1.clamp(0.0, h),
        )
    }
}

impl From<[f32; 4]> for BoxXyxy {
    fn from([x0, y0, x1, y1]: [f32; 4]) -> Self {
        BoxXyxy { x0, y0, x1, y1 }
    }
}

/// Corner and extent, in pixels, as COCO files write boxes: `[x, y, w, h]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 4]", into = "[f64; 4]")]
pub struct BoxXywh {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl BoxXywh {
    /// A box from left, top, width, height.
    pub fn new(x: f64, y: f64, w: f64, h: f64) -> Self {
        BoxXywh { x, y, w, h }
    }

    /// Width times height, sign included, as pycocotools takes a detection's area.
    pub fn area(&self) -> f64 {
        self.w * self.h
    }

    /// Intersection over union with `truth`; with `crowd`, over this box's own area instead. Every operation is that of
    /// pycocotools' `bbIou`, so the result is the same to the last bit.
    pub fn iou(&self, truth: &BoxXywh, crowd: bool) -> f64 {
        let w = (self.w + self.x).min(truth.w + truth.x) - self.x.max(truth.x);
        if w <= 0.0 {
            return 0.0;
        }
        let h = (self.h + self.y).min(truth.h + truth.y) - self.y.max(truth.y);
        if h <= 0.0 {
            return 0.0;
        }
        let intersection = w * h;
        let own = self.area();
        let union = if crowd { own } else { own + truth.area() - intersection };
        intersection / union
    }

    /// Left, top, width, height.
    pub fn to_array(self) -> [f64; 4] {
        [self.x, self.y, self.w, self.h]
    }

    /// True when no coordinate is NaN or infinite.
    pub fn is_finite(&self) -> bool {
        self.to_array().iter().all(|v| v.is_finite())
    }
}

impl From<[f64; 4]> for BoxXywh {
    fn from([x, y, w, h]: [f64; 4]) -> Self {
        BoxXywh { x, y, w, h }
    }
}

impl From<BoxXywh> for [f64; 4] {
    fn from(b: BoxXywh) -> Self {
        b.to_array()
    }
}

/// Differences are taken in f32, as the reference results were made; a box result then has the digits of the network's.
pub fn xywh_from_xyxy(b: BoxXyxy) -> BoxXywh {
    BoxXywh { x: b.x0.into(), y: b.y0.into(), w: b.width().into(), h: b.height().into() }
}

/// Sums are taken in f64 and rounded once.
pub fn xyxy_from_xywh(b: BoxXywh) -> BoxXyxy {
    BoxXyxy { x0: b.x as f32, y0: b.y as f32, x1: (b.x + b.w) as f32, y1: (b.y + b.h) as f32 }
}

/// Width and height in whole pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Size {
    /// A size from width and height (in this order).
    pub fn new(width: u32, height: u32) -> Self {
        Size { width, height }
    }

    /// Number of pixels.
    pub fn area(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// How a picture became network input: resized by one factor per axis, then padded right and below.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Geometry {
    /// The picture as decoded (orientation applied).
    pub original: Size,
    /// After resizing.
    pub resized: Size,
    /// After padding: what the network sees.
    pub padded: Size,
    /// `resized.width / original.width` (mmdetection's `scale_factor[0]`).
    pub scale_w: f64,
    /// `resized.height / original.height` (mmdetection's `scale_factor[1]`).
    pub scale_h: f64,
}

impl Geometry {
    /// The geometry of a picture that was resized from `original` to `resized` and padded to `padded`.
    pub fn new(original: Size, resized: Size, padded: Size) -> Self {
        let scale_w = f64::from(resized.width) / f64::from(original.width);
        let scale_h = f64::from(resized.height) / f64::from(original.height);
        Geometry { original, resized, padded, scale_w, scale_h }
    }

    /// The geometry of a picture that was neither resized nor padded.
    pub fn identity(size: Size) -> Self {
        Geometry { original: size, resized: size, padded: size, scale_w: 1.0, scale_h: 1.0 }
    }

    /// From network pixels to pixels of the original picture: a division per axis, no clipping.
    pub fn to_original(&self, b: BoxXyxy) -> BoxXyxy {
        let x = |v: f32| (f64::from(v) / self.scale_w) as f32;
        let y = |v: f32| (f64::from(v) / self.scale_h) as f32;
        BoxXyxy { x0: x(b.x0), y0: y(b.y0), x1: x(b.x1), y1: y(b.y1) }
    }

    /// From pixels of the original picture to network pixels: a multiplication per axis, no clipping.
    pub fn from_original(&self, b: BoxXyxy) -> BoxXyxy {
        let x = |v: f32| (f64::from(v) * self.scale_w) as f32;
        let y = |v: f32| (f64::from(v) * self.scale_h) as f32;
        BoxXyxy { x0: x(b.x0), y0: y(b.y0), x1: x(b.x1), y1: y(b.y1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn width_has_no_plus_one() {
        let b = xywh_from_xyxy(BoxXyxy::new(1.5, 2.0, 4.0, 8.25));
        assert_eq!(b, BoxXywh::new(1.5, 2.0, 2.5, 6.25));
        assert_eq!(xyxy_from_xywh(b), BoxXyxy::new(1.5, 2.0, 4.0, 8.25));
    }

    #[test]
    fn to_original_undoes_the_resize_of_each_axis() {
        let g = Geometry::new(Size::new(640, 427), Size::new(1199, 800), Size::new(1216, 800));
        let b = g.to_original(BoxXyxy::new(0.0, 0.0, 1199.0, 800.0));
        assert_eq!(b, BoxXyxy::new(0.0, 0.0, 640.0, 427.0));
        assert_eq!(g.from_original(b), BoxXyxy::new(0.0, 0.0, 1199.0, 800.0));
    }
}
