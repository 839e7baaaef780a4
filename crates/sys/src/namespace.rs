//! Namespaces: joining them, and what a new one needs.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, unshare_unsafe};

use crate::error::{Context as _, SysError};
use crate::mount::copy_tree;
use crate::process::{CloneNamespaces, check};

/// Joins the namespace behind a descriptor of `/proc/PID/ns/…`. [setns(2)]
///
/// # Errors
/// What setns says.
pub fn join(namespace: BorrowedFd<'_>, kind: CloneNamespaces) -> Result<(), SysError> {
    let result =
        // SAFETY: setns takes a descriptor and flags; it touches no memory.
        unsafe { libc::setns(namespace.as_raw_fd(), kind.bits().cast_signed()) };
    check(result.into(), "setns", || format!("{kind:?}"))
}

/// Joins several namespaces of a process at once. [setns(2) with a pidfd, Linux 5.8]
///
/// # Errors
/// What setns says; nothing is joined then.
pub fn join_process(pidfd: BorrowedFd<'_>, kinds: CloneNamespaces) -> Result<(), SysError> {
    let kinds = ThreadNameSpaceType::from_bits_retain(kinds.bits());
    rustix::thread::move_into_thread_name_spaces(pidfd, kinds)
        .during("setns", || format!("process, {kinds:?}"))
}

/// Whether the namespace behind a descriptor is the one this process is in. [namespaces(7)]
///
/// # Errors
/// What stat says; `EINVAL` when `kind` is not one kind.
pub fn is_own(namespace: BorrowedFd<'_>, kind: CloneNamespaces) -> Result<bool, SysError> {
    let invalid = || SysError::new("stat", format!("namespace {kind:?}"), Errno::INVAL);
    let name = NAMES.iter().find(|(named, _)| *named == kind).map(|(_, name)| *name);
    let path = format!("/proc/self/ns/{}", name.ok_or_else(invalid)?);
    let own = rustix::fs::stat(&path).during("stat", || path)?;
    let other = rustix::fs::fstat(namespace).during("fstat", || "namespace")?;
    Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
}

/// The files of `/proc/PID/ns`.
const NAMES: [(CloneNamespaces, &str); 8] = [
    (CloneNamespaces::MOUNT, "mnt"),
    (CloneNamespaces::CGROUP, "cgroup"),
    (CloneNamespaces::UTS, "uts"),
    (CloneNamespaces::IPC, "ipc"),
    (CloneNamespaces::USER, "user"),
    (CloneNamespaces::PID, "pid"),
    (CloneNamespaces::NETWORK, "net"),
    (CloneNamespaces::TIME, "time"),
];

/// A detached copy of the mount at the root of a process's mount namespace, without what is mounted
/// in it. [setns(2), `open_tree(2)`, Linux 5.8]
///
/// # Errors
/// What setns and `open_tree` say; `EIO` when the thread that does it panics.
pub fn root_mount_of(pidfd: BorrowedFd<'_>) -> Result<OwnedFd, SysError> {
    let run = || {
        // SAFETY: this thread was made for it and shares its root and current directory with
        // nobody afterwards; CLONE_FILES is not given, so descriptors stay shared as Rust expects.
        unsafe { unshare_unsafe(UnshareFlags::FS) }.during("unshare", || "current directory")?;
        // The root and the current directory are the namespace's from here on.
        join_process(pidfd, CloneNamespaces::MOUNT)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty()).during("open", || "/")?;
        copy_tree(root.as_fd(), false)
    };
    std::thread::scope(|scope| {
        let panicked = |_panic| Err(SysError::new("thread", "root mount", Errno::IO));
        scope.spawn(run).join().unwrap_or_else(panicked)
    })
}

/// Leaves the cgroup namespace for a new one, whose root is the cgroup this process is in now.
///
/// # Errors
/// What unshare says.
pub fn unshare_cgroup() -> Result<(), SysError> {
    #[expect(
        deprecated,
        reason = "the namespaces of cgroups have none of the deprecation's hazards"
    )]
    rustix::thread::unshare(UnshareFlags::NEWCGROUP).during("unshare", || "cgroup namespace")
}

/// Brings the loopback interface of this network namespace up. [netdevice(7)]
///
/// # Errors
/// What the socket calls say.
pub fn bring_up_loopback() -> Result<(), SysError> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .during("socket", || "inet")?;
    // SAFETY: The structure is plain integers, all-zero is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    let up = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(up).unwrap_or_default();
    let result =
        // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(result.into(), "ioctl", || "SIOCSIFFLAGS lo")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::path::Path;

    use super::*;

    #[test]
    fn the_root_of_a_process_has_nothing_mounted_in_it() {
        let itself = rustix::process::getpid();
        let flags = rustix::process::PidfdFlags::empty();
        let itself = rustix::process::pidfd_open(itself, flags).unwrap();
        let root = root_mount_of(itself.as_fd()).unwrap();
        let root = Path::new("/proc/self/fd").join(root.as_raw_fd().to_string());
        assert!(Path::new("/proc/self").exists());
        assert!(root.join("proc").exists());
        assert!(!root.join("proc/self").exists());
        // This thread is where it was.
        assert!(std::env::current_dir().unwrap().exists());
    }
}
