//! The engine: one cheap handle to everything.
//!
//! Reading (`list`, `inspect`, `exec_inspect`, `counts`) never waits for a container's driver.
//! What changes something runs in a task of its own, so that a caller who goes away never leaves
//! a thing half-made.

use std::path::PathBuf;
use std::sync::Arc;

use ferry_distribution::RegistryConfig;
use ferry_network::Networks;
use ferry_store::Store;
use ferry_sys::open_files::OpenFiles;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Doing as _, EngineError, Result};
use crate::event::{EventQuery, EventStream, Hub};
use crate::execs::Execs;
use crate::failpoint::Failpoint;
use crate::host::HostFacts;
use crate::images::registries::{Registries, TransferLimits};
use crate::init_program::InitProgram;
use crate::inner::Inner;
use crate::limits::{ARCHIVES, BLOCKING_CALLS, DELETIONS, SHUTDOWN_DEADLINE};
use crate::logs::Directories;
use crate::pool::SupervisorPool;
use crate::records::{ENGINE, VERSION};
use crate::registry::Registry;
use crate::request::Counts;
use crate::snapshot::ContainerSnapshot;
use crate::supervised::Launcher;
use crate::volumes::Volumes;

pub use attach::AttachTicket;
pub use exec::ExecTicket;

mod attach;
mod containers;
mod exec;
mod images;
mod volumes;

/// What an engine is made of.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where things of this boot are kept.
    pub exec_root: PathBuf,
    /// Images, root file systems and records.
    pub store: Store,
    /// The bridge; opened, but not yet told that its recovery is done.
    pub networks: Networks,
    /// The supervisor's program.
    pub supervisor: PathBuf,
    /// The cgroup under which containers are, `/ferry`.
    pub cgroup_parent: String,
    /// Whether containers get a small init unless they say otherwise.
    pub init_by_default: bool,
    /// How many descriptors containers may have unless they say otherwise; as many as this process
    /// without.
    pub open_files: Option<OpenFiles>,
    /// How registries are reached.
    pub registries: RegistryConfig,
    /// How many layers go over the network at once.
    pub transfers: TransferLimits,
    /// Name of the step at which the process kills itself, for tests; see [`crate::failpoint`].
    pub failpoint: Option<String>,
}

/// A handle to the engine.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

impl Engine {
    /// Starts the engine: recovers what an earlier one left, then is ready.
    ///
    /// # Errors
    /// When records can not be read, or the supervisor's program not be found.
    pub async fn start(config: EngineConfig) -> Result<Self> {
        let EngineConfig {
            exec_root,
            store,
            networks,
            supervisor,
            cgroup_parent,
            init_by_default,
            open_files,
            registries,
            transfers,
            failpoint,
        } = config;
        let failpoint = Failpoint::arm(failpoint.as_deref())
            .map_err(|unknown| EngineError::Invalid(unknown.to_string()))?;
        crate::volumes::make_directory(&exec_root.join("containers"), 0o711)?;
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let launcher = Launcher::new(&supervisor, open_files, tasks.clone(), shutdown.clone())
            .doing(|| "preparing supervisors")?;
        let init_program =
            InitProgram::new(&exec_root, launcher.program().doing(|| "preparing the small init")?);
        let network_id = networks.describe().id;
        let id = settle_ids(&store, &network_id)?;
        let inner = Arc::new(Inner {
            id,
            exec_root,
            cgroup_parent,
            init_by_default,
            init_program,
            volumes: Volumes::open(&store)?,
            registries: Registries::new(registries, transfers),
            store,
            networks,
            network_id,
            facts: HostFacts::read(),
            registry: Arc::new(Registry::default()),
            execs: Execs::default(),
            hub: Hub::default(),
            log_directories: Directories::new(tasks.clone(), shutdown.clone()),
            pool: SupervisorPool::new(launcher),
            failpoint,
            tasks,
            shutdown,
            blocking: Arc::new(Semaphore::new(BLOCKING_CALLS)),
            deletions: Arc::new(Semaphore::new(DELETIONS)),
            archives: Arc::new(Semaphore::new(ARCHIVES)),
        });
        crate::recovery::recover(&inner).await?;
        let refilled = Arc::clone(&inner);
        inner.tasks.spawn(async move {
            tokio::select! {
                () = refilled.pool.refill() => {}
                () = refilled.shutdown.cancelled() => refilled.pool.clear(),
            }
        });
        inner.tasks.spawn(crate::images::collect_hourly(Arc::clone(&inner)));
        inner.failpoint.pass("recovery.ready");
        Ok(Self { inner })
    }

    /// The images; for reading. What changes them goes through the engine.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// The networks; for reading.
    #[must_use]
    pub fn networks(&self) -> &Networks {
        &self.inner.networks
    }

    /// What the host can do.
    #[must_use]
    pub fn host(&self) -> &HostFacts {
        &self.inner.facts
    }

    /// The engine's id, made at its first start.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// The cgroup under which containers are.
    #[must_use]
    pub fn cgroup_parent(&self) -> &str {
        &self.inner.cgroup_parent
    }

    /// Counts for `info`.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for container in self.inner.registry.all() {
            let snapshot = container.snapshot();
            counts.containers += 1;
            match (snapshot.is_paused(), snapshot.is_running()) {
                (true, _) => counts.paused += 1,
                (false, true) => counts.running += 1,
                (false, false) => counts.stopped += 1,
            }
        }
        counts
    }

    /// Begins to listen: what happens from this call on is not missed.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub fn events(&self, query: EventQuery) -> Result<EventStream> {
        self.inner.hub.subscribe(query)
    }

    /// Ends what the engine does, not its containers: what was begun is finished, within a deadline.
    pub async fn shutdown(&self) {
        self.inner.tasks.close();
        self.inner.shutdown.cancel();
        let ended = tokio::time::timeout(SHUTDOWN_DEADLINE, self.inner.tasks.wait()).await;
        if ended.is_err() {
            tracing::warn!("the engine ends before all it had begun is finished");
        }
    }

    fn snapshot_of(&self, reference: &str) -> Result<Arc<ContainerSnapshot>> {
        Ok(self.inner.registry.find(reference)?.snapshot())
    }
}

/// The network's id that was kept; to be given to [`Networks::open`].
///
/// # Errors
/// When the database can not be read.
pub fn kept_network_id(store: &Store) -> Result<Option<String>> {
    let record = store.records().get(ENGINE, "network").doing(|| "reading the network's id")?;
    Ok(record.and_then(|record| String::from_utf8(record.body).ok()))
}

/// Keeps the network's id, and the engine's own, which is made when there is none.
fn settle_ids(store: &Store, network: &str) -> Result<String> {
    if kept_network_id(store)?.as_deref() != Some(network) {
        let put = store.records().put(ENGINE, "network", VERSION, network.as_bytes());
        put.doing(|| "keeping the network's id")?;
    }
    let record = store.records().get(ENGINE, "id").doing(|| "reading the engine's id")?;
    if let Some(id) = record.and_then(|record| String::from_utf8(record.body).ok()) {
        return Ok(id);
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| EngineError::broken(format!("random numbers: {error}")))?;
    // A UUID of version 4, as dockerd has it.
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let digits = hex::encode(random);
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    let id = parts.join("-");
    let put = store.records().put(ENGINE, "id", VERSION, id.as_bytes());
    put.doing(|| "keeping the engine's id")?;
    Ok(id)
}
