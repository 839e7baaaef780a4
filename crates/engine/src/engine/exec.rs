//! Further processes in containers.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::Engine;
use crate::container::Container;
use crate::detach_keys;
use crate::driver::{Request, exec_action};
use crate::error::{Doing as _, EngineError, Result};
use crate::execs::Exec;
use crate::id::ExecId;
use crate::inner::{Inner, finish};
use crate::phase::Phase;
use crate::request::{ClientConnection, ExecStartRequest, greet};
use crate::snapshot::{ContainerSnapshot, ExecSnapshot, ExecState};
use crate::spec::ExecSpec;
use crate::supervised::{Attachment, Framing};
use crate::users::{self, ResolvedUser};

/// Leave to start an exec.
#[derive(Debug)]
pub struct ExecTicket {
    engine: Arc<Inner>,
    container: Arc<Container>,
    exec: Arc<Exec>,
    detach_keys: Vec<u8>,
}

impl Engine {
    /// Prepares a further process.
    ///
    /// # Errors
    /// `Conflict` when the container does not run or is paused.
    pub async fn exec_create(&self, reference: &str, mut spec: ExecSpec) -> Result<ExecId> {
        let container = self.inner.registry.find(reference)?;
        let snapshot = container.snapshot();
        check_running(&snapshot)?;
        if spec.command.is_empty() {
            return Err(EngineError::invalid("No exec command specified"));
        }
        if !spec.working_dir.is_empty() && !spec.working_dir.starts_with('/') {
            return Err(EngineError::Invalid(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                spec.working_dir
            )));
        }
        if let Some(entry) =
            spec.env.iter().find(|entry| entry.is_empty() || entry.starts_with('='))
        {
            return Err(EngineError::Invalid(format!("invalid environment variable: {entry}")));
        }
        // What is wrong with the keys is better known now than at the start.
        detach_keys::parse(spec.detach_keys.as_deref())?;
        if spec.user.is_empty() {
            spec.user.clone_from(&snapshot.spec.user);
        }
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, async move {
            let (user, groups) = (spec.user.clone(), snapshot.spec.host.group_add.clone());
            let pid = snapshot.pid();
            let resolved = move || resolve_user(pid, &user, &groups);
            let user = match inner.blocking(resolved).await? {
                // Its init has just ended.
                Err(EngineError::NotRunning(_)) => {
                    return Err(EngineError::NotRunning(container.id().as_str().to_owned()));
                }
                other => other?,
            };
            let exec = inner.execs.create(container.id(), spec, user)?;
            let action = exec_action("exec_create", &exec);
            inner.tell(&snapshot, action, &[("execID", exec.id.as_str())]);
            if let Err(gone) = container.tell_driver(Request::ExecsChanged).await {
                inner.execs.forget(&exec);
                return Err(gone);
            }
            Ok(exec.id.clone())
        })
        .await
    }

    /// Checks that an exec may start, before the client's connection is taken out of HTTP.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it has run or the container does not.
    pub fn prepare_exec_start(&self, exec: &str, request: ExecStartRequest) -> Result<ExecTicket> {
        let exec = self.inner.execs.get(exec)?;
        let container = self.inner.registry.find(exec.container.as_str())?;
        match exec.state() {
            ExecState::Created => {}
            ExecState::Running { .. } | ExecState::Exited { .. } => {
                // It says why.
                exec.begin()?;
            }
        }
        check_running(&container.snapshot())?;
        let detach_keys = detach_keys::parse(exec.spec.detach_keys.as_deref())?;
        // Compat: the size of a terminal that the request does not speak of is passed over.
        exec.set_console_size(request.console_size.filter(|_| request.tty));
        Ok(ExecTicket { engine: Arc::clone(&self.inner), container, exec, detach_keys })
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn exec_resize(&self, exec: &str, rows: u16, columns: u16) -> Result<()> {
        let exec = self.inner.execs.get(exec)?;
        let container = self.inner.registry.find(exec.container.as_str())?;
        container.ask(|reply| Request::ExecResize { exec, rows, columns, reply }).await
    }

    /// Shows one exec.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn exec_inspect(&self, exec: &str) -> Result<ExecSnapshot> {
        Ok(self.inner.execs.get(exec)?.snapshot())
    }
}

impl ExecTicket {
    /// Whether the exec has a terminal, so that its stream is raw and not multiplexed.
    #[must_use]
    pub fn tty(&self) -> bool {
        self.exec.spec.streams.tty
    }

    /// Starts the exec; with a connection unless it is detached. When that fails the words are also
    /// written to the connection, as Docker does, since it is past HTTP.
    ///
    /// # Errors
    /// `Invalid` when the program is missing or can not be executed.
    pub async fn start(self, connection: Option<ClientConnection>) -> Result<()> {
        let Self { engine, container, exec, detach_keys } = self;
        let tty = exec.spec.streams.tty;
        let mut own_end = None;
        let attachment = match connection {
            None => None,
            Some(ClientConnection { socket, head, already_read }) => {
                greet(&socket, &head)?;
                own_end = Some(socket.try_clone().doing(|| "keeping the client's connection")?);
                let streams = exec.spec.streams;
                Some(Box::new(Attachment {
                    socket,
                    already_read,
                    stdin: streams.stdin,
                    stdout: streams.stdout,
                    stderr: streams.stderr,
                    framing: if tty { Framing::Raw } else { Framing::Multiplexed },
                    detach_keys,
                }))
            }
        };
        let work = async move {
            container.ask(|reply| Request::ExecStart { exec, attachment, reply }).await
        };
        let result = finish(&engine, work).await;
        if let (Err(error), Some(socket)) = (&result, own_end) {
            say(socket, &error.to_string(), tty);
        }
        result
    }
}

fn check_running(snapshot: &ContainerSnapshot) -> Result<()> {
    match &snapshot.phase {
        Phase::Running(_) => Ok(()),
        Phase::Paused(_) => Err(EngineError::Paused(snapshot.name.clone())),
        Phase::Created { .. }
        | Phase::Starting { .. }
        | Phase::Exited(_)
        | Phase::Removing { .. }
        | Phase::Dead { .. } => Err(EngineError::NotRunning(snapshot.id.as_str().to_owned())),
    }
}

/// The user of an exec, as the running container's own files have it.
fn resolve_user(pid: u32, user: &str, groups: &[String]) -> Result<ResolvedUser> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = match rustix::fs::open(format!("/proc/{pid}/root"), flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::SRCH) => return Err(EngineError::NotRunning(pid.to_string())),
        other => other.doing(|| "opening the container's root")?,
    };
    users::resolve(root.as_fd(), user, groups)
}

/// Compat: dockerd writes what went wrong to standard output, with the end of a line as terminals
/// have it. A client that does not listen misses it.
fn say(socket: OwnedFd, words: &str, tty: bool) {
    let text = format!("{words}\r\n");
    let mut bytes = Vec::with_capacity(text.len() + 8);
    if !tty {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(length.to_be_bytes());
    }
    bytes.extend(text.as_bytes());
    let written = std::fs::File::from(socket).write_all(&bytes);
    if let Err(error) = written {
        tracing::debug!(%error, "an attached client has gone");
    }
}
