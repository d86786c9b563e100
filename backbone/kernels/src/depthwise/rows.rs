//! Output rows of a branch: which input rows and taps each needs.

use std::ops::Range;

use super::row::{Arms, MAX_WIDTH, Row, cross_row, depthwise_row};
use super::{Branch, PackedDepthwise};
use crate::buffer::LINE;
use crate::isa::Isa;
use crate::map::Map;
use crate::par::SharedMut;

/// The row kernel of a weight's shape on an instruction set.
#[derive(Clone, Copy)]
enum Kernel {
    Row(unsafe fn(&Row)),
    Cross(unsafe fn(&Row, &Arms)),
}

/// A checked branch, ready to compute any of its output rows from any thread.
pub(super) struct Part<'a> {
    x: Map<'a>,
    w: &'a PackedDepthwise,
    kernel: Kernel,
    out: Target,
}

/// Where the channels of a branch go within the output that all branches share.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) data: SharedMut,
    pub(super) first_channel: usize,
    pub(super) stride: usize,
}

/// The kernel for the width of these weights.
fn kernel(isa: Isa, w: &PackedDepthwise) -> Kernel {
    match (w.cross, w.kw) {
        (true, _) => Kernel::Cross(cross_row::<MAX_WIDTH>(isa)),
        (_, 1) => Kernel::Row(depthwise_row::<1>(isa)),
        (_, 3) => Kernel::Row(depthwise_row::<3>(isa)),
        (_, 5) => Kernel::Row(depthwise_row::<5>(isa)),
        (_, 7) => Kernel::Row(depthwise_row::<7>(isa)),
        _ => Kernel::Row(depthwise_row::<MAX_WIDTH>(isa)),
    }
}

/// The width to which a kernel is filled up with zero taps, so that a few row kernels serve all.
pub(super) fn packed_width(kw: usize, cross: bool) -> usize {
    if kw > 7 || cross { MAX_WIDTH } else { kw }
}

/// The highest kernel: the input rows of an output row are listed on the stack.
pub(super) const MAX_HEIGHT: usize = 31;

impl<'a> Part<'a> {
    /// Prepares a branch whose shapes have been checked.
    pub(super) fn new(isa: Isa, Branch { x, w }: Branch<'a>, out: Target) -> Part<'a> {
        Part { x, w, kernel: kernel(isa, w), out }
    }

    /// Multiply-adds of an output row.
    pub(super) fn row_work(&self) -> usize {
        self.x.w * self.x.c * self.w.taps()
    }

    /// Computes some output rows of a picture.
    ///
    /// # Safety
    /// No other thread works on the same rows of this branch.
    pub(super) unsafe fn rows(&self, image: usize, rows: Range<usize>) {
        if self.row_work() == 0 {
            return;
        }
        for y in rows {
            // SAFETY: the caller's promise.
            unsafe { self.row(image, y) };
        }
    }

    unsafe fn row(&self, image: usize, y: usize) {
        let (x, w) = (&self.x, self.w);
        let pad = w.kh / 2;
        let inside = pad.saturating_sub(y)..w.kh.min(x.h + pad - y); // kernel rows within the map
        let mut inputs = [std::ptr::null(); MAX_HEIGHT];
        let mut count = 0;
        for ky in inside.clone().filter(|&ky| !w.cross || ky != pad) {
            inputs[count] = self.input(image, y + ky - pad);
            count += 1;
        }
        let centre = [self.input(image, y)];
        let (main, first_tap) =
            if w.cross { (&centre[..], 0) } else { (&inputs[..count], inside.start * w.kw) };
        let p = (image * x.h + y) * x.w;
        let row = Row {
            inputs: main.as_ptr(),
            kh: main.len(),
            x_stride: x.stride,
            w: x.w,
            c: x.c,
            weights: w.weights[first_tap * w.padded_c()..].as_ptr(),
            w_stride: w.padded_c(),
            bias: w.bias.as_ptr(),
            // SAFETY: `check` made sure that the output holds the channels of this branch at this pixel.
            out: unsafe { self.out.data.get().add(p * self.out.stride + self.out.first_channel) },
            out_stride: self.out.stride,
            doubled: w.c == LINE / 2,
        };
        // SAFETY: `check` made sure that input and output hold all rows, `inside` are kernel rows within the map, the packed weights have
        // all taps (8 channels twice), `kernel` fits their width, the input is borrowed for reading while the output is borrowed mutably, and nobody else works on this output row.
        unsafe {
            match self.kernel {
                Kernel::Row(run) => run(&row),
                Kernel::Cross(run) => {
                    let weights = w.weights[(w.kw + inside.start) * w.padded_c()..].as_ptr();
                    run(&row, &Arms { inputs: inputs.as_ptr(), count, weights });
                }
            }
        }
    }

    /// The first pixel of an input row.
    fn input(&self, image: usize, y: usize) -> *const f32 {
        self.x.data[(image * self.x.h + y) * self.x.w * self.x.stride..].as_ptr()
    }
}
