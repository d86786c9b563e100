//! One parallel loop per kernel, over tasks that a shared counter hands out.
//!
//! Waking a thread costs some ten microseconds, as much as a whole 1×1 convolution of a small map, so a loop below a threshold of work
//! stays on the calling thread. Above it the calling thread starts at once and helpers join when they are awake: nobody waits
//! for a sleeper. Within a [`team`] helpers are awake, and much shorter loops are shared. What a task computes never depends on which thread
//! runs it, nor on how many there are.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::team;

/// Multiply-adds below which a loop is not worth a second thread: about 30 µs of one core with AVX-512.
const MIN_PARALLEL_WORK: usize = 2 << 20;

/// The same where helpers are awake: about 2 µs.
const MIN_TEAM_WORK: usize = 1 << 18;

/// How many threads a loop of that much work (in multiply-adds) will use, at most.
///
/// Only for deciding how finely to cut; results must not depend on it.
pub(crate) fn threads_for(work: usize) -> usize {
    let least = if team::is_awake() { MIN_TEAM_WORK } else { MIN_PARALLEL_WORK };
    if work < least { 1 } else { rayon::current_num_threads() }
}

/// Runs `task(0..count)`, each once, in any order and on any thread; `work` is the multiply-adds of all of them.
pub(crate) fn for_each(count: usize, work: usize, task: impl Fn(usize) + Sync) {
    let threads = threads_for(work).min(count);
    if threads <= 1 {
        return (0..count).for_each(task);
    }
    let next = AtomicUsize::new(0);
    let drain = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            task(i);
        }
    };
    if team::run(&drain) {
        return;
    }
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| drain());
        }
        drain();
    });
}

/// A pointer into a buffer of which every task writes a part of its own.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut(*mut f32);

// SAFETY: a pointer is only a number; whoever writes through it (in an `unsafe` block) vouches that tasks write disjoint parts.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    /// Shares a buffer for the duration of a loop.
    pub(crate) fn new(data: &mut [f32]) -> SharedMut {
        SharedMut(data.as_mut_ptr())
    }

    /// The pointer. (A method, so that closures capture the wrapper and not the field.)
    #[inline(always)]
    pub(crate) fn get(self) -> *mut f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_on_any_number_of_threads() {
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for (count, work) in [(0, 0), (1, usize::MAX), (100, 0), (100, usize::MAX)] {
                let runs: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                pool.install(|| for_each(count, work, |i| _ = runs[i].fetch_add(1, Ordering::Relaxed)));
                assert!(runs.iter().all(|r| r.load(Ordering::Relaxed) == 1));
            }
        }
    }
}
