//! What every request needs.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use ferry_engine::Engine;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::Config, facts::Facts};

/// What every request needs.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    pub(crate) facts: Facts,
    /// Handlers that run; a stopping daemon waits for them.
    pub(crate) handlers: TaskTracker,
    /// Connections; a stopping daemon does not wait for them.
    pub(crate) connections: TaskTracker,
    /// The daemon stops: streams end.
    pub(crate) closing: CancellationToken,
    requests: AtomicU64,
}

impl App {
    pub(crate) fn new(engine: Engine, config: Config, facts: Facts) -> Arc<Self> {
        Arc::new(Self {
            engine,
            config,
            facts,
            handlers: TaskTracker::new(),
            connections: TaskTracker::new(),
            closing: CancellationToken::new(),
            requests: AtomicU64::new(0),
        })
    }

    /// The number of the next request, for the log.
    pub(crate) fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// How many requests there were.
    pub(crate) fn requests_so_far(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
