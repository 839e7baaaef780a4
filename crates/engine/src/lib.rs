//! Containers, execs, volumes, events, records and recovery: the domain.
//!
//! [`Engine`] is a cheap handle to everything. Each container has one driver task, which owns its
//! [`Phase`] and carries out what [`Phase::step`] decides; readers see a published
//! [`ContainerSnapshot`]. What a container shall be is a [`ContainerSpec`]; what a runtime makes of
//! it is a pure function of the spec, the image and the host (`oci_spec`).
//!
//! The engine knows no HTTP, no JSON of the API and no status code; Docker's sentences it knows,
//! since only it knows the names in them.
#![forbid(unsafe_code)]

pub use engine::{AttachTicket, Engine, EngineConfig, EventStream, ExecTicket, LogStream, Wait};
pub use error::{EngineError, ErrorKind, Result};
pub use event::{Event, EventKind, EventQuery};
pub use id::{ContainerId, ExecId, Id};
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
pub mod id;
pub mod phase;
pub mod request;
pub mod snapshot;
pub mod spec;
pub mod supervised;

mod capabilities;
pub mod failpoint;
pub mod host;
mod limits;
mod names;
mod oci_spec;
mod records;
mod signal;
mod users;
