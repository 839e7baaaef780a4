//! Carrying out the plan: several containers at a time, each action safe to repeat.
//!
//! A container that has a record has its name, so it is known and driven afterwards unless nothing
//! is left of it: what can not be written or cleared away now is tried again later.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::observe::Seen;
use super::plan::{Action, What};
use crate::container::Container;
use crate::create::files_of;
use crate::driver::{self, Live, Seed};
use crate::error::{Doing as _, Result};
use crate::failpoint;
use crate::id::ContainerId;
use crate::images;
use crate::inner::Inner;
use crate::limits::RECOVERIES;
use crate::phase::{Exit, Phase, Resting};
use crate::records::ContainerState;
use crate::snapshot::{ContainerSnapshot, EndpointView};
use crate::supervised::Target;

/// Carries out the plan; containers that stay are known and driven afterwards.
pub(super) async fn execute(
    engine: &Arc<Inner>,
    mut records: BTreeMap<String, ContainerState>,
    mut observed: BTreeMap<String, Seen>,
    actions: Vec<Action>,
) -> Result<()> {
    let mut work = Vec::new();
    for action in actions {
        let record = records.remove(&action.id);
        if let Some(state) = &record {
            reserve(engine, state);
        }
        let seen = observed.remove(&action.id).unwrap_or_default();
        work.push((action, record, seen));
    }
    let each = |(action, record, seen)| one(engine, action, record, seen);
    futures_util::stream::iter(work).for_each_concurrent(RECOVERIES, each).await;
    let networks = engine.networks.clone();
    let done = engine.blocking(move || networks.recover_done()).await?;
    let removed = done.doing(|| "recovering the network")?;
    if removed > 0 {
        tracing::info!(removed, "interfaces of nobody were removed");
    }
    Ok(())
}

/// Names and volumes are held before anything else happens to them.
fn reserve(engine: &Arc<Inner>, state: &ContainerState) {
    match engine.registry.reserve(&state.name, &state.id) {
        Ok(reservation) => drop(reservation.commit()),
        Err(error) => tracing::error!(%error, "two containers have one name"),
    }
    for mount in state.mounts.iter().filter(|mount| !mount.name.is_empty()) {
        engine.volumes.hold(&mount.name, &state.id);
    }
}

async fn one(engine: &Arc<Inner>, action: Action, record: Option<ContainerState>, seen: Seen) {
    let Action { id, what, .. } = action;
    match (what, record) {
        (What::Keep, Some(state)) => {
            let busy = seen.evidence();
            if busy.directory || busy.cgroup {
                coped(&state.id, clear_run(engine, &state).await);
            }
            let (seed, _) = seed(engine, state, None);
            driver::spawn(engine, seed);
        }
        (What::Adopt(phase), Some(state)) => adopt(engine, state, phase, seen).await,
        (What::End(exit), Some(state)) => end(engine, state, exit, seen.live).await,
        (What::KillAndEnd(exit), Some(state)) => {
            coped(&state.id, kill_run(engine, &state).await);
            end(engine, state, exit, None).await;
        }
        (What::Remove(before), Some(state)) => remove(engine, state, before, seen.live).await,
        (_, None) | (What::Discard, Some(_)) => {
            if let Err(error) = discard(engine, &id, seen.live).await {
                tracing::error!(container = id, %error, "recovery");
            }
        }
    }
}

/// Recovery of a container goes on without what has failed.
fn coped(id: &ContainerId, result: Result<()>) {
    if let Err(error) = result {
        tracing::error!(container = id.short(), %error, "recovery");
    }
}

/// Ends the processes that are left of a run that is over.
async fn kill_run(engine: &Arc<Inner>, state: &ContainerState) -> Result<()> {
    let directory = engine.exec_directory(state.id.as_str());
    let cgroup = engine.cgroup_path(&state.spec.host.cgroup_parent, state.id.as_str());
    engine.blocking(move || super::kill_rest(&directory, &cgroup)).await
}

/// Removes the directory of a run that is over.
async fn sweep_run(engine: &Arc<Inner>, id: &ContainerId) -> Result<()> {
    let directory = engine.exec_directory(id.as_str());
    let work = move || {
        driver::unmount_shm(&directory);
        crate::volumes::remove_tree(&directory)
    };
    engine.blocking(work).await?
}

/// What is left of a run that is over: processes, cgroup, directory.
async fn clear_run(engine: &Arc<Inner>, state: &ContainerState) -> Result<()> {
    kill_run(engine, state).await?;
    sweep_run(engine, &state.id).await
}

