//! The engine: one cheap handle to everything.
//!
//! Reading (`list`, `inspect`, `exec_inspect`, `counts`) never waits for a container's driver.
//! What changes something runs in a task of its own, so that a caller who goes away never leaves
//! a thing half-made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{EngineError, Result};
use crate::event::{Event, EventQuery};
use crate::id::ExecId;
use crate::request::{
    AttachRequest, ClientConnection, ContainerSizes, Counts, CreateRequest, Created,
    ExecStartRequest, ListQuery, LogsRequest, ProcessTable, RemoveRequest, StopRequest, Volume,
    VolumeRequest, WaitCondition, WaitOutcome,
};
use crate::snapshot::{ContainerSnapshot, ExecSnapshot};
use crate::spec::ExecSpec;

/// What an engine is made of.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where things are kept.
    pub data_root: PathBuf,
    /// Where things of this boot are kept.
    pub exec_root: PathBuf,
    // To come: store: ferry_store::Store, networks: ferry_network::Networks.
    /// The supervisor's program.
    pub supervisor: PathBuf,
    /// The cgroup under which containers are, `/ferry`.
    pub cgroup_parent: String,
    /// Whether containers get a small init unless they say otherwise.
    pub init_by_default: bool,
    /// Name of the step at which the process kills itself, for tests.
    pub failpoint: Option<String>,
}

/// A handle to the engine.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
}

/// What a program prints, read from the log: chunks of a stream each, in order.
#[derive(Debug)]
pub struct LogStream {}

/// Leave to attach to a container.
#[derive(Debug)]
pub struct AttachTicket {}

impl AttachTicket {
    /// Whether the container has a terminal, so that its stream is raw and not multiplexed.
    pub fn tty(&self) -> bool {
        false
    }

    /// Hands the connection to the container's supervisor, or keeps it until the container starts.
    pub async fn connect(self, connection: ClientConnection) -> Result<()> {
        drop(connection);
        Err(EngineError::Unavailable("attach".into()))
    }
}

/// Leave to start an exec.
#[derive(Debug)]
pub struct ExecTicket {}

impl ExecTicket {
    /// Whether the exec has a terminal, so that its stream is raw and not multiplexed.
    pub fn tty(&self) -> bool {
        false
    }

    /// Starts the exec; with a connection unless it is detached. What fails after the connection was
    /// taken out of HTTP is also written to it, as Docker does.
    pub async fn start(self, connection: Option<ClientConnection>) -> Result<()> {
        drop(connection);
        Err(EngineError::Unavailable("exec".into()))
    }
}

/// A wait that has begun.
#[derive(Debug)]
pub struct Wait {}

impl Wait {
    /// What it ended with.
    pub async fn outcome(self) -> WaitOutcome {
        WaitOutcome::default()
    }
}

/// Events as they happen, those kept first.
#[derive(Debug)]
pub struct EventStream {}

impl EventStream {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        None
    }
}

impl Engine {
    /// Starts the engine: recovers what an earlier one left, then is ready.
    ///
    /// # Errors
    /// When records can not be read or the exec root not be made.
    pub async fn start(config: EngineConfig) -> Result<Self> {
        Ok(Self { inner: Arc::new(Inner { config }) })
    }

    // To come: store(), networks(), and load, import, tag, image_remove with the store's types.

    /// The engine's id, made at its first start.
    pub fn id(&self) -> &str {
        ""
    }

    /// Counts for `info`.
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Ends what the engine does, not its containers.
    pub async fn shutdown(&self) {}

    /// Creates a container: name reserved, image resolved, directories made, record written.
    ///
    /// # Errors
    /// `Invalid` (all faults at once), `NotFound` for the image, `Conflict` for the name.
    pub async fn create(&self, request: CreateRequest) -> Result<Created> {
        Err(EngineError::Unavailable("create".into()))
    }

    /// Starts a container, and answers when its program runs.
    ///
    /// # Errors
    /// `NotModified` when it runs; `Invalid` when its program is missing or can not be executed.
    pub async fn start_container(&self, reference: &str) -> Result<()> {
        Err(EngineError::Unavailable("start_container".into()))
    }

    /// Checks that a client may attach, before its connection is taken out of HTTP.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is paused or being removed; `Invalid` for bad detach keys.
    pub async fn prepare_attach(
        &self,
        reference: &str,
        request: AttachRequest,
    ) -> Result<AttachTicket> {
        Err(EngineError::Unavailable("prepare_attach".into()))
    }

