//! What a group uses, and when it ran out of memory.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Cgroup, Version};
use crate::error::{Context as _, SysError};

/// What a group uses; absent is what it has no controller for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Memory in bytes, with the page cache.
    pub memory_bytes: Option<u64>,
    /// The limit of that; absent is none.
    pub memory_limit_bytes: Option<u64>,
    /// Page cache that is inactive, in bytes; what Docker's clients subtract.
    pub inactive_file_bytes: Option<u64>,
    /// Processor time in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// The limit of that; absent is none.
    pub pids_limit: Option<u64>,
}

/// A descriptor that becomes ready when a group runs out of memory.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
    version: Version,
}

impl OomWatch {
    /// Whether readiness is said with `EPOLLPRI` and not with `EPOLLIN`.
    #[must_use]
    pub fn is_priority(&self) -> bool {
        self.version == Version::Two
    }

    /// Takes the readiness away, so that the next event is seen.
    ///
    /// # Errors
    /// The call that failed.
    pub fn clear(&self) -> Result<(), SysError> {
        let mut buffer = [0_u8; 512];
        let result = match self.version {
            Version::One => rustix::io::read(&self.fd, &mut buffer[..8]),
            Version::Two => rustix::io::pread(&self.fd, &mut buffer[..], 0),
        };
        match result {
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            // The group has gone.
            Err(Errno::NODEV) => Ok(()),
            Err(errno) => Err(SysError::new("read", "out of memory watch", errno)),
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Cgroup {
    /// How many processes were killed for want of memory; 0 without a memory controller.
    ///
    /// # Errors
    /// The call that failed.
    pub fn oom_kills(&self) -> Result<u64, SysError> {
        let text = match self.version_of("memory") {
            None => return Ok(0),
            // Linux 4.13.
            Some(Version::One) => self.read("memory", "memory.oom_control")?,
            Some(Version::Two) => self.read("memory", "memory.events")?,
        };
        Ok(field(&text, "oom_kill").unwrap_or(0))
    }

    /// Watches for want of memory; `None` without a memory controller.
    ///
    /// # Errors
    /// The call that failed.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, SysError> {
        let Some((hierarchy, directory)) = self.place_of("memory") else { return Ok(None) };
        let subject =
            |file: &'static str| move || hierarchy.directory.join(file).display().to_string();
        let open = |file: &'static str| {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::openat(directory, file, flags, Mode::empty()).during("open", subject(file))
        };
        if hierarchy.unified {
            let fd = open("memory.events")?;
            let watch = OomWatch { fd, version: Version::Two };
            // Order: a first read arms it.
            watch.clear()?;
            return Ok(Some(watch));
        }
        // [cgroup-v1/memory.rst § OOM Control]
        let control = open("memory.oom_control")?;
        let fd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .during("eventfd", || "")?;
        let registration = format!("{} {}", fd.as_raw_fd(), control.as_raw_fd());
        self.write("memory", "cgroup.event_control", &registration)?;
        Ok(Some(OomWatch { fd, version: Version::One }))
    }

    /// Reads what the group uses.
    ///
    /// # Errors
    /// The call that failed.
    pub fn usage(&self) -> Result<Usage, SysError> {
        let mut usage = Usage::default();
        match self.version_of("memory") {
            None => {}
            Some(Version::One) => {
                usage.memory_bytes = self.number("memory", "memory.usage_in_bytes")?;
                // "No limit" is the greatest number of whole pages.
                usage.memory_limit_bytes = self
                    .number("memory", "memory.limit_in_bytes")?
                    .filter(|limit| *limit < 1 << 62);
                let stat = self.read("memory", "memory.stat")?;
                usage.inactive_file_bytes = field(&stat, "total_inactive_file");
            }
            Some(Version::Two) => {
                usage.memory_bytes = self.number("memory", "memory.current")?;
                usage.memory_limit_bytes = self.number("memory", "memory.max")?;
                usage.inactive_file_bytes =
                    field(&self.read("memory", "memory.stat")?, "inactive_file");
            }
        }
        usage.cpu_ns = match self.version_of("cpuacct") {
            Some(_) => self.number("cpuacct", "cpuacct.usage")?,
            None => match self.unified_place() {
                // The processor time is counted in every version 2 group, with or without controller.
                Some((hierarchy, fd)) => {
                    let stat = super::read_at(fd, "cpu.stat", &hierarchy.directory)?;
                    field(&stat, "usage_usec").map(|micros| micros.saturating_mul(1000))
                }
                None => None,
            },
        };
        if self.version_of("pids").is_some() {
            usage.pids = self.number("pids", "pids.current")?;
            usage.pids_limit = self.number("pids", "pids.max")?;
        }
        Ok(usage)
    }

    /// A file of one number; `None` for `max`.
    fn number(&self, controller: &str, file: &str) -> Result<Option<u64>, SysError> {
        Ok(self.read(controller, file)?.trim().parse().ok())
    }
}

/// The number after a name, in a file of such lines.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok()).flatten()
    })
}
