//! The error of a system call: which call, on what, and the kernel's answer.

use std::borrow::Cow;
use std::path::Path;

use rustix::io::Errno;

/// A system call that failed, with its subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{op} {subject}: {errno}")]
pub struct SysError {
    /// The call or idiom that failed, such as `mount_setattr`.
    pub op: &'static str,
    /// What it was done to: a path, a name, a number; empty if there is nothing to name.
    pub subject: Cow<'static, str>,
    /// The kernel's answer.
    pub errno: Errno,
}

impl SysError {
    /// An error of `op` on `subject`.
    pub fn new(op: &'static str, subject: impl Into<Cow<'static, str>>, errno: Errno) -> Self {
        Self { op, subject: subject.into(), errno }
    }

    /// An error of `op` on a path.
    #[must_use]
    pub fn at(op: &'static str, path: &Path, errno: Errno) -> Self {
        Self::new(op, path.display().to_string(), errno)
    }
}

/// Gives a bare kernel answer its call and subject.
pub trait Context<T> {
    /// Names the call and what it was done to; the subject is only made when there is an error.
    fn during<S: Into<Cow<'static, str>>>(
        self,
        op: &'static str,
        subject: impl FnOnce() -> S,
    ) -> Result<T, SysError>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn during<S: Into<Cow<'static, str>>>(
        self,
        op: &'static str,
        subject: impl FnOnce() -> S,
    ) -> Result<T, SysError> {
        self.map_err(|errno| SysError::new(op, subject(), errno))
    }
}
