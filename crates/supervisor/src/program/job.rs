//! A process of the container that is looked after: its init, or an exec.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::streams::Streams;

/// How long the streams of a process that has ended may be held open by another.
const DRAIN: Duration = Duration::from_secs(2);

/// How long clients wait for the engine to know of the end.
const RECORD: Duration = Duration::from_secs(2);

/// The number of the init's job.
pub(super) const INIT: u32 = 0;

/// A process and its streams.
#[derive(Debug)]
pub(super) struct Job {
    /// Which exec; `None` is the init.
    pub(super) exec_id: Option<String>,
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    pub(super) streams: Streams,
    pub(super) stage: Stage,
}

/// How far a process's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    /// It has ended; its output is still being read, until the time given.
    Draining {
        ended: Ended,
        until: Instant,
    },
    /// Its end was told; its clients wait until it is recorded, or until the time given.
    Told {
        until: Instant,
    },
    /// Its clients are to see the end when they have got everything.
    Closing,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its exit code; 128 and the signal if one ended it.
    pub(super) code: i32,
    /// The signal that ended it.
    pub(super) signal: Option<i32>,
}

impl Ended {
    pub(super) fn of(status: rustix::process::WaitStatus) -> Self {
        let signal = status.terminating_signal();
        let code = status.exit_status().or(signal.map(|signal| 128 + signal)).unwrap_or(255);
        Self { code, signal }
    }
}

impl Job {
    pub(super) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    /// Whether its end is still to be told.
    pub(super) fn is_untold(&self) -> bool {
        matches!(self.stage, Stage::Running | Stage::Draining { .. })
    }

    /// Whether a client may still come: there may be output for it.
    pub(super) fn takes_clients(&self) -> bool {
        self.is_untold()
    }

    /// It has been waited for.
    pub(super) fn has_ended(&mut self, ended: Ended, now: Instant) {
        self.stage = Stage::Draining { ended, until: now + DRAIN };
    }

    pub(super) fn is_told(&mut self, now: Instant) {
        self.stage = Stage::Told { until: now + RECORD };
    }

    /// When something is to be done though nothing happens.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let stage = match self.stage {
            Stage::Draining { until, .. } | Stage::Told { until } => Some(until),
            Stage::Running | Stage::Closing => None,
        };
        [stage, self.streams.deadline()].into_iter().flatten().min()
    }

    /// Nothing more is to be done for it.
    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Closing && self.streams.is_drained() && !self.streams.has_clients()
    }
}
