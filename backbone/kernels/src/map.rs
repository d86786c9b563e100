//! Feature maps: borrowed views of channels-last memory.
//!
//! A map is `n` pictures of `h × w` pixels of `c` channels. Pixel `p = (n·H + y)·W + x` has channel `i` at `data[p·stride + i]`, so a
//! range of channels of a wider map is a map too: that is how CARE's split and concatenation cost nothing.

use std::ops::Range;

use crate::par::{self, SharedMut};

/// A read-only feature map. Fields are public for convenience; every kernel checks them on entry.
#[derive(Clone, Copy, Debug)]
pub struct Map<'a> {
    /// Pictures.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels of this view, at most `stride`.
    pub c: usize,
    /// Floats from one pixel to the next.
    pub stride: usize,
    /// Starts at the first channel of the first pixel; may end right after the last channel of the last pixel.
    pub data: &'a [f32],
}

/// A writable feature map, laid out as [`Map`]. Channels outside of the view are never touched.
#[derive(Debug)]
pub struct MapMut<'a> {
    /// Pictures.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels of this view, at most `stride`.
    pub c: usize,
    /// Floats from one pixel to the next.
    pub stride: usize,
    /// Starts at the first channel of the first pixel; may end right after the last channel of the last pixel.
    pub data: &'a mut [f32],
}

/// Floats that a view needs: the last pixel may be cut after its last channel. `None` when no address space has as many: a
/// product that wrapped around would let a short slice pass.
fn needed([n, h, w, c]: [usize; 4], stride: usize) -> Option<usize> {
    let pixels = n.checked_mul(h)?.checked_mul(w)?;
    if pixels == 0 || c == 0 { Some(0) } else { (pixels - 1).checked_mul(stride)?.checked_add(c) }
}

fn check(shape: [usize; 4], stride: usize, len: usize) {
    let [_, _, _, c] = shape;
    let Some(needed) = needed(shape, stride) else {
        panic!("a map of shape {shape:?} with pixel stride {stride} is larger than any memory");
    };
    assert!(c <= stride || needed == 0, "a map of {c} channels with a pixel stride of {stride}");
    assert!(
        len >= needed,
        "a map of shape {shape:?} with pixel stride {stride} needs {needed} floats, got {len}"
    );
}

impl<'a> Map<'a> {
    /// A map whose pixels follow each other without gaps.
    ///
    /// # Panics
    /// When `data` is not exactly `n·h·w·c` long.
    pub fn dense(data: &'a [f32], [n, h, w, c]: [usize; 4]) -> Map<'a> {
        assert_eq!(Some(data.len()), needed([n, h, w, c], c), "a dense map of shape {:?}", [n, h, w, c]);
        Map { n, h, w, c, stride: c, data }
    }

    /// `[n, h, w, c]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    /// Number of pixels of all pictures.
    pub fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// The same pixels, only these channels.
    ///
    /// # Panics
    /// When the range is not within the channels of this map.
    pub fn channels(self, range: Range<usize>) -> Map<'a> {
        assert!(range.start <= range.end && range.end <= self.c, "channels {range:?} of {}", self.c);
        let start = range.start.min(self.data.len()); // an empty map has nothing to skip
        Map { c: range.len(), data: &self.data[start..], ..self }
    }

    /// The channels of the pixel at flat index `p`.
    pub fn pixel(&self, p: usize) -> &'a [f32] {
        &self.data[p * self.stride..][..self.c]
    }

    /// Panics unless `data` holds the whole view: the check that the pointer arithmetic of the kernels rests on.
    pub(crate) fn check(&self) {
        check(self.shape(), self.stride, self.data.len());
    }
}

impl<'a> MapMut<'a> {
    /// A map whose pixels follow each other without gaps.
    ///
    /// # Panics
    /// When `data` is not exactly `n·h·w·c` long.
    pub fn dense(data: &'a mut [f32], [n, h, w, c]: [usize; 4]) -> MapMut<'a> {
        assert_eq!(Some(data.len()), needed([n, h, w, c], c), "a dense map of shape {:?}", [n, h, w, c]);
        MapMut { n, h, w, c, stride: c, data }
    }

    /// `[n, h, w, c]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.n, self.h, self.w, self.c]
    }

    /// Number of pixels of all pictures.
    pub fn pixels(&self) -> usize {
        self.n * self.h * self.w
    }

