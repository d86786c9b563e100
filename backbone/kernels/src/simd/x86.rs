//! AVX2 + FMA (8 floats) and AVX-512 (16 floats).

use std::arch::x86_64::*;

use super::Simd;

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Proof that the processor has AVX-512 F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx2 {
    /// # Safety
    /// The processor has the instruction set (`Isa::Avx2.is_available()`).
    #[inline(always)]
    pub(crate) unsafe fn new() -> Avx2 {
        Avx2(())
    }
}

impl Avx512 {
    /// # Safety
    /// The processor has the instruction set (`Isa::Avx512.is_available()`).
    #[inline(always)]
    pub(crate) unsafe fn new() -> Avx512 {
        Avx512(())
    }
}

/// Methods that are one intrinsic on registers.
macro_rules! intrinsics {
    ($v:ty: $($name:ident($($arg:ident),+) = $value:expr;)+) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $v),+) -> $v {
            // SAFETY: `self` exists only where the processor has the instruction set.
            unsafe { $value }
        })+
    };
}

/// A window into it that starts at `8 − n` selects the first `n` lanes.
static LANE_MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// The first `n ≤ 8` lanes.
///
/// # Safety
/// The processor has AVX2, and `n ≤ 8`.
#[inline(always)]
unsafe fn first_lanes(n: usize) -> __m256i {
    debug_assert!(n <= 8);
    // SAFETY: 8 − n is in 0..=8, so the 8 words are within the table.
    unsafe { _mm256_loadu_si256(LANE_MASK.as_ptr().add(8 - n).cast()) }
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    // 6 × 2 accumulators, two weights and one input fit 16 registers.
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: `self` exists only where the processor has the instruction set.
        unsafe { _mm256_set1_ps(x) }
    }

    intrinsics! { __m256:
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        div(a, b) = _mm256_div_ps(a, b);
        min(a, b) = _mm256_min_ps(a, b);
        max(a, b) = _mm256_max_ps(a, b);
        fma(a, b, c) = _mm256_fmadd_ps(a, b, c);
        round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        scale_by_power_of_two(a, n) = {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        };
        select_gt(a, b, yes, no) = _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a prefetch of any address does no harm.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the caller vouches for 8 floats.
        unsafe { _mm256_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: the caller vouches for 8 floats.
        unsafe { _mm256_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: the caller vouches for n ≤ 8 floats; masked lanes are not read.
        unsafe { _mm256_maskload_ps(p, first_lanes(n)) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m256, n: usize) {
        // SAFETY: the caller vouches for n ≤ 8 floats; masked lanes are not written.
        unsafe { _mm256_maskstore_ps(p, first_lanes(n), v) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, lo: *const f32, hi: *const f32) -> __m256 {
        // SAFETY: the caller vouches for 4 floats twice.
        unsafe { _mm256_set_m128(_mm_loadu_ps(hi), _mm_loadu_ps(lo)) }
    }

    #[inline(always)]
    unsafe fn store_halves(self, lo: *mut f32, hi: *mut f32, v: __m256) {
        // SAFETY: the caller vouches for 4 floats twice.
        unsafe {
            _mm_storeu_ps(lo, _mm256_castps256_ps128(v));
            _mm_storeu_ps(hi, _mm256_extractf128_ps::<1>(v));
        }
    }
}

/// The first `n ≤ 16` lanes.
#[inline(always)]
fn first_bits(n: usize) -> __mmask16 {
    debug_assert!(n <= 16);
    ((1u32 << n) - 1) as u16
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    // 14 × 2 accumulators, two weights and one or two inputs fit 32 registers.
    const TILE_ROWS: usize = 14;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: `self` exists only where the processor has the instruction set.
        unsafe { _mm512_set1_ps(x) }
    }

    intrinsics! { __m512:
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
        max(a, b) = _mm512_max_ps(a, b);
        fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
        round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        scale_by_power_of_two(a, n) = _mm512_scalef_ps(a, n);
        select_gt(a, b, yes, no) = _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b), no, yes);
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: a prefetch of any address does no harm.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 16 floats.
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for 16 floats.
        unsafe { _mm512_storeu_ps(p, v) }
    }

    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: the caller vouches for n ≤ 16 floats; masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(first_bits(n), p) }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m512, n: usize) {
        // SAFETY: the caller vouches for n ≤ 16 floats; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(p, first_bits(n), v) }
    }

    #[inline(always)]
    unsafe fn load_halves(self, lo: *const f32, hi: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 8 floats twice.
        unsafe { _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm256_loadu_ps(lo)), _mm256_loadu_ps(hi)) }
    }

    #[inline(always)]
    unsafe fn store_halves(self, lo: *mut f32, hi: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for 8 floats twice.
        unsafe {
            _mm256_storeu_ps(lo, _mm512_castps512_ps256(v));
            _mm256_storeu_ps(hi, _mm512_extractf32x8_ps::<1>(v));
        }
    }
}
