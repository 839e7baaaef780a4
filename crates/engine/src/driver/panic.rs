//! What becomes of a container whose driver has panicked.

use std::any::Any;
use std::sync::Arc;

use jiff::Timestamp;

use super::Seed;
use crate::container::Container;
use crate::inner::Inner;
use crate::phase::{Exit, Phase, Resting};

/// The words of a panic.
pub(super) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// A driver has panicked, which is a mistake of ours: its container is ended and becomes dead, and
/// everything else lives.
pub(super) async fn bury(engine: &Arc<Inner>, container: &Container, words: String) {
    let mut state = (*container.snapshot()).clone();
    tracing::error!(container = state.id.short(), words, "the driver of a container has panicked");
    let (directory, cgroup) = (engine.exec_directory(state.id.as_str()), engine.cgroup_of(&state));
    let killed = engine.blocking(move || crate::recovery::kill_rest(&directory, &cgroup)).await;
    if let Err(error) = killed {
        tracing::error!(%error, "its processes may be left");
    }
    if let Some(endpoint) = state.network.take() {
        engine.networks.release(&endpoint.endpoint_id);
    }
    let before = match (state.run(), state.exit()) {
        (Some(run), _) => Resting::Exited(Exit {
            code: 137,
            oom_killed: false,
            error: String::new(),
            started_at: Some(run.started_at),
            finished_at: Some(Timestamp::now()),
        }),
        (None, Some(exit)) => Resting::Exited(exit.clone()),
        (None, None) => Resting::Created { failure: None },
    };
    state.phase = Phase::Dead { reason: format!("the engine made a mistake: {words}"), before };
    container.tell_exit(state.clone());
    // Another driver takes over, so that it can be removed. Its anonymous volumes stay: better too
    // much is left than too little.
    let seed = Seed { state, anonymous_volumes: Vec::new(), removes_volumes: false, live: None };
    let _another: Arc<Container> = super::spawn(engine, seed);
}
