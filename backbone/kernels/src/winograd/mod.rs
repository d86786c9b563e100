//! 3×3 convolution by Winograd's F(4×4, 3×3): 36 multiplications for 16 results instead of 144.
//!
//! The maps (all pyramid levels of a call) are cut into tiles of 4×4 results. A task transforms the 6×6 input pixels of some hundred tiles
//! into 36 matrices `[tile][ci]`, multiplies each with its packed weights, and transforms the products back. Tiles at the border read
//! from a row of zeros and write what is outside of the map into a row that nobody reads, so there is one path and no copy with padding.
//!
//! Costs digits: the error is about 35 times that of the direct convolution (6e-5 on results of unit scale), which is why networks keep a switch.

mod tiling;
mod transform;
mod transform_grad;
mod weight_grad;

use std::ops::Range;

use crate::buffer::LINE;
use crate::conv::{ConvShape, check_levels};
use crate::count;
use crate::epilogue::{Act, RowBlock};
use crate::gelu_row;
use crate::gemm::tile::{self, Ahead, Rows, Start, Tap};
use crate::gemm::{PANEL, PackedMatrix};
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::{self, SharedMut};
use crate::scratch::{self, Scratch};
use tiling::Tiling;
use transform::{InputTile, KernelPanel, OUT, OutputTile, POINTS, SIDE, TAPS};
pub use weight_grad::{conv3x3_weight_grad, conv3x3_weight_grad_with};

/// Weights of a 3×3 convolution (stride 1, padding 1), packed. What is multiplied is four times as large ([`Points`]) and made for each call.
#[derive(Clone, Debug)]
pub struct PackedWinograd {
    shape: ConvShape,
    /// Row `i · 9 + tap` of a panel holds that tap of input channel `i`.
    kernels: PackedMatrix,
}

impl PackedWinograd {
    /// Packs `w`, `[co][ci][3][3]` (the layout of PyTorch). No bias means zeros.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn pack(w: &[f32], co: usize, ci: usize, bias: Option<&[f32]>) -> PackedWinograd {
        PackedWinograd {
            shape: ConvShape::square(co, ci, 3, 1, 1),
            kernels: PackedMatrix::pack(w, co, ci * TAPS, bias),
        }
    }

    /// The shape of the convolution.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }
}

/// The values of all kernels at the 36 points, `[point][panel][ci][PANEL]`: what a task reads, front to back.
///
/// They are made anew by every call, in pooled memory. Kept, those of a detector would be 140 MB, written once and then read from memory in
/// every pass; made, they are read where they were just written, from the third-level cache.
struct Points {
    values: Scratch,
    /// From one point to the next. Not a multiple of 4096 bytes, because the transform writes 36 streams at once.
    slab: usize,
    panels: usize,
    /// Floats of a panel.
    size: usize,
}

impl Points {
    fn new(isa: Isa, w: &PackedWinograd) -> Points {
        let (panels, size) = (w.kernels.panel_count(), w.shape.ci * PANEL);
        let slab = panels * size + LINE;
        let mut values = scratch::take(POINTS * slab);
        let (shared, transform) = (SharedMut::new(&mut values), transform::kernels(isa));
        par::for_each(panels, POINTS * panels * size, |panel| {
            let (from, ci) = (w.kernels.panel(panel).as_ptr(), w.shape.ci);
            // SAFETY: a packed panel has `ci · 9` rows; each slab has room for `panels` panels, and every task has one of its own.
            unsafe { transform(&KernelPanel { from, ci, to: shared.get().add(panel * size), slab }) };
        });
        Points { values, slab, panels, size }
    }

