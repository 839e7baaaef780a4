//! System call filters: compiling rules to classic BPF, and loading the program. [seccomp(2)]
//!
//! A [`Filter`] says what happens to each system call of each architecture; [`compile`] is pure.
//! The program looks at the architecture, then finds the call's number by binary search over the
//! ranges of numbers that are treated alike, so that even a long list costs a handful of comparisons
//! per call. In each leaf is either an answer or a chain of conditions on the arguments.

use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::error::SysError;
use crate::process::check;

pub use compile::compile;
pub use table::{Architecture, number};

mod compile;
mod table;

/// What happens to a system call: a return value of seccomp, `SECCOMP_RET_…` with its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Verdict(pub u32);

impl Verdict {
    /// The thread is killed.
    pub const KILL_THREAD: Self = Self(0x0000_0000);
    /// The process is killed.
    pub const KILL_PROCESS: Self = Self(0x8000_0000);
    /// SIGSYS is sent.
    pub const TRAP: Self = Self(0x0003_0000);
    /// A user-space agent is asked.
    pub const NOTIFY: Self = Self(0x7fc0_0000);
    /// The call is logged and goes ahead.
    pub const LOG: Self = Self(0x7ffc_0000);
    /// The call goes ahead.
    pub const ALLOW: Self = Self(0x7fff_0000);

    /// The call fails with an errno.
    #[must_use]
    pub const fn errno(errno: u16) -> Self {
        Self(0x0005_0000 | errno as u32)
    }

    /// The tracer is told, with a message.
    #[must_use]
    pub const fn trace(message: u16) -> Self {
        Self(0x7ff0_0000 | message as u32)
    }
}

/// A whole filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter<'a> {
    /// For every call without a matching rule.
    pub default: Verdict,
    /// For calls of architectures that are not listed.
    pub other_architectures: Verdict,
    /// For numbers above the highest one of any rule: calls that are newer than the rules.
    pub unknown: Option<Verdict>,
    /// The architectures the rules are for.
    pub architectures: Vec<Architecture>,
    /// The rules; of those for one call, one without conditions wins, else the first that matches.
    pub rules: Vec<Rule<'a>>,
}

/// What happens to one system call under conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule<'a> {
    /// The call's name; one an architecture does not know is passed over there.
    pub name: &'a str,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What happens then.
    pub verdict: Verdict,
}

/// A condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Equal.
    Equal,
    /// Greater or equal.
    GreaterOrEqual,
    /// Greater.
    Greater,
    /// Equal, of the bits of a mask.
    MaskedEqual {
        /// The mask.
        mask: u64,
    },
}

/// One instruction of classic BPF.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip if a jump's condition holds.
    pub jump_true: u8,
    /// Instructions to skip if not.
    pub jump_false: u8,
    /// The operand.
    pub operand: u32,
}

/// A compiled filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(Vec<Instruction>);

impl Program {
    /// The instructions.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.0
    }
}

bitflags::bitflags! {
    /// How a filter is loaded.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct LoadFlags: u32 {
        /// All threads get it.
        const ALL_THREADS = 1;
        /// What is not allowed is logged.
        const LOG = 2;
        /// Speculative store bypass stays as it is.
        const SPECULATION_ALLOW = 4;
        /// A descriptor for the agent is made.
        const NEW_LISTENER = 8;
        /// The tracee waits for its agent killably only. (Linux 5.19)
        const WAIT_KILLABLE_RECEIVED = 32;
    }
}

/// The argument of `SECCOMP_SET_MODE_FILTER`.
#[repr(C)]
struct Fprog {
    len: u16,
    filter: *const Instruction,
}

/// Loads a filter for this thread for ever; gives the agent's descriptor for `NEW_LISTENER`.
///
/// Needs `no_new_privs` or `CAP_SYS_ADMIN`.
///
/// # Errors
/// What seccomp says; `E2BIG` for a program of more than 4096 instructions.
pub fn load(program: &Program, flags: LoadFlags) -> Result<Option<OwnedFd>, SysError> {
    let too_big = |_| SysError::new("seccomp", "program", Errno::TOOBIG);
    let len = u16::try_from(program.0.len()).map_err(too_big)?;
    let fprog = Fprog { len, filter: program.0.as_ptr() };
    // SAFETY: The program and its header live through the call; the length is the slice's.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags.bits(),
            &raw const fprog,
        )
    };
    check(result, "seccomp", || "SECCOMP_SET_MODE_FILTER")?;
    if !flags.contains(LoadFlags::NEW_LISTENER) {
        return Ok(None);
    }
    let invalid = |_| SysError::new("seccomp", "listener", Errno::BADF);
    let fd = RawFd::try_from(result).map_err(invalid)?;
    // SAFETY: With this flag a non-negative answer is a new descriptor.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }))
}

#[cfg(test)]
mod tests;
