//! Writing a container's record.

use std::path::Path;
use std::sync::Arc;

use ferry_sys::durable::{Survive, write as write_durably};
use tokio::time::Instant;

use super::{Driver, Seed};
use crate::error::{Doing as _, EngineError, Result};
use crate::inner::Inner;
use crate::limits::RECORD_RETRY;
use crate::phase::Phase;
use crate::records::{self, CONTAINERS, ContainerState, VERSION};
use crate::snapshot::{ContainerSnapshot, EndpointView};

/// The endpoint of this run, in the container's directory of this boot. It is written before there
/// is a process that uses it; the record follows when the program runs.
const ENDPOINT: &str = "endpoint.json";

impl Driver {
    /// Writes the record.
    ///
    /// # Errors
    /// When the database can not be written.
    pub(super) async fn record(&self) -> Result<()> {
        let state = durable(&self.state, &self.anonymous_volumes, self.removes_volumes);
        put(&self.engine, state).await
    }

    /// A change that has happened is told even when it can not be written: recovery finds it.
    pub(super) async fn record_and_publish(&mut self) {
        self.unrecorded = match self.record().await {
            Ok(()) => None,
            Err(error) => {
                tracing::error!(container = self.id().short(), %error, "a change is not recorded");
                Some(later())
            }
        };
        self.publish();
    }

    /// A change could not be written some time ago.
    pub(super) async fn record_again(&mut self) {
        if let Err(error) = self.record().await {
            tracing::debug!(container = self.id().short(), %error, "a change is still not recorded");
            self.unrecorded = Some(later());
            return;
        }
        self.unrecorded = None;
        tracing::info!(container = self.id().short(), "a change is recorded at last");
        // The exit file has served.
        if matches!(self.state.phase, Phase::Created { .. } | Phase::Exited(_)) {
            self.remove_exec_directory().await;
        }
    }
}

/// When to try again to write a record.
pub(super) fn later() -> Instant {
    Instant::now() + RECORD_RETRY
}

/// Keeps a container's endpoint where the next engine finds it; on a thread that may block.
///
/// # Errors
/// When the file can not be written.
pub(super) fn write_endpoint(directory: &Path, endpoint: &EndpointView) -> Result<()> {
    let body = records::endpoint_body(endpoint);
    write_durably(&directory.join(ENDPOINT), &body, 0o600, Survive::Processes)
        .doing(|| "writing the container's endpoint")
}

/// The endpoint of the run whose directory this is.
pub(crate) fn read_endpoint(directory: &Path) -> Option<EndpointView> {
    let bytes = std::fs::read(directory.join(ENDPOINT)).ok()?;
    match records::endpoint(&bytes) {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "an endpoint is malformed");
            None
        }
    }
}

/// Writes a container's record.
///
/// # Errors
/// When it is too large or the database can not be written.
async fn put(engine: &Arc<Inner>, state: ContainerState) -> Result<()> {
    let store = engine.store.clone();
    let write = move || write_record(&store, &state);
    engine.blocking(write).await?
}

/// Writes the record of a container that nobody drives yet.
///
/// # Errors
/// As [`put`].
pub(crate) async fn put_record(engine: &Arc<Inner>, seed: &Seed) -> Result<()> {
    put(engine, durable(&seed.state, &seed.anonymous_volumes, seed.removes_volumes)).await
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
fn durable(
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
