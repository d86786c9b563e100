//! Gradient of a 3×3 convolution by its weights, by the same tiles: 36 multiplications instead of 144.
//!
//! Some hundred tiles at a time are transformed, the inputs as for the convolution and the gradients of the results by the transposed transform; for
//! each of the 36 points the tiles' outer products are added to a matrix `[co][ci]`. Blocks of tiles follow each other and their size depends on
//! the channels alone, so a result has the same bits at any thread count.

use std::ops::Range;

use super::tiling::Tiling;
use super::transform::{self, InputTile, OUT, POINTS};
use super::transform_grad::{self, GradTile};
use super::{input_pixels, level_of};
use crate::buffer::LINE;
use crate::count;
use crate::gemm::outer::{self, Outer};
use crate::isa::Isa;
use crate::map::Map;
use crate::par::{self, SharedMut};
use crate::scratch;

/// dw `[co][ci][3][3]` of a 3×3 convolution (stride 1, padding 1) over several maps with the same weights.
///
/// # Shapes
/// `xs[l]`: `[n, h, w, ci]`, `dys[l]`: `[n, h, w, co]`; any pixel strides.
///
/// # Panics
/// When a shape does not fit.
pub fn conv3x3_weight_grad(xs: &[Map<'_>], dys: &[Map<'_>], co: usize, ci: usize) -> Vec<f32> {
    conv3x3_weight_grad_with(Isa::current(), xs, dys, co, ci)
}

/// [`conv3x3_weight_grad`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn conv3x3_weight_grad_with(isa: Isa, xs: &[Map<'_>], dys: &[Map<'_>], co: usize, ci: usize) -> Vec<f32> {
    check(xs, dys, co, ci);
    let mut total = 0;
    let pairs = xs.iter().zip(dys);
    let levels: Vec<Level<'_>> = pairs
        .map(|(x, dy)| {
            let tiling = Tiling::new([x.n, x.h, x.w], total);
            total = tiling.end;
            Level { x: *x, dy: *dy, tiling }
        })
        .collect();
    count::add(xs.iter().map(Map::pixels).sum::<usize>() * 9 * co * ci);
    let zeros = scratch::take_zeroed(co.max(ci));
    let pass = Pass { isa, levels: &levels, zeros: &zeros, co, ci };
    let blocks = (BLOCK_FLOATS / (POINTS * (co + ci) * outer::BLOCK).max(1)).max(1);
    let tiles = (blocks * outer::BLOCK).min(total);
    let (x_row, dy_row) = (row(ci), row(co));
    let mut v = scratch::take(POINTS * slab(tiles * x_row));
    let mut z = scratch::take(POINTS * slab(tiles * dy_row));
    let mut sums = scratch::take_zeroed(POINTS * co * ci);
    let mut first = 0;
    while first < total {
        let block = first..(first + tiles).min(total);
        pass.transform(block.clone(), &mut v, &mut z);
        pass.multiply(block.len(), &v, &z, &mut sums);
        first = block.end;
    }
    let mut dw = vec![0.0; co * ci * 9];
    let shared = SharedMut::new(&mut dw);
    par::for_each(co, co * ci * POINTS * 3, |o| {
        // SAFETY: row `o` of the kernels belongs to this task alone.
        let out = unsafe { std::slice::from_raw_parts_mut(shared.get().add(o * ci * 9), ci * 9) };
        transform_grad::kernel_row(isa, &sums[o * ci..], co * ci, out);
    });
    dw
}

/// Transformed floats of a block, as far as whole blocks of a product fit into them: they stay in the third-level cache until they are multiplied.
const BLOCK_FLOATS: usize = 4 << 20;
/// Tiles that a task transforms.
const TASK_TILES: usize = 16;

/// Floats from one tile to the next: an odd number of cache lines, so that tiles spread over the sets of a cache.
fn row(c: usize) -> usize {
    (c.div_ceil(LINE) | 1) * LINE
}

/// Floats from one point to the next; no multiple of 4096 bytes, as 36 such streams would fall into one set.
fn slab(floats: usize) -> usize {
    floats.next_multiple_of(1024) + LINE
}

struct Level<'a> {
    x: Map<'a>,
    dy: Map<'a>,
    tiling: Tiling,
}

/// A checked call.
struct Pass<'a> {
    isa: Isa,
    levels: &'a [Level<'a>],
    /// As many as the channels of either map.
    zeros: &'a [f32],
    co: usize,
    ci: usize,
}

impl Pass<'_> {
    /// The tiles of a block at all points.
    fn transform(&self, tiles: Range<usize>, v: &mut [f32], z: &mut [f32]) {
        let work = tiles.len() * POINTS * (self.co + self.ci) * 4;
        let (v_slab, z_slab) = (v.len() / POINTS, z.len() / POINTS);
        let (v, z) = (SharedMut::new(v), SharedMut::new(z));
        let (input, results) = (transform::input(self.isa), transform_grad::results(self.isa));
        par::for_each(tiles.len().div_ceil(TASK_TILES), work, |task| {
            let last = ((task + 1) * TASK_TILES).min(tiles.len());
            for i in task * TASK_TILES..last {
                let tile = tiles.start + i;
                let level = level_of(self.levels, |level| &level.tiling, tile);
                let pixels = input_pixels(&level.x, &level.tiling, tile, self.zeros);
                let grads = self.result_pixels(level, tile);
                // SAFETY: pixels inside have their channels (checked), and so have the zeros; row `i` of every slab is this task's.
                unsafe {
                    let to = v.get().add(i * row(self.ci));
                    input(&InputTile { pixels, c: self.ci, to, slab: v_slab });
                    let to = z.get().add(i * row(self.co));
                    results(&GradTile { pixels: grads, c: self.co, to, slab: z_slab });
                }
            }
        });
    }

    /// The 4×4 gradients of a tile; those outside of the map are zeros.
    fn result_pixels(&self, level: &Level<'_>, tile: usize) -> [*const f32; OUT * OUT] {
        let (image, y, x) = level.tiling.corner(tile);
        std::array::from_fn(|p| {
            let inside = level.tiling.pixel(image, y + p / OUT, x + p % OUT);
            inside.map_or(self.zeros, |pixel| &level.dy.data[pixel * level.dy.stride..]).as_ptr()
        })
    }

    /// Adds the tiles' outer products to the sums of every point.
    fn multiply(&self, tiles: usize, v: &[f32], z: &[f32], sums: &mut [f32]) {
        let (co, ci, kernel) = (self.co, self.ci, outer::outer(self.isa));
        let sums = SharedMut::new(sums);
        par::for_each(POINTS, POINTS * tiles * co * ci, |point| {
            // SAFETY: every slab holds `tiles` rows, and the sums of a point belong to its task.
            unsafe {
                kernel(&Outer {
                    a: z[point * (z.len() / POINTS)..].as_ptr(),
                    lda: row(co),
                    b: v[point * (v.len() / POINTS)..].as_ptr(),
                    ldb: row(ci),
                    k: tiles,
                    m: co,
                    n: ci,
                    c: sums.get().add(point * co * ci),
                    ldc: ci,
                    add: true,
                });
            }
        });
    }
}

fn check(xs: &[Map<'_>], dys: &[Map<'_>], co: usize, ci: usize) {
    assert_eq!(xs.len(), dys.len(), "as many gradients as maps");
    for (x, dy) in xs.iter().zip(dys) {
        x.check();
        dy.check();
        assert_eq!(x.c, ci, "input channels of a 3×3 weight gradient");
        assert_eq!(dy.shape(), [x.n, x.h, x.w, co], "gradient of the results of a 3×3 convolution");
    }
}
