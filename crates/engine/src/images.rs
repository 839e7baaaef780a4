//! Images: what changes them goes through here, so that the world is told and what containers use
//! stays.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use ferry_distribution::{Credentials, DistributionError, Repository, RoleKind};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_store::{
    Collect, ImageId, ImageUse, ImportOptions, LoadProgress, Loaded, Removal, Removed, Store,
};
use tokio_util::sync::CancellationToken;

use crate::error::{EngineError, Result};
use crate::event::EventKind;
use crate::inner::{Inner, store_error};
use crate::limits::COLLECTION_PERIOD;

pub(crate) mod archives;
pub(crate) mod commit;
pub(crate) mod inspect;
pub(crate) mod maintenance;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod registries;
pub(crate) mod transfer;

mod flights;
mod layers;

/// An archive that is read on a thread of its own.
pub(crate) type Archive = Box<dyn Read + Send>;
/// Told how far a load has come.
pub(crate) type Progress = Box<dyn FnMut(LoadProgress) + Send>;

impl Inner {
    /// Tells of an image, with its labels if it is still here.
    pub(crate) async fn tell_of_image(&self, action: &str, id: &ImageId, name: &str) {
        self.tell_of_reference(action, id.as_str(), name, Some(id)).await;
    }

    /// Tells of what a name leads to; `image` is that, if it is known.
    pub(crate) async fn tell_of_reference(
        &self,
        action: &str,
        actor: &str,
        name: &str,
        image: Option<&ImageId>,
    ) {
        let (store, wanted) = (self.store.clone(), image.map_or(actor, ImageId::as_str).to_owned());
        let labels = self.blocking(move || labels(&store, &wanted)).await.unwrap_or_default();
        self.tell_with(action, actor, name, &labels);
    }

    fn tell_with(&self, action: &str, actor: &str, name: &str, labels: &Labels) {
        let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let attributes: Vec<(&str, &str)> = labels.chain([("name", name)]).collect();
        self.tell_of(EventKind::Image, action, actor, &attributes);
    }
}

type Labels = BTreeMap<String, String>;

/// An image's labels; none when it is gone or cannot be read: what happened is told all the same.
fn labels(store: &Store, image: &str) -> Labels {
    let image = store.images().get(image);
    image.ok().and_then(|image| image.config.config.labels.clone()).unwrap_or_default()
}

/// Opens a repository; what is configured for its registry is read from files.
pub(crate) async fn repository(
    engine: &Arc<Inner>,
    name: &Reference,
    credentials: Credentials,
    role: RoleKind,
) -> Result<Repository, DistributionError> {
    let (inner, name) = (Arc::clone(engine), name.clone());
    let open = move || inner.registries.registry(&name, credentials)?.repository(&name, role);
    match engine.blocking(open).await {
        Ok(opened) => opened,
        Err(error) => Err(DistributionError::Source { source: std::io::Error::other(error) }),
    }
}

/// Does something until it is done, or who asked for it goes away, or the engine ends.
async fn unless_cancelled<T>(
    engine: &Inner,
    cancel: &CancellationToken,
    work: impl Future<Output = T>,
) -> Result<T> {
    tokio::select! {
        done = work => Ok(done),
        () = cancel.cancelled() => Err(EngineError::Unavailable("context canceled".to_owned())),
        () = engine.shutdown.cancelled() => {
            Err(EngineError::Unavailable("the engine is ending".to_owned()))
        }
    }
}

pub(crate) async fn load(
    engine: Arc<Inner>,
    archive: Archive,
    platform: Option<Platform>,
    mut progress: Progress,
) -> Result<Vec<Loaded>> {
    let store = engine.store.clone();
    let work = move || store.load(archive, platform.as_ref(), &mut *progress).map_err(store_error);
    let loaded = engine.reading(work).await??;
    engine.failpoint.pass("load.committed");
    for image in &loaded {
        match image {
            Loaded::Name { reference, image } => {
                engine.tell_of_image("load", image, &reference.familiar()).await;
            }
            Loaded::Id(image) => engine.tell_of_image("load", image, image.as_str()).await,
        }
    }
    Ok(loaded)
}

pub(crate) async fn import(
    engine: Arc<Inner>,
    archive: Archive,
    options: ImportOptions,
) -> Result<ImageId> {
    let store = engine.store.clone();
    let name = options.reference.as_ref().map(Reference::familiar);
    let work = move || store.import(archive, options).map_err(store_error);
    let id = engine.reading(work).await??;
    if let Some(name) = &name {
        engine.tell_of_image("tag", &id, name).await;
    }
    let shown = name.as_deref().unwrap_or_else(|| id.as_str());
    engine.tell_of_image("import", &id, shown).await;
    Ok(id)
}

pub(crate) async fn tag(engine: Arc<Inner>, source: String, target: Reference) -> Result<()> {
    let store = engine.store.clone();
    let name = target.familiar();
    let tagged = move || store.images().tag(&source, &target).map_err(store_error);
    let id = engine.blocking(tagged).await??;
    engine.tell_of_image("tag", &id, &name).await;
    Ok(())
}

pub(crate) async fn remove(
    engine: Arc<Inner>,
    reference: String,
    platforms: Vec<Platform>,
    how: Removal,
) -> Result<Vec<Removed>> {
    let inner = Arc::clone(&engine);
    let removed = engine.blocking(move || {
        let images = inner.store.images();
        let id = images.resolve(&reference).map_err(store_error)?;
        let labels = labels(&inner.store, id.as_str());
        let in_use = |image: &ImageId| uses(&inner, image);
        let removed = match platforms.as_slice() {
            [] => images.remove(&reference, how.force, how.prune, &in_use),
            platforms => images.remove_platforms(&reference, platforms, how, &in_use),
        };
        Ok::<_, EngineError>((id, labels, removed.map_err(store_error)?))
    });
    let (id, labels, removed) = removed.await??;
    for step in &removed {
        match step {
            // Compat: the name of an untagged image in its event is its id.
            Removed::Untagged(_) => engine.tell_with("untag", id.as_str(), id.as_str(), &labels),
            Removed::Deleted(image) => engine.tell_of_image("delete", image, image.as_str()).await,
            Removed::DeletedLayer(_) => {}
        }
    }
    Ok(removed)
}

/// The containers of an image.
pub(crate) fn uses(engine: &Inner, image: &ImageId) -> Vec<ImageUse> {
    let containers = engine.registry.all();
    let snapshots = containers.iter().map(|container| container.snapshot());
    let using = snapshots.filter(|container| container.image_id == image.as_str());
    using
        .map(|container| ImageUse {
            container: container.id.as_str().to_owned(),
            running: container.is_running(),
        })
        .collect()
}

/// Takes away, once in a while, what pulls left that nobody went on with.
pub(crate) async fn collect_hourly(engine: Arc<Inner>) {
    loop {
        tokio::select! {
            () = engine.shutdown.cancelled() => return,
            () = tokio::time::sleep(COLLECTION_PERIOD) => {}
        }
        let store = engine.store.clone();
        match engine.deleting(move || store.collect_garbage(Collect::default())).await {
            Ok(Ok(collected)) => tracing::debug!(?collected, "collected what nobody needs"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot collect what nobody needs"),
            Err(error) => tracing::warn!(%error, "cannot collect what nobody needs"),
        }
    }
}
