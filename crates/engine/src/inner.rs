//! What all parts of the engine share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use ferry_network::Networks;
use ferry_store::Store;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Doing as _, EngineError, Result};
use crate::event::{Event, EventKind, Hub};
use crate::execs::Execs;
use crate::failpoint::Failpoint;
use crate::host::HostFacts;
use crate::images::registries::Registries;
use crate::init_program::InitProgram;
use crate::limits;
use crate::logs::Directories;
use crate::pool::SupervisorPool;
use crate::registry::Registry;
use crate::snapshot::ContainerSnapshot;
use crate::volumes::Volumes;

/// What all parts of the engine share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) id: String,
    pub(crate) exec_root: PathBuf,
    pub(crate) cgroup_parent: String,
    pub(crate) init_by_default: bool,
    pub(crate) init_program: InitProgram,
    pub(crate) store: Store,
    pub(crate) networks: Networks,
    pub(crate) network_id: String,
    pub(crate) facts: HostFacts,
    pub(crate) registry: Arc<Registry>,
    pub(crate) execs: Execs,
    pub(crate) volumes: Volumes,
    pub(crate) registries: Registries,
    pub(crate) hub: Hub,
    pub(crate) log_directories: Directories,
    pub(crate) pool: SupervisorPool,
    pub(crate) failpoint: Failpoint,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    pub(crate) blocking: Arc<Semaphore>,
    pub(crate) deletions: Arc<Semaphore>,
    pub(crate) archives: Arc<Semaphore>,
}

impl Inner {
    /// Runs what blocks on a thread for it; so many at once.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        limited(&self.blocking, work).await
    }

    /// Deletes what is out of sight, which may take long, after others that are being deleted.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn deleting<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        limited(&self.deletions, work).await
    }

    /// Reads an archive, which takes as long as a client likes.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        limited(&self.archives, work).await
    }

    /// Tells the world of something that happened to a container.
    pub(crate) fn tell(
        &self,
        container: &ContainerSnapshot,
        action: impl Into<String>,
        more: &[(&str, &str)],
    ) {
        let mut attributes: BTreeMap<String, String> = container.spec.labels.clone();
        attributes.insert("image".to_owned(), container.spec.image.clone());
        attributes.insert("name".to_owned(), container.name.clone());
        for (name, value) in more {
            attributes.insert((*name).to_owned(), (*value).to_owned());
        }
        self.hub.publish(Event {
            kind: EventKind::Container,
            action: action.into(),
            actor: container.id.as_str().to_owned(),
            attributes,
            time: Timestamp::now(),
        });
    }

    /// Tells the world of something that happened to something else.
    pub(crate) fn tell_of(
        &self,
        kind: EventKind,
        action: &str,
        actor: &str,
        attributes: &[(&str, &str)],
    ) {
        self.hub.publish(Event {
            kind,
            action: action.to_owned(),
            actor: actor.to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            time: Timestamp::now(),
        });
    }

    /// The directory of this boot of a container.
    pub(crate) fn exec_directory(&self, id: &str) -> PathBuf {
        self.exec_root.join("containers").join(id)
    }

    /// The cgroup of a container.
    pub(crate) fn cgroup_of(&self, container: &ContainerSnapshot) -> String {
        self.cgroup_path(&container.spec.host.cgroup_parent, container.id.as_str())
    }

    /// The cgroup of a container under a parent; an empty one is the engine's.
    pub(crate) fn cgroup_path(&self, parent: &str, id: &str) -> String {
        let parent = if parent.is_empty() { &self.cgroup_parent } else { parent };
        format!("/{}/{id}", parent.trim_matches('/'))
    }
}

async fn limited<T: Send + 'static>(
    limit: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let permit = Arc::clone(limit).acquire_owned().await;
    let permit = permit.doing(|| "waiting for a thread")?;
    let done = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(permit);
        result
    });
    done.await.doing(|| "working in the background")
}

/// A failure of the store in the engine's kinds; its sentences are Docker's already.
pub(crate) fn store_error(error: ferry_store::StoreError) -> EngineError {
    use ferry_store::ErrorKind as Kind;
    let message = {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.ends_with(&words) {
                text = format!("{text}: {words}");
            }
            cause = error.source();
        }
        text
    };
    match error.kind() {
        Kind::NotFound => EngineError::NotFound(message),
        Kind::Invalid => EngineError::Invalid(message),
        Kind::Conflict => EngineError::Conflict(message),
        Kind::Full | Kind::Internal | Kind::Cancelled => {
            EngineError::Internal { doing: message, source: Some(Box::new(error)) }
        }
    }
}

/// Runs what must be finished even when the one who asked goes away.
pub(crate) async fn finish<T: Send + 'static>(
    inner: &Arc<Inner>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    if inner.shutdown.is_cancelled() {
        return Err(EngineError::Unavailable("the engine is ending".to_owned()));
    }
    let task = inner.tasks.spawn(work);
    task.await.unwrap_or_else(|error| Err(EngineError::internal("the operation failed", error)))
}

/// What is awaited in one second or less of the kernel, but not for ever.
pub(crate) const KILL_DEADLINE: std::time::Duration = limits::KILL_DEADLINE;
