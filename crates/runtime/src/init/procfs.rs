//! Writing to the kernel through a `/proc` that is known to be the kernel's.
//!
//! A container's image or mounts may have put anything at the path `/proc`. So the writes go through
//! the descriptor of the mount that was just made, and no path below it may cross a mount or follow a
//! link. (CVE-2025-52881)

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ferry_sys::path::open_beneath;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::RuntimeError;

/// A mounted `/proc` of the container's own, with the mounts that are to become read-only at last.
#[derive(Debug)]
pub(super) struct Procfs {
    proc: Option<OwnedFd>,
    late: Vec<OwnedFd>,
}

impl Procfs {
    /// Takes the container's mount.
    pub(super) fn new(proc: Option<OwnedFd>, late: Vec<OwnedFd>) -> Self {
        Self { proc, late }
    }

    /// The mounts that are to become read-only.
    pub(super) fn late(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.late.iter().map(|mount| mount.as_fd())
    }

    fn write(&self, file: &Path, value: &str) -> Result<(), Errno> {
        match &self.proc {
            Some(proc) => write_beneath(proc.as_fd(), file, value),
            None => write_beneath(private()?.as_fd(), file, value),
        }
    }
}

/// A `/proc` that is nowhere but here.
fn private() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn write_beneath(proc: BorrowedFd<'_>, file: &Path, value: &str) -> Result<(), Errno> {
    let file = open_beneath(proc, file, OFlags::WRONLY)?;
    write_once(file.as_fd(), value)
}

/// The kernel takes a value by one write.
pub(super) fn write_once(file: BorrowedFd<'_>, value: &str) -> Result<(), Errno> {
    match rustix::io::write(file, value.as_bytes())? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Writes kernel parameters.
pub(super) fn write_sysctls(
    proc: &Procfs,
    sysctls: &[(PathBuf, &str)],
) -> Result<(), RuntimeError> {
    for (name, value) in sysctls {
        let file = Path::new("sys").join(name);
        proc.write(&file, value).map_err(|errno| {
            let name = name.display().to_string().replace('/', ".");
            RuntimeError::failed(format!("open sysctl {name} file"), errno)
        })?;
    }
    Ok(())
}

/// Asks for an `AppArmor` profile at the next execution.
pub(super) fn write_apparmor(proc: &Procfs, profile: &str) -> Result<(), RuntimeError> {
    if profile.is_empty() {
        return Ok(());
    }
    let file = format!("{}/attr/apparmor/exec", rustix::process::getpid().as_raw_nonzero());
    match proc.write(Path::new(&file), &format!("exec {profile}")) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT | Errno::INVAL) => {
            let message = "unable to apply apparmor profile: apparmor: config provided but apparmor not supported";
            Err(RuntimeError::invalid(message))
        }
        Err(errno) => Err(RuntimeError::failed("unable to apply apparmor profile", errno)),
    }
}

/// As [`write_apparmor`], for a process without a mount of its own.
pub(crate) fn apply_apparmor(profile: &str) -> Result<(), RuntimeError> {
    write_apparmor(&Procfs::new(None, Vec::new()), profile)
}

/// Adjusts this process's score for the out-of-memory killer, in the host's `/proc`.
pub(crate) fn adjust_oom_score(adjustment: i32) -> Result<(), RuntimeError> {
    let failed = |errno| RuntimeError::failed("could not set oom_score_adj", errno);
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, "/proc/self/oom_score_adj", flags, Mode::empty())
        .map_err(failed)?;
    write_once(file.as_fd(), &adjustment.to_string()).map_err(failed)
}
