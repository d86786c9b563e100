//! Depthwise weights, packed so that the channels of a tap follow each other.

use crate::buffer::{AlignedVec, LINE};

/// The taps of one kernel row: columns `first..first + len` of the kernel have weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapRow {
    /// Kernel row.
    pub(crate) ky: usize,
    /// First kernel column with a weight.
    pub(crate) kx: usize,
    /// Taps in this row.
    pub(crate) len: usize,
    /// Index of the first tap in the packed weights.
    pub(crate) tap: usize,
}

/// Weights of a depthwise convolution with stride 1 and "same" zero padding (`kh/2`, `kw/2`).
///
/// Packed as `[tap][channels, filled up to a multiple of 16]`. Where 8 channels remain in the last 16 they stand there twice,
/// so that a 16-float vector can work on two pixels at once.
#[derive(Clone, Debug)]
pub struct PackedDepthwise {
    pub(crate) c: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    /// The kernel rows that have taps, ascending; not every column need have one (a cross).
    pub(crate) rows: Vec<TapRow>,
    pub(crate) weights: AlignedVec,
    pub(crate) bias: AlignedVec,
}

impl PackedDepthwise {
    /// Packs `w`, `[c][kh][kw]` (the layout of PyTorch). No bias means zeros.
    ///
    /// # Panics
    /// When the lengths do not fit or a side of the kernel is even ("same" padding would be lopsided).
    pub fn pack(w: &[f32], c: usize, kh: usize, kw: usize, bias: Option<&[f32]>) -> PackedDepthwise {
        assert!(kh % 2 == 1 && kw % 2 == 1, "a depthwise kernel of {kh}×{kw}: the sides must be odd");
        assert_eq!(w.len(), c * kh * kw, "weights of a [{c}][{kh}][{kw}] depthwise convolution");
        let rows = (0..kh).map(|ky| TapRow { ky, kx: 0, len: kw, tap: ky * kw }).collect();
        let mut packed = PackedDepthwise::empty(c, (kh, kw), rows, bias);
        let padded = packed.padded_c();
        for ch in 0..c {
            for tap in 0..kh * kw {
                packed.weights[tap * padded + ch] = w[ch * kh * kw + tap];
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
        let k = column.len() / c.max(1);
        assert!(k % 2 == 1 || c == 0, "a cross of length {k}: it must be odd");
        assert_eq!((column.len(), row.len()), (c * k, c * k), "both weights of a cross of {c} channels");
        let bias: Vec<f32> =
            (0..c).map(|ch| column_bias.map_or(0.0, |b| b[ch]) + row_bias.map_or(0.0, |b| b[ch])).collect();
        let half = k / 2;
        let arm = |ky| TapRow { ky, kx: half, len: 1, tap: if ky < half { ky } else { ky + k - 1 } };
        let centre = TapRow { ky: half, kx: 0, len: k, tap: half };
        let rows = (0..k).map(|ky| if ky == half { centre } else { arm(ky) }).collect::<Vec<_>>();
        let mut packed = PackedDepthwise::empty(c, (k, k), rows.clone(), Some(&bias));
        let padded = packed.padded_c();
        for ch in 0..c {
            for r in &rows {
                for i in 0..r.len {
                    let from_row = if r.ky == half { row[ch * k + i] } else { 0.0 };
                    let from_column = if r.kx + i == half { column[ch * k + r.ky] } else { 0.0 };
                    packed.weights[(r.tap + i) * padded + ch] = from_row + from_column;
                }
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

    fn empty(c: usize, (kh, kw): (usize, usize), rows: Vec<TapRow>, bias: Option<&[f32]>) -> PackedDepthwise {
        let padded = c.div_ceil(LINE) * LINE;
        let taps: usize = rows.iter().map(|r| r.len).sum();
        let bias = bias.map_or(AlignedVec::zeros(padded), |b| {
            assert_eq!(b.len(), c, "one bias per channel");
            AlignedVec::padded(b, padded)
        });
        PackedDepthwise { c, kh, kw, rows, weights: AlignedVec::zeros(taps * padded), bias }
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
