//! CARE's interaction module in one pass: 1×1 → GELU → depthwise 3×3 → 1×1, plus residuals.
//!
//! The hidden map is the largest of the network (up to 8 times the input) and is never written to memory: for a few hundred
//! hidden channels at a time, rows of it are computed into a ring, filtered as soon as the row below is there, and multiplied at once into the output, which
//! collects the sums over the chunks of hidden channels. Chunks are added in ascending order whatever the threads do, so the bits of a result
//! depend only on the instruction set.

use std::ops::Range;

use crate::count;
use crate::depthwise::{PackedDepthwise, row};
use crate::epilogue::{Residual, RowBlock, TileResiduals, add_residuals, check_residuals};
use crate::gelu_row;
use crate::gemm::tile::{self, Ahead, Rows, Start, Tap, TileResidual};
use crate::gemm::{PANEL, PackedMatrix};
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::{self, SharedMut};
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
    out: MapMut<'_>,
) {
    check(x, w, residuals, &out);
    let [n, h, width, c] = x.shape();
    let pass = Pass {
        kernels: Kernels::new(isa),
        x,
        w,
        residuals,
        out: SharedMut::new(out.data),
        out_stride: out.stride,
        step: (STEP_PIXELS / width.max(1)).clamp(1, h.max(1)),
    };
    let work = n * h * width * w.fc1.n_out * (c + 9 + w.fc2.as_ref().map_or(0, |m| m.n_out));
    count::add(work);
    let bands = bands(h, n, par::threads_for(work));
    par::for_each(n * bands, work, |task| {
        let (image, band) = (task / bands, task % bands);
        // SAFETY: `check` has checked all shapes, and tasks write disjoint rows of the output.
        unsafe { pass.band(image, band * h / bands..(band + 1) * h / bands) };
    });
}

/// Hidden channels that are worked on at a time. The ring of three rows and the depthwise result of a row of 168 pixels are
/// 0.7 MB then and stay in the second-level cache, from which the second matrix product reads them.
const CHUNK: usize = 256;

/// Pixels (whole rows) of a step, so that also narrow maps give the matrix products enough rows per pass over the weights.
const STEP_PIXELS: usize = 112;

/// Rows of a band that make the two extra rows of hidden channels at its ends cheap.
const BAND_ROWS: usize = 16;

/// Into how many bands of rows a map is cut. A band computes its neighbours' edge rows again, so there are as few as keep the threads
/// busy: one or two for each, never one and a half. The result does not depend on it.
fn bands(h: usize, n: usize, threads: usize) -> usize {
    let each = threads.div_ceil(n.max(1));
    if threads == 1 { 1 } else { (each * (h / BAND_ROWS / each).clamp(1, 2)).clamp(1, h.max(1)) }
}

/// The inner loops for one instruction set.
#[derive(Clone, Copy)]
struct Kernels {
    rows: unsafe fn(&Rows<'_>),
    gelu: unsafe fn(&RowBlock),
    depthwise: unsafe fn(&row::Row),
    add: unsafe fn(&RowBlock, &[TileResidual]),
}

impl Kernels {
    fn new(isa: Isa) -> Kernels {
        Kernels {
            rows: tile::rows(isa),
            gelu: gelu_row::gelu_rows(isa),
            depthwise: row::depthwise_row::<3>(isa),
            add: add_residuals(isa),
        }
    }
}

/// A checked call.
struct Pass<'a> {
    kernels: Kernels,
    x: Map<'a>,
    w: &'a InvertedResidual,
    residuals: &'a [Residual<'a>],
    out: SharedMut,
    out_stride: usize,
    /// Output rows per step.
    step: usize,
}

/// A range of hidden channels of a band, with its line buffers. Every panel of channels has buffers of its own, in which pixels follow each other without
/// a gap: it is made, filtered while it is in the first-level cache, and read back for the next row as a stream.
struct Chunk<'a> {
    image: usize,
    hidden: Range<usize>,
    /// `[panel][slots][w][PANEL]`: row `y` of the hidden map lies in slot `y % slots`.
    ring: &'a mut [f32],
    slots: usize,
    /// `[panel][step][w][PANEL]`: depthwise results of a step.
    tmp: &'a mut [f32],
    /// Where the second matrix product finds the panels of `tmp`.
    taps: &'a [Tap],
    /// Whether this is the first step: its weights do not lie in the second-level cache yet. Later, pixels are what is waited for.
    is_new: bool,
}

impl Chunk<'_> {
    fn panels(&self) -> usize {
        self.hidden.len().div_ceil(PANEL)
    }

    /// Channels of a panel, counted from the first of all hidden channels.
    fn channels(&self, panel: usize) -> Range<usize> {
        let first = self.hidden.start + panel * PANEL;
        first..(first + PANEL).min(self.hidden.end)
    }
}