    /// The same pixels, only these channels.
    ///
    /// # Panics
    /// When the range is not within the channels of this map.
    pub fn channels(self, range: Range<usize>) -> MapMut<'a> {
        assert!(range.start <= range.end && range.end <= self.c, "channels {range:?} of {}", self.c);
        let start = range.start.min(self.data.len()); // an empty map has nothing to skip
        MapMut { c: range.len(), data: &mut self.data[start..], ..self }
    }

    /// A shorter borrow of the same map, to hand to a kernel and keep the original.
    pub fn reborrow(&mut self) -> MapMut<'_> {
        MapMut { data: self.data, ..*self }
    }

    /// A read-only view.
    pub fn as_map(&self) -> Map<'_> {
        Map { n: self.n, h: self.h, w: self.w, c: self.c, stride: self.stride, data: self.data }
    }

    /// The channels of the pixel at flat index `p`.
    pub fn pixel_mut(&mut self, p: usize) -> &mut [f32] {
        &mut self.data[p * self.stride..][..self.c]
    }

    /// Copies a map of the same shape.
    ///
    /// # Panics
    /// When the shapes differ.
    pub fn copy_from(&mut self, from: Map<'_>) {
        assert_eq!(self.shape(), from.shape(), "a copy between maps of one shape");
        self.check();
        let (c, stride, pixels) = (self.c, self.stride, self.pixels());
        if c == 0 {
            return;
        }
        let to = SharedMut::new(self.data);
        par::for_each(pixels.div_ceil(COPY_PIXELS), pixels * c * COPY_WORK, |task| {
            for p in task * COPY_PIXELS..((task + 1) * COPY_PIXELS).min(pixels) {
                // SAFETY: the pixel is within the checked map, and pixels are disjoint.
                let to = unsafe { std::slice::from_raw_parts_mut(to.get().add(p * stride), c) };
                copy(from.pixel(p), to);
            }
        });
    }

    /// Panics unless `data` holds the whole view: the check that the pointer arithmetic of the kernels rests on.
    pub(crate) fn check(&self) {
        check(self.shape(), self.stride, self.data.len());
    }
}

/// Pixels of a task of a copy.
const COPY_PIXELS: usize = 4096;

/// Copying a float takes as long as that many multiply-adds.
const COPY_WORK: usize = 16;

/// Copies a pixel: mostly a few lanes, for which a call of `memcpy` costs more than the copy.
fn copy(from: &[f32], to: &mut [f32]) {
    let (from, rest) = from.as_chunks::<8>();
    let (to, last) = to.as_chunks_mut::<8>();
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    last.copy_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_takes_every_pixel_and_nothing_beside() {
        let (h, w) = (70, 61); // more than one task
        let from: Vec<f32> = (0..h * w * 13).map(|i| i as f32).collect();
        let from = Map::dense(&from, [1, h, w, 13]);
        for (first, c) in [(0, 13), (2, 9), (3, 8), (4, 0), (12, 1)] {
            let mut data = vec![-1.0; h * w * 15];
            let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
            let mut to = MapMut::dense(&mut data, [1, h, w, 15]).channels(1..1 + c);
            pool.install(|| to.copy_from(from.channels(first..first + c)));
            for (p, pixel) in data.chunks_exact(15).enumerate() {
                assert_eq!(pixel[1..1 + c], from.pixel(p)[first..first + c]);
                assert!(pixel[0] == -1.0 && pixel[1 + c..].iter().all(|&v| v == -1.0));
            }
        }
    }

    #[test]
    fn a_channel_range_reads_and_writes_only_its_channels() {
        let mut data: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let map = Map::dense(&data, [1, 1, 3, 4]).channels(1..3);
        map.check();
        assert_eq!(
            (0..3).map(|p| map.pixel(p).to_vec()).collect::<Vec<_>>(),
            [[1., 2.], [5., 6.], [9., 10.]]
        );
        let mut out = MapMut::dense(&mut data, [1, 1, 3, 4]).channels(3..4);
        out.pixel_mut(2)[0] = -1.0;
        out.reborrow().check();
        assert_eq!(data[11], -1.0);
    }

    #[test]
    fn empty_maps_pass_the_check() {
        Map::dense(&[], [0, 5, 5, 3]).channels(1..3).check();
        Map::dense(&[], [1, 0, 5, 3]).channels(2..2).check();
    }

    #[test]
    fn shapes_whose_product_wraps_around_are_refused() {
        let half = usize::MAX / 2 + 1;
        for (shape, stride) in [([half, 2, 1, 1], 1), ([1, 1, half, 1], 4), ([4, half / 2, 1, 1], 1)] {
            let [n, h, w, c] = shape;
            let map = Map { n, h, w, c, stride, data: &[0.0; 4] };
            assert!(std::panic::catch_unwind(|| map.check()).is_err(), "{shape:?}");
            assert!(std::panic::catch_unwind(|| Map::dense(&[], shape)).is_err(), "{shape:?}");
        }
    }

    #[test]
    #[should_panic(expected = "needs 7 floats, got 6")]
    fn a_short_slice_is_refused() {
        Map { n: 1, h: 1, w: 2, c: 3, stride: 4, data: &[0.0; 6] }.check();
    }
}
