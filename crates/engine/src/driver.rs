//! The task that owns one container: its phase, its supervisor, its queue.
//!
//! ```text
//! queue of requests ──┐
//!                     ├─> driver ── Phase::step ──> effects ──> record, kernel, world
//! supervisor's events ┘       └─> snapshot, published after each change
//! ```
//!
//! Requests are taken one after the other; what takes long (the wait of `stop`) is not done here but
//! by the one who asks, from several requests. Nothing else changes a container.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use crate::container::Container;
use crate::error::{EngineError, Result};
use crate::execs::Exec;
use crate::id::ContainerId;
use crate::inner::{Inner, KILL_DEADLINE};
use crate::limits::{DRIVER_QUEUE, PENDING_ATTACHMENTS};
use crate::phase::{Announcement, Effect, Exit, Input, Phase, Refused};
use crate::registry::Reservation;
use crate::request::greet;
use crate::signal;
use crate::snapshot::ContainerSnapshot;
use crate::supervised::{
    Attachment, FailureKind, Supervisor, SupervisorError, SupervisorEvent, SupervisorEvents, Target,
};

pub(crate) use end::clear_cgroup;
pub(crate) use exec::exec_action;
pub(crate) use files::unmount_shm;
pub(crate) use prepare::ensure_working_directory;
pub(crate) use record::{put_record, put_record_now, read_endpoint};
pub(crate) use remove::remove_traces;

mod end;
mod exec;
mod files;
mod panic;
mod prepare;
mod record;
mod remove;
mod start;
mod words;

/// Answers to a request.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a driver is asked to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// Start the program; with `restart`, as the second half of one.
    Start { restart: bool, reply: Reply<()> },
    /// Attach a client, or keep it until the start.
    Attach { attachment: Box<Attachment>, head: Vec<u8>, reply: Reply<()> },
    /// Send a signal; with `stop`, its end is one that was asked for.
    Signal { signal: i32, stop: bool, reply: Reply<()> },
    /// A stop has ended, one way or the other.
    StopOver,
    /// The next end is the first half of a restart.
    RestartBegan,
    /// The second half of a restart does not come.
    RestartGivenUp,
    /// Freeze.
    Pause { reply: Reply<()> },
    /// Go on.
    Resume { reply: Reply<()> },
    /// Set the terminal's size.
    Resize { rows: u16, columns: u16, reply: Reply<()> },
    /// Take another name.
    Rename { reservation: Reservation, reply: Reply<()> },
    /// Remove.
    Remove { force: bool, volumes: bool, reply: Reply<()> },
    /// Run a further process.
    ExecStart { exec: Arc<Exec>, attachment: Option<Box<Attachment>>, reply: Reply<()> },
    /// The supervisor has answered whether an exec runs.
    ExecLaunched {
        exec: Arc<Exec>,
        launched: std::result::Result<i32, SupervisorError>,
        reply: Reply<()>,
    },
    /// Set the size of an exec's terminal.
    ExecResize { exec: Arc<Exec>, rows: u16, columns: u16, reply: Reply<()> },
    /// An exec was prepared, or forgotten: the snapshot lists them.
    ExecsChanged,
}

/// What holds a running container.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) supervisor: Supervisor,
    pub(crate) events: SupervisorEvents,
}

/// What a driver is made of, beside the engine.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) state: ContainerSnapshot,
    pub(crate) anonymous_volumes: Vec<String>,
    pub(crate) removes_volumes: bool,
    pub(crate) live: Option<Live>,
}

/// The owner of one container.
#[derive(Debug)]
pub(crate) struct Driver {
    engine: Arc<Inner>,
    container: Arc<Container>,
    queue: mpsc::Receiver<Request>,
    /// The working copy of what is published.
    state: ContainerSnapshot,
    anonymous_volumes: Vec<String>,
    removes_volumes: bool,
    live: Option<Live>,
    /// Clients that wait for the start.
    pending: Vec<Attachment>,
    /// Stops under way.
    stopping: usize,
    /// Restarts under way that have not come to the start.
    restarting: usize,
    /// A removal that waits for the end.
    removal: Option<Removal>,
    /// The last change is not on disk; when to try again to write it.
    unrecorded: Option<tokio::time::Instant>,
    /// Nothing is left to drive.
    gone: bool,
}

