//! Depthwise weights, packed so that the channels of a tap follow each other.

use super::row::MAX_WIDTH;
use super::rows::{MAX_HEIGHT, packed_width};
use crate::buffer::{AlignedVec, LINE};

/// Weights of a depthwise convolution with stride 1 and "same" zero padding (`kh/2`, `kw/2`).
///
/// Packed as `[tap][channels, filled up to a multiple of 16]`. Where 8 channels remain in the last 16 they stand there twice,
/// so that a 16-float vector can work on two pixels at once.
#[derive(Clone, Debug)]
pub struct PackedDepthwise {
    pub(crate) c: usize,
    pub(crate) kh: usize,
    /// Odd kernels between the widths that have a row kernel are filled up with zero taps.
    pub(crate) kw: usize,
    /// Only the centre row and the centre column have taps: the row's come first, then those of the column, without the centre.
    pub(crate) cross: bool,
    /// `[kh · kw]` taps (a cross: `kw + kh − 1`) of [`PackedDepthwise::padded_c`] floats.
    pub(crate) weights: AlignedVec,
    pub(crate) bias: AlignedVec,
}

impl PackedDepthwise {
    /// Packs `w`, `[c][kh][kw]` (the layout of PyTorch). No bias means zeros.
    ///
    /// # Panics
    /// When the lengths do not fit, a side of the kernel is even ("same" padding would be lopsided), or the kernel is larger
    /// than 31×11 (height × width).
    pub fn pack(w: &[f32], c: usize, kh: usize, kw: usize, bias: Option<&[f32]>) -> PackedDepthwise {
        assert!(kh % 2 == 1 && kw % 2 == 1, "a depthwise kernel of {kh}×{kw}: the sides must be odd");
        assert_eq!(w.len(), c * kh * kw, "weights of a [{c}][{kh}][{kw}] depthwise convolution");
        let mut packed = PackedDepthwise::empty(c, (kh, kw), false, bias);
        let padded = packed.padded_c();
        let margin = (packed.kw - kw) / 2;
        for (ch, of_channel) in w.chunks_exact(kh * kw).enumerate() {
            for (tap, &value) in of_channel.iter().enumerate() {
                let tap = tap / kw * packed.kw + margin + tap % kw;
                packed.weights[tap * padded + ch] = value;
            }
        }
        packed.fill_tail();
        packed
    }

    /// The sum of a column convolution (`[c][k][1]`) and a row convolution (`[c][1][k]`) of the same length, as one kernel in
    /// the shape of a cross: CARE's global branch in stages 1 and 2 (k = 11). The input is read once and nothing is added afterwards.
    ///
    /// # Panics
    /// When the lengths do not fit one odd `k`.
    pub fn cross(
        column: &[f32],
        column_bias: Option<&[f32]>,
        row: &[f32],
        row_bias: Option<&[f32]>,
        c: usize,
    ) -> PackedDepthwise {
        let k = column.len().checked_div(c).unwrap_or(1);
        assert!(k % 2 == 1, "a cross of length {k}: it must be odd");
        assert_eq!((column.len(), row.len()), (c * k, c * k), "both weights of a cross of {c} channels");
        let bias: Vec<f32> =
            (0..c).map(|ch| column_bias.map_or(0.0, |b| b[ch]) + row_bias.map_or(0.0, |b| b[ch])).collect();
        let mut packed = PackedDepthwise::empty(c, (k, k), true, Some(&bias));
        let padded = packed.padded_c();
        let margin = (packed.kw - k) / 2;
        for ch in 0..c {
            for i in 0..k {
                packed.weights[(margin + i) * padded + ch] = row[ch * k + i];
            }
            packed.weights[packed.kw / 2 * padded + ch] += column[ch * k + k / 2];
            for (tap, ky) in (0..k).filter(|&ky| ky != k / 2).enumerate() {
                packed.weights[(packed.kw + tap) * padded + ch] = column[ch * k + ky];
            }
        }
        packed.fill_tail();
        packed
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        self.c
    }

    /// Floats from one tap to the next in `weights`.
    pub(crate) fn padded_c(&self) -> usize {
        self.c.div_ceil(LINE) * LINE
    }

    /// Multiply-adds per pixel and channel.
    pub(crate) fn taps(&self) -> usize {
        if self.cross { self.kh + self.kw - 1 } else { self.kh * self.kw }
    }

    fn empty(c: usize, (kh, kw): (usize, usize), cross: bool, bias: Option<&[f32]>) -> PackedDepthwise {
        assert!(
            kh <= MAX_HEIGHT && kw <= MAX_WIDTH,
            "a depthwise kernel of {kh}×{kw}; at most {MAX_HEIGHT}×{MAX_WIDTH}"
        );
        let kw = packed_width(kw, cross);
        let padded = c.div_ceil(LINE) * LINE;
        let bias = bias.map_or(AlignedVec::zeros(padded), |b| {
            assert_eq!(b.len(), c, "one bias per channel");
            AlignedVec::padded(b, padded)
        });
        let mut packed = PackedDepthwise { c, kh, kw, cross, weights: AlignedVec::default(), bias };
        packed.weights = AlignedVec::zeros(packed.taps() * padded);
        packed
    }

    /// Repeats a last half line of channels in the other half.
    fn fill_tail(&mut self) {
        if self.c % LINE != LINE / 2 {
            return;
        }
        for line in [&mut self.weights, &mut self.bias]
            .into_iter()
            .flat_map(|v| v.chunks_exact_mut(self.c.div_ceil(LINE) * LINE))
        {
            let tail = line.len() - LINE;
            line.copy_within(tail..tail + LINE / 2, tail + LINE / 2);
        }
    }
}
