//! Pushing images.
//!
//! Each manifest goes after all that it leads to, layers several at once. What the registry has, or
//! can take out of another of its repositories, is not sent.

use std::collections::HashSet;
use std::io::{self, Read};
use std::sync::Arc;

use ferry_distribution::{
    BlobSource, Credentials, Insecure, MountCandidate, PushStep, Pushed, RawManifest, Repository,
    RoleKind,
};
use ferry_oci::digest::Digest;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_store::{Image, KeptManifest, PushBlob, PushPlan, Store};
use futures_util::future::try_join_all;
use tokio_util::sync::CancellationToken;

use super::layers::acquire;
use super::registries::push_error;
use super::transfer::{Events, LayerState, Teller, Throttle, TransferEvent};
use crate::error::{EngineError, Result};
use crate::inner::{Inner, store_error};

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// With a tag, unless all tags are pushed.
    pub name: Reference,
    /// All tags of the repository that are here.
    pub all_tags: bool,
    /// The only platform that is pushed; `None` is all that the name stands for.
    pub platform: Option<Platform>,
    /// Who asks.
    pub credentials: Credentials,
}

/// A push under way.
struct Push {
    engine: Arc<Inner>,
    repository: Repository,
    platform: Option<Platform>,
    teller: Teller,
    cancel: CancellationToken,
    /// Whether layers go out that their publisher does not want distributed.
    with_foreign: bool,
}

pub(crate) async fn push(
    engine: Arc<Inner>,
    request: PushRequest,
    events: Events,
    cancel: CancellationToken,
) -> Result<()> {
    let stop = cancel.clone();
    let work = |teller| Box::pin(push_and_tell(engine, request, teller, stop));
    Teller::told(events, &cancel, work).await
}

async fn push_and_tell(
    engine: Arc<Inner>,
    request: PushRequest,
    teller: Teller,
    cancel: CancellationToken,
) -> Result<()> {
    let PushRequest { name, all_tags, platform, credentials } = request;
    if let Some(platform) = &platform {
        check_platform(&engine, &name, platform).await?;
    }
    teller.tell(TransferEvent::To { repository: name.familiar_name() }).await;
    let repository =
        super::repository(&engine, &name, credentials, RoleKind::Push).await.map_err(push_error)?;
    let allowed = &engine.registries.config().foreign_push_to;
    let allows = |text: &String| {
        text.parse::<Insecure>().is_ok_and(|registry| registry.covers_host(name.domain()))
    };
    let with_foreign = allowed.iter().any(allows);
    let push =
        Push { engine: Arc::clone(&engine), repository, platform, teller, cancel, with_foreign };
    let names = if all_tags { push.all_tags(&name).await? } else { vec![name.clone()] };
    for name in &names {
        // Boxed: it is large.
        Box::pin(push.one(name)).await?;
    }
    let actor = if all_tags { name.familiar_name() } else { name.familiar() };
    engine.tell_of_reference("push", &actor, &name.familiar_name(), None).await;
    Ok(())
}

/// Compat: whether there is an image of a platform is found out before anything is told.
async fn check_platform(engine: &Arc<Inner>, name: &Reference, platform: &Platform) -> Result<()> {
    let (store, name) = (engine.store.clone(), name.clone().with_default_tag().familiar());
    let platform = platform.clone();
    let found = engine.blocking(move || store.images().get_for(&name, &platform));
    found.await?.map(drop).map_err(store_error)
}

impl Push {
    async fn all_tags(&self, name: &Reference) -> Result<Vec<Reference>> {
        let (store, repository) = (self.engine.store.clone(), name.name());
        let images = self.engine.blocking(move || store.images().list()).await?;
        let images = images.map_err(store_error)?;
        let tags = images.into_iter().flat_map(|image| image.repo_tags);
        let mut tags: Vec<_> = tags.filter(|tag| tag.name() == repository).collect();
        tags.sort();
        if tags.is_empty() {
            let name = name.familiar_name();
            let words = format!("An image does not exist locally with the tag: {name}");
            return Err(EngineError::NotFound(words));
        }
        Ok(tags)
    }

    /// Pushes one tag.
    async fn one(&self, name: &Reference) -> Result<()> {
        let plan = self.plan(name).await?;
        let PushPlan { manifests, top, instead_of_index } = plan;
        if let Some((original, selected)) = instead_of_index {
            let (original, selected) = (Box::new(original), Box::new(selected));
            self.teller.tell(TransferEvent::InsteadOfIndex { original, selected }).await;
        }
        let mut seen = HashSet::new();
        let blobs = manifests.iter().flat_map(|manifest| &manifest.blobs);
        // Compat: the uppermost layer stands first.
        let mut blobs: Vec<&PushBlob> =
            blobs.filter(|blob| seen.insert(blob.descriptor.digest.clone())).collect();
        blobs.reverse();
        let sending = try_join_all(blobs.into_iter().map(|blob| Box::pin(self.send(name, blob))));
        self.unless_cancelled(sending).await??;
        let tag = name.tag().unwrap_or_default();
        for manifest in &manifests {
            let is_top = manifest.manifest.digest == top.digest;
            let raw = raw(&manifest.manifest);
            let sent = Box::pin(self.repository.push_manifest(is_top.then_some(tag), &raw));
            self.unless_cancelled(sent).await?.map_err(push_error)?;
        }
        self.engine.failpoint.pass("push.manifest");
        let (store, pushed, target) = (self.engine.store.clone(), name.clone(), top.digest.clone());
        let noted = self.engine.blocking(move || store.note_pushed(&pushed, &target)).await?;
        match noted {
            // It is at the registry, though it may be here no longer.
            Err(error) if error.kind() == ferry_store::ErrorKind::NotFound => {
                tracing::debug!(%error, "a push is not noted");
            }
            noted => noted.map_err(store_error)?,
        }
        let (tag, digest, size) = (tag.to_owned(), top.digest, top.bytes.len() as u64);
        self.teller.tell(TransferEvent::Tagged { tag, digest, size }).await;
        Ok(())
    }

