//! Matrix products: the 1×1 convolution, and the packed weights that every dense kernel shares.

pub(crate) mod tile;

use std::ops::Range;

use crate::buffer::AlignedVec;
use crate::count;
use crate::epilogue::{Act, Epilogue, RowBlock, TileResiduals, add_residuals, check_residuals};
use crate::gelu_row;
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::{self, SharedMut};
use tile::{Rows, Start, Tap};

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
        let size = (k * PANEL).max(1);
        for (panel, columns) in panels.chunks_exact_mut(size).zip(w.chunks(size)) {
            transpose(columns, k, panel);
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

    /// Number of panels.
    pub(crate) fn panel_count(&self) -> usize {
        self.n_out.div_ceil(PANEL)
    }

    /// A panel: `k` rows of [`PANEL`] floats. Behind the last one there is nothing.
    pub(crate) fn panel(&self, panel: usize) -> &[f32] {
        let size = self.k * PANEL;
        self.panels.get(panel * size..(panel + 1) * size).unwrap_or(&[])
    }
}

/// The rows of `columns`, each of `k` floats, become the first columns of a panel.
fn transpose(columns: &[f32], k: usize, panel: &mut [f32]) {
    /// So few rows of a panel stay in the first-level cache while all columns pass.
    const BLOCK: usize = 16;
    for (block, lines) in panel.chunks_mut(BLOCK * PANEL).enumerate() {
        for (column, values) in columns.chunks_exact(k).enumerate() {
            let values = &values[block * BLOCK..];
            for (line, &value) in lines.chunks_exact_mut(PANEL).zip(values) {
                line[column] = value;
            }
        }
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
pub fn conv1x1_with(isa: Isa, x: Map<'_>, w: &PackedMatrix, epilogue: &Epilogue<'_>, out: MapMut<'_>) {
    x.check();
    out.check();
    assert_eq!(x.c, w.k, "input channels of a 1×1 convolution");
    assert_eq!(out.shape(), [x.n, x.h, x.w, w.n_out], "output shape of a 1×1 convolution");
    check_residuals(epilogue.residuals, out.shape());
    let (m, work) = (x.pixels(), x.pixels() * w.k * w.n_out);
    count::add(work);
    let cut = Cut::new(m, w, work);
    let product = Product { isa, x, w, epilogue, out: SharedMut::new(out.data), out_stride: out.stride };
    par::for_each(cut.tasks(), work, |task| {
        let (rows, panels) = cut.task(task);
        // SAFETY: the shapes were checked above, and the tasks are disjoint blocks of the output.
        unsafe { product.block(rows, panels) }
    });
}

/// How a product is cut into tasks: blocks of rows × groups of panels. Only speed depends on it.
struct Cut {
    m: usize,
    rows: usize,
    panels: usize,
    group: usize,
}

/// Rows of a block are a multiple of this: of the tile heights of all instruction sets (14, 6, 4).
const ROW_STEP: usize = 84;

/// Input floats of a block of rows; 192 KiB stay in the second-level cache while the panels pass.
const BLOCK_FLOATS: usize = 48 << 10;

impl Cut {
    fn new(m: usize, w: &PackedMatrix, work: usize) -> Cut {
        let rows = (BLOCK_FLOATS / w.k.max(1) / ROW_STEP).max(1) * ROW_STEP;
        let blocks = m.div_ceil(rows).max(1);
        let panels = w.panel_count();
        // Small maps have few blocks of rows: give every thread some panels instead.
        let groups = (2 * par::threads_for(work)).div_ceil(blocks).clamp(1, panels.max(1));
        let alone = par::threads_for(work) == 1;
        Cut { m, rows, panels, group: if alone { panels } else { panels.div_ceil(groups) }.max(1) }
    }

    fn groups(&self) -> usize {
        self.panels.div_ceil(self.group)
    }

    fn tasks(&self) -> usize {
        self.m.div_ceil(self.rows) * self.groups()
    }

    /// Rows and panels of a task.
    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let (row, panel) = (task / self.groups() * self.rows, task % self.groups() * self.group);
        (row..(row + self.rows).min(self.m), panel..(panel + self.group).min(self.panels))
    }
}

/// A checked 1×1 convolution.
struct Product<'a> {
    isa: Isa,
    x: Map<'a>,
    w: &'a PackedMatrix,
    epilogue: &'a Epilogue<'a>,
    out: SharedMut,
    out_stride: usize,
}

impl Product<'_> {
    /// One block of the output.
    ///
    /// # Safety
    /// `conv1x1_with` has checked all shapes, the ranges are within them, and nobody else touches this block of `out`.
    unsafe fn block(&self, rows: Range<usize>, panels: Range<usize>) {
        let (kernel, gelu) = (tile::rows(self.isa), gelu_row::gelu_rows(self.isa));
        let taps = [Tap { offset: 0, k0: 0, len: self.w.k }];
        let later = self.epilogue.act == Act::Gelu;
        for panel in panels {
            let first = panel * PANEL;
            let columns = PANEL.min(self.w.n_out - first);
            let residuals = TileResiduals::new(self.epilogue.residuals, rows.start, first);
            // SAFETY: rows and columns are within the checked maps.
            unsafe {
                let c = self.out.get().add(rows.start * self.out_stride + first);
                kernel(&Rows {
                    a: self.x.data.as_ptr().add(rows.start * self.x.stride),
                    lda: self.x.stride,
                    m: rows.len(),
                    taps: &taps,
                    panel: self.w.panel(panel),
                    start: Start::Bias(self.w.bias.as_ptr().add(first)),
                    c,
                    ldc: self.out_stride,
                    columns,
                    relu: self.epilogue.act == Act::Relu,
                    residuals: if later { &[] } else { residuals.get() },
                    ahead: self.w.panel(panel + 1),
                });
                if later {
                    let block = RowBlock { p: c, stride: self.out_stride, m: rows.len(), columns };
                    gelu(&block);
                    add_residuals(self.isa)(&block, residuals.get());
                }
            }
        }
    }
}
