//! The inverted residual as its definition.

use super::{conv1x1, depthwise};
use crate::epilogue::{Act, Epilogue, Residual};
use crate::map::{Map, MapMut};

/// Weights and bias of one layer, in the layout of PyTorch.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// `[n_out][k]` for a 1×1 convolution, `[c][3][3]` for the depthwise one.
    pub w: &'a [f32],
    /// One per output channel.
    pub bias: &'a [f32],
}

/// `fc2(dw3×3(gelu(fc1(x)))) + Σ residuals`; without `fc2` the depthwise result is the output. Each layer rounds to f32.
///
/// # Shapes
/// `x`: `[n, h, w, c]`, `out`: `[n, h, w, n_out]`; the hidden width is `fc1.bias.len()`.
pub fn inverted_residual(
    x: Map<'_>,
    [fc1, dw]: [Layer<'_>; 2],
    fc2: Option<Layer<'_>>,
    residuals: &[Residual<'_>],
    mut out: MapMut<'_>,
) {
    let hidden = [x.n, x.h, x.w, fc1.bias.len()];
    let mut a = vec![0.0; hidden.iter().product()];
    let mut b = a.clone();
    conv1x1(x, fc1.w, Some(fc1.bias), &Epilogue::act(Act::Gelu), MapMut::dense(&mut a, hidden));
    depthwise(Map::dense(&a, hidden), dw.w, (3, 3), Some(dw.bias), MapMut::dense(&mut b, hidden));
    let b = Map::dense(&b, hidden);
    match fc2 {
        Some(fc2) => conv1x1(b, fc2.w, Some(fc2.bias), &Epilogue { act: Act::None, residuals }, out),
        None => {
            for p in 0..b.pixels() {
                for o in 0..b.c {
                    let sum = f64::from(b.pixel(p)[o]) + super::conv::added(residuals, p, o);
                    out.pixel_mut(p)[o] = sum as f32;
                }
            }
        }
    }
}
