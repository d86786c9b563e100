//! Every kernel as its definition: short, slow, in f64. It is the specification and the oracle of the tests.

pub mod act;
mod attention;
mod conv;
mod depthwise;
mod inverted_residual;
mod nms;
mod resample;

pub use attention::linear_attention;
pub use conv::{conv1x1, conv2d, conv2d_weight_grad};
pub use depthwise::depthwise;
pub use inverted_residual::{Layer, inverted_residual};
pub use nms::{batched_nms, nms};
pub use resample::{bilinear, nearest, nearest_add};

use crate::epilogue::Act;
use crate::map::Map;

/// The channels of one pixel.
fn pixel<'a>(m: &Map<'a>, n: usize, y: usize, x: usize) -> &'a [f32] {
    m.pixel((n * m.h + y) * m.w + x)
}

/// All `(n, y, x, channel)` of a map, channel fastest.
fn every(n: usize, h: usize, w: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..n * h * w * c).map(move |i| (i / (h * w * c), i / (w * c) % h, i / c % w, i % c))
}

/// An activation in f64.
pub(crate) fn activate(act: Act, x: f64) -> f64 {
    match act {
        Act::None => x,
        Act::Relu => x.max(0.0),
        Act::Gelu => act::gelu(x),
    }
}
