//! What is there of each container: its supervisor, its files, its cgroup.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ferry_supervisor::files;
use ferry_sys::cgroup::Layout;
use futures_util::StreamExt as _;

use super::ids_in;
use super::plan::{Ended, Evidence, Supervised};
use crate::driver::{self, Live};
use crate::error::Result;
use crate::inner::{Inner, store_error};
use crate::limits::RECOVERIES;
use crate::phase::Run;
use crate::records::ContainerState;
use crate::snapshot::EndpointView;
use crate::supervised::{self, SupervisorError};

/// What was found of one container.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The connection to its supervisor.
    pub(super) live: Option<Live>,
    /// The endpoint of this run, as its directory says.
    pub(super) endpoint: Option<EndpointView>,
    evidence: Evidence,
}

impl Seen {
    pub(super) fn evidence(&self) -> Evidence {
        self.evidence.clone()
    }
}

/// Looks at everything that a container may have left.
pub(super) async fn observe(
    engine: &Arc<Inner>,
    records: &BTreeMap<String, ContainerState>,
    foreign: &BTreeSet<String>,
) -> Result<BTreeMap<String, Seen>> {
    let inner = Arc::clone(engine);
    let traces = engine.blocking(move || traces(&inner)).await??;
    let Traces { directories, cgroups, filesystems } = traces;
    let ids: BTreeSet<String> = directories
        .iter()
        .chain(&cgroups)
        .chain(&filesystems)
        .chain(records.keys())
        .filter(|id| !foreign.contains(*id))
        .cloned()
        .collect();
    let look = |id: String| {
        let has_directory = directories.contains(&id);
        let evidence = Evidence {
            supervisor: None,
            exit: None,
            directory: has_directory,
            cgroup: cgroups.contains(&id) || own_cgroup_exists(engine, records.get(&id)),
            filesystem: filesystems.contains(&id),
        };
        async move {
            let mut seen = Seen { live: None, endpoint: None, evidence };
            if has_directory {
                look_into(engine, &id, &mut seen).await;
            }
            (id, seen)
        }
    };
    let seen = futures_util::stream::iter(ids).map(look).buffer_unordered(RECOVERIES);
    Ok(seen.collect().await)
}

struct Traces {
    directories: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    filesystems: BTreeSet<String>,
}

fn traces(engine: &Inner) -> Result<Traces> {
    let directories = ids_in(&engine.exec_root.join("containers"));
    let mut cgroups = BTreeSet::new();
    if let Ok(layout) = Layout::detect() {
        for mounted in &layout.mounted {
            let parent = engine.cgroup_parent.trim_start_matches('/');
            cgroups.extend(ids_in(&mounted.mountpoint.join(parent)));
        }
    }
    let filesystems = engine.store.container_fs_ids().map_err(store_error)?.into_iter().collect();
    Ok(Traces { directories, cgroups, filesystems })
}

/// A container under a parent of its own.
fn own_cgroup_exists(engine: &Inner, state: Option<&ContainerState>) -> bool {
    let Some(state) = state.filter(|state| !state.spec.host.cgroup_parent.is_empty()) else {
        return false;
    };
    let path = engine.cgroup_path(&state.spec.host.cgroup_parent, state.id.as_str());
    let Ok(layout) = Layout::detect() else { return false };
    let relative = path.trim_start_matches('/');
    layout.mounted.iter().any(|mounted| mounted.mountpoint.join(relative).exists())
}

async fn look_into(engine: &Arc<Inner>, id: &str, seen: &mut Seen) {
    let directory = engine.exec_directory(id);
    match engine.pool.launcher().reconnect(&directory).await {
        Ok((supervisor, events, state)) => {
            seen.evidence.supervisor = Some(Supervised {
                run: Run {
                    pid: u32::try_from(state.pid).unwrap_or_default(),
                    started_at: driver::time(&state.started_at),
                },
                paused: state.paused,
                exit: state.exit.as_ref().map(ended),
            });
            seen.live = Some(Live { supervisor, events });
        }
        Err(SupervisorError::Absent(_) | SupervisorError::Lost) => {}
        Err(error) => tracing::warn!(container = id, %error, "a supervisor does not answer"),
    }
    // Order: after the supervisor, which writes the file before it stops to answer.
    let read = move || (read_exit(&directory), driver::read_endpoint(&directory));
    let (exit, endpoint) = engine.blocking(read).await.unwrap_or_default();
    seen.evidence.exit = exit.as_ref().map(ended);
    seen.endpoint = endpoint;
}

fn ended(exit: &supervised::Exit) -> Ended {
    Ended {
        code: exit.code,
        oom_killed: exit.oom_killed,
        finished_at: driver::time(&exit.finished_at),
    }
}

/// How a container ended, as its exit file says.
pub(crate) fn read_exit(directory: &Path) -> Option<supervised::Exit> {
    let bytes = fs::read(directory.join(files::EXIT)).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(exit) => Some(exit),
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "an exit file is malformed");
            None
        }
    }
}

/// Ends what is left of a container whose supervisor has died: all that is in its cgroup, and its
/// init if that is found elsewhere.
pub(crate) fn kill_rest(directory: &Path, cgroup: &str) {
    driver::clear_cgroup(cgroup);
    let Ok(bytes) = fs::read(directory.join(files::STATE)) else { return };
    let Ok(state) = serde_json::from_slice::<files::State>(&bytes) else { return };
    if !state.cgroup.is_empty() && state.cgroup != cgroup {
        driver::clear_cgroup(&state.cgroup);
    }
    // The number may be another's by now; the time of its making is not.
    let is_init = files::start_ticks(state.pid) == Some(state.start_ticks);
    if let Some(pid) = rustix::process::Pid::from_raw(state.pid).filter(|_| is_init)
        && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::KILL)
    {
        tracing::debug!(%error, "the init had ended already");
    }
}
