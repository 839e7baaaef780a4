//! Making a container's init and further processes in it.
//!
//! ```text
//! create ── fork ──> init sets itself up ──> Created ── start ──> Running
//! exec   ── fork ──> process joins, sets itself up and executes ──> Running
//! ```

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ferry_oci::runtime::{Process, Spec};
use ferry_sys::SysError;
use ferry_sys::cgroup::{self, Cgroup, Hierarchy};
use ferry_sys::process::{self as sys_process, Child, Clone, CloneNamespaces};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::channel::{Answer, Channel, Word};
use crate::error::{ErrorKind, RuntimeError};
use crate::init::{self, Birth, become_user};
use crate::joined::{self, Joining};
use crate::plan::{self, Plan};

pub use entering::Entering;

mod entering;

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
    /// Its place in every hierarchy: processes enter those of version 1, and a mount of type `cgroup`
    /// shows them.
    pub hierarchies: &'a [Hierarchy],
}

impl<'a> CgroupEntry<'a> {
    /// The places of a cgroup.
    #[must_use]
    pub fn of(cgroup: &'a Cgroup) -> Self {
        Self { unified: cgroup.unified(), hierarchies: cgroup.hierarchies() }
    }
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
    channel: Channel,
}

/// A container whose init waits for a word of anybody who can write to its gate.
#[derive(Debug)]
pub struct Waiting {
    /// The init.
    pub pid: Pid,
    /// A descriptor of the init.
    pub pidfd: OwnedFd,
    /// The master of its terminal, for [`Stdio::Terminal`].
    pub terminal: Option<OwnedFd>,
}

/// What is written to a gate to let a [`Waiting`] init execute its program.
pub const GATE_WORD: &[u8] = b"G";

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
    create_with(request, None)
}

/// As [`create`], but the init then waits for [`GATE_WORD`] from `gate`, so that the maker may end and
/// another process start the container. The gate must be open for writing too, or there is an end.
///
/// # Errors
/// As [`create`].
pub fn create_gated(request: CreateRequest<'_>, gate: OwnedFd) -> Result<Waiting, RuntimeError> {
    let Created { pid, pidfd, terminal, channel: _ } = create_with(request, Some(gate))?;
    Ok(Waiting { pid, pidfd, terminal })
}

fn create_with(request: CreateRequest<'_>, gate: Option<OwnedFd>) -> Result<Created, RuntimeError> {
    let CreateRequest { id, spec, rootfs, stdio, cgroup, netns } = request;
    let process =
        spec.process.as_ref().ok_or_else(|| RuntimeError::invalid("process is required"))?;
    plan::check_process(process)?;
    let mut plan = Plan::new(spec, netns.is_some())?;
    let limits = plan::limits(process)?;
    let (pid_namespace, join) = open_namespaces(&plan, netns)?;
    plan.share(spec, shared_with_maker(&join)?)?;
    let (channel, init_channel) = Channel::pair()?;
    let how = Clone { namespaces: plan.make, cgroup: cgroup.unified };
    let id_maps = plan.id_maps.clone();
    let to_raise = limits.clone();
    let birth = Birth {
        id,
        spec,
        process,
        plan,
        limits,
        rootfs,
        stdio,
        hierarchies: cgroup.hierarchies,
        join,
        gate,
        channel: &init_channel,
    };
    let fork = || sys_process::fork(how, || init::run(birth));
    let child = fork_in(pid_namespace.as_ref(), fork)?;
    drop(init_channel);
    if let Some(maps) = &id_maps
        && let Err(error) = become_user::raise_limits(&to_raise, Some(child.pid))
            .and_then(|()| map_ids(child.pid, maps))
            .and_then(|()| tell(&channel, Word::Mapped))
    {
        // Order: ended before it is asked, for one that lives waits for the maker. What the init said
        // before it died says more than that it could not be reached.
        let ended = end(&child, error);
        return Err(said(&channel).unwrap_or(ended));
    }
    let terminal = await_ready(&channel, &child)?;
    Ok(Created { pid: child.pid, pidfd: child.pidfd, terminal, channel })
}

impl Created {
    /// Lets the init execute its program.
    ///
    /// # Errors
    /// When the execution fails; the init has ended and been waited for then.
    pub fn start(self) -> Result<Running, RuntimeError> {
        let Self { pid, pidfd, terminal, channel } = self;
        let child = Child { pid, pidfd };
        await_execution(&channel, &child)?;
        Ok(Running { pid, pidfd: child.pidfd, terminal })
    }
}

/// Runs one more process in a container.
///
/// # Errors
/// When any step fails; the process has ended and been waited for then.
pub fn exec(request: ExecRequest<'_>) -> Result<Running, RuntimeError> {
    let (child, channel) = fork_exec(request)?;
    let terminal = await_ready(&channel, &child)?;
    await_execution(&channel, &child)?;
    Ok(Running { pid: child.pid, pidfd: child.pidfd, terminal })
}

