#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::io::Read as _;
use std::os::fd::AsFd as _;

use super::*;

/// Runs a sealed copy of busybox, and gives its output and code.
fn run(arguments: &[&str]) -> (String, i32) {
    // What runs the tests may leave descriptors open that do not close on exec.
    crate::process::close_on_exec_from(3).unwrap();
    let program = std::fs::read("/usr/bin/busybox").unwrap();
    let program = seal("shell", &program).unwrap();
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let child = launch(&Launch {
        program: program.as_fd(),
        arguments,
        descriptors: &[null.as_fd(), write.as_fd(), write.as_fd(), read.as_fd()],
    })
    .unwrap();
    drop(write);
    let mut text = String::new();
    std::fs::File::from(read).read_to_string(&mut text).unwrap();
    (text, crate::process::wait(child.pidfd.as_fd()).unwrap())
}

#[test]
fn a_launched_program_has_only_what_it_was_given() {
    let (text, code) = run(&["ls", "/proc/self/fd"]);
    // The last one is the directory being read.
    assert_eq!((text.as_str(), code), ("0\n1\n2\n3\n4\n", 0));
    assert_eq!(run(&["cat", "/proc/self/environ"]), (String::new(), 0));
    assert_eq!(run(&["sh", "-c", "exit 3"]).1, 3);
}

#[test]
fn it_leads_a_session_and_no_signal_is_blocked() {
    let (text, _) = run(&["cut", "-d", " ", "-f", "1,6", "/proc/self/stat"]);
    let (pid, session) = text.trim().split_once(' ').unwrap();
    assert_eq!(pid, session);
    let (text, _) = run(&["grep", "SigBlk", "/proc/self/status"]);
    assert!(text.ends_with("\t0000000000000000\n"), "{text}");
    let (text, _) = run(&["grep", "SigIgn", "/proc/self/status"]);
    // The C library ignores two signals of its own: see `signal::reset_internal`.
    assert!(text.ends_with("\t0000000180000000\n"), "{text}");
}

#[test]
fn the_copy_can_not_be_changed() {
    let sealed = seal("x", b"bytes").unwrap();
    assert_eq!(rustix::io::pwrite(&sealed, b"y", 0).unwrap_err(), Errno::PERM);
    assert_eq!(rustix::fs::ftruncate(&sealed, 1).unwrap_err(), Errno::PERM);
}

#[test]
fn what_can_not_be_executed_is_said() {
    let program = seal("x", b"no program").unwrap();
    let request = Launch { program: program.as_fd(), arguments: &["x"], descriptors: &[] };
    assert_eq!(launch(&request).unwrap_err().errno, Errno::NOEXEC);
}
