//! Medians of repeated passes, in CPU and wall time, with the time and the arithmetic of each phase.

use crate::clock;
use crate::error::Result;
use crate::machine::{in_pool, in_team};
use care_kernels::count::multiply_adds;
use care_kernels::pages::settle;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Passes before anything is counted: the first pays for page faults of the scratch memory, the second for caches.
const WARM_UP: usize = 2;

/// Time and multiply-adds per named phase, in order of first appearance.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    entries: Vec<(&'static str, Spent)>,
    /// Phases are measured in CPU time of the process instead of wall time.
    cpu: bool,
    lap: Option<Spent>,
}

/// What a phase has cost, or what had been spent at some moment.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    time: Duration,
    macs: u64,
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
        let from = self.lap.unwrap_or(now);
        self.book(name, Spent { time: now.time.saturating_sub(from.time), macs: now.macs - from.macs });
        self.lap = Some(now);
    }

    /// Books time under `name`.
    pub fn add(&mut self, name: &'static str, time: Duration) {
        self.book(name, Spent { time, macs: 0 });
    }

    fn book(&mut self, name: &'static str, spent: Spent) {
        match self.entries.iter_mut().find(|(n, _)| *n == name) {
            Some((_, sum)) => (sum.time, sum.macs) = (sum.time + spent.time, sum.macs + spent.macs),
            None => self.entries.push((name, spent)),
        }
    }

    fn now(&self) -> Spent {
        let time = match (self.cpu, clock::cpu_time()) {
            (true, Some(time)) => time,
            _ => clock::wall_time(),
        };
        Spent { time, macs: multiply_adds() }
    }

    /// Names and times, in order of first appearance.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        self.entries.iter().map(|&(name, spent)| (name, spent.time))
    }

    /// An average pass of `passes`.
    fn mean(&self, passes: usize) -> Vec<PhaseCost> {
        let total: f64 = self.iter().map(|(_, t)| t.as_secs_f64()).sum();
        let cost = |&(phase, Spent { time, macs }): &(&'static str, Spent)| PhaseCost {
            phase,
            ms: 1e3 * time.as_secs_f64() / passes as f64,
            percent: 100.0 * time.as_secs_f64() / total.max(1e-12),
            gmacs: macs as f64 / 1e9 / passes as f64,
        };
        self.entries.iter().map(cost).collect()
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
    /// Where the time goes, in order.
    #[serde(skip)]
    pub phases: Vec<PhaseCost>,
}

/// A phase of an average pass.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct PhaseCost {
    /// Its name.
    pub phase: &'static str,
    /// CPU time of all threads where the system tells it, otherwise wall time.
    pub ms: f64,
    /// Share of the pass.
    pub percent: f64,
    /// Billions of multiply-adds of the forward kernels, as papers count them.
    pub gmacs: f64,
}

impl PhaseCost {
    /// Billions of floating-point operations per second; a multiply-add is two.
    pub fn gflops(&self) -> f64 {
        2e3 * self.gmacs / self.ms.max(1e-9)
    }
}

/// Runs `pass` a few times to warm up, then `repeat` times measured.
///
/// # Errors
/// The first error of a pass.
pub fn measure(repeat: usize, pass: impl FnMut(&mut Phases) -> Result<()> + Send) -> Result<Cost> {
    in_pool(|| measure_here(repeat, pass))
}

/// The same for passes of a network built for inference, with threads and memory as a predictor of many pictures has them.
///
/// # Errors
/// The first error of a pass.
pub fn measure_passes(repeat: usize, mut pass: impl FnMut(&mut Phases) -> Result<()> + Send) -> Result<Cost> {
    let mut passes = 0;
    measure(repeat, |phases| {
        passes += 1;
        if passes == WARM_UP {
            settle(); // after the first pass, which has taken its buffers
        }
        in_team(|| pass(phases))
    })
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
    Ok(Cost {
        cpu_ms: median(cpu),
        wall_ms: median(wall).unwrap_or(0.0),
        peak_mb: clock::peak_mb(),
        phases: phases.mean(repeat.max(1)),
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
        assert_eq!(cost.phases.iter().map(|p| p.phase).collect::<Vec<_>>(), ["a", "b"]);
        assert!(cost.phases[0].percent > cost.phases[1].percent, "{cost:?}");
        assert!((cost.phases.iter().map(|p| p.percent).sum::<f64>() - 100.0).abs() < 1e-6);
        Ok(())
    }
}
