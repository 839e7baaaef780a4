//! Processes: forking with namespaces, what a child must put right before it executes, and waiting.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::error::{Context as _, SysError};

/// What a forked child is born with. [clone3(2), Linux 5.3]
#[derive(Debug, Clone, Copy, Default)]
pub struct Clone<'a> {
    /// Namespaces to make for it.
    pub namespaces: CloneNamespaces,
    /// The version 2 cgroup it is born in. (Linux 5.7)
    pub cgroup: Option<BorrowedFd<'a>>,
}

bitflags::bitflags! {
    /// Namespaces to make or to join, as of clone(2).
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct CloneNamespaces: u32 {
        /// Mounts.
        const MOUNT = 0x0002_0000;
        /// The cgroup root.
        const CGROUP = 0x0200_0000;
        /// Host name.
        const UTS = 0x0400_0000;
        /// System V IPC and POSIX queues.
        const IPC = 0x0800_0000;
        /// Users and capabilities.
        const USER = 0x1000_0000;
        /// Process ids.
        const PID = 0x2000_0000;
        /// Network.
        const NETWORK = 0x4000_0000;
        /// Clocks.
        const TIME = 0x0000_0080;
    }
}

/// A forked child.
#[derive(Debug)]
pub struct Child {
    /// Its id.
    pub pid: Pid,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
}

/// The argument of clone3(2), as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks; the child runs `child` and ends with the code it returns.
///
/// The child is a copy of this process, so this is refused in a process with more than one thread: a
/// lock held by another thread would stay locked in the child. The child never returns into the
/// caller's code, and a panic in it ends it with 255.
///
/// # Errors
/// `EBUSY` with more than one thread, or what clone3 says.
pub fn fork(how: Clone<'_>, child: impl FnOnce() -> i32) -> Result<Child, SysError> {
    if thread_count()? != 1 {
        return Err(SysError::new("fork", "a process with several threads", Errno::BUSY));
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from(how.namespaces.bits()) | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
        pidfd: (&raw mut pidfd).addr() as u64,
        exit_signal: u64::from(libc::SIGCHLD.unsigned_abs()),
        ..CloneArgs::default()
    };
    if let Some(cgroup) = how.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().unsigned_abs());
    }
    // SAFETY: The arguments live through the call and have the size given; without CLONE_VM and with no
    // stack the child gets a copy of this one. There is one thread, so no lock is held by another.
    let mut pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) };
    if pid == -1
        && matches!(last_errno(), Errno::NOSYS | Errno::PERM)
        && how.namespaces.is_empty()
        && how.cgroup.is_none()
    {
        pid = plain_clone(&mut pidfd);
    }
    match pid {
        0 => {
            let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or(255);
            exit_now(code)
        }
        -1 => Err(SysError::new("clone3", format!("{:?}", how.namespaces), last_errno())),
        pid => {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or_else(|| SysError::new("clone3", "process id", Errno::INVAL))?;
            // SAFETY: clone3 succeeded with CLONE_PIDFD, so it stored a new descriptor here.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Child { pid, pidfd })
        }
    }
}

/// The older call, for where a filter hides clone3, or (if it is older than that call) forbids it:
/// Docker's default one lets containers fork, but only by the call whose flags it can see. It can not reset signal handlers. [clone(2), Linux 5.2]
fn plain_clone(pidfd: &mut RawFd) -> libc::c_long {
    let flags = CLONE_PIDFD | u64::from(libc::SIGCHLD.unsigned_abs());
    let none: u64 = 0;
    // SAFETY: As with clone3: no CLONE_VM and no stack, so the child gets a copy of this one. The
    // descriptor's place lives through the call; the remaining arguments are not looked at.
    unsafe { libc::syscall(libc::SYS_clone, flags, none, &raw mut *pidfd, none, none) }
}

/// Ends the process at once, without running destructors or exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no conditions.
    unsafe { libc::_exit(code) }
}

