//! Settings that other libraries read from the environment of the process.

use std::ffi::OsStr;

/// Sets a variable of the environment unless it is set, for libraries that read their settings from there. Returns whether it is set now: nothing is
/// done where the process has threads already, or cannot tell.
pub fn set_unless_set(name: &str, value: &str) -> bool {
    set_with(name, OsStr::new(value), has_one_thread())
}

fn set_with(name: &str, value: &OsStr, alone: bool) -> bool {
    if std::env::var_os(name).is_none() && alone {
        // SAFETY: the process has this one thread, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    std::env::var_os(name).is_some()
}

#[cfg(target_os = "linux")]
fn has_one_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[cfg(not(target_os = "linux"))]
fn has_one_thread() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_set_beside_other_threads() {
        // a test is a thread of its own beside the one that runs the tests
        assert!(!set_unless_set("CARE_TEST_OF_ENVIRONMENT", "1"));
        assert!(set_unless_set("PATH", "1") && std::env::var("PATH").unwrap() != "1");
    }
}
