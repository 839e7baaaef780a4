//! Freezing, killing, listing and removing.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::{Cgroup, Hierarchy, errno_of, read_at, read_file, write_at};
use crate::error::{Context as _, SysError};

/// Ids of processes as this process's namespace numbers them.
pub type PidList = Vec<Pid>;

/// Whether a group's processes stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeState {
    /// They run.
    Thawed,
    /// They are about to stand still.
    Freezing,
    /// They stand still.
    Frozen,
}

impl Cgroup {
    /// Makes all processes stand still, and waits until they do.
    ///
    /// # Errors
    /// `ETIMEDOUT` when they do not in time, after letting them go on; `ENOENT` when the group has no
    /// freezer; else the call that failed.
    pub fn freeze(&self, patience: Duration) -> Result<(), SysError> {
        let deadline = Instant::now() + patience;
        self.set_frozen(true)?;
        let mut pause = Pause::default();
        while self.freeze_state()? != FreezeState::Frozen {
            if Instant::now() >= deadline {
                self.set_frozen(false)?;
                return Err(SysError::new("freeze", self.path.clone(), Errno::TIMEDOUT));
            }
            // Version 1 may stay half frozen until asked again. [freezer-subsystem.rst]
            self.set_frozen(true)?;
            pause.wait()?;
        }
        Ok(())
    }

    /// Lets all processes go on.
    ///
    /// # Errors
    /// `ENOENT` when the group has no freezer; else the call that failed.
    pub fn thaw(&self) -> Result<(), SysError> {
        self.set_frozen(false)
    }

    /// Whether the processes stand still.
    ///
    /// # Errors
    /// `ENOENT` when the group has no freezer; else the call that failed.
    pub fn freeze_state(&self) -> Result<FreezeState, SysError> {
        if self.place_of("freezer").is_some() {
            return Ok(match self.read("freezer", "freezer.state")?.trim() {
                "THAWED" => FreezeState::Thawed,
                "FREEZING" => FreezeState::Freezing,
                _ => FreezeState::Frozen,
            });
        }
        let (hierarchy, fd) = self.need_unified("cgroup.freeze")?;
        if read_at(fd, "cgroup.freeze", &hierarchy.directory)?.trim() == "0" {
            return Ok(FreezeState::Thawed);
        }
        let events = read_at(fd, "cgroup.events", &hierarchy.directory)?;
        Ok(match events.lines().any(|line| line == "frozen 1") {
            true => FreezeState::Frozen,
            false => FreezeState::Freezing,
        })
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), SysError> {
        if self.place_of("freezer").is_some() {
            let state = if frozen { "FROZEN" } else { "THAWED" };
            return self.write("freezer", "freezer.state", state);
        }
        let (hierarchy, fd) = self.need_unified("cgroup.freeze")?;
        write_at(fd, "cgroup.freeze", if frozen { b"1" } else { b"0" }, &hierarchy.directory)
    }

    fn need_unified(&self, file: &str) -> Result<(&Hierarchy, BorrowedFd<'_>), SysError> {
        self.unified_place()
            .ok_or_else(|| SysError::new("open", format!("{}/{file}", self.path), Errno::NOENT))
    }

    /// Kills all processes, in the groups beneath too, and leaves none behind that is forking.
    ///
    /// Those that are children of the caller stay to be waited for.
    ///
    /// # Errors
    /// `ETIMEDOUT` when there still are some after two seconds; else the call that failed.
    pub fn kill(&self) -> Result<(), SysError> {
        if let Some((hierarchy, fd)) = self.unified_place() {
            // Linux 5.14. It is missing before, and in the root.
            match write_at(fd, "cgroup.kill", b"1", &hierarchy.directory) {
                Ok(()) => {}
                Err(error) if matches!(error.errno, Errno::NOENT | Errno::NODEV) => {}
                Err(error) => return Err(error),
            }
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        let mut pause = Pause::default();
        loop {
            // Order: what stands still can not fork, and its id is not given to another.
            let held = self.set_frozen(true).is_ok();
            let alive = self.alive();
            if let Ok(alive) = &alive {
                for pid in alive {
                    match rustix::process::kill_process(*pid, Signal::KILL) {
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(errno) => tracing::trace!(?pid, %errno, "not killed"),
                    }
                }
            }
            if held {
                self.thaw()?;
            }
            if alive?.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(SysError::new("kill", self.path.clone(), Errno::TIMEDOUT));
            }
            pause.wait()?;
        }
    }

    /// The group's processes that are not just waiting to be waited for.
    fn alive(&self) -> Result<PidList, SysError> {
        let mut pids = self.pids()?;
        pids.retain(|pid| !is_zombie(*pid));
        Ok(pids)
    }