#[derive(Debug)]
struct Removal {
    volumes: bool,
    replies: Vec<Reply<()>>,
    deadline: tokio::time::Instant,
}

/// Makes a container known and drives it until it is removed or the engine ends.
pub(crate) fn spawn(engine: &Arc<Inner>, seed: Seed) -> Arc<Container> {
    spawn_as(engine, seed, None)
}

/// As [`spawn`], for a container whose last change could not be written: its driver tries again.
pub(crate) fn spawn_unrecorded(engine: &Arc<Inner>, seed: Seed) -> Arc<Container> {
    spawn_as(engine, seed, Some(record::later()))
}

fn spawn_as(
    engine: &Arc<Inner>,
    seed: Seed,
    unrecorded: Option<tokio::time::Instant>,
) -> Arc<Container> {
    let Seed { state, anonymous_volumes, removes_volumes, live } = seed;
    let (sender, queue) = mpsc::channel(DRIVER_QUEUE);
    let container = Arc::new(Container::new(state.clone(), sender));
    engine.registry.insert(Arc::clone(&container));
    let driver = Driver {
        engine: Arc::clone(engine),
        container: Arc::clone(&container),
        queue,
        state,
        anonymous_volumes,
        removes_volumes,
        live,
        pending: Vec::new(),
        stopping: 0,
        restarting: 0,
        removal: None,
        unrecorded,
        gone: false,
    };
    let shutdown = engine.shutdown.clone();
    let (inner, watched) = (Arc::clone(engine), Arc::clone(&container));
    engine.tasks.spawn(async move {
        let run = AssertUnwindSafe(driver.run(shutdown)).catch_unwind().await;
        if let Err(panic) = run {
            let words = panic::words(panic.as_ref());
            drop(panic);
            panic::bury(&inner, &watched, words).await;
        }
    });
    container
}

impl Driver {
    async fn run(mut self, shutdown: tokio_util::sync::CancellationToken) {
        while !self.gone {
            let deadline = self.removal.as_ref().map(|removal| removal.deadline);
            tokio::select! {
                // Order: an engine that ends closes its connections; that is no supervisor's death.
                biased;
                () = shutdown.cancelled() => break,
                event = next_event(&mut self.live) => self.hear(event).await,
                () = until(deadline) => self.removal_is_late(),
                () = until(self.unrecorded) => self.record_again().await,
                request = self.queue.recv() => match request {
                    Some(request) => self.take(request).await,
                    None => break,
                },
            }
        }
    }

    fn id(&self) -> &ContainerId {
        &self.state.id
    }

    async fn take(&mut self, request: Request) {
        match request {
            Request::Start { restart, reply } => {
                // Order: before the start, which may fail and make an end of it.
                self.restarting = self.restarting.saturating_sub(usize::from(restart));
                answer(reply, self.start().await);
            }
            Request::Attach { attachment, head, reply } => {
                // Order: here, where a start comes before or after, and before there is output.
                let attached = match greet(&attachment.socket, &head) {
                    Ok(()) => self.attach(*attachment).await,
                    gone => gone,
                };
                answer(reply, attached);
            }
            Request::Signal { signal, stop, reply } => {
                answer(reply, self.signal(signal, stop).await);
            }
            Request::StopOver => self.stopping = self.stopping.saturating_sub(1),
            Request::RestartBegan => self.restarting += 1,
            Request::RestartGivenUp => self.restart_given_up().await,
            Request::Pause { reply } => answer(reply, self.pause().await),
            Request::Resume { reply } => answer(reply, self.resume().await),
            Request::Resize { rows, columns, reply } => {
                answer(reply, self.resize(rows, columns).await);
            }
            Request::Rename { reservation, reply } => {
                answer(reply, self.rename(reservation).await);
            }
            Request::Remove { force, volumes, reply } => {
                self.remove(force, volumes, Some(reply)).await;
            }
            Request::ExecStart { exec, attachment, reply } => {
                self.exec_start(exec, attachment.map(|boxed| *boxed), reply).await;
            }
            Request::ExecLaunched { exec, launched, reply } => {
                let started = launched.map_err(|error| self.exec_error(error));
                self.exec_started(&exec, started, reply);
            }
            Request::ExecResize { exec, rows, columns, reply } => {
                answer(reply, self.exec_resize(&exec, rows, columns).await);
            }
            Request::ExecsChanged => {
                if !self.state.is_running() {
                    // It was prepared while the container ended.
                    self.engine.execs.forget_unstarted(self.id());
                }
                self.state.execs = self.engine.execs.of(self.id());
                self.publish();
            }
        }
    }

