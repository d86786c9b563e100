//! Depthwise convolution as its definition.

use super::pixel;
use crate::map::{Map, MapMut};

/// Stride 1, zero padding `kh/2` and `kw/2` ("same" for odd kernels): `out[y][x][i] = bias[i] + Σ x[y+ky−kh/2][x+kx−kw/2][i] · w[i][ky][kx]`,
/// summed in f64.
///
/// # Shapes
/// `w`: `[c][kernel.0][kernel.1]`, `bias`: `[c]`, `out` as `x`.
pub fn depthwise(x: Map<'_>, w: &[f32], kernel: (usize, usize), bias: Option<&[f32]>, out: MapMut<'_>) {
    let (kh, kw) = kernel;
    let MapMut { n, h, w: width, c, stride, data } = out;
    assert_eq!((x.n, x.h, x.w, x.c), (n, h, width, c));
    for (image, y, px, ch) in super::every(n, h, width, c) {
        let mut sum = bias.map_or(0.0, |b| f64::from(b[ch]));
        for ky in 0..kh {
            for kx in 0..kw {
                let (iy, ix) = (y + ky, px + kx); // shifted by the padding to stay unsigned
                if iy < kh / 2 || ix < kw / 2 || iy - kh / 2 >= h || ix - kw / 2 >= width {
                    continue;
                }
                let v = pixel(&x, image, iy - kh / 2, ix - kw / 2)[ch];
                sum += f64::from(v) * f64::from(w[(ch * kh + ky) * kw + kx]);
            }
        }
        data[((image * h + y) * width + px) * stride + ch] = sum as f32;
    }
}