    /// The processes in the group and in the groups beneath.
    ///
    /// # Errors
    /// The call that failed; a group that has gone has none.
    pub fn pids(&self) -> Result<PidList, SysError> {
        let mut pids = PidList::new();
        for hierarchy in &self.hierarchies {
            collect(&hierarchy.directory, &mut pids)?;
        }
        pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        pids.dedup();
        Ok(pids)
    }

    /// Whether a process is in the group or in a group beneath.
    ///
    /// # Errors
    /// The call that failed.
    pub fn is_populated(&self) -> Result<bool, SysError> {
        match self.unified_place() {
            Some((hierarchy, fd)) => {
                let events = read_at(fd, "cgroup.events", &hierarchy.directory)?;
                Ok(!events.lines().any(|line| line == "populated 0"))
            }
            None => Ok(!self.alive()?.is_empty()),
        }
    }

    /// Waits until the group holds no process, as far as the kernel tells; at most for `patience`.
    ///
    /// # Errors
    /// The call that failed.
    pub fn wait_empty(&self, patience: Duration) -> Result<bool, SysError> {
        let deadline = Instant::now() + patience;
        let mut pause = Pause::default();
        let events = match self.unified_place() {
            Some((hierarchy, fd)) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let subject = || hierarchy.directory.join("cgroup.events").display().to_string();
                let opened = rustix::fs::openat(fd, "cgroup.events", flags, Mode::empty());
                Some(opened.during("open", subject)?)
            }
            None => None,
        };
        loop {
            if self.alive()?.is_empty() {
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            match &events {
                Some(events) => wait_priority(events.as_fd(), left.min(Duration::from_millis(20)))?,
                None => pause.wait()?,
            }
        }
    }

    /// Removes the group and the groups beneath, in every hierarchy.
    ///
    /// It goes on after a failure, and tries again for a while when a process has only just ended.
    ///
    /// # Errors
    /// The first that failed for good; `EBUSY` when it holds processes.
    pub fn remove(&self, patience: Duration) -> Result<(), SysError> {
        let deadline = Instant::now() + patience;
        let mut first = Ok(());
        for hierarchy in &self.hierarchies {
            let mut pause = Pause::default();
            loop {
                match remove_tree(&hierarchy.directory) {
                    Err(error) if error.errno == Errno::BUSY && Instant::now() < deadline => {
                        pause.wait()?;
                    }
                    result => {
                        first = first.and(result);
                        break;
                    }
                }
            }
        }
        first
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    // The state follows the name, which is in brackets and may hold any byte.
    stat.is_ok_and(|stat| {
        let after = stat.iter().rposition(|byte| *byte == b')');
        let state = after.and_then(|at| stat.get(at + 2));
        matches!(state, Some(b'Z' | b'X'))
    })
}

fn collect(directory: &Path, pids: &mut PidList) -> Result<(), SysError> {
    match read_file(&directory.join("cgroup.procs")) {
        // 0 is a process of another pid namespace.
        Ok(text) => {
            pids.extend(text.lines().filter_map(|line| line.parse().ok().and_then(Pid::from_raw)));
        }
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::NODEV) => return Ok(()),
        // A threaded group has its processes listed in its domain.
        Err(error) if error.errno == Errno::OPNOTSUPP => {}
        Err(error) => return Err(error),
    }
    for child in children(directory)? {
        collect(&child, pids)?;
    }
    Ok(())
}

fn children(directory: &Path) -> Result<Vec<std::path::PathBuf>, SysError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(SysError::at("read directory", directory, errno_of(&error))),
    };
    Ok(entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect())
}

fn remove_tree(directory: &Path) -> Result<(), SysError> {
    match std::fs::remove_dir(directory) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(_busy_or_not_empty) => {}
    }
    for child in children(directory)? {
        remove_tree(&child)?;
    }
    match std::fs::remove_dir(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(SysError::at("rmdir", directory, errno_of(&error))),
    }
}

/// Waits for a kernel file to say that it has changed.
fn wait_priority(fd: BorrowedFd<'_>, patience: Duration) -> Result<(), SysError> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::PRI)];
    let timeout = Timespec::try_from(patience).unwrap_or_default();
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(SysError::new("poll", "cgroup.events", errno)),
    }
}

/// Waits for what the kernel gives no event for: a short time first, then longer ones.
#[derive(Debug)]
struct Pause {
    next: Duration,
}

impl Default for Pause {
    fn default() -> Self {
        Self { next: Duration::from_micros(50) }
    }
}

impl Pause {
    fn wait(&mut self) -> Result<(), SysError> {
        let timeout = Timespec::try_from(self.next).unwrap_or_default();
        self.next = (self.next * 2).min(Duration::from_millis(20));
        match rustix::event::poll(&mut [], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(SysError::new("poll", "pause", errno)),
        }
    }
}
