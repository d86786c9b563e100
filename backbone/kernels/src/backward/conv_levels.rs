//! Dense convolutions of a training step: over one map, or over several with the same weights (pyramid levels). Weights are packed per call,
//! once for all maps.

use super::conv::{ConvGeometry, conv_weight_grad_direct, fold_data_grad};
use super::elementwise::add_to;
use crate::conv::{ConvShape, PackedConv, conv2d};
use crate::epilogue::{Act, Epilogue};
use crate::gemm::{PackedMatrix, conv1x1};
use crate::map::{Map, MapMut};
use crate::winograd::{PackedWinograd, conv3x3_weight_grad, conv3x3_winograd};

/// Channels and pixels from which a 3×3 convolution and its gradients go by Winograd, 2 to 3 times as fast there; below, packing the weights
/// costs more than it saves (256 channels: 4 ms, as much as direct convolution of 700 pixels takes longer). The rounding error (6e-5 on
/// results of unit scale) is far below the noise of a gradient, and networks run by Winograd, too, once they are trained.
const WINOGRAD_CHANNELS: usize = 32;
const WINOGRAD_PIXELS: usize = 1536;

fn by_winograd(levels: &[ConvGeometry]) -> bool {
    let fits = |g: &ConvGeometry| {
        (g.kernel, g.stride, g.pad) == ((3, 3), 1, (1, 1)) && g.ci.min(g.co) >= WINOGRAD_CHANNELS
    };
    levels.iter().all(fits) && levels.iter().map(|g| g.n * g.h * g.w).sum::<usize>() >= WINOGRAD_PIXELS
}

/// The maps that a convolution reads, or the gradients of their like.
fn inputs<'a>(xs: &[&'a [f32]], levels: &[ConvGeometry]) -> Vec<Map<'a>> {
    xs.iter().zip(levels).map(|(x, g)| Map::dense(x, [g.n, g.h, g.w, g.ci])).collect()
}

fn result_shape(g: &ConvGeometry) -> [usize; 4] {
    let (ho, wo) = g.out_size();
    [g.n, ho, wo, g.co]
}

/// The geometry that all levels share.
///
/// # Panics
/// When they differ in more than the sizes of their maps.
fn shared(levels: &[ConvGeometry]) -> ConvGeometry {
    let sizeless = |g: &ConvGeometry| ConvGeometry { n: 0, h: 0, w: 0, ..*g };
    let first = levels.first().expect("a convolution over no level");
    assert!(levels.iter().all(|g| sizeless(g) == sizeless(first)), "levels share their weights");
    *first
}

fn conv_shape(g: &ConvGeometry) -> ConvShape {
    let (((kh, kw), (pad_h, pad_w)), stride) = ((g.kernel, g.pad), g.stride);
    ConvShape { co: g.co, ci: g.ci, kh, kw, stride, pad_h, pad_w }
}

/// y = conv(x, w) + bias for every level; `w` is `[co, ci, kh, kw]`.
///
/// # Panics
/// When a length does not fit, or levels differ in more than the sizes of their maps.
pub fn conv_levels(
    xs: &[&[f32]],
    (w, bias): (&[f32], Option<&[f32]>),
    levels: &[ConvGeometry],
    ys: &mut [&mut [f32]],
) {
    let g = shared(levels);
    assert_eq!((xs.len(), ys.len()), (levels.len(), levels.len()), "inputs and outputs of all levels");
    let xs = inputs(xs, levels);
    let ys = ys.iter_mut().zip(levels);
    let mut ys: Vec<MapMut<'_>> = ys.map(|(y, g)| MapMut::dense(y, result_shape(g))).collect();
    if g.is_pointwise() {
        let packed = PackedMatrix::pack(w, g.co, g.ci, bias);
        xs.into_iter().zip(ys).for_each(|(x, y)| conv1x1(x, &packed, &Epilogue::act(Act::None), y));
    } else if by_winograd(levels) {
        conv3x3_winograd(&xs, &PackedWinograd::pack(w, g.co, g.ci, bias), Act::None, &mut ys);
    } else {
        conv2d(&xs, &PackedConv::pack(w, conv_shape(&g), bias), Act::None, &mut ys);
    }
}

