//! Wall time, process CPU time and peak memory: what `bench` reports. `None` where the system does not tell.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Time since the first call in this process.
pub fn wall_time() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

/// CPU time that all threads of this process have used.
#[cfg(unix)]
pub fn cpu_time() -> Option<Duration> {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(Duration::new(u64::try_from(t.tv_sec).ok()?, u32::try_from(t.tv_nsec).ok()?))
}

/// CPU time that all threads of this process have used.
#[cfg(not(unix))]
pub fn cpu_time() -> Option<Duration> {
    None
}

/// The most memory this process has held at once, in MiB (Linux: `VmHWM`, which unlike `getrusage` starts
/// anew at `exec`).
pub fn peak_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn cpu_time_advances_while_working() {
        let before = cpu_time().expect("a clock on unix");
        let mut x = 1u64;
        for i in 0..3_000_000u64 {
            x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i));
        }
        assert!(cpu_time().expect("a clock on unix") > before, "{x}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn peak_memory_grows_with_a_large_buffer() {
        let before = peak_mb().expect("VmHWM on Linux");
        let buffer = std::hint::black_box(vec![1u8; 256 << 20]);
        let after = peak_mb().expect("VmHWM on Linux");
        assert!(after >= 256.0 && after >= before, "{before} {after} {}", buffer.len());
    }
}
