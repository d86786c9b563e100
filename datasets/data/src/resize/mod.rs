//! Resizing of 8-bit pictures, bit-equal to the libraries that published weights were trained with.
//!
//! *Why our own:* resizing is an accuracy decision (a filter that is "nearly the same" moves AP), so the product here
//! is exactness. [`cv2`] is OpenCV's `INTER_LINEAR` (no antialiasing, what mmdetection uses), [`pil`] is Pillow's
//! antialiased convolution (what timm and torchvision use), [`nearest`] holds both libraries' rule for label maps.
//! The tests compare with the bytes that those libraries produced.

pub mod cv2;
pub mod nearest;
pub mod pil;

use rayon::prelude::*;

/// Pictures with fewer result bytes than this are resized on the calling thread: below it, waking the pool costs more
/// than it saves, and a loader thread should leave the pool to the network.
const PARALLEL_FROM_BYTES: usize = 1 << 20;

/// Rows per parallel task: enough work to be worth a task, and long runs so that neighbouring rows share their source.
const ROWS_PER_TASK: usize = 64;

/// Calls `draw(first_row, rows)` for consecutive groups of result rows (`row_bytes` bytes each), in parallel when the
/// result is big. The grouping never depends on the thread count and no row depends on its group.
fn for_row_groups(out: &mut [u8], row_bytes: usize, draw: impl Fn(usize, &mut [u8]) + Sync) {
    if row_bytes == 0 {
        return;
    }
    if out.len() < PARALLEL_FROM_BYTES {
        return draw(0, out);
    }
    out.par_chunks_mut(row_bytes * ROWS_PER_TASK)
        .enumerate()
        .for_each(|(i, rows)| draw(i * ROWS_PER_TASK, rows));
}
