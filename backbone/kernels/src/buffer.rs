//! Float buffers that start on a cache line.
//!
//! Packed weights and scratch rows begin at multiples of 64 bytes, so a full-width vector load of an aligned row never touches two
//! cache lines (measured on the packed panels of the matrix kernels: 64-byte alignment is part of what made them fast).

use std::ops::{Deref, DerefMut};

/// Floats in a cache line, and in the widest vector that the kernels use.
pub const LINE: usize = 16;

#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Line([f32; LINE]);

/// A fixed-size `[f32]` that starts on a 64-byte boundary.
#[derive(Clone, Debug, Default)]
pub struct AlignedVec {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedVec {
    /// `len` zeros.
    pub fn zeros(len: usize) -> AlignedVec {
        AlignedVec { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)], len }
    }

    /// A copy of a slice.
    pub fn from_slice(values: &[f32]) -> AlignedVec {
        let mut copy = AlignedVec::zeros(values.len());
        copy.copy_from_slice(values);
        copy
    }

    /// A copy of a slice, filled up with zeros to `len` floats.
    ///
    /// # Panics
    /// When `values` is longer than `len`.
    pub fn padded(values: &[f32], len: usize) -> AlignedVec {
        let mut copy = AlignedVec::zeros(len);
        copy[..values.len()].copy_from_slice(values);
        copy
    }

    /// Floats that fit without a new allocation.
    pub(crate) fn capacity(&self) -> usize {
        self.lines.len() * LINE
    }

    /// Shows the first `len` floats of what is allocated.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity());
        self.len = len;
    }
}

impl Deref for AlignedVec {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `lines` holds at least `len` initialised floats without padding between them (`zeros` and `set_len` check it).
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast::<f32>(), self.len) }
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast::<f32>(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_is_zero_padded() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let buffer = AlignedVec::padded(&vec![1.0; len / 2], len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            assert_eq!(buffer.iter().sum::<f32>(), (len / 2) as f32);
        }
    }
}