async fn adopt(engine: &Arc<Inner>, mut state: ContainerState, phase: Phase, seen: Seen) {
    let Seen { live, endpoint, .. } = seen;
    // The record may be of an earlier run, and know nothing of this one's endpoint.
    let endpoint = endpoint.or_else(|| state.endpoint.clone());
    if let Some(EndpointView { endpoint_id, address, .. }) = endpoint.clone() {
        let networks = engine.networks.clone();
        let adopted = engine.blocking(move || networks.adopt(&endpoint_id, address)).await;
        coped(&state.id, adopted.and_then(|adopted| adopted.doing(|| "adopting an endpoint")));
    }
    let was_started = !matches!(state.phase, Phase::Running(_) | Phase::Paused(_));
    let changed = state.phase != phase || state.endpoint != endpoint;
    (state.phase, state.endpoint) = (phase, endpoint);
    let (seed, shown) = seed(engine, state, live);
    let is_recorded = !changed || record(engine, &seed).await;
    let container = drive(engine, seed, is_recorded);
    if was_started {
        engine.tell(&shown, "start", &[]);
    }
    images::commit::end_abandoned(engine, &container).await;
}

async fn end(engine: &Arc<Inner>, mut state: ContainerState, exit: Exit, live: Option<Live>) {
    let code = exit.code.to_string();
    state.phase = Phase::Exited(exit);
    state.endpoint = None;
    let (seed, ended) = seed(engine, state, None);
    let is_recorded = record(engine, &seed).await;
    release(live).await;
    // What could not be recorded is found in the directory by the next engine.
    if is_recorded {
        coped(&ended.id, sweep_run(engine, &ended.id).await);
    }
    drive(engine, seed, is_recorded);
    engine.tell(&ended, "die", &[("exitCode", &code)]);
}

async fn remove(
    engine: &Arc<Inner>,
    mut state: ContainerState,
    before: Resting,
    live: Option<Live>,
) {
    kill(live).await;
    let id = state.id.clone();
    match remove_all(engine, &state).await {
        Ok(()) => {
            let (_, shown) = seed(engine, state, None);
            engine.registry.remove(&id);
            engine.tell(&shown, "destroy", &[]);
        }
        Err(error) => {
            tracing::error!(container = id.short(), %error, "a removal can not be finished");
            // It can be tried again by whoever wants it, and is by the next engine.
            state.phase = Phase::Dead { reason: error.to_string(), before };
            state.endpoint = None;
            let (seed, _) = seed(engine, state, None);
            let is_recorded = record(engine, &seed).await;
            drive(engine, seed, is_recorded);
        }
    }
}

async fn remove_all(engine: &Arc<Inner>, state: &ContainerState) -> Result<()> {
    clear_run(engine, state).await?;
    let takes_volumes = state.removes_volumes || state.spec.host.auto_remove;
    let volumes = if takes_volumes { state.anonymous_volumes.clone() } else { Vec::new() };
    driver::remove_traces(engine, state.id.as_str(), volumes, failpoint::RM).await
}

/// Writes what recovery has changed; whether that could be done.
async fn record(engine: &Arc<Inner>, seed: &Seed) -> bool {
    let put = driver::put_record(engine, seed).await;
    if let Err(error) = &put {
        let container = seed.state.id.short();
        tracing::error!(container, %error, "a recovered container is not recorded");
    }
    put.is_ok()
}

/// Makes a container known; its driver writes what could not be written yet.
fn drive(engine: &Arc<Inner>, seed: Seed, is_recorded: bool) -> Arc<Container> {
    if is_recorded { driver::spawn(engine, seed) } else { driver::spawn_unrecorded(engine, seed) }
}

async fn discard(engine: &Arc<Inner>, id: &str, live: Option<Live>) -> Result<()> {
    kill(live).await;
    let directory = engine.exec_directory(id);
    let cgroup = engine.cgroup_path("", id);
    engine.blocking(move || super::kill_rest(&directory, &cgroup)).await?;
    driver::remove_traces(engine, id, Vec::new(), failpoint::RM).await
}

async fn kill(live: Option<Live>) {
    if let Some(live) = live {
        // It may be ending already.
        if let Err(error) = live.supervisor.kill(Target::All, crate::signal::KILL).await {
            tracing::debug!(%error, "killing");
        }
        release(Some(live)).await;
    }
}

async fn release(live: Option<Live>) {
    if let Some(live) = live
        && let Err(error) = live.supervisor.release().await
    {
        tracing::debug!(%error, "the supervisor had gone already");
    }
}

fn seed(engine: &Inner, state: ContainerState, live: Option<Live>) -> (Seed, ContainerSnapshot) {
    let ContainerState {
        id,
        name,
        created,
        spec,
        image_id,
        platform_os,
        phase,
        mounts,
        anonymous_volumes,
        endpoint,
        restart_count,
        removes_volumes,
    } = state;
    let arguments = spec.arguments();
    let snapshot = ContainerSnapshot {
        files: files_of(engine, &id, &spec),
        id,
        name,
        created,
        path: arguments.first().cloned().unwrap_or_default(),
        args: arguments.into_iter().skip(1).collect(),
        spec: Arc::new(spec),
        image_id,
        platform_os,
        phase,
        restart_count,
        mounts: mounts.into(),
        network: endpoint,
        execs: Vec::new(),
    };
    let shown = snapshot.clone();
    (Seed { state: snapshot, anonymous_volumes, removes_volumes, live }, shown)
}
