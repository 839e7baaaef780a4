//! What is on disk of a container, a volume and the engine itself.
//!
//! Records are types of their own, so that the domain can change without changing what was written.
//! Each has a version; [`container`] upgrades older ones step by step, and refuses newer ones.
//!
//! ```text
//! record (JSON, version n) --upgrade--> version n+1 ... --> latest --from_record--> domain
//! domain --to_record--> latest --> JSON
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::id::ContainerId;
use crate::phase::{Exit, Failure, Phase, Resting, Run};
use crate::snapshot::{EndpointView, MountPoint};
use crate::spec::{ContainerSpec, MountKind};

pub(crate) use spec::SpecRecord;

mod host;
mod mounts;
mod resources;
mod security;
mod spec;

/// Kind of the containers' records.
pub(crate) const CONTAINERS: &str = "container";
/// Kind of the volumes' records.
pub(crate) const VOLUMES: &str = "volume";
/// Kind of the engine's own records.
pub(crate) const ENGINE: &str = "engine";
/// The version that is written.
pub(crate) const VERSION: u32 = 1;

/// A record that can not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// It was written by a newer engine.
    #[error("record {id} has version {found}; this engine knows up to {VERSION}")]
    Newer {
        /// Whose.
        id: String,
        /// Its version.
        found: u32,
    },
    /// It is not what it should be.
    #[error("record {id} is malformed")]
    Malformed {
        /// Whose.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Something in it makes no sense.
    #[error("record {id} makes no sense: {what}")]
    Senseless {
        /// Whose.
        id: String,
        /// What.
        what: String,
    },
}

/// All that must outlive the engine of one container.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContainerState {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) spec: ContainerSpec,
    pub(crate) image_id: String,
    pub(crate) platform_os: String,
    pub(crate) phase: Phase,
    pub(crate) mounts: Vec<MountPoint>,
    pub(crate) anonymous_volumes: Vec<String>,
    pub(crate) endpoint: Option<EndpointView>,
    pub(crate) restart_count: u32,
    /// The removal that has begun takes its anonymous volumes too.
    pub(crate) removes_volumes: bool,
}

/// The first form of a container's record.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    id: String,
    name: String,
    created: Timestamp,
    image_id: String,
    platform_os: String,
    phase: PhaseRecord,
    spec: SpecRecord,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<MountPointRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    anonymous_volumes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<EndpointRecord>,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    removes_volumes: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
enum PhaseRecord {
    Created {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureRecord>,
    },
    Running(RunRecord),
    Paused(RunRecord),
    Exited(ExitRecord),
    Removing {
        before: RestingRecord,
    },
    Dead {
        reason: String,
        before: RestingRecord,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "lowercase")]
enum RestingRecord {
    Created {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureRecord>,
    },
    Exited(ExitRecord),
}

