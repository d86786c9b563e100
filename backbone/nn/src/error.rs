//! The error of the network crates: what went wrong, and who must act.
//!
//! `care-nn`, `care-backbone` and `care-heads` share it. A message says what, where, expected, got and what to do;
//! it never contains a Rust backtrace, although candle puts one into its own messages when `RUST_BACKTRACE` is set.

use std::fmt;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who must act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A picture, tensor or data file given by the user is wrong.
    Input,
    /// A configuration value is wrong.
    Config,
    /// A weights file is unreadable or does not fit the network.
    Weights,
    /// The request is valid but not available here (for example losses of an `Infer` network).
    Unsupported,
    /// A bug, or a failure below us (out of memory, device error).
    Internal,
}

/// An error with a message for people and a [`kind`](Error::kind) for programs.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// Something the user gave is wrong.
    pub fn input(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// A configuration value is wrong.
    pub fn config(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Weights are unreadable or do not fit.
    pub fn weights(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Weights, message)
    }

    /// Valid, but not available here.
    pub fn unsupported(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A bug, or a failure of a layer below.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error with `where_` (a file, a layer, a parameter) in front of the message.
    pub fn context(self, where_: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{where_}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::internal(candle_message(error))
    }
}

/// So that a [`candle_core::CustomOp1`] can use functions of this crate with `?`.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        candle_core::Error::Msg(error.message)
    }
}

/// Adds a place to the error of a `Result`.
pub trait ResultExt<T> {
    /// See [`Error::context`]; `where_` is only evaluated on an error.
    fn context<D: fmt::Display>(self, where_: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> ResultExt<T> for std::result::Result<T, E> {
    fn context<D: fmt::Display>(self, where_: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().context(where_()))
    }
}

/// candle's message without the backtraces that its `Display` appends.
fn candle_message(error: candle_core::Error) -> String {
    use candle_core::Error as E;
    match error {
        E::WithBacktrace { inner, .. } => candle_message(*inner),
        E::Context { inner, context } => format!("{context}: {}", candle_message(*inner)),
        E::WithPath { inner, path } => format!("{}: {}", path.display(), candle_message(*inner)),
        other => cut_backtrace(&other.to_string()),
    }
}

/// Cuts at the first line that looks like frame 0 of a backtrace (`   0: …`), for errors that carry one as text.
fn cut_backtrace(message: &str) -> String {
    let kept: Vec<&str> = message
        .lines()
        .take_while(|line| !(line.starts_with(' ') && line.trim_start().starts_with("0: ")))
        .collect();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candle_errors_lose_their_backtrace() {
        let inner = candle_core::Error::Msg("shape mismatch".into());
        let with = candle_core::Error::WithBacktrace {
            inner: Box::new(inner.context("layer stem.0")),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        assert!(with.to_string().lines().count() > 3, "candle prints the backtrace");
        let ours = Error::from(with.with_path("w.safetensors"));
        assert_eq!(ours.to_string(), "w.safetensors: layer stem.0: shape mismatch");
        assert_eq!(ours.kind(), ErrorKind::Internal);
        assert_eq!(cut_backtrace("bad\n   0: core::panic\n   1: main"), "bad");
    }

    #[test]
    fn context_keeps_the_kind() {
        let e = Error::weights("expected [3], got [4]").context("stem.0.bias");
        assert_eq!(
            (e.kind(), e.to_string().as_str()),
            (ErrorKind::Weights, "stem.0.bias: expected [3], got [4]")
        );
    }
}
