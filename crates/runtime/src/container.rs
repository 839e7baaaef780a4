//! Making a container's init and further processes in it.
//!
//! ```text
//! create ── fork ──> init sets itself up ──> Created ── start ──> Running
//! exec   ── fork ──> process joins, sets itself up and executes ──> Running
//! ```

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ferry_oci::runtime::{Process, Spec};
use rustix::process::Pid;

use crate::error::{ErrorKind, RuntimeError};

/// What is to become a container.
#[derive(Debug)]
pub struct CreateRequest<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its root file system.
    pub rootfs: Rootfs,
    /// Its streams.
    pub stdio: Stdio,
    /// Its cgroup, already made and limited.
    pub cgroup: CgroupEntry<'a>,
    /// A network namespace to join, in place of what the configuration says.
    pub netns: Option<BorrowedFd<'a>>,
}

/// One more process for a container.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The container's init.
    pub init: BorrowedFd<'a>,
    /// The process to run.
    pub process: &'a Process,
    /// The container's configuration, for its system call filter.
    pub spec: &'a Spec,
    /// Its streams.
    pub stdio: Stdio,
    /// The container's cgroup.
    pub cgroup: CgroupEntry<'a>,
}

/// A container's root file system.
#[derive(Debug)]
pub enum Rootfs {
    /// A directory on the host.
    Path(PathBuf),
    /// A detached mount, of `fsmount` or `open_tree`.
    Detached(OwnedFd),
}

/// A process's standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// Those of the calling process.
    Inherit,
    /// Given descriptors. They are closed in the caller when the process has them.
    Pipes {
        /// Read by the process.
        stdin: OwnedFd,
        /// Written by the process.
        stdout: OwnedFd,
        /// Written by the process.
        stderr: OwnedFd,
    },
    /// A new terminal of the container's own devpts; the master is given back.
    Terminal {
        /// Rows and columns, when known.
        size: Option<(u16, u16)>,
    },
}

/// A cgroup, as far as making a process in it needs to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct CgroupEntry<'a> {
    /// The directory in the unified hierarchy; processes are born in it.
    pub unified: Option<BorrowedFd<'a>>,
    /// Open `cgroup.procs` of each version 1 hierarchy; the process's id is written to them.
    pub procs: &'a [OwnedFd],
    /// What a mount of type `cgroup` shows.
    pub hierarchies: &'a [Hierarchy],
}

/// One mounted cgroup hierarchy of the host and the container's place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where the host has it mounted: `/sys/fs/cgroup/cpu,cpuacct`, or `/sys/fs/cgroup` for pure version 2.
    pub mountpoint: PathBuf,
    /// The container's directory in it, as an absolute path of the host.
    pub directory: PathBuf,
    /// Its controllers (`cpu`, `cpuacct`), or the name of a named one (`systemd`); empty for version 2.
    pub controllers: Vec<String>,
    /// Whether it is the unified hierarchy.
    pub unified: bool,
}

/// A container whose init is set up and waits before its program.
///
/// Dropping it lets the init see that nobody will start it, and end.
#[derive(Debug)]
pub struct Created {
    /// The init.
    pub pid: Pid,
    /// A descriptor of the init.
    pub pidfd: OwnedFd,
    /// The master of its terminal, for [`Stdio::Terminal`].
    pub terminal: Option<OwnedFd>,
    channel: OwnedFd,
}

/// A process that executes its program.
#[derive(Debug)]
pub struct Running {
    /// Its id on the host.
    pub pid: Pid,
    /// A descriptor of it.
    pub pidfd: OwnedFd,
    /// The master of its terminal, for [`Stdio::Terminal`].
    pub terminal: Option<OwnedFd>,
}

/// Forks a container's init and sets it up, up to but not including the execution of its program.
///
/// # Errors
/// When any step fails; the init has ended and been waited for then.
pub fn create(request: CreateRequest<'_>) -> Result<Created, RuntimeError> {
    Err(RuntimeError::new(ErrorKind::Other, format!("create of {} is being written", request.id)))
}

impl Created {
    /// Lets the init execute its program.
    ///
    /// # Errors
    /// When the execution fails; the init has ended and been waited for then.
    pub fn start(self) -> Result<Running, RuntimeError> {
        Err(RuntimeError::new(
            ErrorKind::Other,
            format!("start on {:?} is being written", self.channel),
        ))
    }
}

/// Runs one more process in a container.
///
/// # Errors
/// When any step fails; the process has ended and been waited for then.
pub fn exec(request: ExecRequest<'_>) -> Result<Running, RuntimeError> {
    Err(RuntimeError::new(
        ErrorKind::Other,
        format!("exec of {:?} is being written", request.process.args),
    ))
}
