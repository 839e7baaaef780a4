//! The Docker Engine API on the wire: types, framings, endpoints.
//!
//! Field names, order, nullability and oddities are those of Docker 28.5 (API 1.51); the types of
//! one resource stand in one file. What an older version of the API did otherwise is not known
//! here but in the daemon's compatibility files. Both the daemon and the client use these types;
//! nothing else does, and this crate knows nothing of what the fields mean to the engine.
//!
//! Conventions, which are Go's: a nullable slice or map is an `Option` that is written as `null`;
//! a field marked *omitempty* is not written when it is empty; every field may be absent or `null`
//! when read; maps are written in the order of their keys; times are RFC 3339 strings with up to
//! nine fractional digits.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod go;

pub mod container;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod exec;
pub mod filters;
pub mod host_config;
pub mod image;
pub mod maintenance;
pub mod mount;
pub mod network;
pub mod progress;
pub mod query;
pub mod registry;
pub mod stream;
pub mod system;
pub mod volume;

pub use crate::{
    container::{
        ContainerConfig, ContainerCreateRequest, ContainerCreateResponse, ContainerInspect,
        ContainerState, ContainerSummary, HealthConfig, TopResponse, WaitResponse,
    },
    endpoint::{ENDPOINTS, Endpoint, Method, Operation},
    error::ErrorBody,
    event::{Actor, EventMessage},
    exec::{ExecCreateRequest, ExecInspect, ExecStartRequest},
    filters::Filters,
    go::{Empty, StrSlice},
    host_config::{HostConfig, LogConfig, RestartPolicy, Ulimit},
    image::{
        DeleteResponseItem, HistoryItem, IdResponse, ImageInspect, ImageSummary, ImagesPruneReport,
        ManifestSummary,
    },
    maintenance::{ConvertReport, Damage, ScrubFinding, ScrubReport},
    mount::{Mount, MountPoint},
    network::{EndpointSettings, NetworkInspect, NetworkSettings, NetworkingConfig},
    progress::ProgressMessage,
    query::Query,
    registry::{AuthConfig, AuthResponse, DistributionInspect, PushResult},
    system::{DiskUsage, Ping, SystemInfo, SystemVersion},
    volume::{Volume, VolumeCreateRequest, VolumeListResponse},
};

/// The newest version of the API that these types describe.
pub const API_VERSION: &str = "1.51";
/// The oldest version of the API that is served.
pub const MIN_API_VERSION: &str = "1.24";
/// The media type of output that carries frames (see [`stream`]).
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";
/// The media type of a stream of bytes as they came, of a terminal above all.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";

#[cfg(test)]
mod golden;
