//! Further processes in the container.
//!
//! ```text
//! begin ──> entering ── executes ──> a job ── ends ──> ...
//!               └── fails, is late, or the container ends ──> killed
//! ```
//!
//! A process joins the container before it executes its program, and from then on it is as slow as the
//! container is: without memory, without time, or before a file system that does not answer. Nobody
//! here waits for it.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use ferry_oci::runtime::{Process, Spec};
use ferry_runtime::container::{self, CgroupEntry, ExecRequest};
use ferry_supervisor::files;
use ferry_supervisor::protocol::{Answer, Exec, Failure};
use rustix::process::Signal;

use super::Program;
use super::job::{Ended, INIT, Job, Stage};
use super::make::{self, Arrived, errno, invalid, not_running, other, read_config};
use super::poll::{Readiness, Token};
use super::streams::{Ends, Streams};

/// How long a process may take until it executes its program. The engine waits a little longer.
const ENTER: Duration = Duration::from_secs(55);

/// An exec whose process does not execute its program yet.
#[derive(Debug)]
pub(super) struct Entering {
    /// The call to answer; 0 is none.
    call: u64,
    exec_id: String,
    tty: bool,
    process: container::Entering,
    ends: Ends,
    client: Option<Arrived>,
    until: Instant,
    /// How it ended, if it was waited for already.
    pub(super) ended: Option<Ended>,
}

impl Entering {
    /// Whether this is its process.
    pub(super) fn is(&self, pid: rustix::process::Pid) -> bool {
        self.process.pid() == pid
    }

    pub(super) fn deadline(&self) -> Instant {
        self.until
    }

    /// The engine that asked for it has gone.
    pub(super) fn forget_call(&mut self) {
        self.call = 0;
    }
}

impl Program {
    /// Begins to run a further process. The call is answered when it runs, or when that has failed.
    pub(super) fn begin_exec(
        &mut self,
        call: u64,
        exec: Exec,
        client: Option<Arrived>,
    ) -> Result<(), Failure> {
        let container = self.container.as_ref().filter(|container| container.exit.is_none());
        let init = self.jobs.get(&INIT).filter(|job| job.is_running());
        let (Some(container), Some(init)) = (container, init) else {
            return Err(not_running("the container is not running"));
        };
        if container.paused {
            return Err(not_running("the container is paused"));
        }
        if exec.exec_id.is_empty() || exec.exec_id.contains('/') {
            return Err(invalid("bad exec id"));
        }
        let path = container.directory.join(files::exec_config(&exec.exec_id));
        let mut process: Process = read_config(&path)?;
        process.oom_score_adj = process.oom_score_adj.or(self.oom_score_adj);
        let spec: Spec = read_config(&container.directory.join(files::CONFIG))?;
        let stdin = client.as_ref().is_some_and(|client| client.attachment.stdin);
        let (stdio, ends) = make::stdio(exec.tty, exec.size, stdin, client.is_some())?;
        let process = container::begin_exec(ExecRequest {
            init: init.pidfd.as_fd(),
            process: &process,
            spec: &spec,
            stdio,
            cgroup: CgroupEntry::of(&container.cgroup),
        })
        .map_err(|error| make::runtime(&error))?;
        let number = self.next_job();
        let token = Token::Entering { job: number };
        let watched = self.poller.want(process.as_fd(), token, Some(Readiness::IN));
        let Exec { exec_id, tty, .. } = exec;
        let until = Instant::now() + ENTER;
        let entering = Entering { call, exec_id, tty, process, ends, client, until, ended: None };
        self.entering.insert(number, entering);
        if let Err(error) = watched {
            self.give_up_exec(number, errno(error));
        }
        Ok(())
    }

    /// Takes a process on its way as far as it can go now.
    pub(super) fn advance_exec(&mut self, number: u32) {
        let Some(entering) = self.entering.get_mut(&number) else { return };
        match entering.process.advance() {
            Ok(false) => {}
            Ok(true) => self.exec_runs(number),
            Err(error) => self.give_up_exec(number, make::runtime(&error)),
        }
    }

    fn exec_runs(&mut self, number: u32) {
        let Some(entering) = self.entering.remove(&number) else { return };
        let Entering { call, exec_id, tty, process, mut ends, client, until: _, ended } = entering;
        self.poller.forget(process.as_fd());
        let running = process.into_running();
        if tty {
            ends.stdout = running.terminal;
        }
        let (pid, pidfd, stage) = (running.pid, running.pidfd, Stage::Running);
        // An exec's standard input is always its client's alone.
        let outcome = match Streams::new(number, tty, true, ends, None) {
            Ok(streams) => {
                let exec_id = Some(exec_id);
                self.jobs.insert(number, Job { exec_id, pid, pidfd, streams, stage });
                let attached = client.map_or(Ok(()), |client| self.attach(number, client));
                attached.map(|()| Answer::ExecStarted { pid: pid.as_raw_nonzero().get() })
            }
            Err(error) => {
                // It may have ended by itself.
                let _may_fail = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
                Err(errno(error))
            }
        };
        self.reply(call, outcome);
        if let (Some(ended), Some(job)) = (ended, self.jobs.get_mut(&number)) {
            job.has_ended(ended, Instant::now());
            job.streams.process_has_ended(&mut self.poller);
        }
    }

    /// Ends a process that does not run yet. It is waited for like every other child, as soon as the
    /// kernel lets it die.
    fn give_up_exec(&mut self, number: u32, failure: Failure) {
        let Some(Entering { call, process, client, ended, .. }) = self.entering.remove(&number)
        else {
            return;
        };
        self.poller.forget(process.as_fd());
        if ended.is_none() {
            // It may have ended by itself.
            let _may_fail = rustix::process::pidfd_send_signal(process.pidfd(), Signal::KILL);
        }
        drop(client);
        self.reply(call, Err(failure));
    }

    /// Ends those that take too long.
    pub(super) fn give_up_late_execs(&mut self, now: Instant) {
        let late = self.entering.iter().filter(|(_, entering)| now >= entering.until);
        for number in late.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.give_up_exec(number, other("the process could not enter the container in time"));
        }
    }

    /// The container has ended, and nothing can enter it any more.
    pub(super) fn give_up_all_execs(&mut self) {
        for number in self.entering.keys().copied().collect::<Vec<_>>() {
            // It may run already.
            self.advance_exec(number);
            self.give_up_exec(number, not_running("the container is not running"));
        }
    }
}
