//! Resource limits by name. [getrlimit(2)]

use rustix::process::{Pid, Resource, Rlimit};

use crate::error::{Context as _, SysError};

/// Names without `RLIMIT_`, with the kernel's number.
const NAMES: [(&str, Resource); 16] = [
    ("CPU", Resource::Cpu),
    ("FSIZE", Resource::Fsize),
    ("DATA", Resource::Data),
    ("STACK", Resource::Stack),
    ("CORE", Resource::Core),
    ("RSS", Resource::Rss),
    ("NPROC", Resource::Nproc),
    ("NOFILE", Resource::Nofile),
    ("MEMLOCK", Resource::Memlock),
    ("AS", Resource::As),
    ("LOCKS", Resource::Locks),
    ("SIGPENDING", Resource::Sigpending),
    ("MSGQUEUE", Resource::Msgqueue),
    ("NICE", Resource::Nice),
    ("RTPRIO", Resource::Rtprio),
    ("RTTIME", Resource::Rttime),
];

/// A limit by its name, `RLIMIT_NOFILE`, with the kernel's number for messages.
#[must_use]
pub fn by_name(name: &str) -> Option<(Resource, usize)> {
    let name = name.strip_prefix("RLIMIT_")?;
    let index = NAMES.iter().position(|(known, _)| *known == name)?;
    NAMES.get(index).map(|(_, resource)| (*resource, index))
}

/// Raises the hard limit of this process, or of a child that still has those of this process; one that
/// is as high stays, and so does the soft limit.
///
/// # Errors
/// What prlimit says.
pub fn raise(of: Option<Pid>, resource: Resource, hard: u64) -> Result<(), SysError> {
    let now = rustix::process::getrlimit(resource);
    if now.maximum.is_none_or(|maximum| maximum >= hard) {
        return Ok(());
    }
    let maximum = (hard != u64::MAX).then_some(hard);
    rustix::process::prlimit(of, resource, Rlimit { maximum, ..now })
        .map(|_before| ())
        .during("prlimit", || format!("{resource:?}"))
}

/// Sets a limit of this process; `u64::MAX` is unlimited.
///
/// # Errors
/// What setrlimit says.
pub fn set(resource: Resource, soft: u64, hard: u64) -> Result<(), SysError> {
    let limit = |value: u64| (value != u64::MAX).then_some(value);
    rustix::process::setrlimit(resource, Rlimit { current: limit(soft), maximum: limit(hard) })
        .during("setrlimit", || format!("{resource:?}"))
}
