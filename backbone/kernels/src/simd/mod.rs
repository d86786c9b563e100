//! Vectors of floats, one type per instruction set.
//!
//! A kernel is written once, as an `#[inline(always)]` body that is generic over [`Simd`] and takes the instruction set as its first
//! argument. [`per_isa!`] compiles the body once per instruction set inside a `#[target_feature]` function and makes a selector that hands out a
//! function pointer, so that
//! - the processor is checked where the pointer is made, not in the loop;
//! - a kernel is never inlined into its driver (inlining whole kernels made them 1.7× slower: their registers spill);
//! - drivers are ordinary code, compiled once.
//!
//! The value of an instruction set (`Avx512`, …) can only be made by `unsafe` code that knows that the processor has it. Holding it is the proof
//! that makes the arithmetic methods safe; only methods that take pointers are `unsafe`.

pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// An instruction set with vectors of [`Simd::LANES`] floats.
///
/// Each method is one instruction or very few, and is inlined into a function that has the target feature. Do not put calls into
/// closures: a closure does not inherit the target feature of the function around it.
pub(crate) trait Simd: Copy {
    /// A vector register.
    type V: Copy;
    /// Floats in a vector.
    const LANES: usize;
    /// Rows of the register tile of a matrix product; see `gemm::tile`.
    const TILE_ROWS: usize;
    /// Vectors per row of the register tile.
    const TILE_VECTORS: usize;

