//! Carrying out the plan: several containers at a time, each action safe to repeat.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;

use super::observe::Seen;
use super::plan::{Action, What};
use crate::create::files_of;
use crate::driver::{self, Live, Seed};
use crate::error::{Doing as _, Result};
use crate::failpoint;
use crate::inner::Inner;
use crate::limits::RECOVERIES;
use crate::phase::{Exit, Phase};
use crate::records::ContainerState;
use crate::snapshot::ContainerSnapshot;
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
    let each = |(action, record, seen): (Action, Option<ContainerState>, Seen)| async move {
        let id = action.id.clone();
        if let Err(error) = one(engine, action, record, seen).await {
            tracing::error!(container = id, %error, "recovery");
        }
    };
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

async fn one(
    engine: &Arc<Inner>,
    action: Action,
    record: Option<ContainerState>,
    seen: Seen,
) -> Result<()> {
    let Action { id, what, .. } = action;
    match (what, record) {
        (What::Keep, Some(state)) => {
            let busy = seen.evidence();
            if busy.directory || busy.cgroup {
                clear_run(engine, &state).await?;
            }
            know(engine, state, None);
            Ok(())
        }
        (What::Adopt(phase), Some(state)) => adopt(engine, state, phase, seen.live).await,
        (What::End(exit), Some(state)) => end(engine, state, exit, seen.live).await,
        (What::KillAndEnd(exit), Some(state)) => {
            clear_run(engine, &state).await?;
            end(engine, state, exit, None).await
        }
        (What::Remove, Some(state)) => remove(engine, state, seen.live).await,
        (_, None) | (What::Discard, Some(_)) => discard(engine, &id, seen.live).await,
    }
}

/// What is left of a run that is over: processes, cgroup, directory.
async fn clear_run(engine: &Arc<Inner>, state: &ContainerState) -> Result<()> {
    let directory = engine.exec_directory(state.id.as_str());
    let cgroup = engine.cgroup_path(&state.spec.host.cgroup_parent, state.id.as_str());
    let work = move || {
        super::kill_rest(&directory, &cgroup);
        driver::unmount_shm(&directory);
        crate::volumes::remove_tree(&directory)
    };
    engine.blocking(work).await?
}

async fn adopt(
    engine: &Arc<Inner>,
    mut state: ContainerState,
    phase: Phase,
    live: Option<Live>,
) -> Result<()> {
    if let Some(endpoint) = state.endpoint.clone() {
        let networks = engine.networks.clone();
        let adopted = engine
            .blocking(move || networks.adopt(&endpoint.endpoint_id, endpoint.address))
            .await?;
        if let Err(error) = adopted {
            tracing::error!(container = state.id.short(), %error, "an endpoint is not adopted");
        }
    }
    let changed = state.phase != phase;
    state.phase = phase;
    let (seed, started) = seed(engine, state, live);
    if changed {
        let inner = Arc::clone(engine);
        let seed = engine
            .blocking(move || {
                driver::put_record_now(&inner, &seed)?;
                Ok::<_, crate::EngineError>(seed)
            })
            .await??;
        driver::spawn(engine, seed);
        engine.tell(&started, "start", &[]);
        return Ok(());
    }
    driver::spawn(engine, seed);
    Ok(())
}

async fn end(
    engine: &Arc<Inner>,
    mut state: ContainerState,
    exit: Exit,
    live: Option<Live>,
) -> Result<()> {
    let code = exit.code.to_string();
    state.phase = Phase::Exited(exit);
    state.endpoint = None;
    let (seed, ended) = seed(engine, state, None);
    let inner = Arc::clone(engine);
    let seed = engine
        .blocking(move || {
            driver::put_record_now(&inner, &seed)?;
            Ok::<_, crate::EngineError>(seed)
        })
        .await??;
    release(live).await;
    let directory = engine.exec_directory(ended.id.as_str());
    let swept = move || {
        driver::unmount_shm(&directory);
        crate::volumes::remove_tree(&directory)
    };
    engine.blocking(swept).await??;
    driver::spawn(engine, seed);
    engine.tell(&ended, "die", &[("exitCode", &code)]);
    Ok(())
}

async fn remove(engine: &Arc<Inner>, state: ContainerState, live: Option<Live>) -> Result<()> {
    kill(live).await;
    clear_run(engine, &state).await?;
    let takes_volumes = state.removes_volumes || state.spec.host.auto_remove;
    let volumes = if takes_volumes { state.anonymous_volumes.clone() } else { Vec::new() };
    let id = state.id.clone();
    let removed = driver::remove_traces(engine, id.as_str(), volumes, failpoint::RM).await;
    let (seed, shown) = seed(engine, state, None);
    match removed {
        Ok(()) => {
            engine.registry.remove(&id);
            engine.tell(&shown, "destroy", &[]);
            Ok(())
        }
        Err(error) => {
            // It stays what it was; the next removal or start tries again.
            driver::spawn(engine, seed);
            Err(error)
        }
    }
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

fn know(engine: &Arc<Inner>, state: ContainerState, live: Option<Live>) {
    let (seed, _) = seed(engine, state, live);
    driver::spawn(engine, seed);
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