/// How many threads this process has.
fn thread_count() -> Result<u64, SysError> {
    // A process has one link per thread in its task directory, beside `.` and `..`.
    let stat = rustix::fs::stat("/proc/self/task").during("stat", || "/proc/self/task")?;
    Ok(u64::from(u32::try_from(stat.st_nlink).unwrap_or(u32::MAX)).saturating_sub(2))
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Closes every descriptor from 3 up that is not in `keep`. [`close_range(2)`, Linux 5.9]
///
/// For a child that has just been forked: descriptors of the parent must not outlive it there.
///
/// # Errors
/// What `close_range` says.
pub fn close_others(keep: &mut [RawFd]) -> Result<(), SysError> {
    keep.sort_unstable();
    let mut first: u32 = 3;
    for &fd in keep.iter() {
        let Ok(fd) = u32::try_from(fd) else { continue };
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = first.max(fd.saturating_add(1));
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from `first` up to be closed when a program is executed. [Linux 5.11]
///
/// # Errors
/// What `close_range` says.
pub fn close_on_exec_from(first: u32) -> Result<(), SysError> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> Result<(), SysError> {
    // SAFETY: Closes descriptors by number; callers are children that own all of theirs, and Rust
    // values of closed descriptors are never used again there, for the child ends in exec or _exit.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    check(result, "close_range", || format!("{first}-{last}"))
}

pub(crate) fn check<S: Into<std::borrow::Cow<'static, str>>>(
    result: libc::c_long,
    op: &'static str,
    subject: impl FnOnce() -> S,
) -> Result<(), SysError> {
    if result == -1 { Err(SysError::new(op, subject(), last_errno())) } else { Ok(()) }
}

/// Gives every signal its default disposition and unblocks all.
///
/// # Errors
/// What `sigprocmask` says.
pub fn reset_signals() -> Result<(), SysError> {
    // The kernel's structure; all-zero is the default disposition. The C library's own function would
    // leave out the signals that it keeps to itself, which a parent may have ignored.
    let default = [0_u64; 4];
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        // SAFETY: The structure is at least as long as the kernel's and lives through the call; the
        // default disposition runs no code of ours.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            )
        };
        check(result, "rt_sigaction", || signal.to_string())?;
    }
    let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: The pointer is to a set of the right type.
    let _zero = unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: sigemptyset has initialised the set; a null old set is allowed.
    let result =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut()) };
    check(result.into(), "sigprocmask", || "")
}

/// Executes a program; returns only if that fails.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: All strings are NUL-terminated and live through the call, both arrays end with null.
    let _failed: c_int =
        unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_errno()
}

/// Executes the program behind a descriptor; returns only if that fails. [execveat(2)]
pub fn execute_fd(file: BorrowedFd<'_>, arguments: &[CString], environment: &[CString]) -> Errno {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: All strings are NUL-terminated and live through the call, both arrays end with null.
    let _failed = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// The id of a process, as this process's `/proc` numbers it; `None` when it has ended and was waited
/// for. `pidfd_open(2)`
///
/// # Errors
/// The call that failed; `EINVAL` when it is no descriptor of a process.
pub fn id(pidfd: BorrowedFd<'_>) -> Result<Option<Pid>, SysError> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd());
    let text = std::fs::read_to_string(&path).map_err(|error| {
        SysError::new("read", path.clone(), Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })?;
    let id = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    // Of one that is gone it says -1.
    id.map(|id| if id > 0 { Pid::from_raw(id) } else { None })
        .ok_or_else(|| SysError::new("read", path, Errno::INVAL))
}

/// How a child ended, as a shell counts: its code, or 128 and its signal.
///
/// # Errors
/// What `waitid` says; `ECHILD` when it is not a child of this process or was waited for.
pub fn wait(pidfd: BorrowedFd<'_>) -> Result<i32, SysError> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(exit_code(&status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SysError::new("waitid", "pidfd", errno)),
        }
    }
}

fn exit_code(status: &WaitIdStatus) -> i32 {
    status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| signal + 128))
        .unwrap_or(255)
}

/// Kills a child and waits for its end, so that nothing of it is left.
///
/// # Errors
/// What the kernel says; a child that has already ended is no error.
pub fn kill_and_wait(pidfd: BorrowedFd<'_>) -> Result<(), SysError> {
    match rustix::process::pidfd_send_signal(pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(SysError::new("pidfd_send_signal", "child", errno)),
    }
    wait(pidfd).map(|_code| ())
}

/// A helper program to be run, with nothing of this process's environment, in `/`.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that fixes them")]
pub fn command(program: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env_clear().current_dir("/");
    command
}