/// As [`exec`], for a caller that does not wait: how long a process takes to set itself up is in the
/// hands of the container, whose file systems, memory and time it uses.
///
/// # Errors
/// When it can not even begin; nothing is left of it then.
pub fn begin_exec(request: ExecRequest<'_>) -> Result<Entering, RuntimeError> {
    let (child, channel) = fork_exec(request)?;
    match channel.do_not_wait() {
        Ok(()) => Ok(Entering::new(child, channel)),
        Err(error) => Err(end(&child, error)),
    }
}

fn fork_exec(request: ExecRequest<'_>) -> Result<(Child, Channel), RuntimeError> {
    let ExecRequest { init, process, spec, stdio, cgroup } = request;
    plan::check_process(process)?;
    let limits = plan::limits(process)?;
    let (channel, init_channel) = Channel::pair()?;
    let joining = Joining {
        init,
        process,
        spec,
        limits,
        stdio,
        hierarchies: cgroup.hierarchies,
        channel: &init_channel,
    };
    let child = fork_joining(joining, cgroup)?;
    drop(init_channel);
    Ok((child, channel))
}

/// The process id namespace to be born in, and the others to join, opened.
type Opened = (Option<OwnedFd>, Vec<(CloneNamespaces, OwnedFd)>);

fn open_namespaces(plan: &Plan<'_>, netns: Option<BorrowedFd<'_>>) -> Result<Opened, RuntimeError> {
    let mut pid_namespace = None;
    let mut join = Vec::new();
    for (kind, path) in &plan.join {
        let doing = || format!("opening namespace {:?}", path.display().to_string());
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, *path, flags, Mode::empty())
            .map_err(|errno| RuntimeError::failed(doing(), errno))?;
        if *kind == CloneNamespaces::PID {
            pid_namespace = Some(opened);
        } else {
            join.push((*kind, opened));
        }
    }
    if let Some(netns) = netns {
        let netns = netns.try_clone_to_owned().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            RuntimeError::failed("taking the network namespace", errno)
        })?;
        join.push((CloneNamespaces::NETWORK, netns));
    }
    Ok((pid_namespace, join))
}

/// Which of the namespaces to join are the maker's own. What they are called does not matter: the path
/// may be that of a process that shares them with the host.
fn shared_with_maker(join: &[(CloneNamespaces, OwnedFd)]) -> Result<CloneNamespaces, RuntimeError> {
    let mut shared = CloneNamespaces::empty();
    for (kind, namespace) in join {
        if ferry_sys::namespace::is_own(namespace.as_fd(), *kind)
            .map_err(|error| RuntimeError::call("comparing namespaces", &error))?
        {
            shared |= *kind;
        }
    }
    Ok(shared)
}

/// Forks a process that joins a container; what is the process's alone is closed here afterwards.
fn fork_joining(joining: Joining<'_>, cgroup: CgroupEntry<'_>) -> Result<Child, RuntimeError> {
    let init = joining.init;
    let mut joining = Some(joining);
    let mut run = || joining.take().map_or(1, joined::run);
    fork_in(Some(&init), || fork_beside(init, cgroup, &mut run))
}

/// Forks into a container's cgroup, or beside its init. In version 2 a group that has given controllers
/// to groups beneath it can hold no process itself; so once the container has made such groups (as
/// systemd and Docker do in theirs), a process is born where the init is by then. As runc does.
/// [cgroup-v2.rst § No Internal Process Constraint]
fn fork_beside(
    init: BorrowedFd<'_>,
    entry: CgroupEntry<'_>,
    run: &mut impl FnMut() -> i32,
) -> Result<Child, SysError> {
    // The container may move its init and remove groups while this looks for them.
    const ATTEMPTS: usize = 8;
    let namespaces = CloneNamespaces::empty();
    let whole = sys_process::fork(Clone { namespaces, cgroup: entry.unified }, &mut *run);
    let hierarchy = entry.hierarchies.iter().find(|hierarchy| hierarchy.unified);
    let (Some(directory), Some(hierarchy)) = (entry.unified, hierarchy) else { return whole };
    let mut forked = whole;
    for _attempt in 0..ATTEMPTS {
        let moved =
            |error: &SysError| matches!(error.errno, Errno::BUSY | Errno::NODEV | Errno::NOENT);
        match &forked {
            Err(error) if moved(error) => {}
            _ => return forked,
        }
        forked = group_of(init, hierarchy, directory).and_then(|group| {
            sys_process::fork(Clone { namespaces, cgroup: Some(group.as_fd()) }, &mut *run)
        });
    }
    forked
}

