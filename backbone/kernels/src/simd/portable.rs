//! Four floats in plain Rust: the compiler turns the loops into whatever the target's baseline has (SSE2, wasm SIMD, …).

use super::Simd;

/// The instruction set that is always there.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 4;

/// Aligned, so that it maps onto a 128-bit register.
#[derive(Clone, Copy)]
#[repr(align(16))]
pub(crate) struct F32x4([f32; LANES]);

/// Lane-wise functions: a loop of constant length that the compiler unrolls and vectorises.
macro_rules! lane_wise {
    ($($name:ident($($arg:ident),+) = $value:expr;)+) => {
        $(#[inline(always)]
        fn $name(self, $($arg: F32x4),+) -> F32x4 {
            let mut out = [0.0; LANES];
            for i in 0..LANES {
                $(let $arg = $arg.0[i];)+
                out[i] = $value;
            }
            F32x4(out)
        })+
    };
}

/// Adding and subtracting 1.5 · 2²³ leaves no room for a fraction: rounds to the nearest integer, ties to even.
const ROUNDER: f32 = 12_582_912.0;

impl Simd for Portable {
    type V = F32x4;
    const LANES: usize = LANES;
    // 4 × 2 accumulators, two weights, one input and a product fit 16 registers.
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x4 {
        F32x4([x; LANES])
    }

    lane_wise! {
        add(a, b) = a + b;
        sub(a, b) = a - b;
        mul(a, b) = a * b;
        div(a, b) = a / b;
        min(a, b) = if a < b { a } else { b };
        max(a, b) = if a > b { a } else { b };
        // Not `mul_add`: without the instruction that is a call into the C library.
        fma(a, b, c) = a * b + c;
        round(a) = (a + ROUNDER) - ROUNDER;
        scale_by_power_of_two(a, n) = a * f32::from_bits(((n as i32 + 127) as u32) << 23);
        select_gt(a, b, yes, no) = if a > b { yes } else { no };
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F32x4 {
        // SAFETY: the caller vouches for LANES floats.
        unsafe { F32x4(p.cast::<[f32; LANES]>().read()) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: F32x4) {
        // SAFETY: the caller vouches for LANES floats.
        unsafe { p.cast::<[f32; LANES]>().write(v.0) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> F32x4 {
        if n == LANES {
            // SAFETY: n floats are LANES floats.
            return unsafe { self.load(p) };
        }
        let mut out = [0.0; LANES];
        for (i, lane) in out.iter_mut().enumerate().take(n) {
            // SAFETY: the caller vouches for n floats.
            *lane = unsafe { *p.add(i) };
        }
        F32x4(out)
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: F32x4, n: usize) {
        if n == LANES {
            // SAFETY: n floats are LANES floats.
            return unsafe { self.store(p, v) };
        }
        for (i, lane) in v.0.into_iter().enumerate().take(n) {
            // SAFETY: the caller vouches for n floats.
            unsafe { *p.add(i) = lane };
        }
    }

    #[inline(always)]
    unsafe fn load_halves(self, lo: *const f32, hi: *const f32) -> F32x4 {
        // SAFETY: the caller vouches for 2 floats twice.
        unsafe { F32x4([*lo, *lo.add(1), *hi, *hi.add(1)]) }
    }

    #[inline(always)]
    unsafe fn store_halves(self, lo: *mut f32, hi: *mut f32, v: F32x4) {
        // SAFETY: the caller vouches for 2 floats twice.
        unsafe {
            lo.cast::<[f32; 2]>().write([v.0[0], v.0[1]]);
            hi.cast::<[f32; 2]>().write([v.0[2], v.0[3]]);
        }
    }
}
