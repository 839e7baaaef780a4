//! Writing a container's record.

use std::sync::Arc;

use super::Seed;
use crate::error::{EngineError, Result};
use crate::inner::Inner;
use crate::records::{self, CONTAINERS, ContainerState, VERSION};
use crate::snapshot::ContainerSnapshot;

/// Writes a container's record.
///
/// # Errors
/// When it is too large or the database can not be written.
pub(super) async fn put(engine: &Arc<Inner>, state: ContainerState) -> Result<()> {
    let store = engine.store.clone();
    let write = move || write_record(&store, &state);
    engine.blocking(write).await?
}

/// Writes the record of a container that nobody drives yet; on a thread that may block.
///
/// # Errors
/// As [`put`].
pub(crate) fn put_record_now(engine: &Inner, seed: &Seed) -> Result<()> {
    let state = durable(&seed.state, &seed.anonymous_volumes, seed.removes_volumes);
    write_record(&engine.store, &state)
}

fn write_record(store: &ferry_store::Store, state: &ContainerState) -> Result<()> {
    let body = records::container_body(state);
    if body.len() > crate::limits::RECORD_BYTES {
        return Err(EngineError::invalid("the container's configuration is too large"));
    }
    let put = store.records().put(CONTAINERS, state.id.as_str(), VERSION, &body);
    put.map_err(crate::inner::store_error)
}

/// What of a container must outlive the engine.
pub(super) fn durable(
    state: &ContainerSnapshot,
    anonymous_volumes: &[String],
    removes_volumes: bool,
) -> ContainerState {
    ContainerState {
        id: state.id.clone(),
        name: state.name.clone(),
        created: state.created,
        spec: (*state.spec).clone(),
        image_id: state.image_id.clone(),
        platform_os: state.platform_os.clone(),
        phase: state.phase.clone(),
        mounts: state.mounts.to_vec(),
        anonymous_volumes: anonymous_volumes.to_vec(),
        endpoint: state.network.clone(),
        restart_count: state.restart_count,
        removes_volumes,
    }
}