/// The group of the unified hierarchy that an init is in, beneath the container's.
fn group_of(
    init: BorrowedFd<'_>,
    hierarchy: &Hierarchy,
    directory: BorrowedFd<'_>,
) -> Result<OwnedFd, SysError> {
    let ended = || SysError::new("fdinfo", "the container's init", Errno::SRCH);
    let pid = sys_process::id(init)?.ok_or_else(ended)?;
    let group = cgroup::open_group_of(pid, hierarchy, directory)?;
    // Order: asked again after the id was used, so that it was the init's all the time.
    sys_process::id(init)?.ok_or_else(ended).map(|_still| group)
}

/// Forks; the child is born in a process id namespace, given by itself or by a process in it.
fn fork_in(
    pid_namespace: Option<&impl std::os::fd::AsFd>,
    fork: impl FnOnce() -> Result<Child, SysError>,
) -> Result<Child, RuntimeError> {
    let forking = |error| RuntimeError::call("forking", &error);
    let Some(pid_namespace) = pid_namespace else {
        return fork().map_err(forking);
    };
    // A process can not change its own process id namespace, only that of its children. So the maker
    // changes that for the time of the fork.
    let joining = |error| RuntimeError::call("joining the process id namespace", &error);
    let own = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )
    .map_err(|errno| RuntimeError::failed("opening the maker", errno))?;
    let kind = CloneNamespaces::PID;
    let join = ferry_sys::namespace::join;
    join(pid_namespace.as_fd(), kind).map_err(joining)?;
    let forked = fork().map_err(forking);
    let back = join(own.as_fd(), kind).map_err(joining);
    match (forked, back) {
        (Ok(child), Err(error)) => Err(end(&child, error)),
        (forked, _) => forked,
    }
}

/// Maps the ids of the child's user namespace.
fn map_ids(pid: Pid, maps: &plan::IdMaps) -> Result<(), RuntimeError> {
    for (name, lines) in [("uid_map", &maps.users), ("gid_map", &maps.groups)] {
        let path = format!("/proc/{pid}/{name}");
        let failed = |errno| RuntimeError::failed(format!("writing {path}"), errno);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, &*path, flags, Mode::empty()).map_err(failed)?;
        rustix::io::write(&file, lines.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

fn tell(channel: &Channel, word: Word) -> Result<(), RuntimeError> {
    channel
        .say(word)
        .map_err(|errno| RuntimeError::failed(format!("telling the init: {word:?}"), errno))
}

/// What the init said, if it failed.
fn said(channel: &Channel) -> Option<RuntimeError> {
    match channel.answer() {
        Ok(Answer::Failed(error)) => Some(error),
        _ => None,
    }
}

fn await_ready(channel: &Channel, child: &Child) -> Result<Option<OwnedFd>, RuntimeError> {
    let mut terminal = None;
    loop {
        match channel.answer() {
            Ok(Answer::Terminal(master)) => terminal = Some(master),
            Ok(Answer::Ready) => return Ok(terminal),
            Ok(Answer::Failed(error)) | Err(error) => return Err(end(child, error)),
            Ok(Answer::Closed) => return Err(died(child)),
        }
    }
}

fn await_execution(channel: &Channel, child: &Child) -> Result<(), RuntimeError> {
    if let Err(errno) = channel.say(Word::Go) {
        // A dead init can not be told; that it is dead is what matters.
        let told = RuntimeError::failed("telling the init to go", errno);
        return Err(if errno == Errno::PIPE { died(child) } else { end(child, told) });
    }
    match channel.answer() {
        Ok(Answer::Closed) => Ok(()),
        Ok(Answer::Failed(error)) | Err(error) => Err(end(child, error)),
        Ok(Answer::Ready | Answer::Terminal(_)) => Err(end(child, ready_twice())),
    }
}

/// The end of a child that said nothing.
fn died(child: &Child) -> RuntimeError {
    let how = sys_process::kill_and_wait(child.pidfd.as_fd());
    match how {
        Ok(()) => unexpected_end(),
        Err(error) => {
            RuntimeError::new(ErrorKind::Other, format!("container init is lost: {error}"))
        }
    }
}

fn unexpected_end() -> RuntimeError {
    let message = "container init ended unexpectedly, it may have been killed";
    RuntimeError::new(ErrorKind::Other, message)
}

fn ready_twice() -> RuntimeError {
    RuntimeError::new(ErrorKind::Other, "the init was ready twice")
}

/// Ends a child that has failed, so that nothing of it is left, and gives why.
fn end(child: &Child, error: RuntimeError) -> RuntimeError {
    match sys_process::kill_and_wait(child.pidfd.as_fd()) {
        Ok(()) => error,
        Err(left) => {
            RuntimeError::new(error.kind(), format!("{error} (and its process is left: {left})"))
        }
    }
}
