//! What can go wrong while a container is made, in the words Docker's users know.

use ferry_sys::SysError;
use rustix::io::Errno;

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

    /// A configuration that can not be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// What was being done, and the kernel's answer.
    pub fn failed(doing: impl std::fmt::Display, errno: Errno) -> Self {
        Self::new(kind_of(errno), format!("{doing}: {}", words(errno)))
    }

    /// What was being done, and the system call that failed.
    pub fn call(doing: impl std::fmt::Display, error: &SysError) -> Self {
        let space = if error.subject.is_empty() { "" } else { " " };
        Self::failed(format_args!("{doing}: {}{space}{}", error.op, error.subject), error.errno)
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same failure, told as part of something greater.
    #[must_use]
    pub fn within(self, doing: &str) -> Self {
        Self { kind: self.kind, message: format!("{doing}: {}", self.message) }
    }
}

fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::NOENT => ErrorKind::NotFound,
        Errno::ACCESS | Errno::PERM => ErrorKind::PermissionDenied,
        Errno::ISDIR => ErrorKind::IsDirectory,
        _ => ErrorKind::Other,
    }
}

/// An errno in the words of Docker's messages, which clients look for, whatever the C library says.
#[must_use]
pub fn words(errno: Errno) -> String {
    let known = match errno {
        Errno::NOENT => "no such file or directory",
        Errno::ACCESS => "permission denied",
        Errno::PERM => "operation not permitted",
        Errno::ISDIR => "is a directory",
        Errno::NOTDIR => "not a directory",
        Errno::LOOP => "too many levels of symbolic links",
        Errno::NOEXEC => "exec format error",
        Errno::INVAL => "invalid argument",
        Errno::BUSY => "device or resource busy",
        Errno::EXIST => "file exists",
        Errno::ROFS => "read-only file system",
        Errno::NOSPC => "no space left on device",
        Errno::NOMEM => "cannot allocate memory",
        Errno::NODEV => "no such device",
        Errno::NXIO => "no such device or address",
        Errno::NAMETOOLONG => "file name too long",
        Errno::TOOBIG => "argument list too long",
        Errno::TXTBSY => "text file busy",
        Errno::NOSYS => "function not implemented",
        Errno::XDEV => "invalid cross-device link",
        Errno::AGAIN => "resource temporarily unavailable",
        Errno::SRCH => "no such process",
        Errno::IO => "input/output error",
        Errno::NFILE => "too many open files in system",
        Errno::MFILE => "too many open files",
        Errno::OPNOTSUPP => "operation not supported",
        _ => return format!("errno {}", errno.raw_os_error()),
    };
    known.to_owned()
}
