//! Containers, execs, volumes, events, records and recovery: the domain.
//!
//! [`Engine`] is a cheap handle to everything. Each container has one driver task, which owns its
//! [`Phase`] and carries out what [`Phase::step`] decides; readers see a published
//! [`ContainerSnapshot`]. What a container shall be is a [`spec::ContainerSpec`]; what a runtime makes of
//! it is a pure function of the spec, the image and the host (`oci_spec`).
//!
//! The engine knows no HTTP, no JSON of the API and no status code; Docker's sentences it knows,
//! since only it knows the names in them.
#![forbid(unsafe_code)]

pub use container::Wait;
pub use engine::{AttachTicket, Engine, EngineConfig, ExecTicket, kept_network_id};
pub use error::{EngineError, ErrorKind, Result};
pub use event::{Event, EventKind, EventQuery, EventStream};
pub use host::{CgroupVersion, HostFacts, LimitSupport};
pub use id::{ContainerId, ExecId, Id};
pub use images::commit::CommitRequest;
pub use images::maintenance::{RepairOutcome, ScrubEvent, ScrubOutcome, ScrubRequest};
pub use images::pull::PullRequest;
pub use images::push::PushRequest;
pub use images::registries::TransferLimits;
pub use images::transfer::{Events, LayerState, TransferEvent};
pub use limits::TRANSFER_EVENTS;
pub use phase::{Exit, Failure, Phase, Refused, Resting, Run};
pub use request::{
    AttachRequest, ClientConnection, ContainerSizes, Counts, CreateRequest, Created,
    ExecStartRequest, ListQuery, LogsRequest, ProcessTable, RemoveRequest, StopRequest, Volume,
    VolumeRequest, WaitCondition, WaitOutcome,
};
pub use snapshot::{
    ContainerFiles, ContainerSnapshot, EndpointView, ExecSnapshot, ExecState, MountPoint,
};

pub mod engine;
pub mod error;
pub mod event;
pub mod failpoint;
pub mod id;
pub mod logs;
pub mod phase;
pub mod request;
pub mod snapshot;
pub mod spec;
pub mod supervised;

mod capabilities;
mod container;
mod create;
mod detach_keys;
mod driver;
mod execs;
mod host;
mod host_devices;
mod images;
mod init_program;
mod inner;
mod limits;
mod list;
mod names;
mod oci_spec;
mod pool;
mod records;
mod recovery;
mod registry;
mod signal;
mod top;
mod users;
mod volumes;

/// The id of one of the networks that are not ours: made of its name, so that it is always the same.
#[must_use]
pub fn network_id_of(name: &str) -> String {
    ferry_oci::digest::Digest::sha256_of(name.as_bytes()).hex().to_owned()
}
