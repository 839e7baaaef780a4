//! The only way to start: recover what an earlier engine left.
//!
//! ```text
//! load records ─> observe supervisors, exit files, directories, cgroups ─> plan ─> execute ─> ready
//! ```
//!
//! The plan is a pure function of records and observations, each action with its cause; actions may
//! be repeated and may be interrupted midway. A plan after a perfect execution only keeps and adopts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Doing as _, EngineError, Result};
use crate::id::ContainerId;
use crate::inner::Inner;
use crate::records::{self, CONTAINERS, ContainerState, RecordError};

pub(crate) use observe::{kill_rest, read_exit};

mod execute;
mod observe;
mod plan;

/// Recovers all containers.
///
/// # Errors
/// When records can not be read, or were written by a newer engine.
pub(crate) async fn recover(engine: &Arc<Inner>) -> Result<()> {
    let inner = Arc::clone(engine);
    let loaded = engine.blocking(move || load(&inner)).await??;
    let Loaded { records, foreign } = loaded;
    let observed = observe::observe(engine, &records, &foreign).await?;
    let evidence = observed.iter().map(|(id, seen)| (id.clone(), seen.evidence())).collect();
    let known = records.iter().map(|(id, state)| (id.clone(), plan::Record::of(state))).collect();
    let actions = plan::plan(&known, &evidence);
    for action in &actions {
        if !matches!(action.what, plan::What::Keep) {
            tracing::info!(container = %action.id, what = ?action.what, cause = action.cause, "recovery");
        }
    }
    engine.failpoint.pass("recovery.planned");
    execute::execute(engine, records, observed, actions).await?;
    engine.failpoint.pass("recovery.executed");
    Ok(())
}

struct Loaded {
    records: BTreeMap<String, ContainerState>,
    /// Records that are not understood: they and what belongs to them are left alone.
    foreign: BTreeSet<String>,
}

fn load(engine: &Inner) -> Result<Loaded> {
    let all =
        engine.store.records().list(CONTAINERS).doing(|| "reading the containers' records")?;
    let mut loaded = Loaded { records: BTreeMap::new(), foreign: BTreeSet::new() };
    for record in all {
        match records::container(&record.id, record.version, &record.body) {
            Ok(state) => {
                loaded.records.insert(record.id, state);
            }
            Err(error @ RecordError::Newer { .. }) => {
                return Err(EngineError::internal("reading the containers' records", error));
            }
            Err(error) => {
                tracing::warn!(container = record.id, %error, "a record is set aside");
                loaded.foreign.insert(record.id);
            }
        }
    }
    for state in loaded.records.values() {
        // One that is being removed may have lost its volumes already.
        if !matches!(state.phase, crate::Phase::Removing { .. }) {
            for volume in &state.anonymous_volumes {
                engine.volumes.adopt(volume)?;
            }
        }
    }
    engine.volumes.adopt_unrecorded();
    Ok(loaded)
}

/// Names of directories that are containers' ids.
fn ids_in(directory: &std::path::Path) -> BTreeSet<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return BTreeSet::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| ContainerId::parse(name).is_some())
        .collect()
}
