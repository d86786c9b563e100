//! Matrix products: the 1×1 convolution, and the packed weights that every dense kernel shares.

use crate::buffer::AlignedVec;
use crate::epilogue::{Epilogue, check_residuals};
use crate::isa::Isa;
use crate::map::{Map, MapMut};

/// Columns (output channels) of a packed panel: two AVX-512 vectors, four AVX2 vectors, eight NEON vectors.
pub const PANEL: usize = 32;

/// A weight matrix `[n_out][k]` with its bias, repacked for the matrix kernels.
///
/// The columns of `Wᵀ` are cut into panels of [`PANEL`]; a panel holds `k` rows of 32 floats, so a kernel reads it front to back. The last
/// panel is filled up with zeros. Every row starts on a cache line.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    pub(crate) k: usize,
    pub(crate) n_out: usize,
    pub(crate) panels: AlignedVec,
    pub(crate) bias: AlignedVec,
}

impl PackedMatrix {
    /// Packs `w`, row-major `[n_out][k]` (the layout of a PyTorch 1×1 convolution or linear layer). No bias means zeros.
    ///
    /// # Panics
    /// When `w` is not `n_out · k` long or `bias` not `n_out`.
    pub fn pack(w: &[f32], n_out: usize, k: usize, bias: Option<&[f32]>) -> PackedMatrix {
        assert_eq!(w.len(), n_out * k, "weights of a [{n_out}][{k}] matrix");
        let columns = n_out.div_ceil(PANEL) * PANEL;
        let mut panels = AlignedVec::zeros(columns * k);
        for (column, row) in w.chunks_exact(k.max(1)).enumerate() {
            let first = column / PANEL * k * PANEL + column % PANEL;
            for (i, &value) in row.iter().enumerate() {
                panels[first + i * PANEL] = value;
            }
        }
        let bias = bias.map_or(AlignedVec::zeros(columns), |b| {
            assert_eq!(b.len(), n_out, "one bias per output channel");
            AlignedVec::padded(b, columns)
        });
        PackedMatrix { k, n_out, panels, bias }
    }

    /// Input channels.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Output channels.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    pub(crate) fn get(&self, column: usize, i: usize) -> f32 {
        self.panels[(column / PANEL * self.k + i) * PANEL + column % PANEL]
    }
}

/// 1×1 convolution with the fastest instruction set: `out = epilogue(x · Wᵀ + bias)`.
///
/// # Shapes
/// `x`: `[n, h, w, k]`, `out`: `[n, h, w, n_out]`, residuals as `out`; all with any pixel stride.
///
/// # Panics
/// When a shape does not fit.
pub fn conv1x1(x: Map<'_>, w: &PackedMatrix, epilogue: &Epilogue<'_>, out: MapMut<'_>) {
    conv1x1_with(Isa::current(), x, w, epilogue, out);
}

/// [`conv1x1`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn conv1x1_with(isa: Isa, x: Map<'_>, w: &PackedMatrix, epilogue: &Epilogue<'_>, mut out: MapMut<'_>) {
    isa.assert_available();
    x.check();
    out.check();
    assert_eq!(x.c, w.k, "input channels of a 1×1 convolution");
    assert_eq!(out.shape(), [x.n, x.h, x.w, w.n_out], "output shape of a 1×1 convolution");
    check_residuals(epilogue.residuals, out.shape());
    for p in 0..x.pixels() {
        for column in 0..w.n_out {
            let mut sum = w.bias[column];
            for (i, v) in x.pixel(p).iter().enumerate() {
                sum += v * w.get(column, i);
            }
            sum = crate::reference::activate(epilogue.act, f64::from(sum)) as f32;
            for r in epilogue.residuals {
                sum += r.map.pixel(p)[column] * r.scale.map_or(1.0, |s| s[column]);
            }
            out.pixel_mut(p)[column] = sum;
        }
    }
}
