//! CPU time.
use std::time::Instant;

/// CPU time of this thread, where the system tells it.
pub(crate) struct Clock {
    wall: Instant,
    thread: Option<f64>,
}

impl Clock {
    pub(crate) fn now() -> Self {
        Clock { wall: Instant::now(), thread: Clock::thread() }
    }

    pub(crate) fn seconds(&self) -> f64 {
        match (self.thread, Clock::thread()) {
            (Some(start), Some(now)) => now - start,
            _ => self.wall.elapsed().as_secs_f64(),
        }
    }

    fn thread() -> Option<f64> {
        std::thread::yield_now(); // brings the kernel's account up to date
        let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        Some(account.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
    }
}
