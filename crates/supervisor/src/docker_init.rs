//! The small init of containers made with `--init`.
//!
//! It runs one command as its child, passes signals on to it, waits for every orphan, and ends as its
//! child did. [the role of tini]

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::ExitCode;

use ferry_sys::process::{self, Clone};
use ferry_sys::signal::{self, SignalFd};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use std::os::fd::AsFd as _;

/// The name by which the program is this.
pub(crate) const NAME: &str = "docker-init";

/// What a shell says of a command that is not there.
const NOT_FOUND: u8 = 127;
/// What a shell says of a command that can not be executed.
const NOT_EXECUTABLE: u8 = 126;

/// Runs `docker-init [--] COMMAND [ARGUMENT...]`.
pub(crate) fn run(mut arguments: Vec<OsString>) -> ExitCode {
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    let command: Result<Vec<CString>, _> =
        arguments.into_iter().map(|argument| CString::new(argument.into_vec())).collect();
    match command.ok().filter(|command| !command.is_empty()) {
        None => {
            complain("usage: docker-init -- COMMAND [ARGUMENT...]");
            ExitCode::FAILURE
        }
        Some(command) => match supervise(&command) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                complain(&error.to_string());
                ExitCode::FAILURE
            }
        },
    }
}

fn complain(text: &str) {
    // Nobody may be listening.
    let _may_fail =
        rustix::io::write(rustix::stdio::stderr(), format!("docker-init: {text}\n").as_bytes());
}

fn supervise(command: &[CString]) -> Result<u8, ferry_sys::SysError> {
    // Order: before the child is there, so that none of its signals is missed.
    let signals = SignalFd::block_all()?;
    let child = process::fork(Clone::default(), || become_command(command))?;
    loop {
        let mut fds = [PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(ferry_sys::SysError::new("poll", "signals", errno)),
        }
        while let Some(received) = signals.next()? {
            if received.signal != rustix::process::Signal::CHILD.as_raw() {
                // It has not been waited for, so it has its id still; that it has ended is no matter.
                // Order of means: kill(2) is known to every system call filter, pidfds are not.
                drop(signal::kill(child.pid, received.signal));
            }
        }
        if let Some(code) = reap(child.pid)? {
            return Ok(code);
        }
    }
}

/// Waits for all that have ended; gives the child's exit code when it is among them.
fn reap(child: Pid) -> Result<Option<u8>, ferry_sys::SysError> {
    let mut code = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                let ended = status.exit_status().or(signal).unwrap_or(255);
                code = Some(u8::try_from(ended).unwrap_or(255));
            }
            Ok(Some(_orphan)) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(code),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ferry_sys::SysError::new("wait", "children", errno)),
        }
    }
}

/// In the child: a process group of its own in the foreground of the terminal, if there is one, then
/// the command.
fn become_command(command: &[CString]) -> i32 {
    // We are no session leader's only group only when pid 1 is; each of these may fail without harm.
    let _may_fail = rustix::process::setpgid(None, None);
    let stdin = rustix::stdio::stdin();
    if rustix::termios::isatty(stdin) {
        // All signals are still blocked, SIGTTOU too, which would stop us here.
        let _may_fail = rustix::termios::tcsetpgrp(stdin, rustix::process::getpid());
    }
    if let Err(error) = process::reset_signals() {
        complain(&error.to_string());
        return 1;
    }
    let environment: Vec<CString> = std::env::vars_os()
        .filter_map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.as_bytes());
            CString::new(entry).ok()
        })
        .collect();
    let errno = execute(command, &environment);
    let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    complain(&format!("exec {name} failed: {}", std::io::Error::from(errno)));
    i32::from(if errno == Errno::NOENT { NOT_FOUND } else { NOT_EXECUTABLE })
}

/// Looks a command up in `PATH` as a shell does.
fn execute(command: &[CString], environment: &[CString]) -> Errno {
    let Some(name) = command.first() else { return Errno::NOENT };
    if name.as_bytes().contains(&b'/') {
        return process::execute(name, command, environment);
    }
    let path = std::env::var_os("PATH")
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let mut worst = Errno::NOENT;
    for directory in path.as_bytes().split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b".".as_slice() } else { directory };
        let mut file = directory.to_vec();
        file.push(b'/');
        file.extend(name.as_bytes());
        let Ok(file) = CString::new(file) else { continue };
        match process::execute(&file, command, environment) {
            Errno::NOENT | Errno::NOTDIR => {}
            errno => worst = errno,
        }
    }
    worst
}
