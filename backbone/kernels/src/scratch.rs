//! Working memory that outlives one call.
//!
//! A forward pass asks for the same buffers again and again. Returning them to the system would pay for fresh pages every time
//! (seconds on the first pass of a large picture), so a dropped [`Scratch`] goes back to a pool of the process and is found again.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard};

use crate::buffer::AlignedVec;

/// Buffers that may wait in the pool in any case; as many as were ever in use at once may, too, so that a training step, which keeps hundreds,
/// finds them again. Beyond it the oldest is freed.
const POOLED: usize = 64;

/// A waiting buffer serves a request of at least a part of its size, so that a huge one is not spent on a small request. Large parts
/// make one set of buffers serve all phases of a pass: backbone, neck and head need about as much, in other pieces.
const WASTE: usize = 8;

/// Requests below this many floats may take any small buffer.
const SMALL: usize = 1 << 14;

static POOL: Mutex<Pool> = Mutex::new(Pool { waiting: Vec::new(), in_use: 0, most_in_use: 0 });

struct Pool {
    waiting: Vec<AlignedVec>,
    in_use: usize,
    most_in_use: usize,
}

fn pool() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A pooled 64-byte aligned buffer. Returned to the pool when dropped.
#[derive(Debug)]
pub struct Scratch(AlignedVec);

/// `len` floats with **unspecified** (but initialised) contents.
pub fn take(len: usize) -> Scratch {
    let mut pool = pool();
    let fits =
        |buffer: &AlignedVec| buffer.capacity() >= len && buffer.capacity() <= (len * WASTE).max(SMALL);
    let sizes = pool.waiting.iter().enumerate().filter(|(_, buffer)| fits(buffer));
    let best = sizes.min_by_key(|(_, buffer)| buffer.capacity()).map(|(i, _)| i);
    let found = best.map(|i| pool.waiting.remove(i));
    pool.in_use += 1;
    pool.most_in_use = pool.most_in_use.max(pool.in_use);
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
    let mut pool = pool();
    pool.waiting.clear();
    pool.most_in_use = pool.in_use;
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let mut pool = pool();
        pool.in_use -= 1;
        if pool.waiting.len() >= POOLED.max(pool.most_in_use) {
            pool.waiting.remove(0);
        }
        pool.waiting.push(buffer);
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

    #[test]
    fn as_many_wait_as_were_in_use_at_once() {
        let many: Vec<Scratch> = (0..3 * POOLED).map(|_| take(SMALL)).collect();
        drop(many);
        assert!(pool().waiting.len() >= 2 * POOLED);
    }
}
