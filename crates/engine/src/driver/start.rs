//! Starting: endpoint and root and process, each undone when a later one fails.

use ferry_supervisor::files;
use ferry_sys::durable::{self, Survive};

use super::prepare::{self, Ground, Network};
use super::{Driver, Live, record, time};
use crate::error::{Doing as _, EngineError, Result};
use crate::event::EventKind;
use crate::phase::{Failure, Input, Run};
use crate::supervised::{StartRequest, SupervisorError};

/// What runc's messages begin with when Docker's users see them.
const CREATE_PREFIX: &str = "failed to create task for container: failed to create shim task: \
     OCI runtime create failed: runc create failed: ";

impl Driver {
    pub(super) async fn start(&mut self) -> Result<()> {
        self.feed(Input::Start).await?;
        self.publish();
        match self.launch().await {
            Ok(run) => {
                self.engine.failpoint.pass("start.launched");
                self.feed(Input::Launched(run)).await?;
                self.engine.failpoint.pass("start.recorded");
                Ok(())
            }
            Err(error) => {
                self.engine.failpoint.pass("start.failed");
                let exit_code = match &error {
                    EngineError::Start { exit_code, .. } => *exit_code,
                    _ => 128,
                };
                let failure = Failure { exit_code, message: error.to_string() };
                // Clients that waited for it see the end of their stream.
                self.pending.clear();
                self.feed(Input::LaunchFailed(failure)).await?;
                self.engine.failpoint.pass("start.released");
                self.remove_exec_directory().await;
                self.remove_if_automatic().await;
                Err(error)
            }
        }
    }

    async fn launch(&mut self) -> Result<Run> {
        let joins = prepare::joins(&self.engine, &self.state)?;
        // Compat: dockerd tells of volumes now, and of the network when the program is about to run.
        self.tell_mounted();
        if let Some(fault) = self.state.spec.host.log.fault() {
            return Err(EngineError::broken(format!(
                "failed to create task for container: failed to initialize logging driver: {fault}"
            )));
        }
        let hostname = prepare::hostname(&self.engine, &self.state)?;
        let (ground, network) = self.make_ground_and_network(&hostname).await;
        // The endpoint is ours from here on, whatever else fails: it is released with the rest.
        let Network { netns, endpoint } = network?;
        self.state.network = endpoint;
        let ground = ground?;
        self.engine.failpoint.pass("start.root-mounted");
        let config = prepare::config(&self.engine, &self.state, &ground, &joins, &hostname)?;
        let directory = self.engine.exec_directory(self.id().as_str());
        let path = directory.join(files::CONFIG);
        let (kept, endpoint) = (directory.clone(), self.state.network.clone());
        let write = move || {
            if let Some(endpoint) = endpoint {
                record::write_endpoint(&kept, &endpoint)?;
            }
            durable::write(&path, &config, 0o600, Survive::Processes)
                .doing(|| "writing the container's configuration")
        };
        self.engine.blocking(write).await??;
        self.engine.failpoint.pass("start.config-written");

        let (supervisor, events) = self.engine.pool.take()?;
        let streams = self.state.spec.streams;
        let started = supervisor
            .start(StartRequest {
                id: self.id().as_str().to_owned(),
                directory,
                rootfs: ground.root,
                netns,
                log: prepare::log_config(&self.state),
                tty: streams.tty,
                open_stdin: streams.open_stdin,
                stdin_once: streams.stdin_once,
                attachments: std::mem::take(&mut self.pending),
            })
            .await;
        let started = match started {
            Ok(started) => started,
            Err(error) => {
                if !matches!(error, SupervisorError::Failed(_)) {
                    self.end_what_is_left().await;
                }
                return Err(start_error(&self.state.path, error));
            }
        };
        self.live = Some(Live { supervisor, events });
        self.tell_network("connect");
        let pid = u32::try_from(started.pid).unwrap_or_default();
        Ok(Run { pid, started_at: time(&started.started_at) })
    }

    /// The supervisor has died or does not answer: what it may have made has no keeper.
    async fn end_what_is_left(&self) {
        let directory = self.engine.exec_directory(self.id().as_str());
        let cgroup = self.engine.cgroup_of(&self.state);
        let ended = self.engine.blocking(move || crate::recovery::kill_rest(&directory, &cgroup));
        if let Err(error) = ended.await {
            tracing::error!(%error, "something may be left of a failed start");
        }
    }

