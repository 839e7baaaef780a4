//! What is done when a container has ended, and when its supervisor has died.

use std::time::Duration;

use ferry_sys::cgroup::{Cgroup, Layout};
use jiff::Timestamp;
use rustix::io::Errno;

use super::{Driver, time};
use crate::event::EventKind;
use crate::execs::ExecEnd;
use crate::phase::{Exit, Input};
use crate::supervised;

/// How long what is left in a cgroup may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

impl Driver {
    /// The container has ended; its supervisor has seen to output, cgroup and exit file.
    pub(super) async fn ended(&mut self, exit: supervised::Exit) {
        self.engine.failpoint.pass("exit.seen");
        let exit = Exit {
            code: exit.code,
            oom_killed: exit.oom_killed,
            error: String::new(),
            started_at: self.state.started_at(),
            finished_at: Some(time(&exit.finished_at)),
        };
        self.finish(exit).await;
    }

    /// The supervisor has died before the container: nobody is left to watch it, so it is ended.
    pub(super) async fn supervisor_lost(&mut self) {
        if self.engine.shutdown.is_cancelled() {
            return;
        }
        self.live = None;
        if !self.state.is_running() {
            return;
        }
        let id = self.id().as_str().to_owned();
        tracing::warn!(container = self.id().short(), "the supervisor has died");
        let directory = self.engine.exec_directory(&id);
        let cgroup = self.engine.cgroup_of(&self.state);
        let settled = self
            .engine
            .blocking(move || {
                // It may have written the exit file, and died before it could tell.
                let exit = crate::recovery::read_exit(&directory);
                crate::recovery::kill_rest(&directory, &cgroup);
                exit
            })
            .await;
        match settled {
            Ok(Some(exit)) => self.ended(exit).await,
            _ => {
                let exit = Exit {
                    code: 137,
                    oom_killed: false,
                    error: "the supervisor of the container died".to_owned(),
                    started_at: self.state.started_at(),
                    finished_at: Some(Timestamp::now()),
                };
                self.finish(exit).await;
            }
        }
    }

    async fn finish(&mut self, exit: Exit) {
        if self.will_be_removed() {
            self.finish_and_remove(exit).await;
            return;
        }
        if let Err(error) = self.feed(Input::Ended(exit)).await {
            tracing::error!(container = self.id().short(), %error, "an end out of place");
            return;
        }
        self.engine.failpoint.pass("exit.recorded");
        self.release_supervisor();
        // What could not be recorded is found in the exit file by the next engine.
        if self.removal.is_none() && self.unrecorded.is_none() {
            self.remove_exec_directory().await;
        }
        self.continue_removal().await;
    }

    /// The supervisor may go: what its exit file says is recorded, or needs no record. Nobody waits
    /// for it.
    pub(super) fn release_supervisor(&mut self) {
        let Some(live) = self.live.take() else { return };
        self.engine.tasks.spawn(async move {
            if let Err(error) = live.supervisor.release().await {
                tracing::debug!(%error, "the supervisor had gone already");
            }
        });
    }

    /// The directory of this boot has served.
    pub(super) async fn remove_exec_directory(&self) {
        let directory = self.engine.exec_directory(self.id().as_str());
        let swept = self.engine.blocking(move || crate::volumes::remove_tree(&directory)).await;
        if let Err(error) = swept.and_then(|swept| swept) {
            tracing::warn!(%error, "a container's directory of this boot stays");
        }
    }

    /// Gives back what a running container holds: its endpoint, the use of its volumes, its execs.
    pub(super) async fn release(&mut self) {
        let execs = self.engine.execs.end_all(self.id(), ExecEnd::ContainerEnded);
        for (id, code) in execs {
            self.tell_exec_died(&id, code);
        }
        self.state.execs.clear();
        if let Some(endpoint) = self.state.network.take() {
            // An entry in a table; the kernel sees to the interfaces.
            self.engine.networks.release(&endpoint.endpoint_id);
        }
        if self.state.spec.host.ipc == crate::spec::IpcMode::Shareable {
            let directory = self.engine.exec_directory(self.id().as_str());
            let unmounted =
                self.engine.blocking(move || super::files::unmount_shm(&directory)).await;
            if let Err(error) = unmounted {
                tracing::error!(%error, "a shared memory mount is not released");
            }
        }
        self.engine.failpoint.pass("exit.released");
        // Compat: dockerd tells both, after a start that failed too, whatever it told before.
        self.tell_network("disconnect");
        for mount in self.state.mounts.iter().filter(|mount| !mount.name.is_empty()) {
            self.engine.tell_of(
                EventKind::Volume,
                "unmount",
                &mount.name,
                &[("container", self.id().as_str()), ("driver", &mount.driver)],
            );
        }
    }
}

/// Kills what is left in a cgroup, and removes it.
pub(crate) fn clear_cgroup(path: &str) {
    let cleared = Layout::detect().and_then(|layout| {
        let Some(cgroup) = Cgroup::open(&layout, path)? else { return Ok(()) };
        cgroup.kill()?;
        cgroup.wait_empty(PATIENCE)?;
        cgroup.remove(PATIENCE)
    });
    match cleared {
        Ok(()) => {}
        // Somebody else has cleared it meanwhile.
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::NODEV) => {}
        Err(error) => tracing::error!(cgroup = path, %error, "a cgroup can not be cleared"),
    }
}
