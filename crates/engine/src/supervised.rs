//! The engine's side of a supervisor: launching it, asking it, hearing from it.
//!
//! ```text
//! Launcher::launch ──> Supervisor (idle) ── start ──> a container runs
//! Launcher::reconnect ──> Supervisor of a container that an earlier engine started
//!         └─> SupervisorEvents: exited · exec exited · detached · out of memory · lost
//! ```
//!
//! A [`Supervisor`] is a cheap handle. Dropping the last one closes the connection, which stops no
//! container; a supervisor without a container ends then.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ferry_supervisor::protocol::{self, Answer, Call, Hello, Outcome, Request};
use ferry_sys::launch::Launch;
use ferry_sys::open_files::OpenFiles;
use ferry_sys::{SysError, fdpass};
use rustix::net::SocketFlags;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use ferry_supervisor::protocol::{
    Attachment as AttachmentConfig, ContainerState, Exit, Failure as CallFailure, FailureKind,
    Framing, LogConfig, Target,
};

pub use attachment::Attachment;
pub(crate) use connection::watch;
use connection::{Connection, Shared, connect, patience_for};

mod attachment;
mod connection;

/// How long a supervisor has to say hello.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a supervisor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// It answered that it could not.
    #[error(transparent)]
    Failed(#[from] CallFailure),
    /// It has gone, or closed the connection.
    #[error("the supervisor has gone")]
    Lost,
    /// It is there, and does not answer.
    #[error("the supervisor does not answer")]
    Silent,
    /// There is none at this place.
    #[error("no supervisor listens in {0}")]
    Absent(PathBuf),
    /// It answered what it should not.
    #[error("the supervisor answered out of turn")]
    OutOfTurn,
    /// Its program can not be read.
    #[error("read the supervisor's program {path}")]
    Program {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The kernel refused something.
    #[error(transparent)]
    Kernel(#[from] SysError),
}

/// What happens to a container.
#[derive(Debug)]
pub enum SupervisorEvent {
    /// It has ended: all output is in the log, its cgroup has gone, `exit.json` is written.
    Exited(Exit),
    /// An exec has ended.
    ExecExited {
        /// Which.
        exec_id: String,
        /// Its exit code; 128 and the signal if one ended it.
        code: i32,
        /// To be dropped when this is recorded: only then do the exec's clients see the end of its
        /// output, for they ask for the exit code next.
        recorded: Recorded,
    },
    /// A client has detached itself by its keys, from the container or from an exec.
    Detached {
        /// Which exec.
        exec_id: Option<String>,
    },
    /// It ran out of memory.
    OutOfMemory,
    /// Something went wrong that does not stop the container, in words.
    Warning(String),
    /// The supervisor has died, or closed the connection. The last event.
    ///
    /// Without an `Exited` before, what is left in the container's cgroup is nobody's child.
    Lost,
}

/// Tells a supervisor, when dropped, that the end of an exec is recorded.
#[derive(Debug)]
pub struct Recorded {
    exec_id: String,
    supervisor: Supervisor,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let call = Call::ExecRecorded { exec_id: std::mem::take(&mut self.exec_id) };
        // If there is no room now the supervisor stops waiting by itself after a moment.
        if let Err(errno) = self.supervisor.shared.try_tell(call) {
            tracing::debug!(%errno, "end of exec not acknowledged");
        }
    }
}

/// Makes supervisors.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: Arc<OwnedFd>,
    null: Arc<OwnedFd>,
    open_files: Option<OpenFiles>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Launcher {
    /// Copies the supervisor's program into a sealed file in memory, from which all are executed.
    ///
    /// They, and what they start, may have as many descriptors as `open_files` says; without, as many
    /// as this process. The connections' tasks run on `tasks` until `shutdown`.
    ///
    /// # Errors
    /// When the program can not be read.
    pub fn new(
        program: &Path,
        open_files: Option<OpenFiles>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Result<Self, SupervisorError> {
        let bytes = std::fs::read(program)
            .map_err(|source| SupervisorError::Program { path: program.to_owned(), source })?;
        let sealed = ferry_sys::launch::seal("ferry-supervisor", &bytes)?;
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|errno| SysError::new("open", "/dev/null", errno))?;
        let (program, null) = (Arc::new(sealed), Arc::new(null));
        Ok(Self { program, null, open_files, tasks, shutdown })
    }

    /// The program, in a sealed file in memory.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub(crate) fn program(&self) -> std::io::Result<OwnedFd> {
        self.program.try_clone()
    }

    /// Starts a supervisor that has nothing to do yet. Takes about a millisecond, without waiting for
    /// its hello.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn launch(&self) -> Result<(Supervisor, SupervisorEvents), SupervisorError> {
        let (ours, theirs) = fdpass::pair(SocketFlags::empty())?;
        let null = self.null.as_fd();
        let child = ferry_sys::launch::launch(&Launch {
            program: self.program.as_fd(),
            arguments: &["ferry-supervisor"],
            descriptors: &[theirs.as_fd(), null, null],
        })?;
        drop(theirs);
        let (supervisor, events, hello) = self.connection(ours, Some(child.pidfd))?;
        // It opens next to nothing before it is told to start something.
        if let Some(open_files) = self.open_files {
            open_files.give(child.pid)?;
        }
        // Nothing in the first hello of an idle supervisor is of interest but the version, which is
        // ours: the program is.
        drop(hello);
        Ok((supervisor, events))
    }

    /// Finds the supervisor of a container that was started by an earlier engine.
    ///
    /// `directory` is the container's directory under the exec root.
    ///
    /// # Errors
    /// [`SupervisorError::Absent`] when none listens; [`SupervisorError::Lost`] when it ends meanwhile.
    pub async fn reconnect(
        &self,
        directory: &Path,
    ) -> Result<(Supervisor, SupervisorEvents, ContainerState), SupervisorError> {
        let socket = connect(directory)?;
        let (supervisor, events, hello) = self.connection(socket, None)?;
        let hello = tokio::time::timeout(PATIENCE, hello).await;
        match hello {
            Ok(Ok(Hello { container: Some(container), .. })) => Ok((supervisor, events, container)),
            Ok(Ok(_)) => Err(SupervisorError::OutOfTurn),
            Ok(Err(_)) | Err(_) => Err(SupervisorError::Lost),
        }
    }

    fn connection(
        &self,
        socket: OwnedFd,
        child: Option<OwnedFd>,
    ) -> Result<(Supervisor, SupervisorEvents, oneshot::Receiver<Hello>), SupervisorError> {
        rustix::io::ioctl_fionbio(&socket, true)
            .map_err(|errno| SysError::new("ioctl", "FIONBIO", errno))?;
        let shared = Arc::new(Shared::new(watch(socket)?));
        let (sender, receiver) = mpsc::channel(64);
        let (hello_sender, hello) = oneshot::channel();
        let closed = self.shutdown.child_token();
        let supervisor = Supervisor {
            shared: Arc::clone(&shared),
            _open: Arc::new(closed.clone().drop_guard()),
        };
        let connection = Connection::new(shared, sender, hello_sender);
        self.tasks.spawn(async move {
            tokio::select! {
                () = connection.run() => {}
                () = closed.cancelled() => {}
            }
        });
        if let Some(child) = child {
            let child = watch(child)?;
            let shutdown = self.shutdown.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    ready = child.readable() => {
                        let ended = ready.is_ok().then(|| ferry_sys::process::wait(child.as_fd()));
                        tracing::trace!(?ended, "supervisor ended");
                    }
                    () = shutdown.cancelled() => {}
                }
            });
        }
        let events = SupervisorEvents { receiver, supervisor: supervisor.clone(), lost: false };
        Ok((supervisor, events, hello))
    }
}

