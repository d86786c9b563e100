//! CARE's interaction module in one pass: 1×1 → GELU → depthwise 3×3 → 1×1, plus residuals.

use crate::depthwise::PackedDepthwise;
use crate::epilogue::{Act, Epilogue, Residual, check_residuals};
use crate::gemm::{PackedMatrix, conv1x1_with};
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::scratch;

/// The weights of an inverted residual. Batch norms are folded in before packing.
#[derive(Clone, Debug)]
pub struct InvertedResidual {
    /// `c → hidden`, followed by GELU.
    pub fc1: PackedMatrix,
    /// 3×3 on the hidden channels.
    pub dw: PackedDepthwise,
    /// `hidden → n_out`; CARE's very last block has none and puts out the hidden channels.
    pub fc2: Option<PackedMatrix>,
}

impl InvertedResidual {
    /// Channels of the result.
    pub fn n_out(&self) -> usize {
        self.fc2.as_ref().map_or(self.fc1.n_out(), PackedMatrix::n_out)
    }
}

/// `out = fc2(dw(gelu(fc1(x)))) + Σ residuals`, with the fastest instruction set.
///
/// # Shapes
/// `x`: `[n, h, w, c]`, `out` and the residuals: `[n, h, w, n_out]`; any pixel strides.
///
/// # Panics
/// When a shape does not fit.
pub fn inverted_residual(x: Map<'_>, w: &InvertedResidual, residuals: &[Residual<'_>], out: MapMut<'_>) {
    inverted_residual_with(Isa::current(), x, w, residuals, out);
}

/// [`inverted_residual`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn inverted_residual_with(
    isa: Isa,
    x: Map<'_>,
    w: &InvertedResidual,
    residuals: &[Residual<'_>],
    mut out: MapMut<'_>,
) {
    check(x, w, residuals, &out);
    let hidden = [x.n, x.h, x.w, w.fc1.n_out];
    let mut a = scratch::take(hidden.iter().product());
    conv1x1_with(isa, x, &w.fc1, &Epilogue::act(Act::Gelu), MapMut::dense(&mut a, hidden));
    let mut b = scratch::take(a.len());
    let taps = |c: usize| (0..9).map(move |t| (c, t));
    let weights: Vec<f32> =
        (0..w.dw.c).flat_map(taps).map(|(c, t)| w.dw.weights[t * w.dw.padded_c() + c]).collect();
    crate::reference::depthwise(
        Map::dense(&a, hidden),
        &weights,
        (3, 3),
        Some(&w.dw.bias[..w.dw.c]),
        MapMut::dense(&mut b, hidden),
    );
    match &w.fc2 {
        Some(fc2) => {
            let epilogue = Epilogue { act: Act::None, residuals };
            conv1x1_with(isa, Map::dense(&b, hidden), fc2, &epilogue, out);
        }
        None => {
            for p in 0..x.pixels() {
                out.pixel_mut(p).copy_from_slice(&b[p * hidden[3]..][..hidden[3]]);
                for r in residuals {
                    for (c, v) in out.pixel_mut(p).iter_mut().enumerate() {
                        *v += r.map.pixel(p)[c] * r.scale.map_or(1.0, |s| s[c]);
                    }
                }
            }
        }
    }
}

/// Panics unless everything fits: the check that the pointer arithmetic below rests on.
fn check(x: Map<'_>, w: &InvertedResidual, residuals: &[Residual<'_>], out: &MapMut<'_>) {
    x.check();
    out.check();
    let hidden = w.fc1.n_out;
    assert_eq!(x.c, w.fc1.k, "input channels of an inverted residual");
    assert_eq!(
        (w.dw.c, w.dw.kh, w.dw.kw),
        (hidden, 3, 3),
        "the depthwise convolution is 3×3 on the hidden channels"
    );
    if let Some(fc2) = &w.fc2 {
        assert_eq!(fc2.k, hidden, "hidden channels of an inverted residual");
    }
    assert_eq!(out.shape(), [x.n, x.h, x.w, w.n_out()], "output of an inverted residual");
    check_residuals(residuals, out.shape());
}
