//! Depthwise convolution: every channel has its own small kernel. Stride 1, "same" zero padding, odd sides.

mod band;
mod packed;
pub(crate) mod row;

pub use packed::PackedDepthwise;

use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par;
use band::{Band, bands};

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
    jobs.iter().for_each(check);
    let bands: Vec<Band<'_>> = jobs.iter_mut().flat_map(|job| bands(isa, job)).collect();
    let work = bands.iter().map(|band| band.work()).sum();
    par::for_each(bands.len(), work, |i| bands[i].run());
}

/// Panics unless the shapes fit: the check that the pointer arithmetic of the kernels rests on.
fn check(job: &DepthwiseJob<'_>) {
    job.x.check();
    job.out.check();
    assert_eq!(job.x.c, job.w.c, "channels of a depthwise convolution");
    assert_eq!(job.out.shape(), job.x.shape(), "output of a depthwise convolution");
}