    /// All lanes the same.
    fn splat(self, x: f32) -> Self::V;
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a − b`.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b`.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b`.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// The smaller one; `b` where either is NaN (NaN on NEON).
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger one; `b` where either is NaN (NaN on NEON).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once where the instruction set can.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The nearest integer, ties to even, for |a| < 2²².
    fn round(self, a: Self::V) -> Self::V;
    /// `a · 2ⁿ` for integral `n` in −126..=127.
    fn scale_by_power_of_two(self, a: Self::V, n: Self::V) -> Self::V;
    /// `if a > b { yes } else { no }` lane by lane.
    fn select_gt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;

    /// Loads [`Simd::LANES`] floats.
    ///
    /// # Safety
    /// `p` points to that many readable floats; no alignment is needed.
    unsafe fn load(self, p: *const f32) -> Self::V;
    /// Stores [`Simd::LANES`] floats.
    ///
    /// # Safety
    /// `p` points to that many writable floats; no alignment is needed.
    unsafe fn store(self, p: *mut f32, v: Self::V);
    /// Loads the first `n ≤ LANES` lanes, the others are zero.
    ///
    /// # Safety
    /// `p` points to `n` readable floats, and `n ≤ LANES`.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::V;
    /// Stores the first `n ≤ LANES` lanes.
    ///
    /// # Safety
    /// `p` points to `n` writable floats, and `n ≤ LANES`.
    unsafe fn store_first(self, p: *mut f32, v: Self::V, n: usize);

    /// Half of the lanes from `lo`, the others from `hi`.
    ///
    /// # Safety
    /// Both point to `LANES / 2` readable floats.
    unsafe fn load_halves(self, lo: *const f32, hi: *const f32) -> Self::V;
    /// The lower half of the lanes to `lo`, the upper to `hi`.
    ///
    /// # Safety
    /// Both point to `LANES / 2` writable floats.
    unsafe fn store_halves(self, lo: *mut f32, hi: *mut f32, v: Self::V);

    /// Asks for the cache line of an address, which need not exist.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    /// All lanes zero.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }
}

/// Compiles a generic body for every instruction set and makes the selector of the result.
///
/// ```ignore
/// per_isa! {
///     /// Doc of the kernel, with its `# Safety`.
///     pub(crate) fn relu_in_place(p: *mut f32, n: usize) = relu_body;
/// }
/// // relu_in_place(isa) -> unsafe fn(*mut f32, usize), with fn relu_body<S: Simd>(s: S, p: *mut f32, n: usize)
/// ```
/// The selector panics when the processor lacks the instruction set; that check is what the `unsafe` blocks in the wrappers rest on.
macro_rules! per_isa {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident $(<$(const $k:ident: usize),+>)? ($($arg:ident: $ty:ty),* $(,)?) = $body:ident;
    ) => {
        $(#[$meta])*
        $vis fn $name $(<$(const $k: usize),+>)? (isa: $crate::isa::Isa) -> unsafe fn($($ty),*) {
            unsafe fn portable $(<$(const $k: usize),+>)? ($($arg: $ty),*) {
                // SAFETY: the caller keeps the contract of the body.
                unsafe { $body::<_ $($(, $k)+)?>($crate::simd::Portable, $($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2 $(<$(const $k: usize),+>)? ($($arg: $ty),*) {
                // SAFETY: this function has the features; the caller keeps the contract of the body.
                unsafe { $body::<_ $($(, $k)+)?>($crate::simd::Avx2::new(), $($arg),*) }
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            unsafe fn avx512 $(<$(const $k: usize),+>)? ($($arg: $ty),*) {
                // SAFETY: this function has the features; the caller keeps the contract of the body.
                unsafe { $body::<_ $($(, $k)+)?>($crate::simd::Avx512::new(), $($arg),*) }
            }

            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            unsafe fn neon $(<$(const $k: usize),+>)? ($($arg: $ty),*) {
                // SAFETY: this function has the features; the caller keeps the contract of the body.
                unsafe { $body::<_ $($(, $k)+)?>($crate::simd::Neon::new(), $($arg),*) }
            }

            isa.assert_available();
            match isa {
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx2 => avx2 $(::<$($k),+>)?,
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Isa::Avx512 => avx512 $(::<$($k),+>)?,
                #[cfg(target_arch = "aarch64")]
                $crate::isa::Isa::Neon => neon $(::<$($k),+>)?,
                _ => portable $(::<$($k),+>)?,
            }
        }
    };
}
pub(crate) use per_isa;

#[cfg(test)]
mod tests {
    use super::Simd;
    use crate::isa::Isa;

    per_isa! {
        fn exercise(a: *const f32, b: *const f32, out: *mut f32) = exercise_body;
    }

    /// Writes the results of all operations on up to 16 lanes, 16 floats apart; the partial load and store move 3 floats.
    unsafe fn exercise_body<S: Simd>(s: S, a: *const f32, b: *const f32, out: *mut f32) {
        for at in (0..16).step_by(S::LANES) {
            // SAFETY: the test hands over 16 floats twice and room for 14 · 16.
            unsafe {
                let (x, y, o) = (s.load(a.add(at)), s.load(b.add(at)), out.add(at));
                let results = [
                    s.add(x, y),
                    s.sub(x, y),
                    s.mul(x, y),
                    s.div(x, y),
                    s.min(x, y),
                    s.max(x, y),
                    s.fma(x, y, s.splat(0.5)),
                    s.round(x),
                    s.scale_by_power_of_two(y, s.round(x)),
                    s.select_gt(x, y, s.splat(1.0), s.zero()),
                    s.load_first(a.add(at), 3),
                ];
                for (i, v) in results.into_iter().enumerate() {
                    s.store(o.add(16 * i), v);
                }
                s.store_first(o.add(16 * 11), y, 3);
                let half = S::LANES / 2;
                s.store(o.add(16 * 12), s.load_halves(a.add(at + half), b.add(at)));
                s.store_halves(o.add(16 * 13 + half), o.add(16 * 13), x);
            }
        }
    }

    #[test]
    fn every_operation_does_what_it_says_on_every_instruction_set() {
        let a: Vec<f32> = (0..16).map(|i| i as f32 * 1.25 - 9.5).collect();
        let b: Vec<f32> = (0..16).map(|i| 3.5 - i as f32).collect();
        for isa in Isa::available() {
            let mut out = vec![-7.0f32; 16 * 14];
            // SAFETY: the slices are as long as `exercise_body` wants them.
            unsafe { exercise(isa)(a.as_ptr(), b.as_ptr(), out.as_mut_ptr()) };
            let lanes = match isa {
                Isa::Avx512 => 16,
                Isa::Avx2 => 8,
                _ => 4,
            };
            let half = lanes / 2;
            for i in 0..16 {
                let (x, y) = (a[i], b[i]);
                let expected = [
                    x + y,
                    x - y,
                    x * y,
                    x / y,
                    x.min(y),
                    x.max(y),
                    x.mul_add(y, 0.5),
                    x.round_ties_even(),
                    y * x.round_ties_even().exp2(),
                    f32::from(u8::from(x > y)),
                    if i % lanes < 3 { x } else { 0.0 },
                    if i % lanes < 3 { y } else { -7.0 },
                    if i % lanes < half { a[i + half] } else { b[i - half] },
                    if i % lanes < half { a[i + half] } else { a[i - half] },
                ];
                for (op, want) in expected.into_iter().enumerate() {
                    let got = out[16 * op + i];
                    // Only the portable multiply-add may differ: it rounds twice.
                    assert!(
                        (got - want).abs() <= 1e-5,
                        "{isa}: operation {op}, lane {i}: {got}, expected {want}"
                    );
                }
            }
        }
    }
}
