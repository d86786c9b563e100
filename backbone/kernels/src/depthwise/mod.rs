//! Depthwise convolution: every channel has its own small kernel. Stride 1, "same" zero padding, odd sides.

mod packed;
pub(crate) mod row;

pub use packed::PackedDepthwise;

use crate::isa::Isa;
use crate::map::{Map, MapMut};

/// One depthwise convolution of several that run in one parallel region ([`depthwise_many`]).
#[derive(Debug)]
pub struct DepthwiseJob<'a> {
    /// `[n, h, w, c]`, any pixel stride.
    pub x: Map<'a>,
    /// Of `c` channels.
    pub w: &'a PackedDepthwise,
    /// As `x`.
    pub out: MapMut<'a>,
}

/// Depthwise convolution with the fastest instruction set.
///
/// # Shapes
/// `x`, `out`: `[n, h, w, c]` with the channels of `w`; any pixel strides.
///
/// # Panics
/// When a shape does not fit.
pub fn depthwise(x: Map<'_>, w: &PackedDepthwise, out: MapMut<'_>) {
    depthwise_with(Isa::current(), x, w, out);
}

/// [`depthwise`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn depthwise_with(isa: Isa, x: Map<'_>, w: &PackedDepthwise, out: MapMut<'_>) {
    depthwise_many_with(isa, &mut [DepthwiseJob { x, w, out }]);
}

/// Several depthwise convolutions in one parallel region: the branches of a CARE token mixer wake the threads once.
/// The same bits as one call each.
///
/// # Panics
/// When a shape does not fit.
pub fn depthwise_many(jobs: &mut [DepthwiseJob<'_>]) {
    depthwise_many_with(Isa::current(), jobs);
}

/// [`depthwise_many`] with a given instruction set.
///
/// # Panics
/// When a shape does not fit, or the processor lacks the instruction set.
pub fn depthwise_many_with(isa: Isa, jobs: &mut [DepthwiseJob<'_>]) {
    isa.assert_available();
    for job in jobs.iter_mut() {
        check(job);
        plain(job);
    }
}

/// Panics unless the shapes fit: the check that the pointer arithmetic of the kernels rests on.
fn check(job: &DepthwiseJob<'_>) {
    job.x.check();
    job.out.check();
    assert_eq!(job.x.c, job.w.c, "channels of a depthwise convolution");
    assert_eq!(job.out.shape(), job.x.shape(), "output of a depthwise convolution");
}

fn plain(job: &mut DepthwiseJob<'_>) {
    let [n, h, w, c] = job.x.shape();
    let (pad_h, pad_w) = (job.w.kh / 2, job.w.kw / 2);
    for (image, y, px) in (0..n * h * w).map(|p| (p / (h * w), p / w % h, p % w)) {
        let out = job.out.pixel_mut((image * h + y) * w + px);
        out.copy_from_slice(&job.w.bias[..c]);
        for row in job.w.rows.iter().filter(|r| (pad_h..pad_h + h).contains(&(y + r.ky))) {
            for i in (0..row.len).filter(|i| (pad_w..pad_w + w).contains(&(px + row.kx + i))) {
                let v = job.x.pixel((image * h + y + row.ky - pad_h) * w + px + row.kx + i - pad_w);
                let weights = &job.w.weights[(row.tap + i) * job.w.padded_c()..];
                out.iter_mut().zip(v).zip(weights).for_each(|((o, v), w)| *o += v * w);
            }
        }
    }
}
