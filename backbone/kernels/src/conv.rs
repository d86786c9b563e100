//! Dense convolution of any kernel, stride and padding, as a matrix product over taps.

use crate::epilogue::Act;
use crate::gemm::PackedMatrix;
use crate::isa::Isa;
use crate::map::{Map, MapMut};

/// The shape of a convolution: kernel, stride and zero padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Output channels.
    pub co: usize,
    /// Input channels.
    pub ci: usize,
    /// Kernel rows.
    pub kh: usize,
    /// Kernel columns.
    pub kw: usize,
    /// Pixels from one output to the next, in both directions.
    pub stride: usize,
    /// Rows of zeros above and below.
    pub pad_h: usize,
    /// Columns of zeros left and right.
    pub pad_w: usize,
}

impl ConvShape {
    /// A square kernel with equal padding on all sides.
    pub fn square(co: usize, ci: usize, kernel: usize, stride: usize, pad: usize) -> ConvShape {
        ConvShape { co, ci, kh: kernel, kw: kernel, stride, pad_h: pad, pad_w: pad }
    }

    /// Rows and columns of the result for an input of `h × w` pixels (floor; 0 where the kernel does not fit once).
    pub fn out_size(&self, h: usize, w: usize) -> (usize, usize) {
        let along = |size: usize, kernel: usize, pad: usize| {
            (size + 2 * pad).checked_sub(kernel).map_or(0, |room| room / self.stride + 1)
        };
        // An input without pixels has no output, however wide the padding is.
        if h == 0 || w == 0 { (0, 0) } else { (along(h, self.kh, self.pad_h), along(w, self.kw, self.pad_w)) }
    }
}

/// Convolution weights, packed as a matrix whose rows run over (ky, kx, input channel).
#[derive(Clone, Debug)]
pub struct PackedConv {
    pub(crate) shape: ConvShape,
    pub(crate) matrix: PackedMatrix,
}

impl PackedConv {
    /// Packs `w`, `[co][ci][kh][kw]` (the layout of PyTorch). No bias means zeros.
    ///
    /// # Panics
    /// When the lengths do not fit the shape, or the stride or the kernel is 0.
    pub fn pack(w: &[f32], shape: ConvShape, bias: Option<&[f32]>) -> PackedConv {
        let ConvShape { co, ci, kh, kw, stride, .. } = shape;
        assert!(stride > 0 && kh > 0 && kw > 0, "a convolution needs a kernel and a stride: {shape:?}");
        assert_eq!(w.len(), co * ci * kh * kw, "weights of {shape:?}");
        let (taps, k) = (kh * kw, kh * kw * ci);
        let mut rows = vec![0.0; co * k];
        for (out, row) in rows.chunks_exact_mut(k.max(1)).enumerate() {
            for tap in 0..taps {
                for i in 0..ci {
                    row[tap * ci + i] = w[(out * ci + i) * taps + tap];
                }
            }
        }
        PackedConv { shape, matrix: PackedMatrix::pack(&rows, co, k, bias) }
    }

    /// The shape it was packed for.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }
}

/// Convolution of several maps (pyramid levels) with the same weights, with the fastest instruction set.
///
/// # Shapes
/// `xs[l]`: `[n, h, w, ci]`, `outs[l]`: `[n, h', w', co]` with [`ConvShape::out_size`]; any pixel strides.
///
/// # Panics
/// When a shape does not fit.
pub fn conv2d(xs: &[Map<'_>], w: &PackedConv, act: Act, outs: &mut [MapMut<'_>]) {
    conv2d_with(Isa::current(), xs, w, act, outs);
}

/// [`conv2d`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn conv2d_with(isa: Isa, xs: &[Map<'_>], w: &PackedConv, act: Act, outs: &mut [MapMut<'_>]) {
    isa.assert_available();
    check_levels(xs, w.shape, outs);
    let ConvShape { co, ci, kh, kw, .. } = w.shape;
    let taps = kh * kw;
    let every = (0..co).flat_map(|o| (0..ci).flat_map(move |i| (0..taps).map(move |t| (o, t * ci + i))));
    let weights: Vec<f32> = every.map(|(o, k)| w.matrix.get(o, k)).collect();
    for (x, out) in xs.iter().zip(outs) {
        crate::reference::conv2d(*x, &weights, w.shape, Some(&w.matrix.bias), act, out.reborrow());
    }
}

/// Panics unless every level's input and output fit the convolution.
pub(crate) fn check_levels(xs: &[Map<'_>], shape: ConvShape, outs: &[MapMut<'_>]) {
    assert_eq!(xs.len(), outs.len(), "one output per level");
    for (x, out) in xs.iter().zip(outs) {
        x.check();
        out.check();
        assert_eq!(x.c, shape.ci, "input channels of {shape:?}");
        let (h, w) = shape.out_size(x.h, x.w);
        assert_eq!(out.shape(), [x.n, h, w, shape.co], "output of {shape:?} for an input of {:?}", x.shape());
    }
}
