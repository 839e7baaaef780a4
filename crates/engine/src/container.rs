//! What everybody may hold of a container: its published snapshot, those who wait for it, and the
//! queue of its driver.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::Request;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::request::{WaitCondition, WaitOutcome};
use crate::snapshot::ContainerSnapshot;

/// A handle to a container.
#[derive(Debug)]
pub(crate) struct Container {
    id: ContainerId,
    /// Replaced as a whole after each change; the lock is held for the exchange of a pointer.
    snapshot: RwLock<Arc<ContainerSnapshot>>,
    waiters: Mutex<Waiters>,
    /// Whether it does not run; who follows its log ends with it.
    at_rest: watch::Sender<bool>,
    queue: mpsc::Sender<Request>,
}

#[derive(Debug, Default)]
struct Waiters {
    exit: Vec<oneshot::Sender<WaitOutcome>>,
    removal: Vec<oneshot::Sender<WaitOutcome>>,
}

/// A wait that has begun.
#[derive(Debug)]
pub struct Wait(WaitKind);

#[derive(Debug)]
enum WaitKind {
    Over(WaitOutcome),
    Pending(oneshot::Receiver<WaitOutcome>),
}

impl Wait {
    /// What it ended with.
    pub async fn outcome(self) -> WaitOutcome {
        match self.0 {
            WaitKind::Over(outcome) => outcome,
            // The other end is only dropped when the engine ends.
            WaitKind::Pending(receiver) => receiver.await.unwrap_or_default(),
        }
    }
}

impl Container {
    pub(crate) fn new(snapshot: ContainerSnapshot, queue: mpsc::Sender<Request>) -> Self {
        let (at_rest, _) = watch::channel(!snapshot.is_running());
        Self {
            at_rest,
            id: snapshot.id.clone(),
            snapshot: RwLock::new(Arc::new(snapshot)),
            waiters: Mutex::default(),
            queue,
        }
    }

    pub(crate) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The container as it was after its last change.
    pub(crate) fn snapshot(&self) -> Arc<ContainerSnapshot> {
        Arc::clone(&self.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it does not run, and when that changes.
    pub(crate) fn at_rest(&self) -> watch::Receiver<bool> {
        self.at_rest.subscribe()
    }

    /// For the driver: makes a change visible.
    pub(crate) fn publish(&self, snapshot: ContainerSnapshot) {
        self.at_rest.send_if_modified(|at_rest| {
            let now = !snapshot.is_running();
            std::mem::replace(at_rest, now) != now
        });
        let snapshot = Arc::new(snapshot);
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// Begins to wait; what happens from here on is not missed.
    pub(crate) fn wait(&self, condition: WaitCondition) -> Wait {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = self.snapshot();
        let over = condition == WaitCondition::NotRunning && !snapshot.is_running();
        if over {
            let exit_code = snapshot.exit_code();
            return Wait(WaitKind::Over(WaitOutcome { exit_code, error: None }));
        }
        let (sender, receiver) = oneshot::channel();
        let list = match condition {
            WaitCondition::NotRunning | WaitCondition::NextExit => &mut waiters.exit,
            WaitCondition::Removed => &mut waiters.removal,
        };
        // Who has hung up waits no more: only those who wait take memory.
        list.retain(|waiter| !waiter.is_closed());
        list.push(sender);
        Wait(WaitKind::Pending(receiver))
    }

    /// For the driver: its program has ended. The new snapshot is published under the waiters' lock,
    /// so that nobody begins to wait for what has just happened.
    pub(crate) fn tell_exit(&self, snapshot: ContainerSnapshot) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = WaitOutcome { exit_code: snapshot.exit_code(), error: None };
        self.publish(snapshot);
        tell(&mut waiters.exit, &outcome);
    }

    /// For the driver: it is removed, or its removal failed.
    pub(crate) fn tell_removal(&self, error: Option<String>) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = WaitOutcome { exit_code: self.snapshot().exit_code(), error };
        tell(&mut waiters.exit, &outcome);
        tell(&mut waiters.removal, &outcome);
    }

    /// Puts something into the driver's queue that has no answer.
    ///
    /// # Errors
    /// `NotFound` when the container is gone.
    pub(crate) async fn tell_driver(&self, request: Request) -> Result<()> {
        let gone = |_| EngineError::NoSuchContainer(self.id.as_str().to_owned());
        self.queue.send(request).await.map_err(gone)
    }

    /// Puts a request into the driver's queue and awaits the answer.
    ///
    /// # Errors
    /// The driver's; `NotFound` when the container is gone.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let gone = || EngineError::NoSuchContainer(self.id.as_str().to_owned());
        self.queue.send(request(reply)).await.map_err(|_gone| gone())?;
        answer.await.map_err(|_gone| gone())?
    }
}