    async fn hear(&mut self, event: SupervisorEvent) {
        match event {
            SupervisorEvent::Exited(exit) => self.ended(exit).await,
            SupervisorEvent::Lost => self.supervisor_lost().await,
            SupervisorEvent::ExecExited { exec_id, code, recorded } => {
                self.exec_ended(&exec_id, code);
                drop(recorded);
            }
            SupervisorEvent::Detached { exec_id } => {
                let action = if exec_id.is_some() { "exec_detach" } else { "detach" };
                match &exec_id {
                    Some(id) => self.engine.tell(&self.state, action, &[("execID", id)]),
                    None => self.engine.tell(&self.state, action, &[]),
                }
            }
            SupervisorEvent::OutOfMemory => self.engine.tell(&self.state, "oom", &[]),
            SupervisorEvent::Warning(message) => {
                tracing::warn!(container = self.id().short(), message, "supervisor");
            }
        }
    }

    /// Carries out what the phase's step says; the phase changes first. Effects that can be refused
    /// by the kernel come before the record, and their failure leaves the phase as it was.
    async fn feed(&mut self, input: Input) -> Result<()> {
        let (next, effects) =
            self.state.phase.step(input).map_err(|refused| self.refusal(refused))?;
        let before = std::mem::replace(&mut self.state.phase, next);
        for effect in effects {
            if let Err(error) = self.perform(effect).await {
                self.state.phase = before;
                return Err(error);
            }
        }
        Ok(())
    }

    async fn perform(&mut self, effect: Effect) -> Result<()> {
        match effect {
            Effect::Record => self.record_and_publish().await,
            Effect::Freeze => {
                let paused = self.supervisor()?.pause().await;
                paused.map_err(|error| self.ended_or(error, kernel_refused("pause")))?;
                self.engine.failpoint.pass("pause.frozen");
            }
            Effect::Thaw => self.supervisor()?.resume().await.map_err(kernel_refused("unpause"))?,
            Effect::Release => self.release().await,
            Effect::TellWaiters if matches!(self.state.phase, Phase::Removing { .. }) => {
                self.container.tell_removal(None);
            }
            Effect::TellWaiters => self.container.tell_exit(self.state.clone()),
            Effect::Announce(what) => self.announce(what),
            // These are carried out by those who feed the input, since more comes of them.
            Effect::Launch
            | Effect::Deliver { .. }
            | Effect::KillFirst
            | Effect::Delete
            | Effect::RemoveIfAutomatic => {}
        }
        Ok(())
    }

    fn supervisor(&self) -> Result<&Supervisor> {
        match &self.live {
            Some(live) => Ok(&live.supervisor),
            None => Err(EngineError::NotRunning(self.id().as_str().to_owned())),
        }
    }

    fn publish(&self) {
        self.container.publish(self.state.clone());
    }

    fn announce(&self, what: Announcement) {
        let tell = |action: &str| self.engine.tell(&self.state, action, &[]);
        match what {
            Announcement::Start => tell("start"),
            Announcement::Pause => tell("pause"),
            Announcement::Unpause => tell("unpause"),
            // Told when it happens.
            Announcement::Oom => {}
            Announcement::Destroy => tell("destroy"),
            Announcement::Die => {
                // Compat: dockerd tells of the stop before it tells of the end.
                if self.stopping > 0 {
                    tell("stop");
                }
                let (code, seconds) = match self.state.exit() {
                    Some(exit) => (exit.code, duration_of(exit).as_secs()),
                    None => (0, 0),
                };
                let (code, seconds) = (code.to_string(), seconds.to_string());
                self.engine.tell(
                    &self.state,
                    "die",
                    &[("execDuration", &seconds), ("exitCode", &code)],
                );
            }
        }
    }

