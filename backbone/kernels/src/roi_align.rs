//! RoIAlign (He et al., ICCV 2017, <https://arxiv.org/abs/1703.06870>): the features of boxes, resampled to a fixed grid.
//!
//! The arithmetic is that of mmcv's `RoIAlign(aligned=True)`: a box is cut into `size × size` bins, a bin is the mean of bilinear
//! samples at regular places. Sample places are a product of rows and columns, and so are their weights: a bin is a weighted sum
//! of pixels whose weights are found once per row and once per column.
//! Source: <https://github.com/open-mmlab/mmcv/blob/v2.1.0/mmcv/ops/csrc/pytorch/cpu/roi_align.cpp>

use crate::backward::{fma, vectorised};
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::SharedMut;
use rayon::prelude::*;

/// A box on one picture of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roi {
    /// Picture in the batch.
    pub image: usize,
    /// x0, y0, x1, y1 in pixels of the network's input.
    pub bbox: [f32; 4],
}

/// How boxes are resampled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoiAlign {
    /// Rows and columns of the result.
    pub size: usize,
    /// Samples per bin and axis; 0 for about one per cell (`ceil` of the bin's side).
    pub sampling: usize,
    /// Cells of the map per input pixel: 1 / stride.
    pub scale: f32,
}

/// Boxes of a parallel task.
const BOXES: usize = 4;
/// Channels of a parallel task of the gradient.
const CHANNELS: usize = 64;

/// Features of every box.
///
/// # Shapes
/// `x`: `[n, h, w, c]`, `out`: `[rois, size, size, c]`.
///
/// # Panics
/// When `out` has another length, or a box is of a picture that is not there.
pub fn roi_align(x: Map<'_>, rois: &[Roi], how: RoiAlign, out: &mut [f32]) {
    roi_align_with(Isa::current(), x, rois, how, out);
}

/// [`roi_align`] with a given instruction set.
///
/// # Panics
/// As [`roi_align`], or when the processor lacks the instruction set.
pub fn roi_align_with(isa: Isa, x: Map<'_>, rois: &[Roi], how: RoiAlign, out: &mut [f32]) {
    isa.assert_available();
    x.check();
    check(rois, how, x.shape(), out.len());
    let volume = how.size * how.size * x.c;
    if volume == 0 {
        return;
    }
    out.par_chunks_mut(BOXES * volume).zip(rois.par_chunks(BOXES)).for_each(|(out, rois)| {
        for (out, roi) in out.chunks_exact_mut(volume).zip(rois) {
            out.fill(0.0);
            let (rows, columns) = how.axes(roi, [x.h, x.w]);
            for (bin, out) in out.chunks_exact_mut(x.c).enumerate() {
                for_taps(&rows[bin / how.size], &columns[bin % how.size], |y, column, weight| {
                    let pixel = x.pixel((roi.image * x.h + y) * x.w + column);
                    add_scaled(isa, weight, pixel, out);
                });
            }
        }
    });
}

/// dx of [`roi_align`], **added** to `dx`. The sum of a pixel is in the order of the boxes, whatever the number of threads.
///
/// # Shapes
/// `grad`: `[rois, size, size, c]`, `dx`: the `shape` `[n, h, w, c]` of the map.
///
/// # Panics
/// When a length does not fit, or a box is of a picture that is not there.
pub fn roi_align_grad(grad: &[f32], rois: &[Roi], how: RoiAlign, shape: [usize; 4], dx: &mut [f32]) {
    let [n, h, w, c] = shape;
    check(rois, how, shape, grad.len());
    MapMut::dense(dx, shape).check(); // also refuses shapes whose product wraps around
    let (isa, blocks, volume) = (Isa::current(), c.div_ceil(CHANNELS), how.size * how.size * c);
    let axes: Vec<_> = rois.par_iter().map(|roi| how.axes(roi, [h, w])).collect();
    let out = SharedMut::new(dx);
    (0..n * blocks).into_par_iter().for_each(|task| {
        let (image, first) = (task / blocks, task % blocks * CHANNELS);
        let count = CHANNELS.min(c - first);
        for (i, (roi, (rows, columns))) in
            rois.iter().zip(&axes).enumerate().filter(|(_, (r, _))| r.image == image)
        {
            for bin in 0..how.size * how.size {
                let grad = &grad[i * volume + bin * c + first..][..count];
                for_taps(&rows[bin / how.size], &columns[bin % how.size], |y, x, weight| {
                    let at = ((roi.image * h + y) * w + x) * c + first;
                    // SAFETY: y < h and x < w, so the range is within `dx`, whose length was checked; tasks differ in the picture or in
                    // the channels, so no other task touches it.
                    let dx = unsafe { std::slice::from_raw_parts_mut(out.get().add(at), count) };
                    add_scaled(isa, weight, grad, dx);
                });
            }
        }
    });
}

