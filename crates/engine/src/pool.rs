//! Idle supervisors, kept ready: launching one takes a millisecond that a start need not wait for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::{EngineError, Result};
use crate::limits::IDLE_SUPERVISORS;
use crate::supervised::{Launcher, Supervisor, SupervisorEvents};

/// Idle supervisors.
#[derive(Debug)]
pub(crate) struct SupervisorPool {
    launcher: Launcher,
    idle: Mutex<VecDeque<(Supervisor, SupervisorEvents)>>,
    /// One was taken.
    taken: Arc<Notify>,
}

impl SupervisorPool {
    pub(crate) fn new(launcher: Launcher) -> Self {
        Self { launcher, idle: Mutex::default(), taken: Arc::new(Notify::new()) }
    }

    pub(crate) fn launcher(&self) -> &Launcher {
        &self.launcher
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<(Supervisor, SupervisorEvents)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle supervisor, or a new one.
    ///
    /// # Errors
    /// When none can be launched.
    pub(crate) fn take(&self) -> Result<(Supervisor, SupervisorEvents)> {
        let idle = self.idle().pop_front();
        self.taken.notify_one();
        match idle {
            Some(pair) => Ok(pair),
            None => self.launch(),
        }
    }

    fn launch(&self) -> Result<(Supervisor, SupervisorEvents)> {
        self.launcher
            .launch()
            .map_err(|error| EngineError::internal("launching a supervisor", error))
    }

    /// Keeps the pool filled, for ever. One at a time and with a breath between, so that a burst of
    /// starts is not slowed by what shall make the next one faster.
    pub(crate) async fn refill(&self) {
        loop {
            while self.idle().len() < IDLE_SUPERVISORS {
                match self.launch() {
                    Ok(pair) => self.idle().push_back(pair),
                    Err(error) => {
                        tracing::warn!(%error, "no supervisor is kept ready");
                        break;
                    }
                }
                tokio::task::yield_now().await;
            }
            self.taken.notified().await;
        }
    }

    /// Lets the idle ones go; each ends when its connection closes.
    pub(crate) fn clear(&self) {
        self.idle().clear();
    }
}
