//! Float buffers that start on a cache line.
//!
//! Packed weights and scratch rows begin at multiples of 64 bytes, so a full-width vector load of an aligned row never touches two
//! cache lines (measured on the packed panels of the matrix kernels: 64-byte alignment is part of what made them fast).

use std::ops::{Deref, DerefMut};

use crate::pages::{self, Pages};

/// Floats in a cache line, and in the widest vector that the kernels use.
pub const LINE: usize = 16;

#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
struct Line([f32; LINE]);

/// A fixed-size `[f32]` that starts on a 64-byte boundary. Large ones have [`Pages`] of their own.
#[derive(Debug)]
pub struct AlignedVec {
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Heap(Vec<Line>),
    /// At least as many bytes as whole lines of that number.
    Pages(Pages, usize),
}

impl AlignedVec {
    /// `len` zeros.
    pub fn zeros(len: usize) -> AlignedVec {
        let lines = len.div_ceil(LINE);
        let bytes = lines * size_of::<Line>();
        let pages = if bytes < pages::LEAST { None } else { Pages::zeroed(bytes) };
        let memory = match pages {
            Some(pages) => Memory::Pages(pages, lines),
            None => Memory::Heap(vec![Line([0.0; LINE]); lines]),
        };
        AlignedVec { memory, len }
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
        match &self.memory {
            Memory::Heap(lines) => lines.len() * LINE,
            Memory::Pages(_, lines) => lines * LINE,
        }
    }

    /// Shows the first `len` floats of what is allocated.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity());
        self.len = len;
    }
}

impl Default for AlignedVec {
    fn default() -> AlignedVec {
        AlignedVec { memory: Memory::Heap(Vec::new()), len: 0 }
    }
}

impl Clone for AlignedVec {
    fn clone(&self) -> AlignedVec {
        AlignedVec::from_slice(self)
    }
}

impl Deref for AlignedVec {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let start = match &self.memory {
            Memory::Heap(lines) => lines.as_ptr().cast::<f32>(),
            Memory::Pages(pages, _) => pages.start().as_ptr().cast::<f32>().cast_const(),
        };
        // SAFETY: the memory holds at least `len` initialised floats without padding between them (`zeros` and `set_len` check it).
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

impl DerefMut for AlignedVec {
    fn deref_mut(&mut self) -> &mut [f32] {
        let start = match &mut self.memory {
            Memory::Heap(lines) => lines.as_mut_ptr().cast::<f32>(),
            Memory::Pages(pages, _) => pages.start().as_ptr().cast::<f32>(),
        };
        // SAFETY: as in `deref`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(start, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_on_a_cache_line_and_is_zero_padded() {
        for len in [0, 1, 15, 16, 17, 1000, 300_000] {
            let buffer = AlignedVec::padded(&vec![1.0; len / 2], len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            assert_eq!(buffer.iter().sum::<f32>(), (len / 2) as f32);
            let copy = buffer.clone();
            drop(buffer);
            assert_eq!(copy[..len / 2], vec![1.0; len / 2]);
        }
    }
}