    /// A panel, counted over the panels of all points; behind the last one comes the first.
    fn panel(&self, panel: usize) -> &[f32] {
        let (point, panel) = (panel / self.panels % POINTS, panel % self.panels);
        &self.values[point * self.slab + panel * self.size..][..self.size]
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
    check_levels(xs, w.shape, outs);
    let mut first = 0;
    let levels: Vec<Level<'_>> = xs
        .iter()
        .zip(outs)
        .map(|(x, out)| {
            let tiling = Tiling::new([x.n, x.h, x.w], first);
            first = tiling.end;
            Level { x: *x, out: SharedMut::new(out.data), out_stride: out.stride, tiling }
        })
        .collect();
    let (total, ConvShape { co, ci, .. }) = (first, w.shape);
    let work = total * POINTS * co * ci;
    count::add(xs.iter().map(Map::pixels).sum::<usize>() * 9 * co * ci);
    if total == 0 {
        return;
    }
    let cut = Cut::new(total, par::threads_for(work));
    let zeros = scratch::take_zeroed(ci);
    let points = Points::new(isa, w);
    let pass = Pass { isa, w, points: &points, act, levels: &levels, zeros: &zeros };
    par::for_each(cut.tasks(), work, |task| {
        // SAFETY: `check_levels` has checked all shapes, and tiles are disjoint parts of the outputs.
        unsafe { pass.tiles(cut.tiles(task)) };
    });
}

/// Tiles of a task: seven register tiles of 14 rows. For 256 channels a task's matrices are 2 × 3.6 MB, and every task reads all
/// weights (9.4 MB). Measured at 100×168 (2 MiB second-level cache): 28 tiles 30 % slower, 196 tiles no faster.
const MAX_TILES: usize = 98;

/// What sums start from: the bias is added to results, not to products.
static NO_BIAS: [f32; PANEL] = [0.0; PANEL];

/// Below it the weights are not worth being read for a task.
const MIN_TILES: usize = 28;

/// How the tiles of a call are dealt out: rounds in which every thread gets a full task, and what is left in equal parts, so that
/// no thread waits for another's last task. Results do not depend on it.
struct Cut {
    total: usize,
    /// Tasks of [`MAX_TILES`].
    full: usize,
    /// Tiles of a task behind those.
    rest: usize,
}

impl Cut {
    fn new(total: usize, threads: usize) -> Cut {
        let full = total / (threads * MAX_TILES) * threads;
        let rest = (total - full * MAX_TILES).div_ceil(threads).max(MIN_TILES);
        Cut { total, full, rest }
    }

    fn tasks(&self) -> usize {
        self.full + (self.total - self.full * MAX_TILES).div_ceil(self.rest)
    }

    fn tiles(&self, task: usize) -> Range<usize> {
        let (full, rest) = (task.min(self.full), task.saturating_sub(self.full));
        let first = full * MAX_TILES + rest * self.rest;
        let count = if task < self.full { MAX_TILES } else { self.rest };
        first..(first + count).min(self.total)
    }
}

/// One map of the call.
struct Level<'a> {
    x: Map<'a>,
    out: SharedMut,
    out_stride: usize,
    tiling: Tiling,
}

/// The 6×6 pixels of `x` that a tile reads; those outside of the map are `zeros`.
fn input_pixels(x: &Map<'_>, tiling: &Tiling, tile: usize, zeros: &[f32]) -> [*const f32; POINTS] {
    let (image, top, left) = tiling.corner(tile);
    std::array::from_fn(|p| {
        // The border starts one pixel up and left; where that is outside, the index wraps around and is found too large.
        let (row, column) = ((top + p / SIDE).wrapping_sub(1), (left + p % SIDE).wrapping_sub(1));
        let inside = tiling.pixel(image, row, column);
        inside.map_or(zeros, |pixel| &x.data[pixel * x.stride..]).as_ptr()
    })
}

/// The map that a tile belongs to.
fn level_of<T>(levels: &[T], tiling: impl Fn(&T) -> &Tiling, tile: usize) -> &T {
    &levels[levels.partition_point(|level| tiling(level).is_before(tile))]
}

/// A checked call.
struct Pass<'a> {
    isa: Isa,
    w: &'a PackedWinograd,
    points: &'a Points,
    act: Act,
    levels: &'a [Level<'a>],
    /// `ci` zeros.
    zeros: &'a [f32],
}

