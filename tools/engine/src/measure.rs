//! Medians of repeated passes, in CPU and wall time, with the share of each phase.

use crate::clock;
use crate::error::Result;
use crate::machine::in_pool;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Passes before anything is counted: the first pays for page faults of the scratch memory, the second for caches.
const WARM_UP: usize = 2;

/// Time per named phase, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    times: Vec<(&'static str, Duration)>,
    /// Phases are measured in CPU time of the process instead of wall time.
    cpu: bool,
    lap: Option<Duration>,
}

impl Phases {
    /// Measures CPU time (where the system tells), which a busy machine does not distort.
    pub fn in_cpu_time() -> Self {
        Self { cpu: clock::cpu_time().is_some(), ..Self::default() }
    }

    /// Runs `work` and books its time under `name`.
    pub fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        self.start_lap();
        let result = work();
        self.end_lap(name);
        result
    }

    /// The next [`Phases::end_lap`] counts from here.
    pub fn start_lap(&mut self) {
        self.lap = Some(self.now());
    }

    /// Books the time since the last lap under `name` and starts the next.
    pub fn end_lap(&mut self, name: &'static str) {
        let now = self.now();
        self.add(name, now.saturating_sub(self.lap.unwrap_or(now)));
        self.lap = Some(now);
    }

    /// Books time under `name`.
    pub fn add(&mut self, name: &'static str, time: Duration) {
        match self.times.iter_mut().find(|(n, _)| *n == name) {
            Some((_, sum)) => *sum += time,
            None => self.times.push((name, time)),
        }
    }

    fn now(&self) -> Duration {
        match (self.cpu, clock::cpu_time()) {
            (true, Some(time)) => time,
            _ => clock::wall_time(),
        }
    }

    /// Names and times, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.times.iter().copied()
    }

    /// Milliseconds by name.
    pub fn milliseconds(&self) -> Vec<(&'static str, f64)> {
        self.iter().map(|(name, time)| (name, 1e3 * time.as_secs_f64())).collect()
    }
}

/// What repeated passes cost.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// Median CPU time of a pass over all threads; `None` where the system does not tell.
    pub cpu_ms: Option<f64>,
    /// Median wall time of a pass.
    pub wall_ms: f64,
    /// Most memory the process ever held, MiB; `None` where the system does not tell.
    pub peak_mb: Option<f64>,
    /// Share of each phase in the time of all passes (CPU time where the system tells it), in percent, in order.
    #[serde(skip)]
    pub shares: Vec<(&'static str, f64)>,
}

/// Runs `pass` a few times to warm up, then `repeat` times measured.
///
/// # Errors
/// The first error of a pass.
pub fn measure(repeat: usize, pass: impl FnMut(&mut Phases) -> Result<()> + Send) -> Result<Cost> {
    in_pool(|| measure_here(repeat, pass))
}

fn measure_here(repeat: usize, mut pass: impl FnMut(&mut Phases) -> Result<()>) -> Result<Cost> {
    for _ in 0..WARM_UP {
        pass(&mut Phases::default())?;
    }
    let (mut cpu, mut wall, mut phases) = (Vec::new(), Vec::new(), Phases::in_cpu_time());
    for _ in 0..repeat.max(1) {
        let (cpu_start, start) = (clock::cpu_time(), Instant::now());
        pass(&mut phases)?;
        wall.push(1e3 * start.elapsed().as_secs_f64());
        if let (Some(from), Some(to)) = (cpu_start, clock::cpu_time()) {
            cpu.push(1e3 * to.saturating_sub(from).as_secs_f64());
        }
    }
    let total: f64 = phases.iter().map(|(_, t)| t.as_secs_f64()).sum();
    let share = |(name, t): (&'static str, Duration)| (name, 100.0 * t.as_secs_f64() / total.max(1e-12));
    Ok(Cost {
        cpu_ms: median(cpu),
        wall_ms: median(wall).unwrap_or(0.0),
        peak_mb: clock::peak_mb(),
        shares: phases.iter().map(share).collect(),
    })
}

/// The middle value; the mean of the two middle ones of an even count.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_odd_and_even_counts() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn passes_are_counted_after_the_warm_up_and_shares_add_up() -> Result<()> {
        let work = |rounds: u64| {
            (0..rounds).fold(1u64, |x, i| std::hint::black_box(x.wrapping_mul(31).wrapping_add(i)))
        };
        let mut passes = 0;
        let cost = measure(5, |phases| {
            passes += 1;
            phases.time("a", || work(6_000_000));
            phases.start_lap();
            work(1_000_000);
            phases.end_lap("b");
            Ok(())
        })?;
        assert_eq!(passes, WARM_UP + 5);
        assert!(cost.wall_ms > 0.0 && cost.cpu_ms.is_none_or(|ms| ms > 0.0), "{cost:?}");
        assert_eq!(cost.shares.iter().map(|s| s.0).collect::<Vec<_>>(), ["a", "b"]);
        assert!(cost.shares[0].1 > cost.shares[1].1, "{cost:?}");
        assert!((cost.shares.iter().map(|s| s.1).sum::<f64>() - 100.0).abs() < 1e-6);
        Ok(())
    }
}