/// What a container is started with.
#[derive(Debug)]
pub struct StartRequest {
    /// Its id.
    pub id: String,
    /// Its directory under the exec root, where `config.json` is; cgroup and limits are in that.
    pub directory: PathBuf,
    /// Its root file system, a detached mount.
    pub rootfs: OwnedFd,
    /// A network namespace to join in place of what the configuration says.
    pub netns: Option<OwnedFd>,
    /// Where its output is logged.
    pub log: Option<LogConfig>,
    /// It has a terminal.
    pub tty: bool,
    /// Its standard input is kept open.
    pub open_stdin: bool,
    /// Its standard input ends with the first client that ends its own.
    pub stdin_once: bool,
    /// Clients that wait for it.
    pub attachments: Vec<Attachment>,
}

/// A container that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Its init.
    pub pid: i32,
    /// Since when, as RFC 3339.
    pub started_at: String,
}

/// A further process to run. Its configuration is in `exec-<exec id>.json`.
#[derive(Debug)]
pub struct ExecStart {
    /// Its id.
    pub exec_id: String,
    /// It has a terminal.
    pub tty: bool,
    /// Rows and columns of that.
    pub size: Option<(u16, u16)>,
    /// Its client; without one, output goes nowhere.
    pub attachment: Option<Attachment>,
}

