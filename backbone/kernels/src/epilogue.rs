//! What a matrix kernel does to a tile of results while it is still in cache.

use crate::gemm::tile::TileResidual;
use crate::map::Map;
use crate::simd::{Simd, per_isa};

/// Activation after the bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    #[default]
    None,
    /// `max(x, 0)`; NaN stays NaN or becomes 0, as the instruction set has it.
    Relu,
    /// The exact (erf) form, `x/2 · (1 + erf(x/√2))`.
    Gelu,
}

/// Something to add to the result: `map`, or `scale[channel] · map`.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// Of the shape of the result, with any pixel stride.
    pub map: Map<'a>,
    /// One factor per channel.
    pub scale: Option<&'a [f32]>,
}

impl<'a> Residual<'a> {
    /// Adds the map as it is.
    pub fn plain(map: Map<'a>) -> Residual<'a> {
        Residual { map, scale: None }
    }
}

/// `out = act(acc + bias) + Σ residuals`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Epilogue<'a> {
    /// Applied before the residuals.
    pub act: Act,
    /// At most [`MAX_RESIDUALS`].
    pub residuals: &'a [Residual<'a>],
}

/// CARE needs two: the shortcut of the branch and the scaled shortcut of the block.
pub const MAX_RESIDUALS: usize = 2;

impl Epilogue<'_> {
    /// Only an activation.
    pub fn act(act: Act) -> Epilogue<'static> {
        Epilogue { act, residuals: &[] }
    }
}

/// Panics unless the residuals fit a result of that shape.
pub(crate) fn check_residuals(residuals: &[Residual<'_>], shape: [usize; 4]) {
    assert!(residuals.len() <= MAX_RESIDUALS, "{} residuals, at most {MAX_RESIDUALS}", residuals.len());
    for residual in residuals {
        residual.map.check();
        assert_eq!(residual.map.shape(), shape, "the residual's shape is not that of the result");
        if let Some(scale) = residual.scale {
            assert_eq!(scale.len(), shape[3], "one scale per channel of the residual");
        }
    }
}

/// The residuals of a block of rows and columns, as pointers for the kernels.
pub(crate) struct TileResiduals {
    list: [TileResidual; MAX_RESIDUALS],
    len: usize,
}

impl TileResiduals {
    /// From pixel `row` and channel `column` on.
    ///
    /// # Panics
    /// When there are more than [`MAX_RESIDUALS`] (see [`check_residuals`]).
    pub(crate) fn new(residuals: &[Residual<'_>], row: usize, column: usize) -> TileResiduals {
        let none = TileResidual { data: std::ptr::null(), stride: 0, scale: std::ptr::null() };
        let mut list = [none; MAX_RESIDUALS];
        for (slot, r) in list.iter_mut().zip(residuals) {
            *slot = TileResidual {
                data: r.map.data[row * r.map.stride + column..].as_ptr(),
                stride: r.map.stride,
                scale: r.scale.map_or(std::ptr::null(), |s| s[column..].as_ptr()),
            };
        }
        assert!(residuals.len() <= MAX_RESIDUALS);
        TileResiduals { list, len: residuals.len() }
    }

    pub(crate) fn get(&self) -> &[TileResidual] {
        &self.list[..self.len]
    }
}

/// `m` rows of `columns` floats, `stride` apart.
#[derive(Clone, Copy)]
pub(crate) struct RowBlock {
    pub(crate) p: *mut f32,
    pub(crate) stride: usize,
    pub(crate) m: usize,
    pub(crate) columns: usize,
}

per_isa! {
    /// Adds residuals to results that are already written; for what cannot wait in registers.
    ///
    /// # Safety
    /// The block is readable and writable, and every residual has its rows and columns, elsewhere in memory.
    pub(crate) fn add_residuals(block: &RowBlock, residuals: &[TileResidual]) = add_body;
}

#[inline(always)]
unsafe fn add_body<S: Simd>(s: S, block: &RowBlock, residuals: &[TileResidual]) {
    for residual in residuals {
        for row in 0..block.m {
            let mut c = 0;
            while c < block.columns {
                let lanes = (block.columns - c).min(S::LANES);
                // SAFETY: row < m and c + lanes ≤ columns, for which the caller vouches.
                unsafe {
                    let p = block.p.add(row * block.stride + c);
                    let v = s.load_first(residual.data.add(row * residual.stride + c), lanes);
                    let sum = if residual.scale.is_null() {
                        s.add(s.load_first(p, lanes), v)
                    } else {
                        s.fma(v, s.load_first(residual.scale.add(c), lanes), s.load_first(p, lanes))
                    };
                    s.store_first(p, sum, lanes);
                }
                c += lanes;
            }
        }
    }
}
