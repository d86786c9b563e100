//! The instruction sets: where neighbouring pixels differ, 64 pixels at a time.
//!
//! The only file with `unsafe`: gathering a bit per byte into a mask is one AVX2 instruction and a dozen portable ones,
//! and compilers do not find it. With all of AVX2, 512x683 maps are counted at 14,000 instead of 4,900 pairs a second.
#![allow(unsafe_code)]

/// Pixels compared at once: the bits of a mask.
pub(crate) const BLOCK: usize = 64;

/// What can be done with a pixel; the sealed half of [`crate::PixelValue`].
pub trait Pixel: Copy + PartialEq + Send + Sync + 'static {
    /// The value.
    fn value(self) -> u16;

    /// Bit `i` is set when `before[i] != after[i]`.
    #[doc(hidden)]
    fn steps<I: Isa>(isa: I, before: &[Self; BLOCK], after: &[Self; BLOCK]) -> u64;
}

impl Pixel for u8 {
    #[inline(always)]
    fn value(self) -> u16 {
        self.into()
    }

    #[inline(always)]
    fn steps<I: Isa>(isa: I, before: &[u8; BLOCK], after: &[u8; BLOCK]) -> u64 {
        isa.steps_u8(before, after)
    }
}

impl Pixel for u16 {
    #[inline(always)]
    fn value(self) -> u16 {
        self
    }

    #[inline(always)]
    fn steps<I: Isa>(isa: I, before: &[u16; BLOCK], after: &[u16; BLOCK]) -> u64 {
        isa.steps_u16(before, after)
    }
}

/// An instruction set: a value that can only be had if the processor has it.
pub trait Isa: Copy {
    /// [`Pixel::steps`] of bytes.
    fn steps_u8(self, before: &[u8; BLOCK], after: &[u8; BLOCK]) -> u64;

    /// [`Pixel::steps`] of 16-bit values.
    fn steps_u16(self, before: &[u16; BLOCK], after: &[u16; BLOCK]) -> u64;

    /// Asks for the cache line of `values[at]`, if there is one.
    fn prefetch<T>(self, values: &[T], at: usize);
}

/// Work that is compiled once per instruction set; `run` should be `#[inline(always)]`.
pub(crate) trait Task {
    fn run<I: Isa>(self, isa: I);
}

/// Runs a task on the best instruction set of this processor.
pub(crate) fn dispatch(task: impl Task) {
    #[cfg(target_arch = "x86_64")]
    if let Some(isa) = Avx2::detect() {
        return isa.dispatch(task);
    }
    task.run(Portable)
}

/// Plain Rust: the definition, and the fallback.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Isa for Portable {
    #[inline(always)]
    fn steps_u8(self, before: &[u8; BLOCK], after: &[u8; BLOCK]) -> u64 {
        portable_steps(before, after)
    }

    #[inline(always)]
    fn steps_u16(self, before: &[u16; BLOCK], after: &[u16; BLOCK]) -> u64 {
        portable_steps(before, after)
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}
}

#[inline(always)]
fn portable_steps<T: PartialEq + Copy>(before: &[T; BLOCK], after: &[T; BLOCK]) -> u64 {
    /// Moves the lowest bit of byte `i` to bit `56 + i`.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    if before == after {
        return 0;
    }
    let mut differ = [0u8; BLOCK];
    for ((d, b), a) in differ.iter_mut().zip(before).zip(after) {
        *d = u8::from(b != a);
    }
    let bytes = differ.as_chunks::<8>().0.iter().map(|c| u64::from_le_bytes(*c).wrapping_mul(GATHER) >> 56);
    bytes.enumerate().fold(0, |mask, (i, bits)| mask | bits << (8 * i))
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{BLOCK, Isa, Task};
    use std::arch::x86_64::*;

    /// x86-64 with AVX2, BMI1 and POPCNT (Haswell and Zen, or later).
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// If this processor has it.
        pub(crate) fn detect() -> Option<Self> {
            let all = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("popcnt");
            all.then_some(Avx2(()))
        }

        /// Runs a task compiled for this instruction set.
        pub(crate) fn dispatch(self, task: impl Task) {
            // SAFETY: `self` exists, so `detect` has found the three features on this processor.
            unsafe { run(self, task) }
        }
    }

    #[target_feature(enable = "avx2,bmi1,popcnt")]
    fn run(isa: Avx2, task: impl Task) {
        task.run(isa)
    }

    impl Isa for Avx2 {
        #[inline(always)]
        fn steps_u8(self, before: &[u8; BLOCK], after: &[u8; BLOCK]) -> u64 {
            let half = |i: usize| {
                let (b, a) = (load(self, before, i), load(self, after, i));
                // SAFETY: `self` exists, so the processor has AVX2.
                unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi8(b, a)) as u32 }
            };
            !(u64::from(half(0)) | u64::from(half(32)) << 32)
        }

        #[inline(always)]
        fn steps_u16(self, before: &[u16; BLOCK], after: &[u16; BLOCK]) -> u64 {
            // SAFETY: `self` exists, so the processor has AVX2.
            let equal = |i: usize| unsafe { _mm256_cmpeq_epi16(load(self, before, i), load(self, after, i)) };
            let half = |i: usize| {
                let (low, high) = (equal(i), equal(i + 16));
                // SAFETY: as above. Packing works on 128-bit halves; the permutation puts the quarters in order.
                unsafe {
                    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi16(low, high));
                    _mm256_movemask_epi8(packed) as u32
                }
            };
            !(u64::from(half(0)) | u64::from(half(32)) << 32)
        }

        #[inline(always)]
        fn prefetch<T>(self, values: &[T], at: usize) {
            if let Some(value) = values.get(at) {
                // SAFETY: the address is that of a value; a prefetch reads nothing that the program could see.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast()) }
            }
        }
    }

    /// 32 bytes from value `at` on.
    #[inline(always)]
    fn load<T: super::Pixel>(_: Avx2, values: &[T; BLOCK], at: usize) -> __m256i {
        let values = &values[at..][..32 / size_of::<T>()];
        // SAFETY: `values` is 32 bytes of integers, loads need no alignment, and the processor has AVX (first argument).
        unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block and the next, which differ where the mask has a bit.
    fn blocks<T: Pixel>(
        mask: u64,
        value: impl Fn(usize) -> T,
        other: impl Fn(usize) -> T,
    ) -> [[T; BLOCK]; 2] {
        let after = std::array::from_fn(|i| if mask >> i & 1 == 1 { other(i) } else { value(i) });
        [std::array::from_fn(value), after]
    }

    fn check<I: Isa>(isa: I, name: &str) {
        let masks = (0..64).flat_map(|i| [1u64 << i, !(1 << i), u64::MAX >> i]).chain([0]);
        for mask in masks {
            // Differences in the lowest, the highest, and all bits of a value.
            for flip in [1u8, 0x80, 0xFF] {
                let [b, a] = blocks(mask, |i| i as u8, |i| i as u8 ^ flip);
                assert_eq!(u8::steps(isa, &b, &a), mask, "{name} u8 {mask:b}");
            }
            for flip in [1u16, 0x100, 0x8000, 0xFFFF] {
                let [b, a] = blocks(mask, |i| i as u16, |i| i as u16 ^ flip);
                assert_eq!(u16::steps(isa, &b, &a), mask, "{name} u16 {mask:b}");
            }
        }
    }

    #[test]
    fn a_bit_is_set_exactly_where_values_differ() {
        check(Portable, "portable");
        #[cfg(target_arch = "x86_64")]
        Avx2::detect().into_iter().for_each(|isa| check(isa, "avx2"));
    }
}
