//! What can go wrong while a container is made, in the words Docker's users know.

/// What kind of failure it was, for exit codes: 127, 126 or 125.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The program (or something else that was named) does not exist.
    NotFound,
    /// The program may not be executed.
    PermissionDenied,
    /// The program is a directory.
    IsDirectory,
    /// The configuration asks for what it may not, or for what is not supported.
    Invalid,
    /// All else.
    Other,
}

/// A container or process that could not be made.
///
/// The text is what comes after runc's "unable to start container process: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuntimeError {
    kind: ErrorKind,
    message: String,
}

impl RuntimeError {
    /// An error of a kind, with its whole message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
