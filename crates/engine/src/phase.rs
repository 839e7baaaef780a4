//! The life of a container.
//!
//! ```text
//!               Start                Launched               Pause
//!   Created ------------> Starting ------------> Running <--------> Paused
//!      ^  ^                |    |                   |       Resume     |
//!      |  | LaunchFailed   |    | LaunchFailed      | Ended            | Ended
//!      |  +----------------+    |                   v                  |
//!      |                        +---------------> Exited <-------------+
//!      |        (where it was before)           |   |
//!      |                                  Start |   | Remove
//!      | Remove                    (Starting) <-+   v
//!      +-----------------------------------> Removing ----Removed---> (gone)
//!                                                |  ^
//!                                   RemoveFailed v  | Remove
//!                                               Dead
//! ```
//!
//! [`Phase::step`] is the only place where a phase becomes another. It is pure: it answers with the
//! next phase and with [`Effect`]s, which the container's driver carries out in their order. A
//! refusal is a value; `containers` turns it into Docker's words.
#![deny(clippy::wildcard_enum_match_arm)]

use jiff::Timestamp;

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It has never run.
    Created {
        /// Why the last attempt to start it failed.
        failure: Option<Failure>,
    },
    /// It is being started.
    Starting {
        /// What it returns to when that fails.
        before: Resting,
    },
    /// Its program runs.
    Running(Run),
    /// Its processes are frozen.
    Paused(Run),
    /// Its program has ended.
    Exited(Exit),
    /// It is being removed; that is recorded, so that it can be finished by another engine.
    Removing {
        /// How it had ended.
        before: Resting,
    },
    /// Its removal failed.
    Dead {
        /// Why.
        reason: String,
        /// How it had ended.
        before: Resting,
    },
}

/// A phase in which nothing happens by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resting {
    /// [`Phase::Created`].
    Created {
        /// Why the last attempt to start it failed.
        failure: Option<Failure>,
    },
    /// [`Phase::Exited`].
    Exited(Exit),
}

/// Why a container could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// 126, 127 or 128.
    pub exit_code: i32,
    /// Docker's sentence.
    pub message: String,
}

/// A program that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its process id on the host.
    pub pid: u32,
    /// Since when.
    pub started_at: Timestamp,
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub code: i32,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// What went wrong beside, such as a supervisor that died or a failed start after the end.
    pub error: String,
    /// When it had started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// What happens to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Someone wants it started.
    Start,
    /// Its program runs.
    Launched(Run),
    /// Its program could not be started.
    LaunchFailed(Failure),
    /// Someone wants it frozen.
    Pause,
    /// Someone wants it to go on.
    Resume,
    /// Someone sends a signal.
    Signal,
    /// Its program has ended.
    Ended(Exit),
    /// Someone wants it removed.
    Remove {
        /// Even when it runs.
        force: bool,
    },
    /// Nothing is left of it.
    Removed,
    /// Something is left of it.
    RemoveFailed(String),
}

/// What the driver does about it, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Write the record; before anyone is told.
    Record,
    /// Make endpoint, root and process.
    Launch,
    /// Freeze the processes.
    Freeze,
    /// Let them go on.
    Thaw,
    /// Kill it, and wait for its end, then ask again.
    KillFirst,
    /// Send the signal; let frozen processes go on so that they take it.
    Deliver {
        /// Whether they are frozen.
        thaw: bool,
    },
    /// Give back endpoint, volumes and exec records.
    Release,
    /// Delete what it left on disk.
    Delete,
    /// Answer those who wait for its end.
    TellWaiters,
    /// Tell the world.
    Announce(Announcement),
    /// Ask for its removal: it was to be removed when it ends.
    RemoveIfAutomatic,
}

/// What the world is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of Docker's events")]
pub enum Announcement {
    Start,
    Pause,
    Unpause,
    Oom,
    Die,
    Destroy,
}

/// Why something can not be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It runs already.
    AlreadyRunning,
    /// It is paused, and a paused container is not started.
    StartPaused,
    /// It does not run.
    NotRunning,
    /// It is paused already.
    AlreadyPaused,
    /// It is not paused.
    NotPaused,
    /// It runs, and was not to be killed.
    StillRunning,
    /// It is paused, and was not to be killed.
    StillPaused,
    /// It is being started.
    BeingStarted,
    /// It is being removed, or its removal has failed.
    BeingRemoved,
    /// This can not happen in this phase; a mistake of ours.
    OutOfPlace,
}

impl Phase {
    /// A container that has never run.
    pub const NEW: Self = Self::Created { failure: None };

    /// What comes of `input`: the next phase and what to do about it.
    ///
    /// # Errors
    /// When it can not be done in this phase; nothing changes then.
    pub fn step(&self, input: Input) -> Result<(Self, Vec<Effect>), Refused> {
        match input {
            Input::Start => self.start(),
            Input::Launched(run) => match self {
                Self::Starting { .. } => Ok((
                    Self::Running(run),
                    vec![Effect::Record, Effect::Announce(Announcement::Start)],
                )),
                Self::Created { .. }
                | Self::Running(_)
                | Self::Paused(_)
                | Self::Exited(_)
                | Self::Removing { .. }
                | Self::Dead { .. } => Err(Refused::OutOfPlace),
            },
            Input::LaunchFailed(failure) => self.launch_failed(failure),
            Input::Pause => self.pause(),
            Input::Resume => self.resume(),
            Input::Signal => self.signal(),
            Input::Ended(exit) => self.ended(exit),
            Input::Remove { force } => self.remove(force),
            Input::Removed => match self {
                Self::Removing { before } => Ok((
                    Self::Removing { before: before.clone() },
                    vec![Effect::TellWaiters, Effect::Announce(Announcement::Destroy)],
                )),
                Self::Created { .. }
                | Self::Starting { .. }
                | Self::Running(_)
                | Self::Paused(_)
                | Self::Exited(_)
                | Self::Dead { .. } => Err(Refused::OutOfPlace),
            },
            Input::RemoveFailed(reason) => match self {
                Self::Removing { before } => {
                    Ok((Self::Dead { reason, before: before.clone() }, vec![Effect::Record]))
                }
                Self::Created { .. }
                | Self::Starting { .. }
                | Self::Running(_)
                | Self::Paused(_)
                | Self::Exited(_)
                | Self::Dead { .. } => Err(Refused::OutOfPlace),
            },
        }
    }

