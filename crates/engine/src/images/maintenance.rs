//! Looking over what is stored, mending it, and changing how layers are kept.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ferry_distribution::Credentials;
use ferry_oci::digest::Digest;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_store::{Converted, Damage, LayerStoreKind, Repair, ScrubReport, ScrubStep};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pull::{self, PullRequest};
use super::transfer::Throttle;
use crate::error::Result;
use crate::inner::{Inner, store_error};
use crate::limits::TRANSFER_EVENTS;
use crate::phase::Phase;

/// How what is stored is to be looked over.
#[derive(Debug, Clone)]
pub struct ScrubRequest {
    /// Whether what is damaged is mended where that can be done.
    pub repair: bool,
    /// The registry that the credentials are for, as names have it.
    pub registry: String,
    /// Who asks for what has to be fetched again.
    pub credentials: Credentials,
}

/// What a scrub or a conversion tells while it runs.
#[derive(Debug, Clone)]
pub enum ScrubEvent {
    /// Something is looked at.
    Checking {
        /// A blob, or a layer by its diff id.
        digest: Digest,
        /// Bytes so far.
        current: u64,
        /// All bytes there are; 0 when that is not known.
        total: u64,
    },
    /// Something is damaged.
    Found {
        /// What.
        damage: Damage,
        /// What became of it.
        repair: RepairOutcome,
    },
    /// A layer cannot be converted: it is damaged.
    NotConverted(Digest),
}

/// What became of something damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairOutcome {
    /// Nothing was tried.
    NotTried,
    /// It is whole again.
    Done,
    /// It was fetched again.
    Pulled,
    /// It has to be fetched again, and could not be.
    NeedsPull,
    /// Containers stand on it.
    InUse,
}

/// What came of a scrub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubOutcome {
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Layers that were looked at.
    pub layers: u64,
    /// What is damaged.
    pub damaged: u64,
    /// Of these, what is in order now.
    pub repaired: u64,
}

/// Where the events go.
type Told = mpsc::Sender<ScrubEvent>;

pub(crate) async fn scrub(
    engine: Arc<Inner>,
    request: ScrubRequest,
    told: Told,
    cancel: CancellationToken,
) -> Result<ScrubOutcome> {
    let report = look(&engine, &told, &cancel, true).await?;
    let mut outcome = ScrubOutcome {
        blobs: report.blobs,
        layers: report.layers,
        damaged: report.damages.len() as u64,
        repaired: 0,
    };
    let mut to_pull = Vec::new();
    for damage in report.damages {
        let repair = if request.repair { mend(&engine, &damage).await? } else { None };
        let repair = match repair {
            None => RepairOutcome::NotTried,
            Some(Repair::Done) => RepairOutcome::Done,
            Some(Repair::InUse { .. }) => RepairOutcome::InUse,
            Some(Repair::NeedsPull { names }) => {
                to_pull.push((damage, names));
                continue;
            }
        };
        outcome.repaired += u64::from(repair == RepairOutcome::Done);
        told.send(ScrubEvent::Found { damage, repair }).await.ok();
    }
    if to_pull.is_empty() {
        return Ok(outcome);
    }
    let mut asked = HashSet::new();
    for (damage, names) in &to_pull {
        let platform = platform_of(&engine, damage).await?;
        // A tag may stand for something else by now; a digest does not.
        for name in names.iter().filter(|name| name.digest().is_some()) {
            if asked.insert(name) {
                let platform = platform.clone();
                Box::pin(fetch_again(&engine, &request, name, platform, &cancel)).await;
            }
        }
    }
    // Whether a pull has mended it is seen, not believed.
    let left = look(&engine, &told, &cancel, false).await?.damages;
    for (damage, _) in to_pull {
        let is_left =
            left.iter().any(|one| (&one.what, &one.digest) == (&damage.what, &damage.digest));
        let repair = if is_left { RepairOutcome::NeedsPull } else { RepairOutcome::Pulled };
        outcome.repaired += u64::from(!is_left);
        told.send(ScrubEvent::Found { damage, repair }).await.ok();
    }
    Ok(outcome)
}

