//! Exit codes and the one place where errors become them.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | everything asked for was done |
//! | 1 | some inputs failed (listed at the end), or a failure while running |
//! | 2 | usage, configuration, a named file that is not there, masks asked of a box-only model |
//! | 3 | data rejected: malformed JSON, NaN, unknown id, mask of the wrong size, nothing to work on |
//! | 4 | a `--fail-under` gate was not met |
//! | 5 | weights unreadable or not fitting |
//! | 130 | interrupted, after saving what was done |

use care_engine::ErrorKind;
use std::fmt::Display;

/// How a command ended; the discriminant is the process's exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// Some inputs failed, or something broke while running.
    Failed = 1,
    /// Usage, configuration, or a named file that is not there.
    Usage = 2,
    /// The data was rejected.
    Data = 3,
    /// A `--fail-under` gate was not met.
    Gate = 4,
    /// Weights unreadable or not fitting.
    Weights = 5,
    /// Stopped by Ctrl-C after saving what was done.
    Interrupted = 130,
}

impl Exit {
    /// The number the process ends with.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The first of two that is not `Ok`.
    pub fn or(self, other: Self) -> Self {
        if self == Exit::Ok { other } else { self }
    }

    /// The word for this code in `--json` errors.
    pub fn word(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Data => "data",
            Exit::Gate => "gate",
            Exit::Weights => "weights",
            Exit::Interrupted => "interrupted",
        }
    }
}

/// What ends a command early: a message for people and the code for scripts.
#[derive(Debug)]
pub struct Failure {
    /// The process ends with this.
    pub exit: Exit,
    /// What, where, expected, got, and what to do; printed once, on stderr.
    pub message: String,
}

impl Failure {
    /// Something the user must put right on the command line or in a config (exit 2).
    pub fn usage(message: impl Display) -> Self {
        Self { exit: Exit::Usage, message: message.to_string() }
    }

    /// Data that cannot be used (exit 3).
    pub fn data(message: impl Display) -> Self {
        Self { exit: Exit::Data, message: message.to_string() }
    }

    /// Weights that cannot be used (exit 5).
    pub fn weights(message: impl Display) -> Self {
        Self { exit: Exit::Weights, message: message.to_string() }
    }

    /// Something that broke while running, such as a full disk (exit 1).
    pub fn runtime(message: impl Display) -> Self {
        Self { exit: Exit::Failed, message: message.to_string() }
    }

    /// Puts `what` in front of the message.
    pub fn context(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// Who must act decides the code.
fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::Input => Exit::Data,
        ErrorKind::Config | ErrorKind::Unsupported => Exit::Usage,
        ErrorKind::Weights => Exit::Weights,
        ErrorKind::Internal => Exit::Failed,
    }
}

impl From<care_types::Error> for Failure {
    fn from(e: care_types::Error) -> Self {
        Self { exit: exit_of(e.kind()), message: e.to_string() }
    }
}

impl From<care_engine::Error> for Failure {
    fn from(e: care_engine::Error) -> Self {
        Self { exit: exit_of(e.kind()), message: e.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_the_documented_code() {
        let table = [
            (care_types::Error::input("x"), 3),
            (care_types::Error::config("x"), 2),
            (care_types::Error::unsupported("x"), 2),
            (care_types::Error::weights("x"), 5),
            (care_types::Error::internal("x"), 1),
        ];
        for (error, code) in table {
            let kind = error.kind();
            assert_eq!(Failure::from(error).exit.code(), code, "{kind:?}");
        }
    }
}
