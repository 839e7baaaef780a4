//! Starting a program from a process with threads, quickly: the child shares the memory until it
//! executes. `posix_spawn(3)`

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::error::{Context as _, SysError};
use crate::process::Child;

/// Makes a copy of a program in memory that nobody can change, not even a process of a container that
/// gets hold of it through `/proc/<pid>/exe`. (CVE-2019-5736)
///
/// # Errors
/// The call that failed.
pub fn seal(name: &str, program: &[u8]) -> Result<OwnedFd, SysError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let subject = || name.to_owned();
    // MFD_EXEC is wanted where the default is "not executable", and unknown before Linux 6.3.
    let fd = rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create(name, flags))
        .during("memfd_create", subject)?;
    let mut rest = program;
    while !rest.is_empty() {
        let count =
            rustix::io::retry_on_intr(|| rustix::io::write(&fd, rest)).during("write", subject)?;
        rest = rest.get(count..).unwrap_or_default();
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&fd, seals).during("fcntl_add_seals", subject)?;
    Ok(fd)
}

/// What a launched program gets.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The program's file.
    pub program: BorrowedFd<'a>,
    /// Its arguments, the first of which is its name.
    pub arguments: &'a [&'a str],
    /// Its descriptors 0, 1, 2 …; all others of this process close, for they are close-on-exec.
    pub descriptors: &'a [BorrowedFd<'a>],
}

/// Starts a program in a session of its own, with an empty environment, no signal blocked and all at
/// their defaults.
///
/// The child must be waited for through its descriptor.
///
/// # Errors
/// The call that failed; also what the execution says.
pub fn launch(request: &Launch<'_>) -> Result<Child, SysError> {
    let fail = |op: &'static str, code: i32| match code {
        0 => Ok(()),
        code => Err(SysError::new(op, "launch", Errno::from_raw_os_error(code))),
    };
    let arguments: Vec<CString> = request
        .arguments
        .iter()
        .map(|argument| CString::new(*argument))
        .collect::<Result<_, _>>()
        .map_err(|_nul| SysError::new("posix_spawn", "arguments", Errno::INVAL))?;
    // What is to become descriptor n must not be overwritten by an earlier duplication.
    let first_free = i32::try_from(request.descriptors.len()).unwrap_or(i32::MAX);
    let high: Vec<OwnedFd> = request
        .descriptors
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, first_free).during("fcntl_dupfd", || ""))
        .collect::<Result<_, _>>()?;
    // Nor the program itself, which is executed after that.
    let program = rustix::io::fcntl_dupfd_cloexec(request.program, first_free)
        .during("fcntl_dupfd", || "")?;
    let path = CString::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
        .map_err(|_nul| SysError::new("posix_spawn", "path", Errno::INVAL))?;
    let mut actions = Actions::new()?;
    for (number, fd) in (0..).zip(&high) {
        actions.duplicate(fd.as_raw_fd(), number)?;
    }
    let attributes = Attributes::fresh_session()?;
    let pid = spawn(&path, &actions, &attributes, &arguments).map_err(|code| {
        fail("posix_spawn", code)
            .err()
            .unwrap_or_else(|| SysError::new("posix_spawn", "launch", Errno::INVAL))
    })?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .during("pidfd_open", || pid.as_raw_nonzero().to_string())?;
    Ok(Child { pid, pidfd })
}

fn spawn(
    path: &CStr,
    actions: &Actions,
    attributes: &Attributes,
    arguments: &[CString],
) -> Result<Pid, i32> {
    let mut pid: libc::pid_t = 0;
    let mut pointers: Vec<*mut c_char> =
        arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    pointers.push(std::ptr::null_mut());
    let environment = [std::ptr::null_mut::<c_char>()];
    // SAFETY: All strings end with NUL, both arrays with null, and all live through the call; actions
    // and attributes are initialised. Nothing is written through the argument pointers.
    let code = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            path.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            pointers.as_ptr(),
            environment.as_ptr(),
        )
    };
    if code != 0 {
        return Err(code);
    }
    Pid::from_raw(pid).ok_or(libc::EINVAL)
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> Result<Self, SysError> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: The pointer is to a value of the right type.
        let code = unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) };
        done("posix_spawn_file_actions_init", code)?;
        // SAFETY: It was initialised just now.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn duplicate(&mut self, from: i32, to: i32) -> Result<(), SysError> {
        // SAFETY: The actions are initialised.
        let code = unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) };
        done("posix_spawn_file_actions_adddup2", code)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: They are initialised and not used again.
        let _zero = unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn fresh_session() -> Result<Self, SysError> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: The pointer is to a value of the right type.
        let code = unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) };
        done("posix_spawnattr_init", code)?;
        // SAFETY: They were initialised just now.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: The pointer is to a set of the right type.
        let _zero = unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: Attributes and set are initialised.
        let code = unsafe { libc::posix_spawnattr_setsigmask(&raw mut attributes.0, set.as_ptr()) };
        done("posix_spawnattr_setsigmask", code)?;
        // SAFETY: The set is of the right type.
        let _zero = unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: Attributes and set are initialised.
        let code =
            unsafe { libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, set.as_ptr()) };
        done("posix_spawnattr_setsigdefault", code)?;
        // POSIX_SPAWN_SETSID, glibc 2.26 and musl.
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | 0x80;
        let flags = i16::try_from(flags).unwrap_or(i16::MAX);
        // SAFETY: The attributes are initialised.
        let code = unsafe { libc::posix_spawnattr_setflags(&raw mut attributes.0, flags) };
        done("posix_spawnattr_setflags", code)?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: They are initialised and not used again.
        let _zero = unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

fn done(op: &'static str, code: i32) -> Result<(), SysError> {
    match code {
        0 => Ok(()),
        code => Err(SysError::new(op, "launch", Errno::from_raw_os_error(code))),
    }
}

#[cfg(test)]
mod tests;