/// Looks at everything; what is found is in the report.
async fn look(
    engine: &Arc<Inner>,
    told: &Told,
    cancel: &CancellationToken,
    tells: bool,
) -> Result<ScrubReport> {
    let (store, told, cancel) = (engine.store.clone(), told.clone(), cancel.clone());
    let shutdown = engine.shutdown.clone();
    let work = move || {
        let stop = AtomicBool::new(false);
        let mut throttle = Throttle::default();
        let mut tell = |step: ScrubStep| {
            stop.store(cancel.is_cancelled() || shutdown.is_cancelled(), Ordering::Relaxed);
            if let ScrubStep::Checking { digest, current, total } = step
                && tells
                && throttle.is_due()
            {
                // A slow client misses it.
                told.try_send(ScrubEvent::Checking { digest, current, total }).ok();
            }
        };
        store.scrub(&mut tell, &stop)
    };
    engine.reading(work).await?.map_err(store_error)
}

/// Mends one thing from what is here.
async fn mend(engine: &Arc<Inner>, damage: &Damage) -> Result<Option<Repair>> {
    let (inner, damage) = (Arc::clone(engine), damage.clone());
    let work = move || {
        let in_use = LayersInUse::read(&inner);
        let is_in_use = |layer: &Digest| in_use.has(&inner, layer);
        inner.store.repair_locally(&damage, &is_in_use).map(Some).map_err(store_error)
    };
    engine.reading(work).await?
}

/// What the images that need something are for, as far as that can be read.
async fn platform_of(engine: &Arc<Inner>, damage: &Damage) -> Result<Option<Platform>> {
    let (store, images) = (engine.store.clone(), damage.needed_by.clone());
    let read = move || {
        let mut read = images.iter().filter_map(|id| store.images().get(id.as_str()).ok());
        read.next().map(|image| image.config.platform())
    };
    engine.blocking(read).await
}

/// Pulls a name again; a failure is told by what is still damaged afterwards.
async fn fetch_again(
    engine: &Arc<Inner>,
    request: &ScrubRequest,
    name: &Reference,
    platform: Option<Platform>,
    cancel: &CancellationToken,
) {
    let is_theirs = name.domain() == request.registry;
    let credentials = if is_theirs { request.credentials.clone() } else { Credentials::None };
    let pull_request = PullRequest { name: name.clone(), all_tags: false, platform, credentials };
    let (events, mut heard) = mpsc::channel(TRANSFER_EVENTS);
    let pulling = Box::pin(pull::pull(Arc::clone(engine), pull_request, events, cancel.clone()));
    let (pulled, ()) = tokio::join!(pulling, async { while heard.recv().await.is_some() {} });
    if let Err(error) = pulled {
        tracing::warn!(name = %name.familiar(), %error, "cannot fetch what is damaged again");
    }
}

pub(crate) async fn convert(
    engine: Arc<Inner>,
    to: LayerStoreKind,
    told: Told,
) -> Result<Converted> {
    let (inner, events) = (Arc::clone(&engine), told.clone());
    let work = move || {
        let in_use = LayersInUse::read(&inner);
        let is_in_use = |layer: &Digest| in_use.has(&inner, layer);
        let mut throttle = Throttle::default();
        let mut tell = |digest: &Digest, current: u64| {
            if throttle.is_due() {
                let digest = digest.clone();
                events.try_send(ScrubEvent::Checking { digest, current, total: 0 }).ok();
            }
        };
        inner.store.convert_layers(to, &is_in_use, &mut tell).map_err(store_error)
    };
    let converted = engine.reading(work).await??;
    for digest in &converted.damaged {
        told.send(ScrubEvent::NotConverted(digest.clone())).await.ok();
    }
    Ok(converted)
}

/// The layers of images, known before the store is locked; who runs is looked up when it is asked.
struct LayersInUse(HashMap<String, HashSet<Digest>>);

impl LayersInUse {
    fn read(engine: &Inner) -> Self {
        let images = match engine.store.images().list() {
            Ok(images) => images,
            Err(error) => {
                tracing::warn!(%error, "cannot read images; all layers count as in use");
                Vec::new()
            }
        };
        let layers = images.into_iter().map(|image| {
            let diff_ids = image.config.rootfs.diff_ids.iter().cloned().collect();
            (image.id.to_string(), diff_ids)
        });
        Self(layers.collect())
    }

    /// Whether a container runs, or is being started, on a layer. Of an image that is not known
    /// any layer may be one.
    fn has(&self, engine: &Inner, layer: &Digest) -> bool {
        engine.registry.all().iter().any(|container| {
            let snapshot = container.snapshot();
            let runs = match snapshot.phase {
                Phase::Starting { .. } | Phase::Running(_) | Phase::Paused(_) => true,
                Phase::Created { .. }
                | Phase::Exited(_)
                | Phase::Removing { .. }
                | Phase::Dead { .. } => false,
            };
            runs && self.0.get(&snapshot.image_id).is_none_or(|layers| layers.contains(layer))
        })
    }
}
