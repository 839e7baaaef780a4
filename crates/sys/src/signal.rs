//! Signals read from a descriptor.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use rustix::io::Errno;

use crate::error::SysError;
use crate::process::check;

/// A descriptor from which signals are read that would else be delivered. [signalfd(2)]
#[derive(Debug)]
pub struct SignalFd {
    fd: OwnedFd,
}

/// A signal that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Its number.
    pub signal: i32,
    /// Who sent it; 0 is the kernel or a process of an outer namespace.
    pub sender: u32,
}

impl SignalFd {
    /// Blocks every signal of this thread that can be blocked, but for those of a faulting
    /// instruction, and reads them from a non-blocking descriptor.
    ///
    /// A program that is executed keeps the mask: [`crate::process::reset_signals`] undoes it.
    ///
    /// # Errors
    /// The call that failed.
    pub fn block_all() -> Result<Self, SysError> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: The pointer is to a set of the right type.
        let _zero = unsafe { libc::sigfillset(set.as_mut_ptr()) };
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
            // SAFETY: sigfillset has initialised the set.
            let _zero = unsafe { libc::sigdelset(set.as_mut_ptr(), signal) };
        }
        // SAFETY: sigfillset has initialised the set; a null old set is allowed.
        let result =
            unsafe { libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), std::ptr::null_mut()) };
        check(result.into(), "sigprocmask", || "")?;
        // SAFETY: The set is initialised; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        check(fd.into(), "signalfd", || "")?;
        // SAFETY: signalfd succeeded, so this is a new descriptor that nobody else owns.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Takes the next signal, if there is one.
    ///
    /// # Errors
    /// The call that failed.
    pub fn next(&self) -> Result<Option<Received>, SysError> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: The buffer is of the size given.
        let count = unsafe { libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        match check(libc::c_long::try_from(count).unwrap_or(-1), "read", || "signalfd") {
            Ok(()) => {}
            Err(error) if matches!(error.errno, Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(error) => return Err(error),
        }
        // SAFETY: The structure is of plain numbers, zeroed before and filled by the kernel.
        let info = unsafe { info.assume_init() };
        Ok(Some(Received { signal: info.ssi_signo.cast_signed(), sender: info.ssi_pid }))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Gives the C library's own two signals, 32 and 33, their default disposition again.
///
/// glibc's `posix_spawn` starts programs with both ignored, and its `signal` refuses to know them, so a
/// program that starts others would hand that on to them. Not for a program with threads.
///
/// # Errors
/// The call that failed.
pub fn reset_internal() -> Result<(), SysError> {
    /// The kernel's `struct sigaction`; all zero is `SIG_DFL` without flags.
    #[repr(C)]
    struct Action {
        handler: usize,
        flags: libc::c_ulong,
        restorer: usize,
        mask: u64,
    }
    let action = Action { handler: 0, flags: 0, restorer: 0, mask: 0 };
    for signal in [32, 33] {
        // SAFETY: The structure is the kernel's, the last argument is the size of its mask, and the
        // default disposition runs no code; a null old action is allowed.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const action,
                std::ptr::null::<Action>(),
                size_of::<u64>(),
            )
        };
        check(result, "rt_sigaction", || signal.to_string())?;
    }
    Ok(())
}

/// Sends a signal to a process group.
///
/// # Errors
/// The call that failed.
pub fn kill_group(leader: rustix::process::Pid, signal: i32) -> Result<(), SysError> {
    // SAFETY: kill has no conditions.
    let result = unsafe { libc::kill(-leader.as_raw_nonzero().get(), signal) };
    check(result.into(), "kill", || format!("group {}", leader.as_raw_nonzero()))
}

/// Sends a signal by number to a process that the caller has not waited for yet, so that its id is its
/// own. Where a pidfd can be had, [`send`] is safer.
///
/// # Errors
/// The call that failed.
pub fn kill(child: rustix::process::Pid, signal: i32) -> Result<(), SysError> {
    // SAFETY: kill has no conditions.
    let result = unsafe { libc::kill(child.as_raw_nonzero().get(), signal) };
    check(result.into(), "kill", || format!("process {}", child.as_raw_nonzero()))
}

/// Sends a signal by number, real-time ones too. `pidfd_send_signal(2)`
///
/// # Errors
/// `ESRCH` when the process has ended; else the call that failed.
pub fn send(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), SysError> {
    // SAFETY: A null info is allowed, and the descriptor is open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(result, "pidfd_send_signal", || format!("signal {signal}"))
}

#[cfg(test)]
mod tests;