impl Pass<'_> {
    /// Some rows of one picture, all hidden channels.
    ///
    /// # Safety
    /// `check` has passed, the rows exist, and nobody else touches these rows of `out`.
    unsafe fn band(&self, image: usize, rows: Range<usize>) {
        let (hidden, w) = (self.w.fc1.n_out, self.x.w);
        let slots = (self.step + 2).min(self.x.h);
        let panels = CHUNK.min(hidden).div_ceil(PANEL);
        let mut ring = scratch::take(panels * slots * w * PANEL);
        let mut tmp = scratch::take(panels * self.step * w * PANEL);
        for start in (0..hidden).step_by(CHUNK) {
            let hidden = start..(start + CHUNK).min(hidden);
            let tap =
                |k: usize| Tap { offset: k * self.step * w, k0: start + k, len: PANEL.min(hidden.len() - k) };
            let taps: Vec<Tap> = (0..hidden.len()).step_by(PANEL).map(tap).collect();
            let mut chunk =
                Chunk { image, hidden, ring: &mut ring, slots, tmp: &mut tmp, taps: &taps, is_new: true };
            let mut filled = rows.start.saturating_sub(1);
            for y in rows.clone().step_by(self.step) {
                let y = y..(y + self.step).min(rows.end);
                let need = (y.end + 1).min(self.x.h);
                // SAFETY: all rows are within the map; the ring keeps the rows y.start − 1 .. need, which are at most `slots`.
                unsafe {
                    for panel in 0..chunk.panels() {
                        self.expand(&mut chunk, panel, filled..need);
                        self.filter(&mut chunk, panel, y.clone());
                    }
                    self.project(&chunk, y);
                }
                (filled, chunk.is_new) = (need, false);
            }
        }
    }

    /// 1×1 and GELU: rows of a panel of the hidden map into the ring.
    unsafe fn expand(&self, chunk: &mut Chunk<'_>, panel: usize, rows: Range<usize>) {
        let (w, channels) = (self.x.w, chunk.channels(panel));
        let row =
            |y: usize| self.x.data.as_ptr().wrapping_add((chunk.image * self.x.h + y) * w * self.x.stride);
        let ahead = match &self.w.fc2 {
            _ if !chunk.is_new => {
                Ahead::part(row(rows.end), self.next(rows.end) * self.x.stride, panel, chunk.panels())
            }
            _ if panel + 1 < chunk.panels() => Ahead::of(self.w.fc1.panel(channels.start / PANEL + 1)),
            Some(fc2) => Ahead::of(part(fc2, 0, &chunk.hidden)),
            None => Ahead::NONE,
        };
        let mut y = rows.start;
        while y < rows.end {
            let slot = y % chunk.slots;
            let count = (rows.end - y).min(chunk.slots - slot); // up to the end of the ring
            let m = count * w;
            let to = &mut chunk.ring[(panel * chunk.slots + slot) * w * PANEL..][..m * PANEL];
            let block = RowBlock { p: to.as_mut_ptr(), stride: PANEL, m, columns: channels.len() };
            // SAFETY: `m` pixels of the input follow `a`, the weights were checked, and the block lies in the ring.
            unsafe {
                (self.kernels.rows)(&Rows {
                    a: row(y),
                    lda: self.x.stride,
                    m,
                    taps: &[Tap { offset: 0, k0: 0, len: self.w.fc1.k }],
                    panel: self.w.fc1.panel(channels.start / PANEL),
                    start: Start::Bias(self.w.fc1.bias[channels.start..].as_ptr()),
                    c: block.p,
                    ldc: block.stride,
                    columns: block.columns,
                    relu: false,
                    residuals: &[],
                    ahead,
                });
                (self.kernels.gelu)(&block);
            }
            y += count;
        }
    }

    /// Depthwise 3×3 of rows `rows` of a panel: from the ring into `tmp`, or straight into the output when there is no second 1×1.
    unsafe fn filter(&self, chunk: &mut Chunk<'_>, panel: usize, rows: Range<usize>) {
        let (h, w, dw) = (self.x.h, self.x.w, &self.w.dw);
        let (tap_stride, channels) = (dw.padded_c(), chunk.channels(panel));
        for (i, y) in rows.enumerate() {
            let above = usize::from(y == 0); // kernel rows that lie outside of the map
            let below = usize::from(y + 1 == h);
            let mut inputs = [std::ptr::null(); 3];
            for (input, ky) in inputs.iter_mut().zip(above..3 - below) {
                let slot = panel * chunk.slots + (y + ky - 1) % chunk.slots;
                *input = chunk.ring[slot * w * PANEL..].as_ptr();
            }
            let (out, out_stride) = match self.w.fc2 {
                Some(_) => (chunk.tmp[(panel * self.step + i) * w * PANEL..].as_mut_ptr(), PANEL),
                // SAFETY: the row and the channel are within the output.
                None => (unsafe { self.output(chunk.image, y).add(channels.start) }, self.out_stride),
            };
            // SAFETY: the inputs are rows of the ring, the weights have all hidden channels, and `out` is a row of its own.
            unsafe {
                (self.kernels.depthwise)(&row::Row {
                    inputs: inputs.as_ptr(),
                    kh: 3 - above - below,
                    x_stride: PANEL,
                    w,
                    c: channels.len(),
                    weights: dw.weights[above * 3 * tap_stride + channels.start..].as_ptr(),
                    w_stride: tap_stride,
                    bias: dw.bias[channels.start..].as_ptr(),
                    out,
                    out_stride,
                    doubled: false,
                });
            }
        }
    }

    /// The second 1×1: adds what this chunk contributes to the output; the last chunk adds the residuals.
    unsafe fn project(&self, chunk: &Chunk<'_>, rows: Range<usize>) {
        let m = rows.len() * self.x.w;
        let pixel = (chunk.image * self.x.h + rows.start) * self.x.w;
        // SAFETY: the row is within the output.
        let out = unsafe { self.output(chunk.image, rows.start) };
        let Some(fc2) = &self.w.fc2 else {
            let (first, columns) = (chunk.hidden.start, chunk.hidden.len());
            let residuals = TileResiduals::new(self.residuals, pixel, first);
            // SAFETY: the block is the one that `filter` has just written; residuals have the shape of the output.
            unsafe {
                let block = RowBlock { p: out.add(first), stride: self.out_stride, m, columns };
                (self.kernels.add)(&block, residuals.get());
            }
            return;
        };
        let next = out.wrapping_add(m * self.out_stride);
        let floats = self.next(rows.end) * self.out_stride;
        let (first_chunk, last_chunk) = (chunk.hidden.start == 0, chunk.hidden.end == fc2.k);
        for panel in 0..fc2.panel_count() {
            let column = panel * PANEL;
            let residuals = TileResiduals::new(if last_chunk { self.residuals } else { &[] }, pixel, column);
            // SAFETY: `tmp` holds `m` pixels of the chunk's channels, the rows and columns of the output were checked.
            unsafe {
                (self.kernels.rows)(&Rows {
                    a: chunk.tmp.as_ptr(),
                    lda: PANEL,
                    m,
                    taps: chunk.taps,
                    panel: fc2.panel(panel),
                    start: if first_chunk { Start::Bias(fc2.bias[column..].as_ptr()) } else { Start::Output },
                    c: out.add(column),
                    ldc: self.out_stride,
                    columns: PANEL.min(fc2.n_out - column),
                    relu: false,
                    residuals: residuals.get(),
                    ahead: if chunk.is_new {
                        Ahead::of(part(fc2, panel + 1, &chunk.hidden))
                    } else {
                        Ahead::part(next, floats, panel, fc2.panel_count())
                    },
                });
            }
        }
    }

    /// Pixels of the step that begins at row `y`; none behind the last row.
    fn next(&self, y: usize) -> usize {
        self.step.min(self.x.h - y) * self.x.w
    }

    /// The first pixel of an output row.
    ///
    /// # Safety
    /// The row is within the output.
    unsafe fn output(&self, image: usize, y: usize) -> *mut f32 {
        // SAFETY: the caller's contract.
        unsafe { self.out.get().add((image * self.x.h + y) * self.x.w * self.out_stride) }
    }
}

/// The rows of a panel that multiply a range of hidden channels; nothing behind the last panel.
fn part<'a>(fc2: &'a PackedMatrix, panel: usize, hidden: &Range<usize>) -> &'a [f32] {
    fc2.panel(panel).get(hidden.start * PANEL..hidden.end * PANEL).unwrap_or(&[])
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
    assert_eq!(w.dw.weights.len(), 9 * w.dw.padded_c(), "all nine taps of the depthwise kernel");
    assert!(hidden > 0, "an inverted residual without hidden channels");
    if let Some(fc2) = &w.fc2 {
        assert_eq!(fc2.k, hidden, "hidden channels of an inverted residual");
    }
    assert_eq!(out.shape(), [x.n, x.h, x.w, w.n_out()], "output of an inverted residual");
    check_residuals(residuals, out.shape());
}