    /// Begins to wait: what happens from this call on is not missed.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn wait(&self, reference: &str, condition: WaitCondition) -> Result<Wait> {
        Err(EngineError::Unavailable("wait".into()))
    }

    /// Asks a container to end, waits, and kills it.
    ///
    /// # Errors
    /// `NotModified` when it does not run.
    pub async fn stop(&self, reference: &str, request: StopRequest) -> Result<()> {
        Err(EngineError::Unavailable("stop".into()))
    }

    /// Sends a signal, KILL when there is none.
    ///
    /// # Errors
    /// `Conflict` when it does not run; `Invalid` for an unknown signal.
    pub async fn kill(&self, reference: &str, signal: Option<&str>) -> Result<()> {
        Err(EngineError::Unavailable("kill".into()))
    }

    /// Stops a container if it runs, and starts it.
    ///
    /// # Errors
    /// As `start_container`.
    pub async fn restart(&self, reference: &str, request: StopRequest) -> Result<()> {
        Err(EngineError::Unavailable("restart".into()))
    }

    /// Freezes all processes of a container.
    ///
    /// # Errors
    /// `Conflict` when it does not run or is frozen.
    pub async fn pause(&self, reference: &str) -> Result<()> {
        Err(EngineError::Unavailable("pause".into()))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// `Conflict` when it is not frozen.
    pub async fn unpause(&self, reference: &str) -> Result<()> {
        Err(EngineError::Unavailable("unpause".into()))
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// `Conflict` when the name is in use.
    pub async fn rename(&self, reference: &str, name: &str) -> Result<()> {
        Err(EngineError::Unavailable("rename".into()))
    }

    /// Removes a container.
    ///
    /// # Errors
    /// `Conflict` when it runs and is not forced.
    pub async fn remove(&self, reference: &str, request: RemoveRequest) -> Result<()> {
        Err(EngineError::Unavailable("remove".into()))
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn resize(&self, reference: &str, rows: u16, columns: u16) -> Result<()> {
        Err(EngineError::Unavailable("resize".into()))
    }

    /// Lists containers, the newest first.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter or value.
    pub fn list(&self, query: &ListQuery) -> Result<Vec<Arc<ContainerSnapshot>>> {
        Err(EngineError::Unavailable("list".into()))
    }

    /// Shows one container.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn inspect(&self, reference: &str) -> Result<Arc<ContainerSnapshot>> {
        Err(EngineError::Unavailable("inspect".into()))
    }

    /// Measures what a container takes on disk.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn sizes(&self, reference: &str) -> Result<ContainerSizes> {
        Err(EngineError::Unavailable("sizes".into()))
    }

    /// Opens the log.
    ///
    /// # Errors
    /// `NotFound`; `NotImplemented` when nothing was logged by its configuration.
    pub async fn logs(&self, reference: &str, request: LogsRequest) -> Result<LogStream> {
        Err(EngineError::Unavailable("logs".into()))
    }

    /// Lists a container's processes as `ps` would.
    ///
    /// # Errors
    /// `Conflict` when it does not run; `Invalid` for arguments that are not understood.
    pub async fn top(&self, reference: &str, arguments: &str) -> Result<ProcessTable> {
        Err(EngineError::Unavailable("top".into()))
    }

    /// Prepares a further process.
    ///
    /// # Errors
    /// `Conflict` when the container does not run or is paused.
    pub async fn exec_create(&self, reference: &str, spec: ExecSpec) -> Result<ExecId> {
        Err(EngineError::Unavailable("exec_create".into()))
    }

    /// Checks that an exec may start, before the client's connection is taken out of HTTP.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it has run or the container does not.
    pub async fn prepare_exec_start(
        &self,
        exec: &str,
        request: ExecStartRequest,
    ) -> Result<ExecTicket> {
        Err(EngineError::Unavailable("prepare_exec_start".into()))
    }

    /// Sets the size of an exec's terminal.
    ///
    /// # Errors
    /// `Conflict` when it does not run.
    pub async fn exec_resize(&self, exec: &str, rows: u16, columns: u16) -> Result<()> {
        Err(EngineError::Unavailable("exec_resize".into()))
    }

    /// Shows one exec.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn exec_inspect(&self, exec: &str) -> Result<ExecSnapshot> {
        Err(EngineError::Unavailable("exec_inspect".into()))
    }

    /// Begins to listen: what happens from this call on is not missed.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub fn events(&self, query: EventQuery) -> Result<EventStream> {
        Err(EngineError::Unavailable("events".into()))
    }

    /// Creates a volume, or shows the one that has the name.
    ///
    /// # Errors
    /// `Invalid` for the name, driver or options.
    pub async fn volume_create(&self, request: VolumeRequest) -> Result<Volume> {
        Err(EngineError::Unavailable("volume_create".into()))
    }

    /// Lists volumes by name.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub fn volumes(&self, filters: &BTreeMap<String, Vec<String>>) -> Result<Vec<Volume>> {
        Err(EngineError::Unavailable("volumes".into()))
    }

    /// Shows one volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        Err(EngineError::Unavailable("volume".into()))
    }

    /// Removes a volume; with `force`, one that is not there is no error.
    ///
    /// # Errors
    /// `Conflict` when a container uses it.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        Err(EngineError::Unavailable("volume_remove".into()))
    }
}
