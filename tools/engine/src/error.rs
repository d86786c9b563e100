//! One error for everything the engine does; it keeps the kind of what it wraps.

use std::fmt::{self, Display};

pub use care_types::ErrorKind;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Says what, where, expected, got and what to do; [`Error::kind`] says who must act.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// Data that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// A setting that cannot be used.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Weights that cannot be read or do not fit.
    pub fn weights(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Weights, message)
    }

    /// Something the chosen model cannot do.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// A failure that is not the caller's doing, such as a full disk.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Puts `what` in front of the message.
    pub fn context(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Puts a line with what would probably help behind the message.
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        if let Some(hint) = hint {
            self.message = format!("{}\n  {hint}", self.message);
        }
        self
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<care_types::Error> for Error {
    fn from(e: care_types::Error) -> Self {
        Self::new(e.kind(), e.to_string())
    }
}

impl From<care_nn::Error> for Error {
    fn from(e: care_nn::Error) -> Self {
        let kind = match e.kind() {
            care_nn::ErrorKind::Input => ErrorKind::Input,
            care_nn::ErrorKind::Config => ErrorKind::Config,
            care_nn::ErrorKind::Weights => ErrorKind::Weights,
            care_nn::ErrorKind::Unsupported => ErrorKind::Unsupported,
            care_nn::ErrorKind::Internal => ErrorKind::Internal,
        };
        Self::new(kind, e.to_string())
    }
}

impl From<candle_core::Error> for Error {
    fn from(e: candle_core::Error) -> Self {
        care_nn::Error::from(e).into()
    }
}
