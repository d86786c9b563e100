//! Work ahead of a consumer on other threads, results in order, memory bounded.
//!
//! Decoding a picture takes about as long as a small network needs for it, so pictures are prepared while the network
//! runs. Results come in the order of the items whatever the thread count, and never more than `ahead` items are begun
//! and not yet taken, so the memory does not grow when the network is the slower side.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Applies `work` to `items` on up to `threads` threads, at most `ahead` items before the consumer.
///
/// Zero for either counts as one. A panic of `work` (or of the item iterator) is raised again at the consumer, in
/// order. Dropping the iterator stops the threads after the items they are at.
pub fn prefetch<I, R, F>(items: I, threads: usize, ahead: usize, work: F) -> Prefetch<R>
where
    I: IntoIterator,
    I::IntoIter: Send + 'static,
    I::Item: Send,
    R: Send + 'static,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
{
    let ahead = ahead.max(1);
    let shared = Arc::new(Shared::new(ahead));
    let source = Arc::new(Mutex::new(items.into_iter()));
    let work = Arc::new(work);
    let threads = (0..threads.clamp(1, ahead))
        .map(|_| {
            let (shared, source, work) = (Arc::clone(&shared), Arc::clone(&source), Arc::clone(&work));
            std::thread::spawn(move || run(&shared, &source, &*work))
        })
        .collect();
    Prefetch { shared, threads }
}

/// The ordered results of [`prefetch`].
pub struct Prefetch<R> {
    shared: Arc<Shared<R>>,
    threads: Vec<JoinHandle<()>>,
}

type Outcome<R> = Result<R, Box<dyn Any + Send>>;

struct Shared<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
    ahead: usize,
}

struct State<R> {
    /// Begun items that the consumer has not taken, oldest first; `None` while a thread is at it.
    slots: VecDeque<Option<Outcome<R>>>,
    /// How many items were taken: the item number of `slots[0]`.
    taken: usize,
    /// No more items will be begun: the source ended, something panicked, or the consumer left.
    closed: bool,
}

impl<R> Shared<R> {
    fn new(ahead: usize) -> Self {
        let state = State { slots: VecDeque::with_capacity(ahead), taken: 0, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), ahead }
    }

    /// No code that can panic runs under this lock, so a poisoned state is still whole.
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State<R>>) -> MutexGuard<'a, State<R>> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, number: usize, outcome: Outcome<R>) {
        let mut state = self.lock();
        state.closed |= outcome.is_err();
        let slot = number - state.taken;
        if let Some(slot) = state.slots.get_mut(slot) {
            *slot = Some(outcome);
        }
        self.changed.notify_all();
    }
}

fn run<T, R>(shared: &Shared<R>, source: &Mutex<impl Iterator<Item = T>>, work: &impl Fn(T) -> R) {
    while let Some((number, item)) = begin(shared, source) {
        let outcome = match item {
            Ok(item) => catch_unwind(AssertUnwindSafe(|| work(item))),
            Err(panic) => Err(panic),
        };
        shared.finish(number, outcome);
    }
}

/// Takes the next item and its slot. The source's lock is held from reading the item to numbering it, which keeps the
/// order; it is taken before the state's lock, always in this order.
fn begin<T, R>(shared: &Shared<R>, source: &Mutex<impl Iterator<Item = T>>) -> Option<(usize, Outcome<T>)> {
    let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
    let mut state = shared.lock();
    while !state.closed && state.slots.len() >= shared.ahead {
        state = shared.wait(state);
    }
    if state.closed {
        return None;
    }
    drop(state);
    let item = catch_unwind(AssertUnwindSafe(|| source.next())).transpose();
    let mut state = shared.lock();
    let Some(item) = item else {
        state.closed = true;
        shared.changed.notify_all();
        return None;
    };
    state.slots.push_back(None);
    Some((state.taken + state.slots.len() - 1, item))
}

impl<R> Iterator for Prefetch<R> {
    type Item = R;

    fn next(&mut self) -> Option<R> {
        let mut state = self.shared.lock();
        loop {
            match state.slots.front() {
                Some(Some(_)) => break,
                None if state.closed => return None,
                _ => state = self.shared.wait(state),
            }
        }
        let outcome = state.slots.pop_front().flatten()?;
        state.taken += 1;
        self.shared.changed.notify_all();
        drop(state);
        Some(outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    }
}

impl<R> Drop for Prefetch<R> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread's own panic was already caught and handed to the consumer.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    #[test]
    fn results_come_in_order_at_any_thread_count() {
        for (threads, ahead) in [(0, 0), (1, 1), (2, 8), (8, 3), (16, 16)] {
            let slow_first = |i: u64| {
                std::thread::sleep(Duration::from_micros((i * 7919) % 300));
                i * i
            };
            let got: Vec<u64> = prefetch(0..200u64, threads, ahead, slow_first).collect();
            assert_eq!(got, (0..200).map(|i| i * i).collect::<Vec<_>>(), "{threads} threads, {ahead} ahead");
        }
    }

    #[test]
    fn no_more_than_ahead_items_are_begun_before_the_consumer() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let results = prefetch(0..100usize, 4, 5, move |i| {
            counter.fetch_add(1, Ordering::SeqCst);
            i
        });
        for (taken, i) in results.enumerate() {
            assert_eq!(taken, i);
            std::thread::sleep(Duration::from_micros(500));
            let begun = begun.load(Ordering::SeqCst);
            assert!(begun <= taken + 1 + 5, "{begun} begun after {} taken", taken + 1);
        }
    }

    #[test]
    fn dropping_early_stops_the_threads() {
        let begun = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&begun);
        let mut endless = prefetch(0u64.., 3, 4, move |i| {
            counter.fetch_add(1, Ordering::SeqCst);
            i
        });
        assert_eq!(endless.next(), Some(0));
        drop(endless); // joins: a thread that went on would hang the test
        let at_drop = begun.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(begun.load(Ordering::SeqCst), at_drop);
    }

    #[test]
    fn a_panic_reaches_the_consumer_in_order() {
        let mut results = prefetch(0..10, 2, 4, |i| {
            assert!(i != 3, "item three");
            i
        });
        assert_eq!([results.next(), results.next(), results.next()], [Some(0), Some(1), Some(2)]);
        assert!(catch_unwind(AssertUnwindSafe(|| results.next())).is_err());
    }
}
