//! The container as a whole: its cgroup and its end.

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::time::Duration;

use ferry_supervisor::files;
use ferry_supervisor::protocol::{ContainerState, ExecState, Exit};
use ferry_sys::SysError;
use ferry_sys::cgroup::{Cgroup, OomWatch};
use ferry_sys::durable::{self, Survive};

use super::Program;
use super::job::{Ended, INIT};
use super::poll::{Poller, Readiness, Token};

/// How long processes may take to stand still.
const FREEZE: Duration = Duration::from_secs(2);

/// How long a cgroup may take to become removable after its last process.
const REMOVE: Duration = Duration::from_secs(2);

/// A container that was started.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    /// Its directory under the exec root.
    pub(super) directory: PathBuf,
    pub(super) cgroup: Cgroup,
    pub(super) started_at: String,
    pub(super) paused: bool,
    /// How it ended.
    pub(super) exit: Option<Exit>,
    /// The engine knows.
    pub(super) released: bool,
    oom_watch: Option<OomWatch>,
    oom_kills: u64,
    log_failed: bool,
}

impl Container {
    pub(super) fn new(
        id: String,
        directory: PathBuf,
        cgroup: Cgroup,
        started_at: String,
        poller: &mut Poller,
    ) -> Self {
        // Without the watch there is no event, but the count at the end still tells.
        let oom_watch = cgroup.watch_oom().ok().flatten().filter(|watch| {
            let flags = if watch.is_priority() { Readiness::PRI } else { Readiness::IN };
            poller.want(watch.as_fd(), Token::OutOfMemory, Some(flags)).is_ok()
        });
        Self {
            id,
            directory,
            cgroup,
            started_at,
            paused: false,
            exit: None,
            released: false,
            oom_watch,
            oom_kills: 0,
            log_failed: false,
        }
    }

    /// Whether the watch has fired because of want of memory, and not because of something else in the
    /// same file.
    pub(super) fn ran_out_of_memory(&mut self) -> bool {
        let Some(watch) = &self.oom_watch else { return false };
        let cleared = watch.clear().is_ok();
        let kills = self.cgroup.oom_kills().unwrap_or(self.oom_kills);
        let more = kills > self.oom_kills;
        self.oom_kills = kills;
        // With the killer off, version 1 tells of the want alone.
        more || cleared && !watch.is_priority()
    }

    /// Whether this is the first time the log could not be written.
    pub(super) fn first_log_error(&mut self) -> bool {
        !std::mem::replace(&mut self.log_failed, true)
    }

    /// Freezes or thaws.
    pub(super) fn set_paused(&mut self, paused: bool) -> Result<(), SysError> {
        if paused {
            self.cgroup.freeze(FREEZE)?;
        } else {
            self.cgroup.thaw()?;
        }
        self.paused = paused;
        Ok(())
    }

    /// Init has ended: what is left is killed. In a process id namespace of its own nothing is.
    pub(super) fn kill_rest(&self) -> Result<(), SysError> {
        if self.cgroup.is_populated()? { self.cgroup.kill() } else { Ok(()) }
    }

    /// All output is in the log: makes the end known, first on disk. Gives what went wrong, too.
    pub(super) fn finish(&mut self, ended: Ended, poller: &mut Poller) -> (Exit, Vec<String>) {
        let mut problems = Vec::new();
        let mut report = |what: &str, result: Result<(), SysError>| {
            if let Err(error) = result {
                problems.push(format!("{what}: {error}"));
            }
        };
        // Order: the count goes with the cgroup.
        let kills = self.cgroup.oom_kills().unwrap_or(self.oom_kills);
        if let Some(watch) = self.oom_watch.take() {
            poller.forget(watch.as_fd());
        }
        let exit = Exit {
            code: ended.code,
            signal: ended.signal,
            oom_killed: kills > 0,
            finished_at: ferry_supervisor::time::now(),
        };
        report("remove the cgroup", self.cgroup.remove(REMOVE));
        let text = serde_json::to_vec(&exit).unwrap_or_default();
        let path = self.directory.join(files::EXIT);
        report("write", durable::write(&path, &text, 0o600, Survive::Processes));
        self.paused = false;
        self.exit = Some(exit.clone());
        (exit, problems)
    }
}

impl Program {
    /// How the container is, for an engine that has just connected.
    pub(super) fn container_state(&self) -> Option<ContainerState> {
        let container = self.container.as_ref()?;
        let execs = self.jobs.values().filter(|job| job.is_running()).filter_map(|job| {
            let exec_id = job.exec_id.clone()?;
            Some(ExecState { exec_id, pid: job.pid.as_raw_nonzero().get() })
        });
        let init = self.jobs.get(&INIT);
        Some(ContainerState {
            id: container.id.clone(),
            pid: init.map_or(0, |job| job.pid.as_raw_nonzero().get()),
            started_at: container.started_at.clone(),
            paused: container.paused,
            exit: container.exit.clone(),
            execs: execs.collect(),
            ended_execs: Vec::new(),
        })
    }
}
