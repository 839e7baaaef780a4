//! Entering cgroups of version 1. Those of version 2 a process is born in.

use std::os::fd::AsFd as _;

use ferry_sys::cgroup::Hierarchy;
use rustix::fs::{CWD, Mode, OFlags};

use super::procfs::write_once;
use crate::error::RuntimeError;

/// Enters the version 1 cgroups.
///
/// Each process enters by itself, as a thread: to write another's id to `cgroup.procs` would make the
/// kernel hold up every fork of the machine, for which it waits 12 ms when it did not just do it. A
/// thread that moves only itself needs none of that. (Linux 5.5)
pub(crate) fn enter(hierarchies: &[Hierarchy]) -> Result<(), RuntimeError> {
    for hierarchy in hierarchies.iter().filter(|hierarchy| !hierarchy.unified) {
        let tasks = hierarchy.directory.join("tasks");
        let failed = |errno| RuntimeError::failed(format!("entering {}", tasks.display()), errno);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &tasks, flags, Mode::empty()).map_err(failed)?;
        write_once(file.as_fd(), "0").map_err(failed)?;
    }
    Ok(())
}