/// A handle to a supervisor.
#[derive(Debug, Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
    _open: Arc<DropGuard>,
}

impl Supervisor {
    /// Makes and starts the container; answers when its program runs.
    ///
    /// # Errors
    /// [`SupervisorError::Failed`] with what Docker's users know from runc, after "unable to start
    /// container process: "; the supervisor ends then.
    pub async fn start(&self, request: StartRequest) -> Result<Started, SupervisorError> {
        let StartRequest {
            id,
            directory,
            rootfs,
            netns,
            log,
            tty,
            open_stdin,
            stdin_once,
            attachments,
        } = request;
        let mut descriptors = vec![rootfs];
        let with_netns = netns.is_some();
        descriptors.extend(netns);
        let mut attached = Vec::with_capacity(attachments.len());
        for attachment in attachments {
            attached.push(attachment.split(&mut descriptors)?);
        }
        let call = Call::Start(Box::new(protocol::Start {
            id,
            directory: directory.display().to_string(),
            netns: with_netns,
            log,
            tty,
            open_stdin,
            stdin_once,
            attachments: attached,
        }));
        match self.ask(call, descriptors).await? {
            Answer::Started { pid, started_at } => Ok(Started { pid, started_at }),
            Answer::Done | Answer::ExecStarted { .. } => Err(SupervisorError::OutOfTurn),
        }
    }

    /// Attaches a client to the container's streams.
    ///
    /// # Errors
    /// [`FailureKind::NotRunning`] when it has ended.
    pub async fn attach(&self, attachment: Attachment) -> Result<(), SupervisorError> {
        let mut descriptors = Vec::new();
        let call = Call::Attach(attachment.split(&mut descriptors)?);
        self.done(call, descriptors).await
    }

