//! Network namespaces made before they are wanted.
//!
//! Making one takes about a millisecond, and many when other programs on the machine hold the
//! kernel's one lock on links; taking one from here does not. A thread refills the pool when nothing
//! was taken for a moment, so that it does not stand in the way of what is being started.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::namespace::{Maker, Prepared, lock};

/// How long nothing was taken before the pool is refilled: shorter than a container's start, so
/// that containers started one after the other each find one.
const QUIET: Duration = Duration::from_millis(10);

/// How long to wait after one could not be made.
const PAUSE: Duration = Duration::from_secs(1);

/// The pool with the thread that fills it, which ends with this.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    filler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    ready: VecDeque<Prepared>,
    /// When the filler may work next.
    quiet_at: Instant,
    closing: bool,
}

impl Pool {
    /// Starts filling a pool; with size 0 it stays empty and has no thread.
    pub(crate) fn new(size: usize, maker: Arc<Maker>) -> std::io::Result<Self> {
        let state = State {
            ready: VecDeque::with_capacity(size),
            quiet_at: Instant::now(),
            closing: false,
        };
        let shared = Arc::new(Shared { size, state: Mutex::new(state), changed: Condvar::new() });
        let filler = if size == 0 {
            None
        } else {
            let shared = Arc::clone(&shared);
            let filler = std::thread::Builder::new().name("netns-pool".to_owned());
            Some(filler.spawn(move || shared.fill(&maker))?)
        };
        Ok(Self { shared, filler })
    }

    /// Takes one if there is one.
    pub(crate) fn take(&self) -> Option<Prepared> {
        let mut state = lock(&self.shared.state);
        state.quiet_at = Instant::now() + QUIET;
        let taken = state.ready.pop_front();
        self.shared.changed.notify_all();
        taken
    }

    /// Empties the pool for good.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.shared.state);
        state.closing = true;
        state.ready.clear();
        self.shared.changed.notify_all();
    }

    /// Waits until the pool is full, or the time is over; for tests and measurements.
    #[cfg(test)]
    pub(crate) fn wait_until_full(&self, limit: Duration) -> bool {
        let state = lock(&self.shared.state);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, limit, |state| state.ready.len() < self.shared.size);
        !waited.unwrap().1.timed_out()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
        if let Some(filler) = self.filler.take()
            && filler.join().is_err()
        {
            tracing::warn!("the thread that fills the pool of network namespaces panicked");
        }
    }
}

impl Shared {
    fn fill(&self, maker: &Maker) {
        while self.wait_for_work() {
            let made = maker.make();
            let mut state = lock(&self.state);
            match made {
                Ok(_) if state.closing => {}
                Ok(prepared) => state.ready.push_back(prepared),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "cannot make a network namespace for the pool");
                    state.quiet_at = Instant::now() + PAUSE;
                }
            }
            self.changed.notify_all();
        }
    }

    /// Waits until one is missing and all is quiet; false when the pool closes.
    fn wait_for_work(&self) -> bool {
        let mut state = lock(&self.state);
        loop {
            if state.closing {
                return false;
            }
            let missing = state.ready.len() < self.size;
            let left = state.quiet_at.saturating_duration_since(Instant::now());
            if missing && left.is_zero() {
                return true;
            }
            let limit = if missing { left } else { Duration::MAX };
            state = match self.changed.wait_timeout(state, limit) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}
