//! An image of a container's changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferry_oci::image::{Empty, RunConfig};
use ferry_oci::reference::Reference;
use ferry_store::{CommitImage, ImageId};
use ferry_sys::durable::{self, Survive};
use jiff::Timestamp;

use crate::container::Container;
use crate::driver::Request;
use crate::error::{EngineError, Result};
use crate::inner::{Inner, store_error};
use crate::snapshot::ContainerSnapshot;

/// How an image is to be made of a container.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// What it is called; `None` leaves it without a name.
    pub reference: Option<Reference>,
    /// A remark.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// Dockerfile instructions for its configuration.
    pub changes: Vec<String>,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
    /// Its configuration, as far as it is not the container's; `None` is all the container's.
    pub config: Option<RunConfig>,
    /// The engine's version, for the image's configuration.
    pub engine_version: String,
}

pub(crate) async fn commit(
    engine: Arc<Inner>,
    container: Arc<Container>,
    request: CommitRequest,
) -> Result<ImageId> {
    let snapshot = container.snapshot();
    let stands_still = request.pause && stands(&snapshot) && pause(&engine, &container).await?;
    let made = make(&engine, &snapshot, request).await;
    if stands_still {
        // Order: it goes on whatever came of it.
        resume(&engine, &container).await;
    }
    made
}

/// In the directory of a run that stands still only as long as it is committed. An engine that
/// finds it is the successor of the one that died of it, and lets the container go on.
const MARK: &str = "paused-for-commit";

/// Whether a container can be paused.
fn stands(snapshot: &ContainerSnapshot) -> bool {
    snapshot.is_running() && !snapshot.is_paused()
}

/// Pauses a container; false when it had ended, or stood still, before it could be.
async fn pause(engine: &Arc<Inner>, container: &Container) -> Result<bool> {
    let mark = engine.exec_directory(container.id().as_str()).join(MARK);
    let write = move || durable::write(&mark, b"", 0o600, Survive::Processes);
    // Order: the mark is there before the container stands still.
    let written = engine.blocking(write).await?;
    let paused = match written {
        Ok(()) => container.ask(|reply| Request::Pause { reply }).await,
        Err(error) => Err(EngineError::internal("marking a container", error)),
    };
    match paused {
        Ok(()) => Ok(true),
        Err(error) => {
            unmark(engine, container).await;
            let has_ended = matches!(error, EngineError::NotRunning(_));
            if !has_ended && stands(&container.snapshot()) { Err(error) } else { Ok(false) }
        }
    }
}

async fn resume(engine: &Arc<Inner>, container: &Container) {
    if let Err(error) = container.ask(|reply| Request::Resume { reply }).await {
        let id = container.id().short();
        if container.snapshot().is_paused() {
            // The mark stays: the next engine lets it go on.
            tracing::warn!(container = id, %error, "cannot resume a committed container");
            return;
        }
        // It has ended, or another has resumed it.
        tracing::debug!(container = id, %error, "a committed container does not stand still");
    }
    unmark(engine, container).await;
}

async fn unmark(engine: &Arc<Inner>, container: &Container) {
    let mark = engine.exec_directory(container.id().as_str()).join(MARK);
    let removed = engine.blocking(move || std::fs::remove_file(mark)).await;
    if let Ok(Err(error)) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(container = container.id().short(), %error, "a mark is left");
    }
}

/// Lets a container go on that an engine paused for a commit in which it died.
pub(crate) async fn end_abandoned(engine: &Arc<Inner>, container: &Container) {
    let mark = engine.exec_directory(container.id().as_str()).join(MARK);
    if !matches!(engine.blocking(move || mark.exists()).await, Ok(true)) {
        return;
    }
    if container.snapshot().is_paused() {
        resume(engine, container).await;
    } else {
        unmark(engine, container).await;
    }
}

async fn make(
    engine: &Arc<Inner>,
    snapshot: &ContainerSnapshot,
    request: CommitRequest,
) -> Result<ImageId> {
    let CommitRequest { reference, comment, author, changes, pause: _, config, engine_version } =
        request;
    let name = reference.clone().map(|name| name.with_default_tag().familiar());
    let container_config = run_config(snapshot);
    let (store, id) = (engine.store.clone(), snapshot.id.as_str().to_owned());
    let (image_id, remark) = (snapshot.image_id.clone(), comment.clone());
    let work = move || {
        let mut container_config = container_config;
        // The container's own configuration does not have it; it is the image's.
        if let Ok(image) = store.images().get(&image_id) {
            container_config.healthcheck = image.config.config.healthcheck.clone();
        }
        let commit = CommitImage {
            reference,
            comment,
            author,
            changes,
            config: config.unwrap_or_else(|| container_config.clone()),
            container_config,
            container: id.clone(),
            created: Timestamp::now().to_string(),
            engine_version,
        };
        store.commit_container(&id, commit).map_err(store_error)
    };
    let image = engine.blocking(work).await??;
    engine.failpoint.pass("commit.committed");
    engine.tell_of_image("create", &image, image.as_str()).await;
    if let Some(name) = &name {
        engine.tell_of_image("tag", &image, name).await;
    }
    let shown = name.as_deref().unwrap_or_default();
    let attributes = [("comment", &*remark), ("imageID", image.as_str()), ("imageRef", shown)];
    engine.tell(snapshot, "commit", &attributes);
    Ok(image)
}

/// What a container runs and how, in the words of images.
fn run_config(snapshot: &ContainerSnapshot) -> RunConfig {
    let spec = &snapshot.spec;
    let set = |names: &std::collections::BTreeSet<String>| -> Option<BTreeMap<String, Empty>> {
        let set = names.iter().map(|name| (name.clone(), Empty {}));
        Some(set.collect()).filter(|set: &BTreeMap<_, _>| !set.is_empty())
    };
    let list = |list: &Vec<String>| Some(list.clone()).filter(|list| !list.is_empty());
    let hostname = match spec.hostname.as_str() {
        "" => snapshot.id.short().to_owned(),
        name => name.to_owned(),
    };
    RunConfig {
        hostname,
        domainname: spec.domainname.clone(),
        user: spec.user.clone(),
        exposed_ports: set(&spec.exposed_ports),
        env: list(&spec.env),
        entrypoint: spec.entrypoint.clone(),
        cmd: spec.command.clone(),
        volumes: set(&spec.volumes),
        working_dir: spec.working_dir.clone(),
        labels: Some(spec.labels.clone()).filter(|labels| !labels.is_empty()),
        stop_signal: spec.stop_signal.clone().unwrap_or_default(),
        stop_timeout: spec.stop_timeout.map(crate::spec::StopTimeout::as_seconds),
        args_escaped: false,
        healthcheck: None,
        on_build: list(&spec.on_build),
        shell: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::tests::snapshot;
    use crate::spec::ContainerSpec;

    #[test]
    fn an_image_has_what_its_container_runs() {
        let id = "0".repeat(64);
        let mut snapshot = snapshot(&id, "n");
        snapshot.spec = Arc::new(ContainerSpec {
            command: Some(vec!["sh".to_owned()]),
            env: vec!["A=b".to_owned()],
            exposed_ports: ["80/tcp".to_owned()].into(),
            ..ContainerSpec::default()
        });
        let config = run_config(&snapshot);
        assert_eq!(config.hostname, snapshot.id.short());
        assert_eq!(config.cmd, Some(vec!["sh".to_owned()]));
        assert_eq!(config.env, Some(vec!["A=b".to_owned()]));
        assert!(config.exposed_ports.unwrap().contains_key("80/tcp"));
        assert_eq!((config.entrypoint, config.volumes), (None, None));
    }
}
