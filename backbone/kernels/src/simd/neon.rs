//! AArch64 Advanced SIMD: 4 floats.

use std::arch::aarch64::*;

use super::Simd;

/// Proof that the processor has Advanced SIMD (every AArch64 processor does).
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    /// # Safety
    /// The processor has the instruction set (`Isa::Neon.is_available()`).
    #[inline(always)]
    pub(crate) unsafe fn new() -> Neon {
        Neon(())
    }
}

/// Methods that are one intrinsic on registers.
macro_rules! intrinsics {
    ($($name:ident($($arg:ident),+) = $value:expr;)+) => {
        $(#[inline(always)]
        #[allow(unused_unsafe)] // some of these intrinsics are safe on newer compilers
        fn $name(self, $($arg: float32x4_t),+) -> float32x4_t {
            // SAFETY: `self` exists only where the processor has the instruction set.
            unsafe { $value }
        })+
    };
}

const LANES: usize = 4;

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = LANES;
    // 6 × 4 accumulators, four weights and up to four inputs fit 32 registers.
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 4;

    #[inline(always)]
    #[allow(unused_unsafe)]
    fn splat(self, x: f32) -> float32x4_t {
        // SAFETY: `self` exists only where the processor has the instruction set.
        unsafe { vdupq_n_f32(x) }
    }

    intrinsics! {
        add(a, b) = vaddq_f32(a, b);
        sub(a, b) = vsubq_f32(a, b);
        mul(a, b) = vmulq_f32(a, b);
        div(a, b) = vdivq_f32(a, b);
        min(a, b) = vminq_f32(a, b);
        max(a, b) = vmaxq_f32(a, b);
        fma(a, b, c) = vfmaq_f32(c, a, b);
        round(a) = vrndnq_f32(a);
        scale_by_power_of_two(a, n) = {
            let exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
            vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent)))
        };
        select_gt(a, b, yes, no) = vbslq_f32(vcgtq_f32(a, b), yes, no);
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> float32x4_t {
        // SAFETY: the caller vouches for 4 floats.
        unsafe { vld1q_f32(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: float32x4_t) {
        // SAFETY: the caller vouches for 4 floats.
        unsafe { vst1q_f32(p, v) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> float32x4_t {
        if n == LANES {
            // SAFETY: n floats are LANES floats.
            return unsafe { self.load(p) };
        }
        let mut lanes = [0.0; LANES];
        for (i, lane) in lanes.iter_mut().enumerate().take(n) {
            // SAFETY: the caller vouches for n floats.
            *lane = unsafe { *p.add(i) };
        }
        // SAFETY: the array has 4 floats.
        unsafe { vld1q_f32(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: float32x4_t, n: usize) {
        if n == LANES {
            // SAFETY: n floats are LANES floats.
            return unsafe { self.store(p, v) };
        }
        let mut lanes = [0.0; LANES];
        // SAFETY: the array has 4 floats.
        unsafe { vst1q_f32(lanes.as_mut_ptr(), v) };
        for (i, lane) in lanes.into_iter().enumerate().take(n) {
            // SAFETY: the caller vouches for n floats.
            unsafe { *p.add(i) = lane };
        }
    }

    #[inline(always)]
    unsafe fn load_halves(self, lo: *const f32, hi: *const f32) -> float32x4_t {
        // SAFETY: the caller vouches for 2 floats twice.
        unsafe { vcombine_f32(vld1_f32(lo), vld1_f32(hi)) }
    }

    #[inline(always)]
    unsafe fn store_halves(self, lo: *mut f32, hi: *mut f32, v: float32x4_t) {
        // SAFETY: the caller vouches for 2 floats twice.
        unsafe {
            vst1_f32(lo, vget_low_f32(v));
            vst1_f32(hi, vget_high_f32(v));
        }
    }
}
