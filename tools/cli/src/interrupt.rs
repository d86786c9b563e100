//! Ctrl-C: the first asks long work to end with what is done, the second ends at once.

use crate::exit::Exit;
use care_engine::Stop;

/// Installs the handler; the returned request is set by the first Ctrl-C (or SIGTERM).
pub fn install() -> Stop {
    let stop = Stop::new();
    let asked = stop.clone();
    // a process that already has a handler (tests in one process) keeps it: nothing to do about it
    let _ = ctrlc::set_handler(move || {
        if asked.request() {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
        eprintln!("\ninterrupted: finishing the current picture and saving; once more to end at once");
    });
    stop
}
