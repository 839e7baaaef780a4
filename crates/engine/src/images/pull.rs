//! Pulling images.
//!
//! ```text
//! resolve: index, manifest, configuration     refused here: the caller is told, nothing is begun
//! layers:  all at once, each one's bytes unpacked while they come in (layers.rs)
//! commit:  names, manifests, image            one transaction; what was fetched before is kept
//! ```
//!
//! A pull ends when its client goes away; what it has fetched stays for the next one for some days.

use std::sync::Arc;

use ferry_distribution::{
    Credentials, DistributionError, KnownDocuments, RawManifest, Repository, Resolved, RoleKind,
    Selector, resolve,
};
use ferry_oci::image::ImageConfig;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_store::{ImageId, KeptManifest, PulledImage, PulledOutcome, WantedLayer};
use tokio_util::sync::CancellationToken;

use super::layers::{Layer, Layers, WRONG_CONFIG};
use super::registries::pull_error;
use super::transfer::{Events, Teller, TransferEvent};
use crate::error::{Doing as _, EngineError, Result};
use crate::inner::{Inner, store_error};

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// With a tag or a digest, unless all tags are wanted.
    pub name: Reference,
    /// All tags of the repository; that of the name does not matter then.
    pub all_tags: bool,
    /// What it is to run on; `None` is this machine.
    pub platform: Option<Platform>,
    /// Who asks.
    pub credentials: Credentials,
}

/// A pull under way.
struct Pull {
    engine: Arc<Inner>,
    repository: Repository,
    platform: Platform,
    teller: Teller,
    cancel: CancellationToken,
}

pub(crate) async fn pull(
    engine: Arc<Inner>,
    request: PullRequest,
    events: Events,
    cancel: CancellationToken,
) -> Result<()> {
    let stop = cancel.clone();
    let work = |teller| Box::pin(pull_and_tell(engine, request, teller, stop));
    Teller::told(events, &cancel, work).await
}

async fn pull_and_tell(
    engine: Arc<Inner>,
    request: PullRequest,
    teller: Teller,
    cancel: CancellationToken,
) -> Result<()> {
    let PullRequest { name, all_tags, platform: asked, credentials } = request;
    let shown = name.familiar();
    if name.familiar_name() == "scratch" {
        return Err(EngineError::invalid("'scratch' is a reserved name"));
    }
    let pull = Pull {
        repository: super::repository(&engine, &name, credentials, RoleKind::Pull)
            .await
            .map_err(pull_error)?,
        platform: asked.clone().unwrap_or_else(Platform::host),
        teller,
        cancel,
        engine: Arc::clone(&engine),
    };
    let names = if all_tags { pull.all_tags(&name).await? } else { vec![name.clone()] };
    let mut newer = false;
    let mut last = None;
    for name in &names {
        let (outcome, is_chosen) = pull.one(name).await?;
        newer |= !outcome.was_here;
        last = Some((outcome.image, is_chosen));
    }
    pull.teller.tell(TransferEvent::Status { newer, name: shown.clone() }).await;
    if let (Some((image, false)), Some(asked)) = (&last, asked) {
        pull.warn_of_platform(image, &shown, &asked).await?;
    }
    let last = last.map(|(image, _)| image);
    let actor = if all_tags { name.familiar_name() } else { shown };
    engine.tell_of_reference("pull", &actor, &name.familiar_name(), last.as_ref()).await;
    Ok(())
}

impl Pull {
    async fn all_tags(&self, name: &Reference) -> Result<Vec<Reference>> {
        let tags = self.unless_cancelled(self.repository.tags()).await?.map_err(pull_error)?;
        let named = tags.iter().map(|tag| name.with_tag(tag));
        named.collect::<Result<_, _>>().doing(|| format!("listing the tags of {}", name.familiar()))
    }

    /// Pulls one tag or digest; tells whether the image was chosen out of an index.
    async fn one(&self, name: &Reference) -> Result<(PulledOutcome, bool)> {
        let which = Selector::of(name)
            .ok_or_else(|| EngineError::invalid("a name without tag and digest"))?;
        let known = self.known(name).await?;
        let resolving = Box::pin(resolve(&self.repository, &which, &self.platform, &known));
        let resolved = match self.unless_cancelled(resolving).await? {
            Ok(resolved) => resolved,
            Err(error) => {
                // Compat: dockerd has found the index when it finds that it is of no use.
                if matches!(error, DistributionError::NoPlatform { .. }) {
                    self.begin(name).await;
                }
                return Err(pull_error(error));
            }
        };
        self.begin(name).await;
        self.engine.failpoint.pass("pull.resolved");
        let digest = resolved.target.digest.clone();
        let is_chosen = resolved.index.is_some();
        let outcome = self.take(name, resolved).await?;
        self.teller.tell(TransferEvent::Digest(digest)).await;
        Ok((outcome, is_chosen))
    }

