//! Depthwise convolution: every channel has its own small kernel. Stride 1, "same" zero padding, odd sides.

mod packed;
pub(crate) mod row;
mod rows;

pub use packed::PackedDepthwise;

use crate::count;
use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::{self, SharedMut};
use rows::{Part, Target};

/// One branch of [`depthwise_branches`].
#[derive(Clone, Copy, Debug)]
pub struct Branch<'a> {
    /// `[n, h, w, c]`, any pixel stride.
    pub x: Map<'a>,
    /// Of `c` channels.
    pub w: &'a PackedDepthwise,
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
    depthwise_branches_with(isa, &[Branch { x, w }], out);
}

/// Several depthwise convolutions on maps of one size, joined along the channels of `out`: the branches of a CARE token
/// mixer wake the threads once and share what they fetch. The same bits as one call each.
///
/// # Shapes
/// Branches `[n, h, w, c_i]`, `out` `[n, h, w, Σ c_i]`; any pixel strides.
///
/// # Panics
/// When a shape does not fit.
pub fn depthwise_branches(branches: &[Branch<'_>], out: MapMut<'_>) {
    depthwise_branches_with(Isa::current(), branches, out);
}

/// [`depthwise_branches`] with a given instruction set.
///
/// # Panics
/// As [`depthwise_branches`], or when the processor lacks the instruction set.
pub fn depthwise_branches_with(isa: Isa, branches: &[Branch<'_>], out: MapMut<'_>) {
    isa.assert_available();
    check(branches, &out);
    let [n, h, _, _] = out.shape();
    let (data, stride) = (SharedMut::new(out.data), out.stride);
    let mut end = 0;
    let parts: Vec<Part<'_>> = branches
        .iter()
        .map(|branch| {
            end += branch.x.c;
            Part::new(isa, *branch, Target { data, first_channel: end - branch.x.c, stride })
        })
        .collect();
    let row_work: usize = parts.iter().map(Part::row_work).sum();
    count::add(n * h * row_work);
    let height = (BAND_WORK / row_work.max(1)).clamp(1, h.max(1));
    let bands = h.div_ceil(height);
    par::for_each(n * bands, n * h * row_work, |i| {
        let first = i % bands * height;
        for part in &parts {
            // SAFETY: every band of every picture is run once, and the parts write disjoint channels.
            unsafe { part.rows(i / bands, first..(first + height).min(h)) };
        }
    });
}

/// Multiply-adds of a band of output rows, the unit of parallel work: some 20 µs with AVX-512, and enough rows that most inputs
/// are read from a near cache. All jobs of a call do the same band, so that slices of one map share what was fetched.
const BAND_WORK: usize = 1 << 20;

/// Panics unless the shapes fit: the check that the pointer arithmetic of the kernels rests on.
fn check(branches: &[Branch<'_>], out: &MapMut<'_>) {
    out.check();
    for branch in branches {
        branch.x.check();
        assert_eq!(branch.x.c, branch.w.c, "channels of a depthwise convolution");
        let [n, h, w, _] = branch.x.shape();
        assert_eq!(
            [n, h, w],
            [out.n, out.h, out.w],
            "pictures, height and width of a depthwise convolution's output"
        );
    }
    let joined: usize = branches.iter().map(|b| b.x.c).sum();
    assert_eq!(joined, out.c, "output channels of a depthwise convolution");
}
