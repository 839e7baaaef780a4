//! Making the container.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ferry_oci::runtime::Spec;
use ferry_runtime::container::{self, CgroupEntry, CreateRequest, Rootfs, Stdio};
use ferry_runtime::limits::{self, LimitError};
use ferry_runtime::{ErrorKind, RuntimeError};
use ferry_supervisor::files::{self, State};
use ferry_supervisor::log::LogWriter;
use ferry_supervisor::protocol::{Attachment, Failure, FailureKind, Start};
use ferry_sys::SysError;
use ferry_sys::cgroup::{Cgroup, FreezeState, Layout};
use ferry_sys::durable::{self, Survive};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::Pid;
use serde::de::DeserializeOwned;

use super::Program;
use super::container::Container;
use super::job::{INIT, Job, Stage};
use super::streams::{Ends, Notices, Streams};

/// How long the cgroup of a container that could not be started may take to become removable.
const REMOVE: Duration = Duration::from_secs(2);

/// A client that came with a call.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) socket: OwnedFd,
    pub(super) early: Option<OwnedFd>,
    pub(super) attachment: Attachment,
}

/// What came with the call to start.
#[derive(Debug)]
pub(super) struct StartWith {
    pub(super) rootfs: OwnedFd,
    pub(super) netns: Option<OwnedFd>,
    pub(super) clients: Vec<Arrived>,
}

impl Program {
    /// Makes and starts the container.
    pub(super) fn start(
        &mut self,
        start: Start,
        with: StartWith,
    ) -> Result<(Pid, String), Failure> {
        if self.container.is_some() {
            return Err(invalid("a container was started already"));
        }
        let directory = PathBuf::from(&start.directory);
        let mut spec: Spec = read_config(&directory.join(files::CONFIG))?;
        if let Some(process) = &mut spec.process {
            process.oom_score_adj = process.oom_score_adj.or(self.oom_score_adj);
        }
        match std::fs::remove_file(directory.join(files::EXIT)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(other(format!("remove an old {}: {error}", files::EXIT)));
            }
            _ => {}
        }
        let log = match &start.log {
            None => None,
            Some(config) => Some(LogWriter::open(config).map_err(|error| {
                other(format!("failed to create the log {}: {error}", config.path))
            })?),
        };
        let cgroup = make_cgroup(&spec)?;
        match self.start_in(&start, &spec, &cgroup, with, log) {
            Ok((pid, started_at)) => {
                let id = start.id;
                let at = started_at.clone();
                let container = Container::new(id, directory, cgroup, at, &mut self.poller);
                self.container = Some(container);
                Ok((pid, started_at))
            }
            Err(failure) => {
                self.jobs.clear();
                self.link.stop_listening(&mut self.poller);
                let undone = cgroup.kill().and_then(|()| cgroup.remove(REMOVE));
                Err(match undone {
                    Ok(()) => failure,
                    Err(error) => Failure {
                        kind: failure.kind,
                        message: format!("{} (and could not clean up: {error})", failure.message),
                    },
                })
            }
        }
    }

    fn start_in(
        &mut self,
        start: &Start,
        spec: &Spec,
        cgroup: &Cgroup,
        with: StartWith,
        log: Option<LogWriter>,
    ) -> Result<(Pid, String), Failure> {
        let size = spec
            .process
            .as_ref()
            .and_then(|process| process.console_size)
            .map(|size| (size.height, size.width));
        let (stdio, mut ends) = stdio(start.tty, size, start.open_stdin, true)?;
        let created = container::create(CreateRequest {
            id: &start.id,
            spec,
            rootfs: Rootfs::Detached(with.rootfs),
            stdio,
            cgroup: CgroupEntry::of(cgroup),
            netns: with.netns.as_ref().map(OwnedFd::as_fd),
        })
        .map_err(|error| runtime(&error))?;
        let directory = Path::new(&start.directory);
        write_state(start, created.pid, cgroup)?;
        self.link.listen(directory, &mut self.poller).map_err(|error| kernel(&error))?;
        let running = created.start().map_err(|error| runtime(&error))?;
        let started_at = ferry_supervisor::time::now();
        if start.tty {
            ends.stdout = running.terminal;
        }
        let once = start.open_stdin && start.stdin_once;
        let streams = Streams::new(INIT, start.tty, once, ends, log).map_err(errno)?;
        let exec_id = None;
        let (pid, pidfd, stage) = (running.pid, running.pidfd, Stage::Running);
        self.jobs.insert(INIT, Job { exec_id, pid, pidfd, streams, stage });
        for client in with.clients {
            self.attach(INIT, client)?;
        }
        Ok((pid, started_at))
    }

    /// Attaches a client to a process.
    pub(super) fn attach(&mut self, number: u32, client: Arrived) -> Result<(), Failure> {
        let Arrived { socket, early, attachment } = client;
        let job = self.jobs.get_mut(&number).filter(|job| job.takes_clients());
        let Some(job) = job else { return Err(not_running("the container is not running")) };
        let mut bytes = Vec::new();
        if let Some(early) = early {
            // It is a sealed file in memory, whose offset is behind what was written.
            let mut file = File::from(early);
            let read = std::io::Seek::rewind(&mut file)
                .and_then(|()| file.read_to_end(&mut bytes).map(drop));
            read.map_err(|error| invalid(format!("read what came early: {error}")))?;
        }
        job.streams.attach(socket, bytes, attachment, Instant::now()).map_err(errno)?;
        let mut notices = Notices::default();
        job.streams.take_early(&mut self.poller, &mut notices);
        self.note(number, notices);
        Ok(())
    }
}