    /// What is here of what a name stood for before.
    async fn known(&self, name: &Reference) -> Result<KnownDocuments> {
        let (store, name) = (self.engine.store.clone(), name.clone());
        let known = self.engine.blocking(move || store.documents_of(&name)).await?;
        let (target, documents) = known.map_err(store_error)?;
        let documents = documents.into_iter().map(|(digest, bytes)| (digest, bytes.into()));
        Ok(KnownDocuments { target, documents: documents.collect() })
    }

    async fn begin(&self, name: &Reference) {
        let tag = match (name.digest(), name.tag()) {
            (None, Some(tag)) => tag.to_owned(),
            _ => name.to_string(),
        };
        let repository = name.path().to_owned();
        self.teller.tell(TransferEvent::From { tag, repository }).await;
    }

    /// Fetches what is not here, and makes the image count.
    async fn take(&self, name: &Reference, resolved: Resolved) -> Result<PulledOutcome> {
        let config = ImageConfig::parse(resolved.config.to_vec())
            .map_err(|error| EngineError::internal("reading the image config", error))?;
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != resolved.parsed.layers.len() {
            return Err(EngineError::broken(WRONG_CONFIG));
        }
        let layers = resolved.parsed.layers.iter().zip(diff_ids);
        let layers: Vec<Layer> = layers
            .map(|(descriptor, diff_id)| Layer {
                wanted: WantedLayer {
                    digest: descriptor.digest.clone(),
                    size: descriptor.size,
                    media_type: descriptor.media_type.clone(),
                    diff_id: Some(diff_id.clone()),
                },
                descriptor: descriptor.clone(),
            })
            .collect();
        let (store, id) = (self.engine.store.clone(), ImageId::from(config.digest().clone()));
        let lease = format!("pull:{}", resolved.manifest.digest);
        let begun = self.engine.blocking(move || {
            // Compat: of an image that is here nothing is told.
            let is_here = store.images().get(id.as_str()).is_ok();
            Ok((store.begin_pull(&lease)?, is_here))
        });
        let (intake, is_here) = begun.await?.map_err(store_error)?;
        let wanted = layers.iter().map(|layer| layer.wanted.clone()).collect();
        let fetching = Layers {
            engine: &self.engine,
            repository: &self.repository,
            intake: &intake,
            teller: &self.teller,
        };
        self.unless_cancelled(Box::pin(fetching.fetch(layers, is_here))).await??;
        let platform = resolved.platform.clone();
        let image = PulledImage {
            config,
            layers: wanted,
            // The outermost index is what the name stands for.
            index: resolved.index.is_some().then(|| kept(&resolved.target)),
            manifest: kept(&resolved.manifest),
            attestations: resolved.attestations.iter().map(kept).collect(),
            names: names_of(name, &resolved),
            platform,
            source: name.name(),
        };
        // Order: from here on the pull is finished, whoever goes away.
        let committed = self.engine.blocking(move || intake.commit(image)).await?;
        let outcome = committed.map_err(store_error)?;
        self.engine.failpoint.pass("pull.committed");
        Ok(outcome)
    }

    /// Compat: an image that is in no index is taken, and its platform complained of.
    async fn warn_of_platform(&self, image: &ImageId, shown: &str, asked: &Platform) -> Result<()> {
        let (store, id) = (self.engine.store.clone(), image.clone());
        let image = self.engine.blocking(move || store.images().get(id.as_str())).await?;
        let actual = image.map_err(store_error)?.config.platform();
        if actual.suitability(asked).is_none() {
            let note = format!(
                "WARNING: image with reference {shown} was found but its platform ({actual}) does \
                 not match the specified platform ({asked})"
            );
            self.teller.tell(TransferEvent::Note(note)).await;
        }
        Ok(())
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        super::unless_cancelled(&self.engine, &self.cancel, work).await
    }
}

/// What the image is called from now on; the first is what was asked for.
fn names_of(name: &Reference, resolved: &Resolved) -> Vec<Reference> {
    let by_digest = name.with_digest(resolved.target.digest.clone());
    // Compat: of a name with both only the digest is kept.
    if name.digest().is_some() { vec![by_digest] } else { vec![name.clone(), by_digest] }
}

fn kept(raw: &RawManifest) -> KeptManifest {
    KeptManifest {
        digest: raw.digest.clone(),
        media_type: raw.media_type.clone(),
        bytes: raw.bytes.to_vec(),
    }
}
