//! Depthwise convolution: every channel has its own small kernel. Stride 1, "same" zero padding, odd sides.

mod packed;
pub(crate) mod row;
mod rows;

pub use packed::PackedDepthwise;

use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par;
use rows::Part;

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

/// Several depthwise convolutions on maps of one size in one parallel region: the branches of a CARE token mixer wake the
/// threads once and share what they fetch. The same bits as one call each.
///
/// # Panics
/// When a shape does not fit, or the maps differ in pictures, height or width.
pub fn depthwise_many(jobs: &mut [DepthwiseJob<'_>]) {
    depthwise_many_with(Isa::current(), jobs);
}

/// [`depthwise_many`] with a given instruction set.
///
/// # Panics
/// As [`depthwise_many`], or when the processor lacks the instruction set.
pub fn depthwise_many_with(isa: Isa, jobs: &mut [DepthwiseJob<'_>]) {
    isa.assert_available();
    jobs.iter().for_each(check);
    let Some([n, h, w, _]) = jobs.first().map(|job| job.x.shape()) else { return };
    assert!(
        jobs.iter().all(|job| (job.x.n, job.x.h, job.x.w) == (n, h, w)),
        "depthwise jobs that share a parallel region have maps of one size"
    );
    let parts: Vec<Part<'_>> = jobs.iter_mut().map(|job| Part::new(isa, job)).collect();
    let row_work: usize = parts.iter().map(Part::row_work).sum();
    let height = (BAND_WORK / row_work.max(1)).clamp(1, h.max(1));
    let bands = h.div_ceil(height);
    par::for_each(n * bands, n * h * row_work, |i| {
        let first = i % bands * height;
        for part in &parts {
            // SAFETY: every band of every picture is run once.
            unsafe { part.rows(i / bands, first..(first + height).min(h)) };
        }
    });
}

/// Multiply-adds of a band of output rows, the unit of parallel work: some 20 µs with AVX-512, and enough rows that most inputs
/// are read from a near cache. All jobs of a call do the same band, so that slices of one map share what was fetched.
const BAND_WORK: usize = 1 << 20;

/// Panics unless the shapes fit: the check that the pointer arithmetic of the kernels rests on.
fn check(job: &DepthwiseJob<'_>) {
    job.x.check();
    job.out.check();
    assert_eq!(job.x.c, job.w.c, "channels of a depthwise convolution");
    assert_eq!(job.out.shape(), job.x.shape(), "output of a depthwise convolution");
}
