//! Depthwise convolution: every channel has its own small kernel.

use crate::buffer::AlignedVec;

/// Weights of a depthwise convolution, packed so that the channels of a tap follow each other.
#[derive(Clone, Debug)]
pub struct PackedDepthwise {
    pub(crate) c: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    /// `[kh · kw][c]`.
    pub(crate) weights: AlignedVec,
    /// `[c]`.
    pub(crate) bias: AlignedVec,
}

impl PackedDepthwise {
    /// Packs `w`, `[c][kh][kw]` (the layout of PyTorch). No bias means zeros.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn pack(w: &[f32], c: usize, kh: usize, kw: usize, bias: Option<&[f32]>) -> PackedDepthwise {
        let taps = kh * kw;
        assert_eq!(w.len(), c * taps, "weights of a [{c}][{kh}][{kw}] depthwise convolution");
        let mut weights = AlignedVec::zeros(c * taps);
        for channel in 0..c {
            for tap in 0..taps {
                weights[tap * c + channel] = w[channel * taps + tap];
            }
        }
        let bias = bias.map_or(AlignedVec::zeros(c), |b| {
            assert_eq!(b.len(), c, "one bias per channel");
            AlignedVec::from_slice(b)
        });
        PackedDepthwise { c, kh, kw, weights, bias }
    }
}
