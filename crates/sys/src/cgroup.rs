//! Control groups, version 1, version 2, or both at once ("hybrid").
//!
//! ```text
//! Layout::detect   every mounted hierarchy: cpu,cpuacct · memory · … · name=systemd · unified
//! Cgroup::create   one directory of the same path in each of them
//! ```
//!
//! A [`Cgroup`] is a handle of directories and files that are held open; dropping it leaves the group
//! in place, [`Cgroup::remove`] removes it. [cgroups(7)]

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context as _, SysError};

pub use below::open_group_of;
pub use control::{FreezeState, PidList};
pub use devices::{
    DeviceAccess, DeviceKind, DeviceRule, Instruction, assemble, attach_device_program,
    load_device_program,
};
pub use layout::{Layout, Mounted};
pub use memory::{OomWatch, Usage};

mod below;
mod control;
mod devices;
mod layout;
mod memory;

/// Which interface a controller has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy of its own, or shared with few others.
    One,
    /// The unified hierarchy.
    Two,
}

/// One mounted hierarchy of the host and a group's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where the host has it mounted: `/sys/fs/cgroup/cpu,cpuacct`, or `/sys/fs/cgroup` for pure version 2.
    pub mountpoint: PathBuf,
    /// The group's directory in it, as an absolute path of the host.
    pub directory: PathBuf,
    /// Its controllers (`cpu`, `cpuacct`), or the name of a named one (`systemd`); for version 2 those
    /// that the group has.
    pub controllers: Vec<String>,
    /// Whether it is the unified hierarchy.
    pub unified: bool,
}

/// A control group: one directory in each hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    path: String,
    hierarchies: Vec<Hierarchy>,
    directories: Vec<OwnedFd>,
    procs: Vec<OwnedFd>,
}

impl Cgroup {
    /// Makes a group, and its parents where they are missing, in every hierarchy.
    ///
    /// `path` is absolute under each hierarchy's mount (`/ferry/<id>`). In the unified hierarchy all
    /// controllers that a parent has are given to its children; in a `cpuset` hierarchy of version 1
    /// new groups get the processors and memory nodes of their parents, for they can hold no process
    /// before.
    ///
    /// # Errors
    /// `EINVAL` for a path that is not absolute and plain, else the call that failed; what was made is
    /// removed again then.
    pub fn create(layout: &Layout, path: &str) -> Result<Self, SysError> {
        let names = components(path)?;
        let mut made: Vec<PathBuf> = Vec::new();
        let result = layout
            .mounted
            .iter()
            .try_for_each(|mounted| make_in(mounted, &names, &mut made))
            .and_then(|()| Self::open(layout, path))
            .and_then(|group| {
                group.ok_or_else(|| SysError::new("open cgroup", path.to_owned(), Errno::NOENT))
            });
        if result.is_err() {
            for directory in made.iter().rev() {
                // Another group may have come to live in it; the error of before is the one to tell.
                drop(std::fs::remove_dir(directory));
            }
        }
        result
    }

    /// Opens a group that is there in at least one hierarchy.
    ///
    /// # Errors
    /// The call that failed.
    pub fn open(layout: &Layout, path: &str) -> Result<Option<Self>, SysError> {
        let names = components(path)?;
        let mut group = Self {
            path: path.to_owned(),
            hierarchies: Vec::new(),
            directories: Vec::new(),
            procs: Vec::new(),
        };
        for mounted in &layout.mounted {
            let directory: PathBuf = std::iter::once(mounted.mountpoint.as_path().as_os_str())
                .chain(names.iter().map(std::ffi::OsStr::new))
                .collect();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let fd = match rustix::fs::openat(CWD, &directory, flags, Mode::empty()) {
                Ok(fd) => fd,
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(SysError::at("open", &directory, errno)),
            };
            let controllers = if mounted.unified {
                words(&read_at(fd.as_fd(), "cgroup.controllers", &directory)?)
            } else {
                mounted.controllers.clone()
            };
            if !mounted.unified {
                let flags = OFlags::WRONLY | OFlags::CLOEXEC;
                let procs = rustix::fs::openat(&fd, "cgroup.procs", flags, Mode::empty())
                    .during("open", || directory.join("cgroup.procs").display().to_string())?;
                group.procs.push(procs);
            }
            group.directories.push(fd);
            group.hierarchies.push(Hierarchy {
                mountpoint: mounted.mountpoint.clone(),
                directory,
                controllers,
                unified: mounted.unified,
            });
        }
        Ok((!group.hierarchies.is_empty()).then_some(group))
    }