    async fn attach(&mut self, attachment: Attachment) -> Result<()> {
        if let Some(live) = &self.live {
            return live.supervisor.attach(attachment).await.map_err(kernel_refused("attach"));
        }
        // Who has hung up waits no more.
        self.pending.retain(Attachment::is_connected);
        if self.pending.len() >= PENDING_ATTACHMENTS {
            return Err(EngineError::Unavailable(format!(
                "too many clients wait for the start of container {}",
                self.id()
            )));
        }
        self.pending.push(attachment);
        Ok(())
    }

    /// What a supervisor's refusal means: init may have ended, and nobody have told yet.
    fn ended_or(
        &self,
        error: SupervisorError,
        other: impl FnOnce(SupervisorError) -> EngineError,
    ) -> EngineError {
        match error {
            SupervisorError::Failed(why) if why.kind == FailureKind::NotRunning => {
                EngineError::NotRunning(self.id().as_str().to_owned())
            }
            error => other(error),
        }
    }

    async fn signal(&mut self, signal: i32, stop: bool) -> Result<()> {
        let (next, effects) =
            self.state.phase.step(Input::Signal).map_err(|refused| self.refusal(refused))?;
        let supervisor = self.supervisor()?;
        let sent = supervisor.kill(Target::Init, signal).await;
        sent.map_err(|error| self.ended_or(error, kernel_refused("signal")))?;
        let thaw = effects.contains(&Effect::Deliver { thaw: true });
        if thaw {
            supervisor.resume().await.map_err(kernel_refused("unpause"))?;
        }
        if stop {
            self.stopping += 1;
        }
        self.engine.failpoint.pass("kill.signalled");
        self.state.phase = next;
        self.engine.tell(&self.state, "kill", &[("signal", &signal.to_string())]);
        for effect in effects {
            self.perform(effect).await?;
        }
        Ok(())
    }

    async fn pause(&mut self) -> Result<()> {
        self.feed(Input::Pause).await?;
        self.engine.failpoint.pass("pause.recorded");
        Ok(())
    }

    async fn resume(&mut self) -> Result<()> {
        self.feed(Input::Resume).await
    }

    async fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        if !self.state.is_running() {
            return Err(EngineError::NotRunning(self.id().as_str().to_owned()));
        }
        if self.state.spec.streams.tty {
            let resized = self.supervisor()?.resize(Target::Init, rows, columns).await;
            resized.map_err(kernel_refused("resize"))?;
        }
        // Compat: a container without a terminal is told to be resized, too.
        let (height, width) = (rows.to_string(), columns.to_string());
        self.engine.tell(&self.state, "resize", &[("height", &height), ("width", &width)]);
        Ok(())
    }

    async fn rename(&mut self, reservation: Reservation) -> Result<()> {
        if matches!(self.state.phase, Phase::Removing { .. } | Phase::Dead { .. }) {
            return Err(self.refusal(Refused::BeingRemoved));
        }
        let old = std::mem::replace(&mut self.state.name, reservation.name().to_owned());
        if let Err(error) = self.record().await {
            self.state.name = old;
            return Err(error);
        }
        self.engine.failpoint.pass("rename.recorded");
        let _new = reservation.commit();
        self.publish();
        self.engine.registry.release(&old, self.id());
        self.engine.tell(&self.state, "rename", &[("oldName", &format!("/{old}"))]);
        Ok(())
    }
}

/// The supervisor's or the kernel's refusal of what the phase allows.
fn kernel_refused(what: &'static str) -> impl Fn(SupervisorError) -> EngineError {
    move |error| EngineError::internal(format!("cannot {what} container"), error)
}

fn answer<T>(reply: Reply<T>, result: Result<T>) {
    // Who asked may have gone; what was done stays done.
    drop(reply.send(result));
}

async fn next_event(live: &mut Option<Live>) -> SupervisorEvent {
    match live {
        Some(live) => live.events.next().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn duration_of(exit: &Exit) -> Duration {
    match (exit.started_at, exit.finished_at) {
        (Some(start), Some(end)) => {
            Duration::try_from(end.duration_since(start)).unwrap_or_default()
        }
        _ => Duration::ZERO,
    }
}

/// A time as the supervisor writes it.
pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|_unreadable| Timestamp::now())
}

/// KILL, and how long it may take.
pub(crate) const LAST_RESORT: (i32, Duration) = (signal::KILL, KILL_DEADLINE);