/// The streams of a new process: its ends, and ours. A terminal's end comes later.
pub(super) fn stdio(
    tty: bool,
    size: Option<(u16, u16)>,
    open_stdin: bool,
    output: bool,
) -> Result<(Stdio, Ends), Failure> {
    let mut ends = Ends::default();
    if tty {
        return Ok((Stdio::Terminal { size }, ends));
    }
    let null = || {
        rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(errno)
    };
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(errno);
    let stdin = if open_stdin {
        let (theirs, ours) = pipe()?;
        ends.stdin = Some(ours);
        theirs
    } else {
        null()?
    };
    if !output {
        return Ok((Stdio::Pipes { stdin, stdout: null()?, stderr: null()? }, ends));
    }
    let (ours, stdout) = pipe()?;
    ends.stdout = Some(ours);
    let (ours, stderr) = pipe()?;
    ends.stderr = Some(ours);
    Ok((Stdio::Pipes { stdin, stdout, stderr }, ends))
}

fn make_cgroup(spec: &Spec) -> Result<Cgroup, Failure> {
    let linux = spec.linux.as_ref().ok_or_else(|| invalid("linux is required"))?;
    if linux.cgroups_path.is_empty() {
        return Err(invalid("linux.cgroupsPath is required"));
    }
    let layout = Layout::detect().map_err(|error| kernel(&error))?;
    let cgroup = Cgroup::create(&layout, &linux.cgroups_path).map_err(|error| kernel(&error))?;
    clear_old(&cgroup)?;
    if let Some(resources) = &linux.resources
        && let Err(error) = limits::apply(&cgroup, resources)
    {
        let kind = match error {
            LimitError::Missing { .. } | LimitError::Invalid(_) => FailureKind::Invalid,
            LimitError::Kernel(_) => FailureKind::Other,
        };
        // The limit that could not be set is what there is to tell.
        drop(cgroup.remove(REMOVE));
        return Err(Failure { kind, message: error.to_string() });
    }
    Ok(cgroup)
}

/// A cgroup may be left of an earlier start. Its processes would be limited, counted and killed with
/// ours, and a frozen one would never let ours go on.
fn clear_old(cgroup: &Cgroup) -> Result<(), Failure> {
    if cgroup.is_populated().map_err(|error| kernel(&error))? {
        let count = cgroup.pids().map_err(|error| kernel(&error))?.len();
        return Err(other(format!("container's cgroup is not empty: {count} process(es) found")));
    }
    match cgroup.freeze_state() {
        Ok(FreezeState::Thawed) => Ok(()),
        Ok(_) => cgroup.thaw().map_err(|error| kernel(&error)),
        // Without a freezer nothing is frozen.
        Err(error) if error.errno == Errno::NOENT => Ok(()),
        Err(error) => Err(kernel(&error)),
    }
}

fn write_state(start: &Start, pid: Pid, cgroup: &Cgroup) -> Result<(), Failure> {
    let pid = pid.as_raw_nonzero().get();
    let state = State {
        id: start.id.clone(),
        pid,
        start_ticks: files::start_ticks(pid).unwrap_or(0),
        supervisor_pid: rustix::process::getpid().as_raw_nonzero().get(),
        cgroup: cgroup.path().to_owned(),
    };
    let text = serde_json::to_vec(&state).unwrap_or_default();
    let path = Path::new(&start.directory).join(files::STATE);
    durable::write(&path, &text, 0o600, Survive::Processes).map_err(|error| kernel(&error))
}

pub(super) fn read_config<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text =
        std::fs::read(path).map_err(|error| other(format!("read {}: {error}", path.display())))?;
    serde_json::from_slice(&text).map_err(|error| invalid(format!("{}: {error}", path.display())))
}

pub(super) fn runtime(error: &RuntimeError) -> Failure {
    let kind = match error.kind() {
        ErrorKind::NotFound => FailureKind::NotFound,
        ErrorKind::PermissionDenied => FailureKind::PermissionDenied,
        ErrorKind::IsDirectory => FailureKind::IsDirectory,
        ErrorKind::Invalid => FailureKind::Invalid,
        ErrorKind::Other => FailureKind::Other,
    };
    Failure { kind, message: error.to_string() }
}

fn kernel(error: &SysError) -> Failure {
    other(error.to_string())
}

pub(super) fn errno(errno: Errno) -> Failure {
    other(errno.to_string())
}

pub(super) fn other(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Other, message: message.into() }
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::Invalid, message: message.into() }
}

pub(super) fn not_running(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::NotRunning, message: message.into() }
}
