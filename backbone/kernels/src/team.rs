//! Threads that stay awake between the parallel loops of a pass.
//!
//! A pass of a network has a hundred parallel loops, many of them shorter than it takes to wake a sleeping thread. While a pass runs
//! within [`with`], the other threads of the pool watch for its next loop instead of going to sleep, so that handing a loop over costs a
//! few hundred nanoseconds. Watching threads do other work of the pool in between, and step aside where other threads want to run.
//! Results do not depend on any of this: who does a task never changes it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// A loop's body; run by the leader and by every helper that comes in time.
type Job<'a> = &'a (dyn Fn() + Sync);

/// Rounds of waiting after which a helper looks for other work of the pool.
const ROUNDS_BETWEEN_LOOKS: usize = 64;

/// Rounds of waiting after which whoever waits steps aside for other threads of the machine: some 50 µs, more than most gaps of a pass.
const PATIENCE: usize = 2048;

thread_local! {
    /// The team that this thread leads, unless one of its loops is running: loops within loops are not shared.
    static LED: Cell<*const Team> = const { Cell::new(std::ptr::null()) };
    /// Whether this thread leads a team or helps one. Who does never begins to help another: two leaders who wait for work of the pool and pick up
    /// each other's helpers meanwhile would wait forever.
    static ENGAGED: Cell<bool> = const { Cell::new(false) };
}

#[derive(Default)]
struct Team {
    /// Grows by one when a loop begins and by one when it ends: odd while helpers may enter.
    state: AtomicUsize,
    /// Points to the leader's [`Job`] while `state` is odd.
    job: AtomicPtr<()>,
    /// Helpers that may be using `job`.
    inside: AtomicUsize,
    over: AtomicBool,
}

/// Runs `work` on a thread of rayon's pool while the pool's other threads wait for its parallel loops without sleeping.
pub fn with<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let team = Team::default();
    rayon::scope(|scope| {
        let threads = rayon::current_num_threads();
        if threads == 1 || ENGAGED.get() {
            return work();
        }
        for _ in 1..threads {
            scope.spawn(|_| team.help());
        }
        let _led = Leading::begin(&team);
        work()
    })
}

/// Whether a loop that starts on this thread finds helpers awake.
pub(crate) fn is_awake() -> bool {
    !LED.get().is_null()
}

/// Runs `job` on this thread and on the helpers of its team, and returns when nobody runs it any more; false, and nothing done, when this thread
/// leads no team.
pub(crate) fn run(job: Job<'_>) -> bool {
    let led = LED.replace(std::ptr::null());
    // SAFETY: `with` keeps the team alive while `LED` names it, and clears it before.
    let Some(team) = (unsafe { led.as_ref() }) else { return false };
    let _again = Again(led);
    let _open = Open::begin(team, &job);
    job();
    true
}

impl Team {
    /// Joins one loop after the other until the pass is over.
    fn help(&self) {
        let Some(_engaged) = Engaged::begin() else { return };
        let (mut seen, mut waited) = (0, 0);
        while !self.over.load(Ordering::Acquire) {
            let state = self.state.load(Ordering::Acquire);
            if state % 2 == 1 && state != seen {
                (seen, waited) = (state, 0);
                self.join(state);
                continue;
            }
            waited += 1;
            pause(waited);
            if waited % ROUNDS_BETWEEN_LOOKS == 0 {
                rayon::yield_now();
            }
        }
    }

    /// Runs the loop of that state, if it is still open.
    fn join(&self, state: usize) {
        // The leader closes a loop first and then looks who is inside; a helper enters first and then looks whether the loop is open. With
        // one order of all four steps (SeqCst), either the helper finds it closed or the leader waits for the helper.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let _leave = Leave(self);
        if self.state.load(Ordering::SeqCst) == state {
            let job = self.job.load(Ordering::Acquire).cast_const().cast::<Job<'_>>();
            // SAFETY: the loop was open after this helper had entered, so its leader waits in `Open::drop` before the job goes away.
            unsafe { (*job)() };
        }
    }
}