    fn start(&self) -> Result<(Self, Vec<Effect>), Refused> {
        let before = match self {
            Self::Created { failure } => Resting::Created { failure: failure.clone() },
            Self::Exited(exit) => Resting::Exited(exit.clone()),
            Self::Starting { .. } | Self::Running(_) => return Err(Refused::AlreadyRunning),
            Self::Paused(_) => return Err(Refused::StartPaused),
            Self::Removing { .. } | Self::Dead { .. } => return Err(Refused::BeingRemoved),
        };
        // That it is being started is not recorded: what a start leaves behind is found by looking.
        Ok((Self::Starting { before }, vec![Effect::Launch]))
    }

    fn launch_failed(&self, failure: Failure) -> Result<(Self, Vec<Effect>), Refused> {
        let next = match self {
            Self::Starting { before: Resting::Created { .. } } => {
                Self::Created { failure: Some(failure) }
            }
            // Compat: dockerd keeps the times of the last run and takes code and error of the attempt.
            Self::Starting { before: Resting::Exited(exit) } => Self::Exited(Exit {
                code: failure.exit_code,
                error: failure.message,
                oom_killed: false,
                ..exit.clone()
            }),
            Self::Created { .. }
            | Self::Running(_)
            | Self::Paused(_)
            | Self::Exited(_)
            | Self::Removing { .. }
            | Self::Dead { .. } => return Err(Refused::OutOfPlace),
        };
        Ok((next, vec![Effect::Release, Effect::Record, Effect::RemoveIfAutomatic]))
    }

    fn pause(&self) -> Result<(Self, Vec<Effect>), Refused> {
        match self {
            Self::Running(run) => Ok((
                Self::Paused(run.clone()),
                vec![Effect::Freeze, Effect::Record, Effect::Announce(Announcement::Pause)],
            )),
            Self::Paused(_) => Err(Refused::AlreadyPaused),
            Self::Starting { .. } => Err(Refused::BeingStarted),
            Self::Created { .. } | Self::Exited(_) | Self::Removing { .. } | Self::Dead { .. } => {
                Err(Refused::NotRunning)
            }
        }
    }

    fn resume(&self) -> Result<(Self, Vec<Effect>), Refused> {
        match self {
            Self::Paused(run) => Ok((
                Self::Running(run.clone()),
                vec![Effect::Thaw, Effect::Record, Effect::Announce(Announcement::Unpause)],
            )),
            Self::Created { .. }
            | Self::Starting { .. }
            | Self::Running(_)
            | Self::Exited(_)
            | Self::Removing { .. }
            | Self::Dead { .. } => Err(Refused::NotPaused),
        }
    }

    fn signal(&self) -> Result<(Self, Vec<Effect>), Refused> {
        match self {
            Self::Running(_) => Ok((self.clone(), vec![Effect::Deliver { thaw: false }])),
            // Compat: dockerd lets a paused container go on, so that it takes the signal.
            Self::Paused(run) => Ok((
                Self::Running(run.clone()),
                vec![
                    Effect::Deliver { thaw: true },
                    Effect::Record,
                    Effect::Announce(Announcement::Unpause),
                ],
            )),
            Self::Created { .. }
            | Self::Starting { .. }
            | Self::Exited(_)
            | Self::Removing { .. }
            | Self::Dead { .. } => Err(Refused::NotRunning),
        }
    }

    fn ended(&self, exit: Exit) -> Result<(Self, Vec<Effect>), Refused> {
        match self {
            Self::Running(_) | Self::Paused(_) => {
                let mut effects = vec![Effect::Release, Effect::Record, Effect::TellWaiters];
                if exit.oom_killed {
                    effects.push(Effect::Announce(Announcement::Oom));
                }
                effects.push(Effect::Announce(Announcement::Die));
                effects.push(Effect::RemoveIfAutomatic);
                Ok((Self::Exited(exit), effects))
            }
            Self::Created { .. }
            | Self::Starting { .. }
            | Self::Exited(_)
            | Self::Removing { .. }
            | Self::Dead { .. } => Err(Refused::OutOfPlace),
        }
    }

    fn remove(&self, force: bool) -> Result<(Self, Vec<Effect>), Refused> {
        let before = match self {
            Self::Created { failure } => Resting::Created { failure: failure.clone() },
            Self::Exited(exit) => Resting::Exited(exit.clone()),
            Self::Dead { before, .. } => before.clone(),
            Self::Running(_) | Self::Paused(_) if force => {
                return Ok((self.clone(), vec![Effect::KillFirst]));
            }
            Self::Running(_) => return Err(Refused::StillRunning),
            Self::Paused(_) => return Err(Refused::StillPaused),
            Self::Starting { .. } => return Err(Refused::BeingStarted),
            Self::Removing { .. } => return Err(Refused::BeingRemoved),
        };
        Ok((Self::Removing { before }, vec![Effect::Record, Effect::Delete]))
    }
}

#[cfg(test)]
mod tests;
