//! Further processes in the container.

use std::sync::Arc;

use ferry_supervisor::files;
use ferry_sys::durable::{self, Survive};

use super::{Driver, Reply, Request, answer, kernel_refused};
use crate::capabilities;
use crate::error::{Doing as _, EngineError, Result};
use crate::execs::Exec;
use crate::id::ExecId;
use crate::oci_spec;
use crate::phase::Phase;
use crate::snapshot::ExecState;
use crate::supervised::{Attachment, ExecStart, FailureKind, Supervisor, SupervisorError, Target};

const EXEC_PREFIX: &str = "OCI runtime exec failed: exec failed: ";

impl Driver {
    /// Begins to run a further process; it is answered when that runs, see
    /// [`Request::ExecLaunched`].
    pub(super) async fn exec_start(
        &mut self,
        exec: Arc<Exec>,
        attachment: Option<Attachment>,
        reply: Reply<()>,
    ) {
        if let Err(error) = self.exec_begin(&exec) {
            answer(reply, Err(error));
            return;
        }
        match self.exec_prepare(&exec).await {
            Ok(supervisor) => self.exec_launch(supervisor, exec, attachment, reply),
            Err(error) => self.exec_started(&exec, Err(error), reply),
        }
    }

    fn exec_begin(&self, exec: &Exec) -> Result<()> {
        match self.state.phase {
            Phase::Running(_) => exec.begin(),
            Phase::Paused(_) => Err(EngineError::Paused(self.state.name.clone())),
            _ => Err(EngineError::NotRunning(self.id().as_str().to_owned())),
        }
    }

    /// An exec runs, or could not be started.
    pub(super) fn exec_started(&mut self, exec: &Exec, started: Result<i32>, reply: Reply<()>) {
        match &started {
            Ok(pid) => exec.runs(u32::try_from(*pid).unwrap_or_default()),
            Err(error) => {
                let code = match error {
                    EngineError::Start { exit_code, .. } => *exit_code,
                    _ => 126,
                };
                exec.ended(code);
                self.refresh_execs();
            }
        }
        answer(reply, started.map(drop));
    }

    /// Writes the configuration of the process.
    async fn exec_prepare(&self, exec: &Exec) -> Result<Supervisor> {
        let spec = &self.state.spec;
        let all = &self.engine.facts.capabilities;
        let host = &spec.host;
        let privileged = host.privileged || exec.spec.privileged;
        let capabilities = capabilities::choose(&host.cap_add, &host.cap_drop, privileged, all)
            .map_err(|name| EngineError::Invalid(format!("unknown capability: \"{name}\"")))?;
        let hostname = super::prepare::hostname(&self.engine, &self.state)?;
        let process = oci_spec::exec_process(spec, &exec.spec, &hostname, &exec.user, capabilities);
        let body = serde_json::to_vec(&process).doing(|| "writing the exec's configuration")?;
        let directory = self.engine.exec_directory(self.id().as_str());
        let path = directory.join(files::exec_config(exec.id.as_str()));
        let write = move || durable::write(&path, &body, 0o600, Survive::Processes);
        self.engine.blocking(write).await?.doing(|| "writing the exec's configuration")?;
        self.tell_exec(exec, "exec_start");
        self.supervisor().cloned()
    }

    /// Has the supervisor run it, in a task of its own: executing may wait for a slow file system,
    /// and meanwhile the container can be killed, stopped and removed.
    fn exec_launch(
        &self,
        supervisor: Supervisor,
        exec: Arc<Exec>,
        attachment: Option<Attachment>,
        reply: Reply<()>,
    ) {
        let (container, shutdown) = (Arc::clone(&self.container), self.engine.shutdown.clone());
        let start = ExecStart {
            exec_id: exec.id.as_str().to_owned(),
            tty: exec.spec.streams.tty,
            size: exec.console_size(),
            attachment,
        };
        self.engine.tasks.spawn(async move {
            let launched = tokio::select! {
                biased;
                () = shutdown.cancelled() => Err(SupervisorError::Lost),
                launched = supervisor.exec(start) => launched,
            };
            // Whoever waits for a container that is gone hears that it is.
            let told = container.tell_driver(Request::ExecLaunched { exec, launched, reply }).await;
            if let Err(error) = told {
                tracing::debug!(%error, "an exec has outlived its container's driver");
            }
        });
    }

    pub(super) fn exec_error(&self, error: SupervisorError) -> EngineError {
        match error {
            SupervisorError::Failed(failure) if failure.kind == FailureKind::NotRunning => {
                EngineError::NotRunning(self.id().as_str().to_owned())
            }
            SupervisorError::Failed(failure) => {
                let words = &failure.message;
                let has = |text: &str| words.to_lowercase().contains(text);
                let exit_code =
                    if has("executable file not found") || has("no such file or directory") {
                        127
                    } else {
                        126
                    };
                let message = format!("{EXEC_PREFIX}unable to start container process: {words}");
                EngineError::Start { message, exit_code }
            }
            other => EngineError::internal(EXEC_PREFIX.trim_end_matches(": "), other),
        }
    }

    pub(super) async fn exec_resize(&self, exec: &Exec, rows: u16, columns: u16) -> Result<()> {
        if !matches!(exec.state(), ExecState::Running { .. }) {
            return Err(EngineError::NotFound(format!(
                "NotFound: process does not exist {}: not found",
                exec.id
            )));
        }
        let target = Target::Exec(exec.id.as_str().to_owned());
        let resized = self.supervisor()?.resize(target, rows, columns).await;
        resized.map_err(kernel_refused("resize an exec of the"))
    }

    /// An exec has ended by itself.
    pub(super) fn exec_ended(&mut self, id: &str, code: i32) {
        let Ok(exec) = self.engine.execs.get(id) else {
            tracing::debug!(exec = id, "an exec that nobody knows has ended");
            return;
        };
        if exec.ended(code) {
            self.tell_exec_died(&exec.id, code);
        }
        self.refresh_execs();
    }

    fn refresh_execs(&mut self) {
        self.state.execs = self.engine.execs.of(self.id());
        self.publish();
    }

    /// Compat: the command is part of the event's name, with a space after each word.
    pub(crate) fn tell_exec(&self, exec: &Exec, action: &str) {
        let action = exec_action(action, exec);
        self.engine.tell(&self.state, action, &[("execID", exec.id.as_str())]);
    }

    pub(super) fn tell_exec_died(&self, id: &ExecId, code: i32) {
        let code = code.to_string();
        let attributes = [("execID", id.as_str()), ("exitCode", code.as_str())];
        self.engine.tell(&self.state, "exec_die", &attributes);
    }
}

/// `exec_create: sh -c true`.
pub(crate) fn exec_action(action: &str, exec: &Exec) -> String {
    let mut words = exec.spec.command.iter();
    let program = words.next().map(String::as_str).unwrap_or_default();
    let rest: Vec<&str> = words.map(String::as_str).collect();
    format!("{action}: {program} {}", rest.join(" "))
}
