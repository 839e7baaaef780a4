//! Which hierarchies are mounted, and where.

use std::path::PathBuf;

use rustix::io::Errno;

use super::read_file;
use crate::error::SysError;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub mountpoint: PathBuf,
    /// Its controllers, or the name of a named one; empty for version 2, whose controllers differ
    /// from group to group.
    pub controllers: Vec<String>,
    /// Whether it is the unified hierarchy.
    pub unified: bool,
}

/// All mounted hierarchies of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// Each hierarchy once.
    pub mounted: Vec<Mounted>,
}

impl Layout {
    /// Reads what is mounted.
    ///
    /// # Errors
    /// `ENODEV` when no hierarchy is mounted; else the call that failed.
    pub fn detect() -> Result<Self, SysError> {
        let layout = Self::parse(&read_file(std::path::Path::new("/proc/self/mountinfo"))?);
        if layout.mounted.is_empty() {
            return Err(SysError::new("detect", "cgroup hierarchies", Errno::NODEV));
        }
        Ok(layout)
    }

    /// Finds the hierarchies in the text of `/proc/<pid>/mountinfo`. `proc_pid_mountinfo(5)`
    #[must_use]
    pub fn parse(mountinfo: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((front, back)) = line.split_once(" - ") else { continue };
            let mut back = back.split(' ');
            let (Some(kind), Some(options)) = (back.next(), back.nth(1)) else { continue };
            let Some(mountpoint) = front.split(' ').nth(4) else { continue };
            let controllers = match kind {
                "cgroup2" => Vec::new(),
                "cgroup" => controllers(options),
                _ => continue,
            };
            let mounted = Mounted {
                mountpoint: PathBuf::from(unescape(mountpoint)),
                controllers,
                unified: kind == "cgroup2",
            };
            // A hierarchy may be mounted at several places; any will do, the first is the usual one.
            let known = layout.mounted.iter().any(|other| {
                other.unified == mounted.unified && other.controllers == mounted.controllers
            });
            if !known {
                layout.mounted.push(mounted);
            }
        }
        layout
    }

    /// Whether there is nothing but the unified hierarchy.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.mounted.iter().all(|mounted| mounted.unified)
    }

    /// Where a version 1 controller, or a named hierarchy, is.
    #[must_use]
    pub fn version1(&self, controller: &str) -> Option<&Mounted> {
        self.mounted
            .iter()
            .find(|mounted| mounted.controllers.iter().any(|name| name == controller))
    }

    /// The unified hierarchy.
    #[must_use]
    pub fn unified(&self) -> Option<&Mounted> {
        self.mounted.iter().find(|mounted| mounted.unified)
    }
}

/// A version 1 hierarchy's controllers, or its name, among the options of its mount.
fn controllers(options: &str) -> Vec<String> {
    options
        .split(',')
        .filter(|option| {
            !matches!(
                *option,
                "rw" | "ro" | "xattr" | "noprefix" | "clone_children" | "cpuset_v2_mode"
            ) && !option.starts_with("release_agent=")
        })
        .map(|option| option.strip_prefix("name=").unwrap_or(option).to_owned())
        .collect()
}

/// Undoes the octal escapes of blanks in mountinfo.
fn unescape(text: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(text.to_owned(), |text, (escape, plain)| text.replace(escape, plain))
}
