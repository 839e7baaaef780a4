//! The supervisor's loop.
//!
//! One thread waits for everything with one epoll: signals of children, the engine, the streams of
//! init and execs, their clients. Nothing here blocks but the making of the container.
//!
//! ```text
//! idle ── start ──> running ── init ends ──> draining ──> told ── release ──> the end
//!   └── engine goes ──> the end      (with no engine connected nobody needs to release)
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ferry_supervisor::protocol::{Event, ExecExit, Hello, VERSION};
use ferry_sys::signal::SignalFd;
use ferry_sys::{Context as _, SysError};
use rustix::fs::{Mode, OFlags};
use rustix::process::WaitOptions;

use container::Container;
use execs::Entering;
use job::{Ended, INIT, Job, Stage};
use link::Link;
use poll::{Poller, Readiness, Token};
use streams::Notices;

mod calls;
mod client;
mod container;
mod detach;
mod execs;
mod job;
mod link;
mod make;
mod poll;
mod streams;

/// How much is read of a stream at once: what a pipe holds.
const SCRATCH: usize = 64 * 1024;

/// How long after a call the memory it needed is kept for the next one.
const REST: Duration = Duration::from_millis(500);

/// Runs until there is nothing left to do.
pub(crate) fn run() -> ExitCode {
    match Program::new() {
        Ok(mut program) => match program.work() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => program.give_up(&error),
        },
        // Nobody can be told; the engine sees the connection end.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Everything the supervisor has.
#[derive(Debug)]
struct Program {
    poller: Poller,
    signals: SignalFd,
    link: Link,
    jobs: BTreeMap<u32, Job>,
    /// Execs that are no jobs yet, by the numbers they will have.
    entering: BTreeMap<u32, Entering>,
    last_job: u32,
    container: Option<Container>,
    scratch: Vec<u8>,
    /// The adjustment of the out-of-memory score that we were started with, for a container that
    /// does not say its own.
    oom_score_adj: Option<i32>,
    /// When to let go of the memory that the last call needed.
    rest_at: Option<Instant>,
    /// The start has failed, and once that is told there is nothing left to do.
    failed: bool,
}

impl Program {
    fn new() -> Result<Self, SysError> {
        let signals = SignalFd::block_all()?;
        ferry_sys::signal::reset_internal()?;
        let poller = |errno| SysError::new("epoll", "", errno);
        let mut poll = Poller::new().map_err(poller)?;
        poll.want(signals.as_fd(), Token::Signals, Some(Readiness::IN)).map_err(poller)?;
        let socket = take_engine()?;
        // A daemon started by ferryd must not die with its session; it fails if we lead one already.
        let _may_fail = rustix::process::setsid();
        // We were executed by the number of a descriptor, and that is our name in `ps` so far.
        rustix::thread::set_name(c"ferry-supervisor").during("prctl", || "PR_SET_NAME")?;
        // Order: a directory we stand in can not be unmounted.
        rustix::process::chdir("/").during("chdir", || "/")?;
        // Orphans of the container without an own process id namespace come to us.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .during("prctl", || "PR_SET_CHILD_SUBREAPER")?;
        let oom_score_adj = shield_from_oom();
        let mut link = Link::new(socket, &mut poll).map_err(poller)?;
        link.hello(Hello { version: VERSION, container: None }, &mut poll);
        Ok(Self {
            poller: poll,
            signals,
            link,
            jobs: BTreeMap::new(),
            entering: BTreeMap::new(),
            last_job: INIT,
            container: None,
            scratch: vec![0; SCRATCH],
            oom_score_adj,
            rest_at: Some(Instant::now() + REST),
            failed: false,
        })
    }

    fn work(&mut self) -> Result<(), SysError> {
        loop {
            let now = Instant::now();
            self.settle(now);
            if self.is_finished() {
                self.link.stop_listening(&mut self.poller);
                return Ok(());
            }
            if self.rest_at.is_some_and(|at| now >= at) {
                self.rest_at = None;
                // It is for the sake of others only.
                let _released = ferry_sys::memory::release_program_pages();
            }
            for job in self.jobs.values() {
                let registered = job.streams.register(&mut self.poller);
                registered.during("epoll_ctl", || "streams")?;
            }
            let timeout = self.timeout(now);
            let events = self.poller.wait(timeout).during("epoll_wait", || "")?;
            for (token, ready) in events {
                self.dispatch(token, ready)?;
            }
        }
    }

    /// The loop itself has failed: the container can not be looked after any more.
    fn give_up(&mut self, error: &SysError) -> ExitCode {
        self.link.tell(Event::Warning { message: error.to_string() }, &mut self.poller);
        ExitCode::FAILURE
    }

    fn dispatch(&mut self, token: Token, ready: Readiness) -> Result<(), SysError> {
        match token {
            Token::Signals => {
                while self.signals.next()?.is_some() {}
                self.reap()?;
            }
            Token::Engine => {
                self.link.flush(&mut self.poller);
                // Replies go out between calls, and the streams have their turn.
                if let Some(received) = self.link.receive(&mut self.poller) {
                    self.serve(received);
                    self.rest_at = Some(Instant::now() + REST);
                }
            }
            Token::Listener => {
                if self.link.accept(&mut self.poller) {
                    // The new engine's calls have the same numbers.
                    self.entering.values_mut().for_each(Entering::forget_call);
                    let container = self.container_state();
                    let hello = Hello { version: VERSION, container };
                    self.link.hello(hello, &mut self.poller);
                }
            }
            Token::OutOfMemory => {
                if let Some(container) = &mut self.container
                    && container.ran_out_of_memory()
                {
                    self.link.tell(Event::OutOfMemory, &mut self.poller);
                }
            }
            Token::Entering { job } => self.advance_exec(job),
            Token::Stream { job, end } => {
                let mut notices = Notices::default();
                if let Some(job) = self.jobs.get_mut(&job) {
                    let scratch = &mut self.scratch;
                    job.streams.end_ready(end, ready, scratch, &mut self.poller, &mut notices);
                }
                self.note(job, notices);
            }
            Token::Client { job, client } => {
                let mut notices = Notices::default();
                if let Some(job) = self.jobs.get_mut(&job) {
                    job.streams.client_ready(client, ready, &mut self.poller, &mut notices);
                }
                self.note(job, notices);
            }
        }
        Ok(())
    }

    /// Tells what a process's streams have to say.
    fn note(&mut self, job: u32, notices: Notices) {
        if notices.detached {
            let exec_id = self.jobs.get(&job).and_then(|job| job.exec_id.clone());
            self.link.tell(Event::Detached { exec_id }, &mut self.poller);
        }
        if let Some(error) = notices.log_error {
            // Once is enough while it goes on.
            if let Some(container) = &mut self.container
                && container.first_log_error()
            {
                let message = format!("the container's log can not be written: {error}");
                self.link.tell(Event::Warning { message }, &mut self.poller);
            }
        }
    }

    /// Waits for every child that has ended: init, execs, and orphans that came to us.
    fn reap(&mut self) -> Result<(), SysError> {
        loop {
            let (pid, status) = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(ended)) => ended,
                Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(SysError::new("wait", "children", errno)),
            };
            let job = self.jobs.iter_mut().find(|(_, job)| job.is_running() && job.pid == pid);
            let Some((number, job)) = job else {
                if let Some(entering) = self.entering.values_mut().find(|it| it.is(pid)) {
                    entering.ended = Some(Ended::of(status));
                }
                continue;
            };
            let is_init = *number == INIT;
            job.has_ended(Ended::of(status), Instant::now());
            job.streams.process_has_ended(&mut self.poller);
            if is_init {
                self.give_up_all_execs();
                if let Some(container) = &mut self.container
                    && let Err(error) = container.kill_rest()
                {
                    let message = format!("kill what is left of the container: {error}");
                    self.link.tell(Event::Warning { message }, &mut self.poller);
                }
            }
        }
    }

    /// Takes every process as far on its way to the end as it can go now.
    fn settle(&mut self, now: Instant) {
        self.give_up_late_execs(now);
        // Order: the ends of execs are told before the container's, which is the smallest number.
        let numbers: Vec<u32> = self.jobs.keys().rev().copied().collect();
        for number in numbers {
            let mut notices = Notices::default();
            let others = number == INIT && self.jobs.values().skip(1).any(Job::is_untold);
            let Some(job) = self.jobs.get_mut(&number) else { continue };
            let told = match job.stage {
                Stage::Draining { ended, until } => {
                    if now >= until {
                        let scratch = &mut self.scratch;
                        job.streams.drain(scratch, &mut self.poller, &mut notices);
                    }
                    let done = job.streams.is_drained() && !others;
                    (now >= until || done).then_some(ended)
                }
                Stage::Told { until } => {
                    if now >= until || !self.link.is_connected() {
                        job.stage = Stage::Closing;
                        job.streams.close_clients(&mut self.poller);
                    }
                    None
                }
                Stage::Running | Stage::Closing => None,
            };
            job.streams.sweep(&mut self.poller, now);
            job.streams.flush_log(&mut notices);
            let over = job.is_over();
            self.note(number, notices);
            if let Some(ended) = told {
                self.tell_end(number, ended, now);
            }
            if over && let Some(job) = self.jobs.remove(&number) {
                job.streams.close(&mut self.poller);
            }
        }
    }

    fn tell_end(&mut self, number: u32, ended: Ended, now: Instant) {
        let Some(job) = self.jobs.get_mut(&number) else { return };
        job.is_told(now);
        let event = match (&job.exec_id, &mut self.container) {
            (Some(exec_id), _) => {
                Event::ExecExited(ExecExit { exec_id: exec_id.clone(), code: ended.code })
            }
            (None, Some(container)) => {
                let (exit, problems) = container.finish(ended, &mut self.poller);
                for message in problems {
                    self.link.tell(Event::Warning { message }, &mut self.poller);
                }
                Event::Exited(exit)
            }
            (None, None) => return,
        };
        self.link.tell(event, &mut self.poller);
        // What was told may have to go on at once: nobody else wakes us for it.
        if !self.link.is_connected()
            && let Some(job) = self.jobs.get_mut(&number)
        {
            job.stage = Stage::Closing;
            job.streams.close_clients(&mut self.poller);
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        let over = self.jobs.values().any(Job::is_over);
        let deadlines = self.jobs.values().filter_map(Job::deadline);
        let late = self.entering.values().map(Entering::deadline);
        let deadline = deadlines.chain(late).chain(self.rest_at).min();
        if over {
            return Some(Duration::ZERO);
        }
        // Rounded up, so that the deadline has come when we wake.
        deadline.map(|at| at.saturating_duration_since(now) + Duration::from_millis(1))
    }

    fn is_finished(&self) -> bool {
        let connected = self.link.is_connected();
        match &self.container {
            _ if self.failed => !connected || !self.link.has_queue(),
            None => !connected,
            Some(container) => {
                let known = container.released || !connected;
                container.exit.is_some() && known && self.jobs.is_empty() && !self.link.has_queue()
            }
        }
    }

    /// A number for a new process.
    fn next_job(&mut self) -> u32 {
        loop {
            self.last_job = (self.last_job + 1) & poll::NUMBER_MASK;
            let is_used = self.jobs.contains_key(&self.last_job)
                || self.entering.contains_key(&self.last_job);
            if self.last_job != INIT && !is_used {
                return self.last_job;
            }
        }
    }
}

/// Takes the connection to the engine, and leaves nothing in its place.
fn take_engine() -> Result<OwnedFd, SysError> {
    let stdin = std::io::stdin();
    let socket = rustix::io::fcntl_dupfd_cloexec(&stdin, 3).during("fcntl_dupfd", || "engine")?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during("open", || "/dev/null")?;
    rustix::stdio::dup2_stdin(&null).during("dup2", || "/dev/null")?;
    Ok(socket)
}

/// Without a supervisor a container has no exit code and no log, so it goes last. It is no error if we
/// may not.
fn shield_from_oom() -> Option<i32> {
    let path = "/proc/self/oom_score_adj";
    let before = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    std::fs::write(path, "-999").ok()?;
    Some(before)
}