fn tell(waiters: &mut Vec<oneshot::Sender<WaitOutcome>>, outcome: &WaitOutcome) {
    for waiter in waiters.drain(..) {
        // Who is not there any more need not be told.
        drop(waiter.send(outcome.clone()));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::phase::{Exit, Phase, Run};
    use crate::snapshot::ContainerFiles;

    pub(crate) fn snapshot(id: &str, name: &str) -> ContainerSnapshot {
        ContainerSnapshot {
            id: ContainerId::parse(id).unwrap(),
            name: name.to_owned(),
            created: jiff::Timestamp::UNIX_EPOCH,
            spec: Arc::default(),
            image_id: "sha256:00".to_owned(),
            platform_os: "linux".to_owned(),
            path: String::new(),
            args: Vec::new(),
            phase: Phase::NEW,
            restart_count: 0,
            mounts: Arc::from([]),
            network: None,
            execs: Vec::new(),
            files: ContainerFiles::default(),
        }
    }

    pub(crate) fn container(id: &str, name: &str) -> Arc<Container> {
        let (queue, _) = mpsc::channel(1);
        Arc::new(Container::new(snapshot(id, name), queue))
    }

    fn running() -> ContainerSnapshot {
        let run = Run { pid: 1, started_at: jiff::Timestamp::UNIX_EPOCH };
        ContainerSnapshot { phase: Phase::Running(run), ..snapshot(&"a".repeat(64), "web") }
    }

    fn exited(code: i32) -> ContainerSnapshot {
        let exit = Exit {
            code,
            oom_killed: false,
            error: String::new(),
            started_at: None,
            finished_at: None,
        };
        ContainerSnapshot { phase: Phase::Exited(exit), ..running() }
    }

    #[tokio::test]
    async fn a_container_that_does_not_run_is_not_waited_for() {
        let container = container(&"a".repeat(64), "web");
        assert_eq!(container.wait(WaitCondition::NotRunning).outcome().await.exit_code, 0);
        container.publish(exited(3));
        assert_eq!(container.wait(WaitCondition::NotRunning).outcome().await.exit_code, 3);
    }

    #[tokio::test]
    async fn waiters_hear_the_exit_or_the_removal_they_waited_for() {
        let container = container(&"a".repeat(64), "web");
        let next = container.wait(WaitCondition::NextExit);
        container.publish(running());
        let end = container.wait(WaitCondition::NotRunning);
        let removal = container.wait(WaitCondition::Removed);
        container.tell_exit(exited(7));
        assert_eq!(next.outcome().await.exit_code, 7);
        assert_eq!(end.outcome().await.exit_code, 7);
        container.tell_removal(Some("busy".to_owned()));
        let outcome = removal.outcome().await;
        assert_eq!((outcome.exit_code, outcome.error.as_deref()), (7, Some("busy")));
    }

    #[test]
    fn who_has_hung_up_is_not_kept() {
        let container = container(&"a".repeat(64), "web");
        let kept = container.wait(WaitCondition::NextExit);
        for _ in 0..100 {
            drop(container.wait(WaitCondition::NextExit));
            drop(container.wait(WaitCondition::Removed));
        }
        let waiters = container.waiters.lock().unwrap();
        assert_eq!((waiters.exit.len(), waiters.removal.len()), (2, 1));
        drop((waiters, kept));
    }

    #[tokio::test]
    async fn removal_ends_a_wait_for_an_exit_that_never_comes() {
        let container = container(&"a".repeat(64), "web");
        let next = container.wait(WaitCondition::NextExit);
        container.tell_removal(None);
        assert_eq!(next.outcome().await, WaitOutcome::default());
    }
}