#[derive(Debug, Serialize, Deserialize)]
struct FailureRecord {
    exit_code: i32,
    message: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct RunRecord {
    pid: u32,
    started_at: Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct ExitRecord {
    code: i32,
    oom_killed: bool,
    error: String,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MountPointRecord {
    kind: String,
    name: String,
    source: String,
    destination: String,
    driver: String,
    mode: String,
    writable: bool,
    propagation: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndpointRecord {
    id: String,
    address: std::net::Ipv4Addr,
    prefix_len: u8,
    gateway: std::net::Ipv4Addr,
    mac: [u8; 6],
}

/// Reads a container's record of any version known.
pub(crate) fn container(
    id: &str,
    version: u32,
    body: &[u8],
) -> Result<ContainerState, RecordError> {
    // There is one version so far; the next adds `upgrade_1(record) -> record` here.
    if version != VERSION {
        return Err(RecordError::Newer { id: id.to_owned(), found: version });
    }
    let record: ContainerRecord = serde_json::from_slice(body)
        .map_err(|source| RecordError::Malformed { id: id.to_owned(), source })?;
    record.into_domain().map_err(|what| RecordError::Senseless { id: id.to_owned(), what })
}

/// Writes a container's record.
pub(crate) fn container_body(state: &ContainerState) -> Vec<u8> {
    serde_json::to_vec(&ContainerRecord::from_domain(state))
        .expect("a record has only text keys and plain values, which are always JSON")
}

/// Reads an endpoint that was written by [`endpoint_body`].
pub(crate) fn endpoint(body: &[u8]) -> Result<EndpointView, serde_json::Error> {
    serde_json::from_slice(body).map(EndpointRecord::into_domain)
}

/// Writes an endpoint by itself.
pub(crate) fn endpoint_body(endpoint: &EndpointView) -> Vec<u8> {
    serde_json::to_vec(&EndpointRecord::from_domain(endpoint))
        .expect("an endpoint has only text keys and plain values, which are always JSON")
}

impl ContainerRecord {
    fn from_domain(state: &ContainerState) -> Self {
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
        Self {
            id: id.as_str().to_owned(),
            name: name.clone(),
            created: *created,
            image_id: image_id.clone(),
            platform_os: platform_os.clone(),
            phase: PhaseRecord::from_domain(phase),
            spec: SpecRecord::from_domain(spec),
            mounts: mounts.iter().map(MountPointRecord::from_domain).collect(),
            anonymous_volumes: anonymous_volumes.clone(),
            endpoint: endpoint.as_ref().map(EndpointRecord::from_domain),
            restart_count: *restart_count,
            removes_volumes: *removes_volumes,
        }
    }

    fn into_domain(self) -> Result<ContainerState, String> {
        let Self {
            id,
            name,
            created,
            image_id,
            platform_os,
            phase,
            spec,
            mounts,
            anonymous_volumes,
            endpoint,
            restart_count,
            removes_volumes,
        } = self;
        Ok(ContainerState {
            id: ContainerId::parse(&id).ok_or_else(|| format!("id {id:?}"))?,
            name,
            created,
            spec: spec.into_domain()?,
            image_id,
            platform_os,
            phase: phase.into_domain(),
            mounts: mounts
                .into_iter()
                .map(MountPointRecord::into_domain)
                .collect::<Result<_, _>>()?,
            anonymous_volumes,
            endpoint: endpoint.map(EndpointRecord::into_domain),
            restart_count,
            removes_volumes,
        })
    }
}

impl PhaseRecord {
    /// A start that is under way is not recorded; what it leaves behind is found by looking.
    fn from_domain(phase: &Phase) -> Self {
        match phase {
            Phase::Created { failure } => {
                Self::Created { failure: failure.as_ref().map(FailureRecord::from_domain) }
            }
            Phase::Starting { before } => match RestingRecord::from_domain(before) {
                RestingRecord::Created { failure } => Self::Created { failure },
                RestingRecord::Exited(exit) => Self::Exited(exit),
            },
            Phase::Running(run) => Self::Running(RunRecord::from_domain(run)),
            Phase::Paused(run) => Self::Paused(RunRecord::from_domain(run)),
            Phase::Exited(exit) => Self::Exited(ExitRecord::from_domain(exit)),
            Phase::Removing { before } => {
                Self::Removing { before: RestingRecord::from_domain(before) }
            }
            Phase::Dead { reason, before } => {
                Self::Dead { reason: reason.clone(), before: RestingRecord::from_domain(before) }
            }
        }
    }

    fn into_domain(self) -> Phase {
        match self {
            Self::Created { failure } => {
                Phase::Created { failure: failure.map(FailureRecord::into_domain) }
            }
            Self::Running(run) => Phase::Running(run.into_domain()),
            Self::Paused(run) => Phase::Paused(run.into_domain()),
            Self::Exited(exit) => Phase::Exited(exit.into_domain()),
            Self::Removing { before } => Phase::Removing { before: before.into_domain() },
            Self::Dead { reason, before } => Phase::Dead { reason, before: before.into_domain() },
        }
    }
}

impl RestingRecord {
    fn from_domain(resting: &Resting) -> Self {
        match resting {
            Resting::Created { failure } => {
                Self::Created { failure: failure.as_ref().map(FailureRecord::from_domain) }
            }
            Resting::Exited(exit) => Self::Exited(ExitRecord::from_domain(exit)),
        }
    }

    fn into_domain(self) -> Resting {
        match self {
            Self::Created { failure } => {
                Resting::Created { failure: failure.map(FailureRecord::into_domain) }
            }
            Self::Exited(exit) => Resting::Exited(exit.into_domain()),
        }
    }
}

impl FailureRecord {
    fn from_domain(failure: &Failure) -> Self {
        let Failure { exit_code, message } = failure;
        Self { exit_code: *exit_code, message: message.clone() }
    }

    fn into_domain(self) -> Failure {
        let Self { exit_code, message } = self;
        Failure { exit_code, message }
    }
}

impl RunRecord {
    fn from_domain(run: &Run) -> Self {
        let Run { pid, started_at } = run;
        Self { pid: *pid, started_at: *started_at }
    }

    fn into_domain(self) -> Run {
        let Self { pid, started_at } = self;
        Run { pid, started_at }
    }
}

impl ExitRecord {
    fn from_domain(exit: &Exit) -> Self {
        let Exit { code, oom_killed, error, started_at, finished_at } = exit;
        Self {
            code: *code,
            oom_killed: *oom_killed,
            error: error.clone(),
            started_at: *started_at,
            finished_at: *finished_at,
        }
    }

    fn into_domain(self) -> Exit {
        let Self { code, oom_killed, error, started_at, finished_at } = self;
        Exit { code, oom_killed, error, started_at, finished_at }
    }
}

impl MountPointRecord {
    fn from_domain(mount: &MountPoint) -> Self {
        let MountPoint { kind, name, source, destination, driver, mode, writable, propagation } =
            mount;
        Self {
            kind: kind.name().to_owned(),
            name: name.clone(),
            source: source.clone(),
            destination: destination.clone(),
            driver: driver.clone(),
            mode: mode.clone(),
            writable: *writable,
            propagation: propagation.clone(),
        }
    }

    fn into_domain(self) -> Result<MountPoint, String> {
        let Self { kind, name, source, destination, driver, mode, writable, propagation } = self;
        let kind = match kind.as_str() {
            "bind" => MountKind::Bind,
            "volume" => MountKind::Volume,
            "tmpfs" => MountKind::Tmpfs,
            _ => return Err(format!("mount of kind {kind:?}")),
        };
        Ok(MountPoint { kind, name, source, destination, driver, mode, writable, propagation })
    }
}

impl EndpointRecord {
    fn from_domain(endpoint: &EndpointView) -> Self {
        let EndpointView { endpoint_id, address, prefix_len, gateway, mac } = endpoint;
        Self {
            id: endpoint_id.clone(),
            address: *address,
            prefix_len: *prefix_len,
            gateway: *gateway,
            mac: *mac,
        }
    }

    fn into_domain(self) -> EndpointView {
        let Self { id, address, prefix_len, gateway, mac } = self;
        EndpointView { endpoint_id: id, address, prefix_len, gateway, mac }
    }
}

/// A volume's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    #[serde(default)]
    pub(crate) labels: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) anonymous: bool,
}

#[cfg(test)]
mod tests;