    /// Finds out what is to be sent; layers that are here in no compressed form are compressed.
    async fn plan(&self, name: &Reference) -> Result<PushPlan> {
        let (store, wanted) = (self.engine.store.clone(), name.clone());
        let found = move || match store.images().get(&wanted.to_string()) {
            Ok(image) => Ok(Some(image)),
            // The plan says it in Docker's words.
            Err(error) if error.kind() == ferry_store::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        let image = self.engine.blocking(found).await?.map_err(store_error)?;
        if let Some(image) = image.filter(|_| self.platform.is_none()) {
            self.prepare(&image);
        }
        let (store, name) = (self.engine.store.clone(), name.clone());
        let platform = self.platform.clone();
        let plan = move || store.push_plan(&name, platform.as_ref());
        self.engine.blocking(plan).await?.map_err(store_error)
    }

    fn prepare(&self, image: &Image) {
        let mut seen = HashSet::new();
        for diff_id in image.config.rootfs.diff_ids.iter().rev().filter(|id| seen.insert(*id)) {
            self.teller.layer(diff_id.short(), LayerState::Preparing);
        }
    }

    /// Brings one blob to the registry.
    async fn send(&self, name: &Reference, blob: &PushBlob) -> Result<()> {
        let id = blob.diff_id.as_ref().map(Digest::short).map(str::to_owned);
        let tell = |state: LayerState| {
            if let Some(id) = &id {
                self.teller.layer(id, state);
            }
        };
        if blob.is_foreign && !self.with_foreign {
            tell(LayerState::Skipped);
            return Ok(());
        }
        let uploads = &self.engine.registries.uploads;
        let permit = match Arc::clone(uploads).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                tell(LayerState::Waiting);
                acquire(uploads).await?
            }
        };
        let descriptor = &blob.descriptor;
        let source: Arc<dyn BlobSource> =
            Arc::new(StoredBlob { store: self.engine.store.clone(), blob: blob.clone() });
        let mut throttle = Throttle::default();
        let mut on_step = |step: PushStep| {
            let Some(id) = &id else { return };
            match step {
                PushStep::Sent { bytes } if throttle.is_due() => {
                    let state = LayerState::Pushing { current: bytes, total: descriptor.size };
                    self.teller.progress(id, state);
                }
                PushStep::Retrying(wait) => {
                    let state = LayerState::retrying(wait);
                    self.teller.progress(id, state);
                }
                // How it ended is told below.
                PushStep::Sent { .. } | PushStep::Exists | PushStep::Mounted { .. } => {}
            }
        };
        let from = candidates(name, &blob.sources);
        let pushed = self.repository.push_blob(descriptor, &source, &from, &mut on_step).await;
        let state = match pushed.map_err(push_error)? {
            Pushed::Existed => LayerState::PushExists,
            Pushed::Mounted(from) => LayerState::Mounted { from },
            Pushed::Uploaded => LayerState::Pushed,
        };
        drop(permit);
        self.engine.failpoint.pass("push.blob");
        tell(state);
        Ok(())
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        super::unless_cancelled(&self.engine, &self.cancel, work).await
    }
}

/// Other repositories of the same registry that had a blob.
fn candidates(name: &Reference, sources: &[String]) -> Vec<MountCandidate> {
    let divided = sources.iter().filter_map(|source| source.split_once('/'));
    divided
        .filter(|(domain, path)| *domain == name.domain() && *path != name.path())
        .map(|(_, path)| MountCandidate { repository: path.to_owned() })
        .collect()
}

fn raw(kept: &KeptManifest) -> RawManifest {
    RawManifest {
        media_type: kept.media_type.clone(),
        digest: kept.digest.clone(),
        bytes: kept.bytes.clone().into(),
    }
}

/// A blob of the store.
#[derive(Debug)]
struct StoredBlob {
    store: Store,
    blob: PushBlob,
}

impl BlobSource for StoredBlob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        self.blob.read(&self.store, from).map_err(io::Error::other)
    }

    fn size(&self) -> Option<u64> {
        Some(self.blob.descriptor.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_mounted_from_the_same_registry_only() {
        let name = Reference::parse("localhost:5000/a/b").unwrap();
        let sources = ["localhost:5000/a/b", "docker.io/library/x", "localhost:5000/c"];
        let from = candidates(&name, &sources.map(str::to_owned));
        assert_eq!(from, [MountCandidate { repository: "c".to_owned() }]);
    }
}