/// One round of waiting.
fn pause(waited: usize) {
    if waited < PATIENCE {
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// A loop that helpers may join. Its end waits for those who did, also when the leader's part panics.
struct Open<'a>(&'a Team);

impl<'a> Open<'a> {
    fn begin(team: &'a Team, job: &Job<'_>) -> Open<'a> {
        team.job.store(std::ptr::from_ref(job).cast_mut().cast(), Ordering::Release);
        team.state.fetch_add(1, Ordering::SeqCst);
        Open(team)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.state.fetch_add(1, Ordering::SeqCst);
        let mut waited = 0;
        while self.0.inside.load(Ordering::SeqCst) > 0 {
            waited += 1;
            pause(waited);
        }
    }
}

/// A helper within a loop.
struct Leave<'a>(&'a Team);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// This thread leads a team.
struct Leading<'a>(&'a Team, #[allow(dead_code)] Option<Engaged>);

impl<'a> Leading<'a> {
    fn begin(team: &'a Team) -> Leading<'a> {
        LED.set(team);
        Leading(team, Engaged::begin())
    }
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        LED.set(std::ptr::null());
        self.0.over.store(true, Ordering::Release);
    }
}

/// This thread leads or helps.
struct Engaged(());

impl Engaged {
    /// Nothing when it did already.
    fn begin() -> Option<Engaged> {
        (!ENGAGED.replace(true)).then_some(Engaged(()))
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        ENGAGED.set(false);
    }
}

/// Leads the team again when a loop is over.
struct Again(*const Team);

impl Drop for Again {
    fn drop(&mut self) {
        LED.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::par;
    use std::sync::Mutex;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    /// Runs 2,000 short loops and as many more as it takes (a machine may be busy) until a helper has come. Returns the number of loops, how often
    /// each task ran, and how many threads were seen.
    fn many_loops(threads: usize) -> (usize, Vec<usize>, usize) {
        let runs: Vec<AtomicUsize> = (0..7).map(|_| AtomicUsize::new(0)).collect();
        let seen = Mutex::new(std::collections::BTreeSet::new());
        let late = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let loops = pool(threads).install(|| {
            with(|| {
                assert_eq!(is_awake(), threads > 1);
                let alone = || threads > 1 && seen.lock().unwrap().len() == 1;
                let mut loops = 0;
                while loops < 2000 || (alone() && std::time::Instant::now() < late) {
                    par::for_each(runs.len(), usize::MAX, |i| {
                        assert!(!is_awake(), "a loop within a loop would disturb the outer one");
                        runs[i].fetch_add(1, Ordering::Relaxed);
                        seen.lock().unwrap().insert(rayon::current_thread_index());
                    });
                    loops += 1;
                }
                loops
            })
        });
        (loops, runs.iter().map(|r| r.load(Ordering::Relaxed)).collect(), seen.into_inner().unwrap().len())
    }

    #[test]
    fn every_task_of_every_loop_runs_once_and_helpers_take_part() {
        for threads in [1, 2, 4] {
            let (loops, runs, seen) = many_loops(threads);
            assert_eq!(runs, [loops; 7], "{threads} threads");
            assert!(seen <= threads && (threads == 1 || seen > 1), "{seen} of {threads} threads took part");
        }
    }

    #[test]
    fn rayon_works_within_a_team_and_teams_within_teams() {
        let sum = pool(3).install(|| {
            with(|| {
                use rayon::prelude::*;
                let inner = with(|| (0..1000u64).into_par_iter().sum::<u64>());
                assert!(is_awake());
                inner + (0..1000u64).into_par_iter().sum::<u64>()
            })
        });
        assert_eq!(sum, 999_000);
    }

    #[test]
    fn passes_of_several_threads_on_one_pool_do_not_wait_for_each_other() {
        use rayon::prelude::*;
        let pool = pool(2);
        let pass = || {
            par::for_each(8, usize::MAX, |_| std::hint::spin_loop());
            (0..64u32).into_par_iter().with_max_len(1).map(u64::from).sum::<u64>()
        };
        let passes = || (0..500).map(|_| pool.install(|| with(pass))).sum::<u64>();
        let sums: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(passes)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(sums, [500 * 2016; 3]);
    }

    #[test]
    fn a_panic_in_a_task_ends_the_pass_with_it() {
        for bad in [0, 5] {
            let pass = || pool(2).install(|| with(|| par::for_each(6, usize::MAX, |i| assert_ne!(i, bad))));
            assert!(std::panic::catch_unwind(pass).is_err());
        }
    }
}
