#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::*;
use crate::process;

#[test]
fn signals_are_read_and_not_delivered() {
    // In a child, for the mask is the process's.
    let child = std::thread::spawn(|| {
        let signals = SignalFd::block_all().unwrap();
        assert_eq!(signals.next().unwrap(), None);
        let own = rustix::process::getpid();
        // SIGUSR1 would end the process; sent to this thread it waits here.
        // SAFETY: tgkill has no conditions.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_tgkill,
                own.as_raw_nonzero().get(),
                rustix::thread::gettid().as_raw_nonzero().get(),
                libc::SIGUSR1,
            )
        };
        assert_eq!(sent, 0);
        let received = signals.next().unwrap().unwrap();
        assert_eq!(received.signal, libc::SIGUSR1);
        assert_eq!(received.sender, own.as_raw_nonzero().get().unsigned_abs());
        assert_eq!(signals.next().unwrap(), None);
    });
    child.join().unwrap();
}

#[test]
fn a_process_that_has_ended_gets_no_signal() {
    let mut child = process::command(std::path::Path::new("/bin/sh"))
        .args(["-c", "exec sleep 100"])
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    send(pidfd.as_fd(), 0).unwrap();
    send(pidfd.as_fd(), libc::SIGRTMIN()).unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(send(pidfd.as_fd(), 0).unwrap_err().errno, Errno::SRCH);
}