fn check(rois: &[Roi], how: RoiAlign, [n, _, _, c]: [usize; 4], values: usize) {
    let volume = how.size.checked_mul(how.size).and_then(|v| v.checked_mul(c));
    let wanted = volume.and_then(|v| v.checked_mul(rois.len()));
    assert_eq!(Some(values), wanted, "values of {} boxes at {how:?}", rois.len());
    assert!(rois.iter().all(|r| r.image < n), "a box of a picture beyond the {n} of the batch");
}

/// The cells along one axis that a bin is a sum of: the first one, and a weight for each from there.
struct Bin {
    first: usize,
    weights: Vec<f32>,
}

impl RoiAlign {
    /// Bins along y and along x.
    fn axes(&self, roi: &Roi, [h, w]: [usize; 2]) -> (Vec<Bin>, Vec<Bin>) {
        let [x0, y0, x1, y1] = roi.bbox.map(|v| v * self.scale - 0.5);
        (self.axis(y0, y1 - y0, h), self.axis(x0, x1 - x0, w))
    }

    fn axis(&self, start: f32, length: f32, cells: usize) -> Vec<Bin> {
        /// More than any box within a picture needs: boxes from outside must not cost forever.
        const MOST: usize = 1 << 12;
        let side = length / self.size as f32;
        let samples = match self.sampling {
            _ if side.is_nan() || side < 0.0 => 0,
            0 => (side.ceil() as usize).min(MOST),
            given => given,
        };
        let bin = |b: usize| {
            let place = |i: usize| start + b as f32 * side + (i as f32 + 0.5) * side / samples as f32;
            let mut bin = Bin { first: 0, weights: Vec::new() };
            for position in (0..samples).map(place) {
                bin.add(position, cells, 1.0 / samples as f32);
            }
            bin
        };
        (0..self.size).map(bin).collect()
    }
}

impl Bin {
    /// Adds a bilinear sample. Samples more than a cell outside are 0, those nearer take the border's value. Positions ascend.
    fn add(&mut self, position: f32, cells: usize, weight: f32) {
        if cells == 0 || !(-1.0..=cells as f32).contains(&position) {
            return;
        }
        let position = position.max(0.0);
        let low = (position as usize).min(cells - 1);
        let share = if low == cells - 1 { 0.0 } else { position - low as f32 };
        if self.weights.is_empty() {
            self.first = low;
        }
        let at = low - self.first;
        self.weights.resize((at + 1 + usize::from(share > 0.0)).max(self.weights.len()), 0.0);
        self.weights[at] += (1.0 - share) * weight;
        if share > 0.0 {
            self.weights[at + 1] += share * weight;
        }
    }
}

/// Calls `f(row, column, weight)` for every pixel of a bin.
fn for_taps(rows: &Bin, columns: &Bin, mut f: impl FnMut(usize, usize, f32)) {
    for (y, wy) in rows.weights.iter().enumerate() {
        for (x, wx) in columns.weights.iter().enumerate() {
            f(rows.first + y, columns.first + x, wy * wx);
        }
    }
}

vectorised! {
    /// `y += weight · x`.
    fn add_scaled(weight: f32, x: &[f32], y: &mut [f32]) = add_scaled_body
}

#[inline(always)]
fn add_scaled_body<const FMA: bool>(weight: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = fma::<FMA>(weight, x, *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOW: RoiAlign = RoiAlign { size: 1, sampling: 0, scale: 1.0 };

    #[test]
    fn shapes_whose_product_wraps_around_are_refused() {
        let roi = [Roi { image: 0, bbox: [0.0, 0.0, 1000.0, 1000.0] }];
        let shape = [1 << 32, 1 << 32, 1, 1];
        assert!(std::panic::catch_unwind(|| roi_align_grad(&[1.0], &roi, HOW, shape, &mut [])).is_err());
    }

    #[test]
    fn odd_boxes_have_no_features_and_do_no_harm() {
        let x: Vec<f32> = (0..25).map(|v| v as f32).collect();
        let odd = [[3.0, 3.0, 3.0, 3.0], [4.0, 4.0, 1.0, 1.0], [f32::NAN; 4], [900.0, 900.0, 990.0, 990.0]];
        let rois = odd.map(|bbox| Roi { image: 0, bbox });
        for how in [RoiAlign { size: 3, ..HOW }, RoiAlign { size: 2, sampling: 2, scale: 1.0 }] {
            let mut out = vec![f32::NAN; rois.len() * how.size * how.size];
            roi_align(Map::dense(&x, [1, 5, 5, 1]), &rois, how, &mut out);
            assert!(out.chunks_exact(how.size * how.size).skip(1).flatten().all(|&v| v == 0.0), "{out:?}");
        }
    }
}
