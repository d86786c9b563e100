//! Dense convolutions as their definition.

use super::{activate, every, pixel};
use crate::conv::ConvShape;
use crate::epilogue::{Act, Epilogue, Residual};
use crate::map::{Map, MapMut};

/// 1×1 convolution: `out[p][o] = act(bias[o] + Σ x[p][i] · w[o][i]) + Σ residuals`, in f64.
///
/// # Shapes
/// `w`: `[out.c][x.c]`, `bias`: `[out.c]`.
pub fn conv1x1(x: Map<'_>, w: &[f32], bias: Option<&[f32]>, epilogue: &Epilogue<'_>, mut out: MapMut<'_>) {
    assert_eq!(w.len(), out.c * x.c);
    for p in 0..x.pixels() {
        for o in 0..out.c {
            let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
            for (v, w) in x.pixel(p).iter().zip(&w[o * x.c..]) {
                sum += f64::from(*v) * f64::from(*w);
            }
            let result = activate(epilogue.act, sum) + added(epilogue.residuals, p, o);
            out.pixel_mut(p)[o] = result as f32;
        }
    }
}

/// Convolution: `out[y][x][o] = act(bias[o] + Σ in[y·s+ky−ph][x·s+kx−pw][i] · w[o][i][ky][kx])`, in f64, zeros outside.
///
/// # Shapes
/// `w`: `[co][ci][kh][kw]`, `bias`: `[co]`, `out`: `[n, h', w', co]` with [`ConvShape::out_size`].
pub fn conv2d(x: Map<'_>, w: &[f32], shape: ConvShape, bias: Option<&[f32]>, act: Act, mut out: MapMut<'_>) {
    let ConvShape { ci, kh, kw, stride, pad_h, pad_w, .. } = shape;
    for (image, oy, ox, o) in every(out.n, out.h, out.w, out.c) {
        let mut sum = bias.map_or(0.0, |b| f64::from(b[o]));
        for ky in 0..kh {
            for kx in 0..kw {
                let (y, px) = (oy * stride + ky, ox * stride + kx); // shifted by the padding to stay unsigned
                if y < pad_h || px < pad_w || y - pad_h >= x.h || px - pad_w >= x.w {
                    continue;
                }
                for (i, v) in pixel(&x, image, y - pad_h, px - pad_w).iter().enumerate() {
                    sum += f64::from(*v) * f64::from(w[((o * ci + i) * kh + ky) * kw + kx]);
                }
            }
        }
        let p = (image * out.h + oy) * out.w + ox;
        out.pixel_mut(p)[o] = activate(act, sum) as f32;
    }
}

/// Gradient of [`conv2d`] (without activation) by its weights, `[co][ci][kh][kw]` in f64: every result sends its gradient to the taps that made it.
pub fn conv2d_weight_grad(x: Map<'_>, dy: Map<'_>, shape: ConvShape) -> Vec<f64> {
    let ConvShape { co, ci, kh, kw, stride, pad_h, pad_w } = shape;
    let mut dw = vec![0.0; co * ci * kh * kw];
    for (image, oy, ox, o) in every(dy.n, dy.h, dy.w, dy.c) {
        let sent = f64::from(pixel(&dy, image, oy, ox)[o]);
        for (ky, kx) in (0..kh * kw).map(|tap| (tap / kw, tap % kw)) {
            let (y, px) = (oy * stride + ky, ox * stride + kx); // shifted by the padding to stay unsigned
            if y < pad_h || px < pad_w || y - pad_h >= x.h || px - pad_w >= x.w {
                continue;
            }
            for (i, v) in pixel(&x, image, y - pad_h, px - pad_w).iter().enumerate() {
                dw[((o * ci + i) * kh + ky) * kw + kx] += sent * f64::from(*v);
            }
        }
    }
    dw
}

/// What the residuals add to channel `o` of pixel `p`.
pub(super) fn added(residuals: &[Residual<'_>], p: usize, o: usize) -> f64 {
    residuals.iter().map(|r| f64::from(r.map.pixel(p)[o]) * r.scale.map_or(1.0, |s| f64::from(s[o]))).sum()
}
