//! The fastest that this processor can multiply and add: what measured kernels are compared with.

use std::time::Instant;

use crate::isa::Isa;
use crate::simd::{Simd, per_isa};

/// Independent chains, enough to hide the latency of a fused multiply-add on two ports.
const CHAINS: usize = 12;

per_isa! {
    /// `count` rounds of [`CHAINS`] multiply-adds on whole vectors; all lanes of the sum go to `out`, so that nothing is optimised away.
    ///
    /// # Safety
    /// `out` points to 16 writable floats.
    fn multiply_adds(count: usize, out: *mut f32) = multiply_adds_body;
}

#[inline(always)]
#[allow(clippy::needless_range_loop)] // constant indices keep the chains in registers
unsafe fn multiply_adds_body<S: Simd>(s: S, count: usize, out: *mut f32) {
    let (x, y) = (s.splat(std::hint::black_box(0.999)), s.splat(std::hint::black_box(0.001)));
    let mut acc = [s.splat(1.0); CHAINS];
    for _ in 0..count {
        for i in 0..CHAINS {
            acc[i] = s.fma(acc[i], x, y);
        }
    }
    let mut sum = acc[0];
    for v in &acc[1..] {
        sum = s.add(sum, *v);
    }
    // SAFETY: the caller vouches for 16 floats, the widest vector there is.
    unsafe { s.store(out, sum) };
}

/// Billions of floating-point operations per second of one thread (a multiply-add counts two): the best of `repeats` short runs.
/// Not for the portable path, where the compiler makes single floats of this loop (but vectors of the kernels).
pub fn measured_gflops(isa: Isa, repeats: usize) -> f64 {
    const COUNT: usize = 200_000; // about 1 ms: long enough for the processor to leave its burst frequency
    let lanes = match isa {
        Isa::Avx512 => 16,
        Isa::Avx2 => 8,
        Isa::Portable | Isa::Neon => 4,
    };
    let kernel = multiply_adds(isa);
    let seconds = (0..repeats.max(1)).map(|_| {
        let (start, mut out) = (Instant::now(), [0.0; 16]);
        // SAFETY: 16 floats for the result.
        unsafe { kernel(COUNT, out.as_mut_ptr()) };
        std::hint::black_box(out);
        start.elapsed().as_secs_f64()
    });
    (2 * COUNT * CHAINS * lanes) as f64 / seconds.fold(f64::INFINITY, f64::min) / 1e9
}
