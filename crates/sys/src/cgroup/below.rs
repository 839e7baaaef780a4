//! Groups that a container has made beneath its own.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use super::{Hierarchy, read_file};
use crate::error::{Context as _, SysError};
use crate::path::open_beneath;

/// Opens the group of the unified hierarchy that a process is in, which must be that of `directory`,
/// whose place is `hierarchy`, or beneath it.
///
/// # Errors
/// `EXDEV` when it is elsewhere, `ENOENT` when it or the process is gone; else the call that failed.
pub fn open_group_of(
    pid: Pid,
    hierarchy: &Hierarchy,
    directory: BorrowedFd<'_>,
) -> Result<OwnedFd, SysError> {
    let path = PathBuf::from(format!("/proc/{}/cgroup", pid.as_raw_nonzero()));
    let text = read_file(&path)?;
    let below = below(&text, hierarchy).ok_or_else(|| SysError::at("read", &path, Errno::XDEV))?;
    open_beneath(directory, &below, OFlags::PATH | OFlags::DIRECTORY)
        .during("openat2", || hierarchy.directory.join(&below).display().to_string())
}

/// The place of the group named in a `/proc/<pid>/cgroup`, beneath the one of a hierarchy; `.` is that
/// itself. [cgroups(7)]
fn below(text: &str, hierarchy: &Hierarchy) -> Option<PathBuf> {
    let own = hierarchy.directory.strip_prefix(&hierarchy.mountpoint).ok()?;
    // No group's name has a line break in it.
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let below = Path::new(group).strip_prefix(own).ok()?;
    // A group that is above this process's namespace of cgroups has `..` for each step up.
    let plain = below.components().all(|component| matches!(component, Component::Normal(_)));
    plain.then(|| Path::new(".").join(below))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::below;
    use crate::cgroup::Hierarchy;

    fn check(mountpoint: &str, own: &str, text: &str, expect: Option<&str>) {
        let hierarchy = Hierarchy {
            mountpoint: mountpoint.into(),
            directory: Path::new(mountpoint).join(own),
            controllers: Vec::new(),
            unified: true,
        };
        assert_eq!(below(text, &hierarchy), expect.map(PathBuf::from), "{text:?}");
    }

    #[test]
    fn the_group_of_an_init_is_found_beneath_its_containers() {
        let mount = "/sys/fs/cgroup";
        check(mount, "docker/c1", "0::/docker/c1/init\n", Some("./init"));
        check(mount, "docker/c1", "0::/docker/c1/a b/c:d\n", Some("./a b/c:d"));
        check(mount, "docker/c1", "0::/docker/c1\n", Some("./"));
        let hybrid = "/sys/fs/cgroup/unified";
        check(hybrid, "c1", "4:memory:/c1/other\n1:name=systemd:/c1\n0::/c1/x/y\n", Some("./x/y"));
    }

    #[test]
    fn a_group_elsewhere_is_none() {
        for text in [
            "0::/docker/c2/init\n",
            "0::/docker/c11\n",
            "0::/docker\n",
            "0::/\n",
            "0::/../docker/c1/x\n",
            "0::/docker/c1/../c2\n",
            "4:memory:/docker/c1/x\n",
            "",
        ] {
            check("/sys/fs/cgroup", "docker/c1", text, None);
        }
    }
}
