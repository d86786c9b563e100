//! How many multiply-adds the kernels have been asked for: what a roofline needs.
//!
//! Counted as papers count them: convolutions and the matrix products of attention, a Winograd convolution as the direct one that it
//! replaces. Biases, activations, norms and resizing are not counted.

use std::sync::atomic::{AtomicU64, Ordering};

static MULTIPLY_ADDS: AtomicU64 = AtomicU64::new(0);

/// Multiply-adds of all forward kernels of this process so far.
pub fn multiply_adds() -> u64 {
    MULTIPLY_ADDS.load(Ordering::Relaxed)
}

/// Books the multiply-adds of a call.
pub(crate) fn add(macs: usize) {
    MULTIPLY_ADDS.fetch_add(macs as u64, Ordering::Relaxed);
}
