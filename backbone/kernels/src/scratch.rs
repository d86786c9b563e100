//! Working memory that outlives one call.
//!
//! A forward pass asks for the same buffers again and again. Returning them to the system would pay for fresh pages every time
//! (seconds on the first pass of a large picture), so a dropped [`Scratch`] goes back to a pool of the process and is found again.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::buffer::AlignedVec;

/// Most buffers that wait in the pool; beyond it the oldest is freed.
const POOLED: usize = 64;

/// A waiting buffer serves a request of at least a part of its size, so that a huge one is not spent on a small request. Large parts
/// make one set of buffers serve all phases of a pass: backbone, neck and head need about as much, in other pieces.
const WASTE: usize = 8;

/// Requests below this many floats may take any small buffer.
const SMALL: usize = 1 << 14;

static POOL: Mutex<Vec<AlignedVec>> = Mutex::new(Vec::new());

/// A pooled 64-byte aligned buffer. Returned to the pool when dropped.
#[derive(Debug)]
pub struct Scratch(AlignedVec);

/// `len` floats with **unspecified** (but initialised) contents.
pub fn take(len: usize) -> Scratch {
    let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let fits =
        |buffer: &AlignedVec| buffer.capacity() >= len && buffer.capacity() <= (len * WASTE).max(SMALL);
    let best = (0..pool.len()).filter(|&i| fits(&pool[i])).min_by_key(|&i| pool[i].capacity());
    let found = best.map(|i| pool.remove(i));
    drop(pool);
    let mut buffer = found.unwrap_or_else(|| AlignedVec::zeros(len));
    buffer.set_len(len);
    Scratch(buffer)
}

/// `len` zeros.
pub fn take_zeroed(len: usize) -> Scratch {
    let mut scratch = take(len);
    scratch.fill(0.0);
    scratch
}

/// Frees all waiting buffers.
pub fn clear() {
    POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clear();
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let mut pool = POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if pool.len() == POOLED {
            pool.remove(0);
        }
        pool.push(buffer);
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_found_again() {
        // Tests run side by side on the pool of the process: so large that no other one's request takes it, nor leaves a better one.
        let len = WASTE << 21;
        let first = take(len);
        let address = first.as_ptr();
        drop(first);
        let second = take(len - 5);
        assert_eq!(second.as_ptr(), address);
        assert_eq!(second.len(), len - 5);
    }
}