    /// Both at the same time.
    async fn make_ground_and_network(&self, hostname: &str) -> (Result<Ground>, Result<Network>) {
        let (engine, state) = (std::sync::Arc::clone(&self.engine), self.state.clone());
        let ground = self.engine.blocking(move || prepare::ground(&engine, &state));
        let (engine, state) = (std::sync::Arc::clone(&self.engine), self.state.clone());
        let hostname = hostname.to_owned();
        let network = self.engine.blocking(move || prepare::network(&engine, &state, &hostname));
        let (ground, network) = tokio::join!(ground, network);
        (ground.and_then(|made| made), network.and_then(|made| made))
    }

    fn tell_mounted(&self) {
        for mount in self.state.mounts.iter().filter(|mount| !mount.name.is_empty()) {
            self.engine.tell_of(
                EventKind::Volume,
                "mount",
                &mount.name,
                &[
                    ("container", self.id().as_str()),
                    ("destination", &mount.destination),
                    ("driver", &mount.driver),
                    ("propagation", &mount.propagation),
                    ("read/write", if mount.writable { "true" } else { "false" }),
                ],
            );
        }
    }

    /// Tells that the container joins or leaves one of the three networks.
    pub(super) fn tell_network(&self, action: &str) {
        use crate::spec::NetworkMode;
        let (actor, name, kind) = match &self.state.spec.host.network {
            NetworkMode::Default | NetworkMode::Bridge => {
                (self.engine.network_id.clone(), "bridge", "bridge")
            }
            NetworkMode::Host => (crate::network_id_of("host"), "host", "host"),
            NetworkMode::None => (crate::network_id_of("none"), "none", "null"),
            NetworkMode::Container(_) | NetworkMode::Named(_) => return,
        };
        self.engine.tell_of(
            EventKind::Network,
            action,
            &actor,
            &[("container", self.id().as_str()), ("name", name), ("type", kind)],
        );
    }
}

/// Docker's sentence and exit code for a program that could not be started.
fn start_error(program: &str, error: SupervisorError) -> EngineError {
    let SupervisorError::Failed(failure) = error else {
        let message = format!("{CREATE_PREFIX}{error}");
        return EngineError::Start { message, exit_code: 128 };
    };
    let words = &failure.message;
    let mut message = format!("{CREATE_PREFIX}unable to start container process: {words}");
    // Compat: dockerd finds the code in the words.
    let has = |text: &str| words.to_lowercase().contains(text);
    let names_program = words.contains(program);
    let exit_code = if names_program
        && (has("executable file not found") || has("no such file or directory"))
    {
        127
    } else if has("permission denied") || has("is a directory") {
        126
    } else if has("not a directory") {
        message.push_str(
            ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the \
             specified host path exists and is the expected type",
        );
        127
    } else {
        128
    };
    EngineError::Start { message, exit_code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervised::{CallFailure, FailureKind};

    #[track_caller]
    fn check(program: &str, words: &str, expect: i32) {
        let failure = CallFailure { kind: FailureKind::Other, message: words.to_owned() };
        let EngineError::Start { message, exit_code } =
            start_error(program, SupervisorError::Failed(failure))
        else {
            panic!("another error");
        };
        assert_eq!(exit_code, expect);
        assert!(message.starts_with(
            "failed to create task for container: failed to create shim task: OCI runtime create \
             failed: runc create failed: unable to start container process: "
        ));
        assert!(message.contains(words));
    }

    #[test]
    fn exit_codes_are_found_in_the_words_as_docker_does() {
        let init = "error during container init: ";
        check("nope", &format!("{init}exec: \"nope\": executable file not found in $PATH"), 127);
        check("/no", &format!("{init}exec: \"/no\": stat /no: no such file or directory"), 127);
        check("/etc", &format!("{init}exec: \"/etc\": is a directory: permission denied"), 126);
        check("/f", &format!("{init}exec: \"/f\": permission denied"), 126);
        check(
            "sh",
            &format!("{init}error mounting \"/a\" to rootfs at \"/b\": not a directory"),
            127,
        );
        check("sh", &format!("{init}unable to apply cgroup configuration"), 128);
    }
}
