//! Further processes in the container.

use ferry_supervisor::files;
use ferry_sys::durable::{self, Survive};

use super::{Driver, kernel_refused};
use crate::capabilities;
use crate::error::{Doing as _, EngineError, Result};
use crate::execs::Exec;
use crate::id::ExecId;
use crate::oci_spec;
use crate::phase::Phase;
use crate::snapshot::ExecState;
use crate::supervised::{Attachment, ExecStart, FailureKind, SupervisorError, Target};

const EXEC_PREFIX: &str = "OCI runtime exec failed: exec failed: ";

impl Driver {
    pub(super) async fn exec_start(
        &mut self,
        exec: &Exec,
        attachment: Option<Attachment>,
    ) -> Result<()> {
        match self.state.phase {
            Phase::Running(_) => {}
            Phase::Paused(_) => return Err(EngineError::Paused(self.state.name.clone())),
            _ => return Err(EngineError::NotRunning(self.id().as_str().to_owned())),
        }
        exec.begin()?;
        let result = self.exec_launch(exec, attachment).await;
        match &result {
            Ok(pid) => exec.runs(*pid),
            Err(error) => {
                let code = match error {
                    EngineError::Start { exit_code, .. } => *exit_code,
                    _ => 126,
                };
                exec.ended(code);
                self.refresh_execs();
            }
        }
        result.map(drop)
    }

    async fn exec_launch(&self, exec: &Exec, attachment: Option<Attachment>) -> Result<u32> {
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
        let started = self
            .supervisor()?
            .exec(ExecStart {
                exec_id: exec.id.as_str().to_owned(),
                tty: exec.spec.streams.tty,
                size: exec.console_size(),
                attachment,
            })
            .await;
        match started {
            Ok(pid) => Ok(u32::try_from(pid).unwrap_or_default()),
            Err(error) => Err(self.exec_error(error)),
        }
    }

    fn exec_error(&self, error: SupervisorError) -> EngineError {
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
