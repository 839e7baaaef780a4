//! How many descriptors a process may have at once. [getrlimit(2)]

use rustix::process::{Pid, Resource, Rlimit};

use crate::error::{Context as _, SysError};

/// How many descriptors a process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles(Rlimit);

impl OpenFiles {
    /// What this process has.
    #[must_use]
    pub fn current() -> Self {
        Self(rustix::process::getrlimit(Resource::Nofile))
    }

    /// Lets this process have as many as it may ask for, and gives what it had before.
    ///
    /// # Errors
    /// What setrlimit says.
    pub fn raise() -> Result<Self, SysError> {
        let before = Self::current();
        let most = Rlimit { current: before.0.maximum, maximum: before.0.maximum };
        rustix::process::setrlimit(Resource::Nofile, most).during("setrlimit", || "open files")?;
        Ok(before)
    }

    /// The same, with another soft limit.
    #[must_use]
    pub fn with_soft(self, soft: u64) -> Self {
        Self(Rlimit { current: Some(soft), ..self.0 })
    }

    /// Gives another process this limit.
    ///
    /// # Errors
    /// What prlimit says.
    pub fn give(self, pid: Pid) -> Result<(), SysError> {
        rustix::process::prlimit(Some(pid), Resource::Nofile, self.0)
            .map(drop)
            .during("prlimit", || pid.as_raw_nonzero().to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[test]
    fn this_process_gets_the_most_and_another_what_it_is_given() {
        let before = OpenFiles::raise().unwrap();
        assert_eq!(OpenFiles::current().0.current, before.0.maximum);
        assert_eq!(OpenFiles::raise().unwrap(), OpenFiles::current(), "it is raised already");
        let mut child = crate::process::command("/bin/sleep".as_ref()).arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        before.with_soft(77).give(pid).unwrap();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        assert_eq!(line.split_whitespace().next(), Some("77"), "{limits}");
        assert_ne!(OpenFiles::current().0.current, Some(77), "this process has its own");
    }
}
