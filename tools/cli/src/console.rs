//! Where words go: results to stdout, everything else to stderr.
//!
//! A closed stdout (`care-det … | head`) is a normal end, never a panic.

use crate::exit::{Exit, Failure};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};

/// How much to say, and in which form results are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// Results are one line of JSON instead of text.
    pub json: bool,
    /// No progress and no words, only results and errors.
    pub quiet: bool,
    /// More words.
    pub verbose: bool,
}

impl Console {
    /// Prints `text` as the result of the command, unless `--json` asked for the other form.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { write_stdout(text) }
    }

    /// Prints `value` as the one line of JSON, if `--json` was given.
    pub fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        let line = serde_json::to_string(value)
            .map_err(|e| Failure::runtime(format!("the result could not be written as JSON: {e}")))?;
        write_stdout(&(line + "\n"))
    }

    /// A line for people, on stderr.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            write_stderr(line);
        }
    }

    /// A line that matters even with `-q`: what failed, or a gate that was not met.
    pub fn warn(&self, line: &str) {
        write_stderr(line);
    }

    /// A line for people who asked for more (`-v`).
    pub fn detail(&self, line: &str) {
        if self.verbose {
            write_stderr(line);
        }
    }

    /// Prints the failure once: words on stderr, and under `--json` an object on stdout.
    pub fn failure(&self, failure: &Failure) {
        write_stderr(&format!("error: {}", failure.message));
        let _ = self.json(&ErrorLine {
            error: ErrorBody {
                code: failure.exit.code(),
                kind: failure.exit.word(),
                message: &failure.message,
            },
        });
    }

    /// Whether a moving bar can be drawn.
    pub fn draws_bars(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u8,
    kind: &'static str,
    message: &'a str,
}

fn write_stdout(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure { exit: Exit::Failed, message: format!("stdout could not be written: {e}") })
        }
        _ => Ok(()),
    }
}

/// Nothing sensible can be done when stderr is closed, so its errors are dropped.
fn write_stderr(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