impl Pass<'_> {
    /// Some tiles, all channels.
    ///
    /// # Safety
    /// `check_levels` has passed, the tiles exist, and nobody else works on them.
    unsafe fn tiles(&self, tiles: Range<usize>) {
        let ConvShape { co, ci, .. } = self.w.shape;
        // Slabs are not a multiple of 4096 bytes apart: 36 such streams would fall into one set of the cache.
        let rows = tiles.len();
        let slab = |c: usize| rows * c.next_multiple_of(LINE) + LINE;
        let mut v = scratch::take(POINTS * slab(ci));
        let mut m = scratch::take(POINTS * slab(co));
        let mut nobody = scratch::take(co);
        // SAFETY: the buffers have 36 slabs of `tiles` rows each; the caller's contract for the maps.
        unsafe {
            self.transform_inputs(tiles.clone(), &mut v, slab(ci));
            self.multiply(rows, (&v, slab(ci)), (&mut m, slab(co)));
            self.transform_outputs(tiles, &m, slab(co), &mut nobody);
        }
    }

    /// The level of a tile.
    fn level(&self, tile: usize) -> &Level<'_> {
        level_of(self.levels, |level| &level.tiling, tile)
    }

    unsafe fn transform_inputs(&self, tiles: Range<usize>, v: &mut [f32], slab: usize) {
        let kernel = transform::input(self.isa);
        let c = self.w.shape.ci;
        for (i, tile) in tiles.enumerate() {
            let level = self.level(tile);
            let pixels = input_pixels(&level.x, &level.tiling, tile, self.zeros);
            let to = v[i * c.next_multiple_of(LINE)..].as_mut_ptr();
            // SAFETY: pixels inside have `ci` channels (checked), and so have the zeros; every slab has room for row `i`.
            unsafe { kernel(&InputTile { pixels, c, to, slab }) };
        }
    }

    /// 36 products `[tiles][ci] · [ci][co]`.
    unsafe fn multiply(&self, m: usize, (v, v_slab): (&[f32], usize), (out, out_slab): (&mut [f32], usize)) {
        let kernel = tile::rows(self.isa);
        let ConvShape { co, ci, .. } = self.w.shape;
        let panels = self.points.panels;
        for (point, panel) in (0..POINTS).flat_map(|point| (0..panels).map(move |panel| (point, panel))) {
            let column = panel * PANEL;
            // SAFETY: the slabs hold `m` rows; the last panel writes only the columns that exist.
            unsafe {
                kernel(&Rows {
                    a: v[point * v_slab..].as_ptr(),
                    lda: ci.next_multiple_of(LINE),
                    m,
                    taps: &[Tap { offset: 0, k0: 0, len: ci }],
                    panel: self.points.panel(point * panels + panel),
                    start: Start::Bias(NO_BIAS.as_ptr()),
                    c: out[point * out_slab + column..].as_mut_ptr(),
                    ldc: co.next_multiple_of(LINE),
                    columns: PANEL.min(co - column),
                    relu: false,
                    residuals: &[],
                    ahead: Ahead::of(self.points.panel(point * panels + panel + 1)),
                });
            }
        }
    }

    unsafe fn transform_outputs(&self, tiles: Range<usize>, m: &[f32], slab: usize, nobody: &mut [f32]) {
        let (kernel, gelu) = (transform::output(self.isa), gelu_row::gelu_rows(self.isa));
        let c = self.w.shape.co;
        let nobody = nobody.as_mut_ptr();
        for (i, tile) in tiles.enumerate() {
            let level = self.level(tile);
            let (image, y, x) = level.tiling.corner(tile);
            let pixels = std::array::from_fn(|p| {
                let inside = level.tiling.pixel(image, y + p / OUT, x + p % OUT);
                // SAFETY: the pixel is inside of the output, whose shape was checked.
                inside.map_or(nobody, |pixel| unsafe { level.out.get().add(pixel * level.out_stride) })
            });
            let from = m[i * c.next_multiple_of(LINE)..].as_ptr();
            let (bias, relu) = (self.w.kernels.bias.as_ptr(), self.act == Act::Relu);
            // SAFETY: every pixel has `co` channels to itself (checked), the slabs hold row `i`.
            unsafe { kernel(&OutputTile { from, slab, bias, relu, pixels, c }) };
            if self.act == Act::Gelu {
                for row in pixels.chunks_exact(OUT).take(level.x.h - y) {
                    let columns = OUT.min(level.x.w - x);
                    let block = RowBlock { p: row[0], stride: level.out_stride, m: columns, columns: c };
                    // SAFETY: these pixels of the tile are inside of the map, and just written.
                    unsafe { gelu(&block) };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_in_one_task_and_threads_get_as_many() {
        for (total, threads) in
            [(0, 1), (1, 2), (97, 1), (98, 1), (99, 1), (1430, 1), (1430, 2), (1430, 16), (1050, 3)]
        {
            let cut = Cut::new(total, threads);
            let tasks: Vec<_> = (0..cut.tasks()).map(|task| cut.tiles(task)).collect();
            assert!(
                tasks.iter().all(|t| (1..=MAX_TILES).contains(&t.len())),
                "{total} tiles, {threads} threads"
            );
            let tiles: Vec<usize> = tasks.into_iter().flatten().collect();
            assert_eq!(tiles, (0..total).collect::<Vec<_>>(), "{total} tiles, {threads} threads");
        }
        let cut = Cut::new(1430, 2);
        let of =
            |thread: usize| (thread..cut.tasks()).step_by(2).map(|task| cut.tiles(task).len()).sum::<usize>();
        assert_eq!((of(0), of(1)), (715, 715));
    }
}