/// dw `[co, ci, kh, kw]` = Σ over the output pixels of all levels of dy ⊗ x.
///
/// # Panics
/// As [`conv_levels`].
pub fn conv_levels_weight_grad(xs: &[&[f32]], dys: &[&[f32]], levels: &[ConvGeometry]) -> Vec<f32> {
    let g = shared(levels);
    assert_eq!((xs.len(), dys.len()), (levels.len(), levels.len()), "inputs and gradients of all levels");
    if by_winograd(levels) {
        let dys: Vec<Map<'_>> =
            dys.iter().zip(levels).map(|(dy, g)| Map::dense(dy, result_shape(g))).collect();
        return conv3x3_weight_grad(&inputs(xs, levels), &dys, g.co, g.ci);
    }
    let mut parts = xs.iter().zip(dys).zip(levels).map(|((x, dy), g)| conv_weight_grad_direct(x, dy, g));
    let mut sum = parts.next().unwrap_or_default();
    parts.for_each(|part| add_to(&part, &mut sum));
    sum
}

/// dx of every level, `[n, h, w, ci]`: every input pixel collects from the outputs that read it. `w` is `[co, ci, kh, kw]`.
///
/// # Panics
/// As [`conv_levels`].
pub fn conv_levels_data_grad(w: &[f32], dys: &[&[f32]], levels: &[ConvGeometry], dxs: &mut [&mut [f32]]) {
    let g = shared(levels);
    assert_eq!((dxs.len(), dys.len()), (levels.len(), levels.len()), "gradients of all levels");
    assert_eq!(w.len(), g.co * g.taps() * g.ci, "weights of {g:?}");
    for ((dy, dx), g) in dys.iter().zip(dxs.iter()).zip(levels) {
        g.check(dx, dy);
    }
    let is_empty = |g: &ConvGeometry| result_shape(g).contains(&0);
    let (kh, kw) = g.kernel;
    if levels.iter().any(is_empty) || g.stride != 1 || g.pad.0 >= kh || g.pad.1 >= kw {
        for ((dy, dx), g) in dys.iter().zip(dxs).zip(levels) {
            if is_empty(g) {
                dx.fill(0.0)
            } else if !dx.is_empty() {
                fold_data_grad(w, dy, g, dx)
            }
        }
        return;
    }
    let dys: Vec<Map<'_>> = dys.iter().zip(levels).map(|(dy, g)| Map::dense(dy, result_shape(g))).collect();
    let dxs = dxs.iter_mut().zip(levels);
    let mut dxs: Vec<MapMut<'_>> = dxs.map(|(dx, g)| MapMut::dense(dx, [g.n, g.h, g.w, g.ci])).collect();
    if g.is_pointwise() {
        let packed = PackedMatrix::pack_transposed(w, g.ci, g.co);
        dys.into_iter().zip(dxs).for_each(|(dy, dx)| conv1x1(dy, &packed, &Epilogue::act(Act::None), dx));
    } else if by_winograd(levels) {
        conv3x3_winograd(
            &dys,
            &PackedWinograd::pack(&mirrored(w, &g), g.ci, g.co, None),
            Act::None,
            &mut dxs,
        );
    } else {
        let pad = (kh - 1 - g.pad.0, kw - 1 - g.pad.1);
        let turned = conv_shape(&ConvGeometry { ci: g.co, co: g.ci, pad, ..g });
        conv2d(&dys, &PackedConv::pack(&mirrored(w, &g), turned, None), Act::None, &mut dxs);
    }
}

/// `[co][ci][kh][kw]` → `[ci][co][kh][kw]` with both kernel axes reversed: the kernel of the data gradient.
fn mirrored(w: &[f32], g: &ConvGeometry) -> Vec<f32> {
    let taps = g.taps();
    let mut out = vec![0.0; w.len()];
    for o in 0..g.co {
        for i in 0..g.ci {
            let from = &w[(o * g.ci + i) * taps..][..taps];
            let to = &mut out[(i * g.co + o) * taps..][..taps];
            to.iter_mut().zip(from.iter().rev()).for_each(|(t, f)| *t = *f);
        }
    }
    out
}

/// [`conv_levels`] of one map.
pub fn conv(x: &[f32], weights: (&[f32], Option<&[f32]>), g: &ConvGeometry, y: &mut [f32]) {
    conv_levels(&[x], weights, &[*g], &mut [y]);
}

/// [`conv_levels_weight_grad`] of one map.
pub fn conv_weight_grad(x: &[f32], dy: &[f32], g: &ConvGeometry) -> Vec<f32> {
    conv_levels_weight_grad(&[x], &[dy], &[*g])
}

/// [`conv_levels_data_grad`] of one map.
pub fn conv_data_grad(w: &[f32], dy: &[f32], g: &ConvGeometry, dx: &mut [f32]) {
    conv_levels_data_grad(w, &[dy], &[*g], &mut [dx]);
}
