//! Images: what changes them goes through here, so that the world is told and what containers use
//! stays.

use std::io::Read;
use std::sync::Arc;

use ferry_oci::reference::Reference;
use ferry_store::{ImageId, ImageUse, ImportOptions, LoadProgress, Loaded, Removed};

use crate::error::Result;
use crate::event::EventKind;
use crate::inner::{Inner, store_error};

/// An archive that is read on a thread of its own.
pub(crate) type Archive = Box<dyn Read + Send>;
/// Told how far a load has come.
pub(crate) type Progress = Box<dyn FnMut(LoadProgress) + Send>;

impl Inner {
    fn tell_of_image(&self, action: &str, id: &ImageId, name: &str) {
        self.tell_of(EventKind::Image, action, id.as_str(), &[("name", name)]);
    }
}

pub(crate) async fn load(
    engine: Arc<Inner>,
    archive: Archive,
    mut progress: Progress,
) -> Result<Vec<Loaded>> {
    let store = engine.store.clone();
    let work = move || store.load(archive, &mut *progress).map_err(store_error);
    let loaded = engine.reading(work).await??;
    for image in &loaded {
        match image {
            Loaded::Name { reference, image } => {
                engine.tell_of_image("load", image, &reference.familiar());
            }
            Loaded::Id(image) => engine.tell_of_image("load", image, image.as_str()),
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
        engine.tell_of_image("tag", &id, name);
    }
    engine.tell_of_image("import", &id, name.as_deref().unwrap_or_else(|| id.as_str()));
    Ok(id)
}

pub(crate) async fn tag(engine: Arc<Inner>, source: String, target: Reference) -> Result<()> {
    let store = engine.store.clone();
    let name = target.familiar();
    let tagged = move || store.images().tag(&source, &target).map_err(store_error);
    let id = engine.blocking(tagged).await??;
    engine.tell_of_image("tag", &id, &name);
    Ok(())
}

pub(crate) async fn remove(
    engine: Arc<Inner>,
    reference: String,
    force: bool,
    prune: bool,
) -> Result<Vec<Removed>> {
    let inner = Arc::clone(&engine);
    let removed = engine.blocking(move || {
        let images = inner.store.images();
        let id = images.resolve(&reference).map_err(store_error)?;
        let in_use = |image: &ImageId| uses(&inner, image);
        let removed = images.remove(&reference, force, prune, &in_use).map_err(store_error)?;
        Ok::<_, crate::EngineError>((id, removed))
    });
    let (id, removed) = removed.await??;
    for step in &removed {
        match step {
            // Compat: the name of an untagged image in its event is its id.
            Removed::Untagged(_) => engine.tell_of_image("untag", &id, id.as_str()),
            Removed::Deleted(image) => engine.tell_of_image("delete", image, image.as_str()),
            Removed::DeletedLayer(_) => {}
        }
    }
    Ok(removed)
}

/// The containers of an image.
fn uses(engine: &Inner, image: &ImageId) -> Vec<ImageUse> {
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