    /// The path it was made with.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its directory in the unified hierarchy; processes can be born in it with clone3(2).
    #[must_use]
    pub fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.hierarchies
            .iter()
            .zip(&self.directories)
            .find(|(hierarchy, _)| hierarchy.unified)
            .map(|(_, fd)| fd.as_fd())
    }

    /// `cgroup.procs` of each version 1 hierarchy, open for writing: a process's id moves it here.
    #[must_use]
    pub fn procs(&self) -> &[OwnedFd] {
        &self.procs
    }

    /// Its places.
    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// The interface a controller has for this group; `None` when it has not got it.
    #[must_use]
    pub fn version_of(&self, controller: &str) -> Option<Version> {
        self.place_of(controller).map(|(hierarchy, _)| match hierarchy.unified {
            true => Version::Two,
            false => Version::One,
        })
    }

    /// Moves a process into the group, in every hierarchy. Not for a process that may be moved by
    /// others at the same time.
    ///
    /// # Errors
    /// The call that failed.
    pub fn enter(&self, pid: rustix::process::Pid) -> Result<(), SysError> {
        let text = pid.as_raw_nonzero().to_string();
        for (hierarchy, fd) in self.hierarchies.iter().zip(&self.directories) {
            write_at(fd.as_fd(), "cgroup.procs", text.as_bytes(), &hierarchy.directory)?;
        }
        Ok(())
    }

    /// Whether one of a controller's files is there.
    #[must_use]
    pub fn has(&self, controller: &str, file: &str) -> bool {
        self.place_of(controller).is_some_and(|(_, fd)| {
            rustix::fs::accessat(fd, file, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok()
        })
    }

    /// Writes one of a controller's files.
    ///
    /// # Errors
    /// `ENOENT` also when the group has not got the controller; else the call that failed.
    pub fn write(&self, controller: &str, file: &str, value: &str) -> Result<(), SysError> {
        let (hierarchy, fd) = self.need(controller, file)?;
        write_at(fd, file, value.as_bytes(), &hierarchy.directory)
    }

    /// Reads one of a controller's files.
    ///
    /// # Errors
    /// `ENOENT` also when the group has not got the controller; else the call that failed.
    pub fn read(&self, controller: &str, file: &str) -> Result<String, SysError> {
        let (hierarchy, fd) = self.need(controller, file)?;
        read_at(fd, file, &hierarchy.directory)
    }

    /// A controller's directory.
    fn place_of(&self, controller: &str) -> Option<(&Hierarchy, BorrowedFd<'_>)> {
        self.hierarchies
            .iter()
            .zip(&self.directories)
            .find(|(hierarchy, _)| hierarchy.controllers.iter().any(|name| name == controller))
            .map(|(hierarchy, fd)| (hierarchy, fd.as_fd()))
    }

    fn need(&self, controller: &str, file: &str) -> Result<(&Hierarchy, BorrowedFd<'_>), SysError> {
        self.place_of(controller)
            .ok_or_else(|| SysError::new("open", format!("{}/{file}", self.path), Errno::NOENT))
    }

    fn unified_place(&self) -> Option<(&Hierarchy, BorrowedFd<'_>)> {
        self.hierarchies
            .iter()
            .zip(&self.directories)
            .find(|(hierarchy, _)| hierarchy.unified)
            .map(|(hierarchy, fd)| (hierarchy, fd.as_fd()))
    }
}