    /// Runs a further process; answers with its id when its program runs.
    ///
    /// # Errors
    /// As [`Self::start`]; [`FailureKind::NotRunning`] when the container is paused or has ended.
    pub async fn exec(&self, exec: ExecStart) -> Result<i32, SupervisorError> {
        let ExecStart { exec_id, tty, size, attachment } = exec;
        let mut descriptors = Vec::new();
        let attachment = match attachment {
            Some(attachment) => Some(attachment.split(&mut descriptors)?),
            None => None,
        };
        let call = Call::Exec(protocol::Exec { exec_id, tty, attachment, size });
        match self.ask(call, descriptors).await? {
            Answer::ExecStarted { pid } => Ok(pid),
            Answer::Done | Answer::Started { .. } => Err(SupervisorError::OutOfTurn),
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`FailureKind::NotRunning`] when there is no such process any more.
    pub async fn kill(&self, target: Target, signal: i32) -> Result<(), SupervisorError> {
        self.done(Call::Kill { target, signal }, Vec::new()).await
    }

    /// Sets the size of a terminal.
    ///
    /// # Errors
    /// [`FailureKind::NotRunning`], or [`FailureKind::Invalid`] when it has no terminal.
    pub async fn resize(
        &self,
        target: Target,
        rows: u16,
        columns: u16,
    ) -> Result<(), SupervisorError> {
        self.done(Call::Resize { target, rows, columns }, Vec::new()).await
    }

    /// Freezes all processes.
    ///
    /// # Errors
    /// [`FailureKind::NotRunning`] when it has ended.
    pub async fn pause(&self) -> Result<(), SupervisorError> {
        self.done(Call::Pause, Vec::new()).await
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// [`FailureKind::NotRunning`] when it has ended.
    pub async fn resume(&self) -> Result<(), SupervisorError> {
        self.done(Call::Resume, Vec::new()).await
    }

    /// Says that the end of the container is recorded; the supervisor ends when its clients have got
    /// all that was printed.
    ///
    /// # Errors
    /// [`SupervisorError::Lost`] when it has gone already.
    pub async fn release(&self) -> Result<(), SupervisorError> {
        self.done(Call::Release, Vec::new()).await
    }

    async fn done(&self, call: Call, descriptors: Vec<OwnedFd>) -> Result<(), SupervisorError> {
        match self.ask(call, descriptors).await? {
            Answer::Done => Ok(()),
            Answer::Started { .. } | Answer::ExecStarted { .. } => Err(SupervisorError::OutOfTurn),
        }
    }

    async fn ask(&self, call: Call, descriptors: Vec<OwnedFd>) -> Result<Answer, SupervisorError> {
        let Some((id, receiver)) = self.shared.expect_reply() else {
            return Err(SupervisorError::Lost);
        };
        let patience = patience_for(&call);
        let bytes = Request { id, call }.encode();
        let exchanged = tokio::time::timeout(patience, async {
            let sent = self.shared.send(&bytes, &descriptors).await;
            // The supervisor has its own; a client must see the end when the supervisor closes its.
            drop(descriptors);
            sent?;
            match receiver.await {
                Ok(Outcome::Ok(answer)) => Ok(answer),
                Ok(Outcome::Failed(failure)) => Err(failure.into()),
                Err(_closed) => Err(SupervisorError::Lost),
            }
        })
        .await;
        let outcome = exchanged.unwrap_or(Err(SupervisorError::Silent));
        if outcome.is_err() {
            self.shared.forget(id);
        }
        outcome
    }
}

impl Attachment {
    /// What is said of it, and its descriptors in the order the protocol has them.
    fn split(self, descriptors: &mut Vec<OwnedFd>) -> Result<AttachmentConfig, SupervisorError> {
        let Self { socket, already_read, stdin, stdout, stderr, framing, detach_keys } = self;
        descriptors.push(socket);
        let early = !already_read.is_empty();
        if early {
            descriptors.push(ferry_sys::launch::seal("early", &already_read)?);
        }
        Ok(AttachmentConfig { stdin, stdout, stderr, framing, detach_keys, early })
    }
}

/// What happens to a container, in order.
#[derive(Debug)]
pub struct SupervisorEvents {
    receiver: mpsc::Receiver<protocol::Event>,
    supervisor: Supervisor,
    lost: bool,
}

impl SupervisorEvents {
    /// The next event; pending for ever after [`SupervisorEvent::Lost`]. Cancel safe.
    pub async fn next(&mut self) -> SupervisorEvent {
        if self.lost {
            std::future::pending::<()>().await;
        }
        match self.receiver.recv().await {
            Some(protocol::Event::Exited(exit)) => SupervisorEvent::Exited(exit),
            Some(protocol::Event::ExecExited(exit)) => SupervisorEvent::ExecExited {
                exec_id: exit.exec_id.clone(),
                code: exit.code,
                recorded: Recorded { exec_id: exit.exec_id, supervisor: self.supervisor.clone() },
            },
            Some(protocol::Event::Detached { exec_id }) => SupervisorEvent::Detached { exec_id },
            Some(protocol::Event::OutOfMemory) => SupervisorEvent::OutOfMemory,
            Some(protocol::Event::Warning { message }) => SupervisorEvent::Warning(message),
            None => {
                self.lost = true;
                SupervisorEvent::Lost
            }
        }
    }
}

#[cfg(test)]
mod tests;
