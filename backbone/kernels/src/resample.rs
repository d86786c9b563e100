//! Resizing of feature maps to an explicit size, as PyTorch's `F.interpolate(size=…)` on the CPU.

use crate::isa::Isa;
use crate::map::{Map, MapMut};
use crate::par::{self, SharedMut};
use crate::simd::{Simd, per_isa};

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
    resize(isa, x, out, Mode::Nearest);
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
    resize(isa, x, out, Mode::NearestAdd);
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
    resize(isa, x, out, Mode::Bilinear { align_corners });
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

/// Floats of a parallel task.
const TASK: usize = 1 << 15;

/// What a written float costs beside a multiply-add: it goes to memory.
const COST: usize = 4;

#[derive(Clone, Copy)]
enum Mode {
    Nearest,
    NearestAdd,
    Bilinear { align_corners: bool },
}

/// Where an output row or column comes from: two input ones and the share of the second.
#[derive(Clone, Copy)]
struct Source {
    low: usize,
    high: usize,
    share: f32,
}

/// The sources of all rows, or of all columns.
fn sources(input: usize, output: usize, mode: Mode) -> Vec<Source> {
    let scale = input as f32 / output as f32;
    let corner_scale = if output > 1 { input.saturating_sub(1) as f32 / (output - 1) as f32 } else { 0.0 };
    let one = |dst: usize| {
        let position = match mode {
            Mode::Nearest | Mode::NearestAdd => (dst as f32 * scale).floor(),
            Mode::Bilinear { align_corners: true } => dst as f32 * corner_scale,
            Mode::Bilinear { align_corners: false } => ((dst as f32 + 0.5) * scale - 0.5).max(0.0),
        };
        let low = (position.floor() as usize).min(input - 1);
        let share = (position - low as f32).clamp(0.0, 1.0);
        Source { low, high: (low + 1).min(input - 1), share }
    };
    (0..output).map(one).collect()
}

/// Resizes a map, whose shapes have been checked, over bands of output rows.
fn resize(isa: Isa, x: Map<'_>, out: MapMut<'_>, mode: Mode) {
    let MapMut { n, h, w, c, stride, data } = out;
    if n * h * w * c == 0 {
        return;
    }
    let (rows, columns) = (sources(x.h, h, mode), sources(x.w, w, mode));
    let kernel = match mode {
        Mode::Nearest => nearest_row(isa),
        Mode::NearestAdd => nearest_add_row(isa),
        Mode::Bilinear { .. } => bilinear_row(isa),
    };
    let height = (TASK / (w * c)).max(1);
    let out = SharedMut::new(data);
    par::for_each((n * h).div_ceil(height), n * h * w * c * COST, |i| {
        for row in i * height..((i + 1) * height).min(n * h) {
            let (image, source) = (row / h, rows[row % h]);
            let input = |y: usize| x.data[(image * x.h + y) * x.w * x.stride..].as_ptr();
            let (low, high) = (input(source.low), input(source.high));
            // SAFETY: `check` made sure that both maps hold their rows, sources are within the input, and every output row has one task.
            unsafe {
                let out = out.get().add(row * w * stride);
                kernel(&Row {
                    low,
                    high,
                    share: source.share,
                    x_stride: x.stride,
                    columns: &columns,
                    c,
                    out,
                    stride,
                });
            }
        }
    });
}

/// One output row.
struct Row<'a> {
    /// First pixel of the upper input row.
    low: *const f32,
    /// First pixel of the lower input row.
    high: *const f32,
    /// Share of the lower row.
    share: f32,
    x_stride: usize,
    columns: &'a [Source],
    c: usize,
    /// First pixel of the output row.
    out: *mut f32,
    stride: usize,
}

per_isa! {
    /// `out = low[column.low]`.
    ///
    /// # Safety
    /// The rows hold `c` channels at every pixel that the columns name, and `out` at every output pixel.
    fn nearest_row(row: &Row<'_>) = nearest_body;
}

per_isa! {
    /// `out += low[column.low]`.
    ///
    /// # Safety
    /// As [`nearest_row`].
    fn nearest_add_row(row: &Row<'_>) = nearest_add_body;
}

per_isa! {
    /// `out = (1 − share)·row(low) + share·row(high)`, each row blended along the columns first.
    ///
    /// # Safety
    /// As [`nearest_row`].
    fn bilinear_row(row: &Row<'_>) = bilinear_body;
}

#[inline(always)]
unsafe fn nearest_body<S: Simd>(_: S, row: &Row<'_>) {
    for (x, column) in row.columns.iter().enumerate() {
        // SAFETY: the contract of the caller.
        unsafe {
            let from = row.low.add(column.low * row.x_stride);
            std::ptr::copy_nonoverlapping(from, row.out.add(x * row.stride), row.c);
        }
    }
}

#[inline(always)]
unsafe fn nearest_add_body<S: Simd>(s: S, row: &Row<'_>) {
    for (x, column) in row.columns.iter().enumerate() {
        // SAFETY: the contract of the caller; c + LANES ≤ row.c in the loop, and the rest after it.
        unsafe {
            let (from, to) = (row.low.add(column.low * row.x_stride), row.out.add(x * row.stride));
            let mut c = 0;
            while c + S::LANES <= row.c {
                s.store(to.add(c), s.add(s.load(to.add(c)), s.load(from.add(c))));
                c += S::LANES;
            }
            if c < row.c {
                let rest = row.c - c;
                let sum = s.add(s.load_first(to.add(c), rest), s.load_first(from.add(c), rest));
                s.store_first(to.add(c), sum, rest);
            }
        }
    }
}

#[inline(always)]
unsafe fn bilinear_body<S: Simd>(s: S, row: &Row<'_>) {
    let (lower, upper) = (s.splat(row.share), s.splat(1.0 - row.share));
    for (x, column) in row.columns.iter().enumerate() {
        let (right, left) = (s.splat(column.share), s.splat(1.0 - column.share));
        let (west, east) = (column.low * row.x_stride, column.high * row.x_stride);
        let mut c = 0;
        while c < row.c {
            let lanes = (row.c - c).min(S::LANES);
            // SAFETY: the contract of the caller; `lanes` channels remain.
            unsafe {
                let along = |base: *const f32| (base.add(west + c), base.add(east + c));
                let ((a, b), (d, e)) = (along(row.low), along(row.high));
                let top = s.fma(right, s.load_first(b, lanes), s.mul(left, s.load_first(a, lanes)));
                let bottom = s.fma(right, s.load_first(e, lanes), s.mul(left, s.load_first(d, lanes)));
                let v = s.fma(lower, bottom, s.mul(upper, top));
                s.store_first(row.out.add(x * row.stride + c), v, lanes);
            }
            c += lanes;
        }
    }
}
