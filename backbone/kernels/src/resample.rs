//! Resizing of feature maps to an explicit size, as PyTorch's `F.interpolate(size=…)` on the CPU.

use crate::isa::Isa;
use crate::map::{Map, MapMut};

/// Nearest neighbour: `src = min(floor(dst · f32(in/out)), in − 1)`, as mmdetection's FPN does it.
///
/// # Shapes
/// `x`: `[n, h, w, c]`, `out`: `[n, h', w', c]`; any pixel strides.
///
/// # Panics
/// When pictures or channels differ, or `x` has no pixels and `out` has.
pub fn nearest(x: Map<'_>, out: MapMut<'_>) {
    nearest_with(Isa::current(), x, out);
}

/// [`nearest`] with a given instruction set.
///
/// # Panics
/// As [`nearest`], or when the processor lacks the instruction set.
pub fn nearest_with(isa: Isa, x: Map<'_>, out: MapMut<'_>) {
    isa.assert_available();
    check(&x, &out);
    crate::reference::nearest(x, out);
}

/// `out += nearest(x)`: the top-down step of a feature pyramid.
///
/// # Panics
/// As [`nearest`].
pub fn nearest_add(x: Map<'_>, out: MapMut<'_>) {
    nearest_add_with(Isa::current(), x, out);
}

/// [`nearest_add`] with a given instruction set.
///
/// # Panics
/// As [`nearest_with`].
pub fn nearest_add_with(isa: Isa, x: Map<'_>, out: MapMut<'_>) {
    isa.assert_available();
    check(&x, &out);
    crate::reference::nearest_add(x, out);
}

/// Bilinear, without antialiasing. `align_corners` false puts sample points at half pixels, true at the corners.
///
/// # Shapes
/// As [`nearest`].
///
/// # Panics
/// As [`nearest`].
pub fn bilinear(x: Map<'_>, out: MapMut<'_>, align_corners: bool) {
    bilinear_with(Isa::current(), x, out, align_corners);
}

/// [`bilinear`] with a given instruction set.
///
/// # Panics
/// As [`nearest_with`].
pub fn bilinear_with(isa: Isa, x: Map<'_>, out: MapMut<'_>, align_corners: bool) {
    isa.assert_available();
    check(&x, &out);
    crate::reference::bilinear(x, out, align_corners);
}

/// Panics unless the shapes fit: the check that the pointer arithmetic of the kernels rests on.
fn check(x: &Map<'_>, out: &MapMut<'_>) {
    x.check();
    out.check();
    assert_eq!((x.n, x.c), (out.n, out.c), "pictures and channels of a resized map");
    assert!(
        x.h * x.w > 0 || out.h * out.w == 0,
        "a map of {}×{} pixels cannot be resized to {}×{}",
        x.h,
        x.w,
        out.h,
        out.w
    );
}
