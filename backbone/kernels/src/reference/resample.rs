//! Resizing as PyTorch's `F.interpolate(size=…)` on the CPU: source positions in f32, blending in f64.

use super::pixel;
use crate::map::{Map, MapMut};

/// `mode="nearest"`: `src = min(floor(dst · f32(in/out)), in − 1)`.
pub fn nearest(x: Map<'_>, out: MapMut<'_>) {
    let MapMut { n, h, w, c, stride, data } = out;
    let source = |dst: usize, input: usize, output: usize| {
        ((dst as f32 * (input as f32 / output as f32)).floor() as usize).min(input - 1)
    };
    for (image, y, px, ch) in super::every(n, h, w, c) {
        data[((image * h + y) * w + px) * stride + ch] =
            pixel(&x, image, source(y, x.h, h), source(px, x.w, w))[ch];
    }
}

/// `out += nearest(x)`.
pub fn nearest_add(x: Map<'_>, out: MapMut<'_>) {
    let MapMut { n, h, w, c, stride, data } = out;
    let mut up = vec![0.0; n * h * w * c];
    nearest(x, MapMut { n, h, w, c, stride: c, data: &mut up });
    for (p, ch) in (0..n * h * w).flat_map(|p| (0..c).map(move |ch| (p, ch))) {
        data[p * stride + ch] += up[p * c + ch];
    }
}

/// `mode="bilinear"`, no antialiasing.
pub fn bilinear(x: Map<'_>, out: MapMut<'_>, align_corners: bool) {
    let MapMut { n, h, w, c, stride, data } = out;
    for (image, y, px, ch) in super::every(n, h, w, c) {
        let (y0, y1, fy) = linear(y, x.h, h, align_corners);
        let (x0, x1, fx) = linear(px, x.w, w, align_corners);
        let v = |y, x_| f64::from(pixel(&x, image, y, x_)[ch]);
        let top = v(y0, x0) * (1.0 - fx) + v(y0, x1) * fx;
        let bottom = v(y1, x0) * (1.0 - fx) + v(y1, x1) * fx;
        data[((image * h + y) * w + px) * stride + ch] = (top * (1.0 - fy) + bottom * fy) as f32;
    }
}

/// The two source positions and the share of the second.
fn linear(dst: usize, input: usize, output: usize, align_corners: bool) -> (usize, usize, f64) {
    let position = if align_corners {
        let scale = if output > 1 { (input - 1) as f32 / (output - 1) as f32 } else { 0.0 };
        dst as f32 * scale
    } else {
        ((dst as f32 + 0.5) * (input as f32 / output as f32) - 0.5).max(0.0)
    };
    let low = (position.floor() as usize).min(input - 1);
    (low, (low + 1).min(input - 1), f64::from((position - low as f32).clamp(0.0, 1.0)))
}