/// The names in a group's path. A group's path is made by us or comes from a user; `..` in it would
/// lead out of the hierarchy.
fn components(path: &str) -> Result<Vec<&str>, SysError> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let plain = names.iter().all(|name| !matches!(*name, "." | "..") && !name.contains('\0'));
    if path.starts_with('/') && plain && !names.is_empty() {
        Ok(names)
    } else {
        Err(SysError::new("cgroup path", path.to_owned(), Errno::INVAL))
    }
}

/// Makes the directories of a path in one hierarchy; those that are new go to `made`.
fn make_in(mounted: &Mounted, names: &[&str], made: &mut Vec<PathBuf>) -> Result<(), SysError> {
    let mut directory = mounted.mountpoint.clone();
    let cpuset = mounted.controllers.iter().any(|name| name == "cpuset");
    for name in names {
        if mounted.unified {
            delegate(&directory)?;
        }
        let parent = directory.clone();
        directory.push(name);
        let is_new = match std::fs::create_dir(&directory) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(SysError::at("mkdir", &directory, errno_of(&error))),
        };
        if is_new {
            made.push(directory.clone());
        }
        if cpuset && !mounted.unified {
            inherit_cpuset(&parent, &directory, is_new)?;
        }
    }
    Ok(())
}

/// Gives a group's children all controllers that the group has.
fn delegate(directory: &Path) -> Result<(), SysError> {
    let has = words(&read_file(&directory.join("cgroup.controllers"))?);
    let gives = words(&read_file(&directory.join("cgroup.subtree_control"))?);
    let missing: Vec<String> =
        has.iter().filter(|name| !gives.contains(name)).map(|name| format!("+{name}")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let file = directory.join("cgroup.subtree_control");
    if std::fs::write(&file, missing.join(" ")).is_ok() {
        return Ok(());
    }
    // One that can not be given (`cpu` while there are real-time processes) must not hold back the
    // rest; a limit that then can not be set is refused where it is set.
    for one in &missing {
        if let Err(error) = std::fs::write(&file, one) {
            tracing::trace!(?file, one, %error, "controller not given to children");
        }
    }
    Ok(())
}

fn inherit_cpuset(parent: &Path, directory: &Path, is_new: bool) -> Result<(), SysError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let mine = directory.join(file);
        if is_new || read_file(&mine)?.trim().is_empty() {
            let theirs = read_file(&parent.join(file))?;
            std::fs::write(&mine, theirs.trim())
                .map_err(|error| SysError::at("write", &mine, errno_of(&error)))?;
        }
    }
    Ok(())
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn read_file(path: &Path) -> Result<String, SysError> {
    std::fs::read_to_string(path).map_err(|error| SysError::at("read", path, errno_of(&error)))
}

fn read_at(directory: BorrowedFd<'_>, file: &str, path: &Path) -> Result<String, SysError> {
    let subject = || path.join(file).display().to_string();
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, file, flags, Mode::empty()).during("open", subject)?;
    let mut text = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let count = rustix::io::retry_on_intr(|| rustix::io::read(&fd, &mut chunk))
            .during("read", subject)?;
        if count == 0 {
            break;
        }
        text.extend(chunk.iter().take(count));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn write_at(
    directory: BorrowedFd<'_>,
    file: &str,
    value: &[u8],
    path: &Path,
) -> Result<(), SysError> {
    let subject =
        || format!("{:?} to {}", String::from_utf8_lossy(value), path.join(file).display());
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, file, flags, Mode::empty()).during("open", subject)?;
    // The kernel takes each of these writes whole or not at all.
    rustix::io::retry_on_intr(|| rustix::io::write(&fd, value)).during("write", subject)?;
    Ok(())
}

#[cfg(test)]
mod tests;
