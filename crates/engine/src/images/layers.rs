//! The layers of one pull: those that are here, those that others fetch, and the rest.
//!
//! Of each layer that is fetched here, one task takes the bytes from the network, one thread writes
//! them to disk, and two unpack what is written, not waiting for the end. The disk is the buffer: a
//! slow processor does not stall the network.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ferry_distribution::{BlobStream, EndpointId, Repository, RetryHook};
use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use ferry_store::{
    BlobWriter, BuiltDigests, LayerBuilder, LayerFetch, PullIntake, StoreError, Wanted, WantedLayer,
};
use futures_util::future::try_join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::flights::{Boarding, Lead};
use super::registries::pull_error;
use super::transfer::{LayerState, Teller, Throttle};
use crate::error::{Doing as _, EngineError, Result};
use crate::inner::{Inner, store_error};
use crate::limits::{PIECES_QUEUED, WRONG_LAYERS};

/// What is wrong with an image whose layers are not those of its configuration; in Docker's words.
pub(super) const WRONG_CONFIG: &str = "layers from manifest don't match image configuration";

/// A layer that an image needs.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) wanted: WantedLayer,
    pub(super) descriptor: Descriptor,
}

/// How the layers of one pull are fetched.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    pub(super) engine: &'a Arc<Inner>,
    pub(super) repository: &'a Repository,
    pub(super) intake: &'a PullIntake,
    pub(super) teller: &'a Teller,
}

/// What is to be done for a layer.
enum Start {
    Here,
    // Order: what is dropped first stands first; while the lead lives, nobody else may begin.
    Fetch(LayerFetch, Arc<Lead>),
    Follow(watch::Receiver<LayerState>),
}

impl Layers<'_> {
    /// Sees to it that all layers are in the store, held by the intake. With `is_known` nothing is
    /// told when all of them are here.
    pub(super) async fn fetch(self, layers: Vec<Layer>, is_known: bool) -> Result<()> {
        let mut seen = HashSet::new();
        let unique = layers.into_iter().filter(|layer| seen.insert(layer.wanted.digest.clone()));
        let unique: Vec<Layer> = unique.collect();
        let starts = self.board(&unique).await?;
        if is_known && starts.iter().all(|start| matches!(start, Start::Here)) {
            return Ok(());
        }
        for (layer, start) in unique.iter().zip(&starts) {
            let is_here = matches!(start, Start::Here);
            let state = if is_here { LayerState::Exists } else { LayerState::Fetching };
            self.teller.layer(layer.id(), state);
        }
        let work =
            unique.iter().zip(starts).map(|(layer, start)| Box::pin(self.bring(layer, start)));
        try_join_all(work).await.map(drop)
    }

    /// Finds out of all layers where they are to come from.
    async fn board(self, layers: &[Layer]) -> Result<Vec<Start>> {
        let flights = &self.engine.registries.flights;
        let mut leads = HashMap::new();
        let mut followed = HashMap::new();
        for layer in layers {
            let digest = &layer.wanted.digest;
            match flights.board(digest) {
                Boarding::Lead(lead) => drop(leads.insert(digest.clone(), lead)),
                Boarding::Follow(states) => drop(followed.insert(digest.clone(), states)),
            }
        }
        let asked = layers.iter().map(|layer| layer.wanted.clone());
        let asked: Vec<_> = asked.filter(|wanted| leads.contains_key(&wanted.digest)).collect();
        let intake = self.intake.clone();
        let found = self.engine.blocking(move || {
            let found =
                asked.iter().map(|wanted| Ok((wanted.digest.clone(), intake.want(wanted)?)));
            found.collect::<Result<HashMap<Digest, Wanted>, StoreError>>()
        });
        let mut found = found.await?.map_err(store_error)?;
        let start = |layer: &Layer| {
            let digest = &layer.wanted.digest;
            match (found.remove(digest), leads.remove(digest), followed.remove(digest)) {
                (Some(Wanted::Fetch(fetch)), Some(lead), _) => Start::Fetch(fetch, lead),
                (_, _, Some(states)) => Start::Follow(states),
                _ => Start::Here,
            }
        };
        Ok(layers.iter().map(start).collect())
    }

    /// Brings one layer, whoever fetches it.
    async fn bring(self, layer: &Layer, mut start: Start) -> Result<()> {
        let downloads = &self.engine.registries.downloads;
        let mut has_waited = false;
        let mut wrong = 0;
        let mut permit = None;
        loop {
            match start {
                Start::Here => {
                    if has_waited {
                        self.teller.layer(layer.id(), LayerState::Complete);
                    }
                    return Ok(());
                }
                Start::Follow(mut states) => {
                    permit = None;
                    has_waited = true;
                    while states.changed().await.is_ok() {
                        let state = states.borrow_and_update().clone();
                        if state != LayerState::Complete {
                            self.teller.progress(layer.id(), state);
                        }
                    }
                }
                Start::Fetch(fetch, lead) => {
                    let held =
                        permit.take().or_else(|| Arc::clone(downloads).try_acquire_owned().ok());
                    let Some(held) = held else {
                        // Nobody follows one who does not fetch yet: another may have its turn first.
                        drop(fetch);
                        drop(lead);
                        has_waited = true;
                        self.teller.layer(layer.id(), LayerState::Waiting);
                        permit = Some(acquire(downloads).await?);
                        start = self.board_again(layer).await?;
                        continue;
                    };
                    let fetching = Fetching { layers: self, layer, lead: &lead };
                    match fetching.run(fetch, held).await? {
                        Outcome::Done => return Ok(()),
                        Outcome::WrongBytes => {
                            wrong += 1;
                            if wrong >= WRONG_LAYERS {
                                return Err(EngineError::broken(format!(
                                    "filesystem layer verification failed for digest {}",
                                    layer.wanted.digest
                                )));
                            }
                        }
                    }
                }
            }
            start = self.board_again(layer).await?;
        }
    }

    async fn board_again(self, layer: &Layer) -> Result<Start> {
        let next = self.board(std::slice::from_ref(layer)).await?;
        Ok(next.into_iter().next().unwrap_or(Start::Here))
    }
}

impl Layer {
    /// What Docker's clients know it by.
    fn id(&self) -> &str {
        self.wanted.digest.short()
    }
}

/// One attempt to fetch one layer.
#[derive(Clone, Copy)]
struct Fetching<'a> {
    layers: Layers<'a>,
    layer: &'a Layer,
    lead: &'a Arc<Lead>,
}

enum Outcome {
    Done,
    /// All bytes came, and they are not those of the digest; they are thrown away.
    WrongBytes,
}

impl Fetching<'_> {
    async fn run(self, fetch: LayerFetch, permit: OwnedSemaphorePermit) -> Result<Outcome> {
        let engine = self.layers.engine;
        let have = fetch.have();
        let (writer, builder) = fetch.split().map_err(store_error)?;
        let stream = self.layers.repository.blob(&self.layer.descriptor, have, self.on_retry());
        let is_written = Arc::new(AtomicBool::new(false));
        let (streamed, built) = tokio::join!(
            Box::pin(self.download(stream, writer, have, Arc::clone(&is_written), permit)),
            self.unpack(builder, is_written),
        );
        match (streamed, built?) {
            (Ok(_), Ok(built)) => {
                if self.layer.wanted.diff_id.as_ref().is_some_and(|wanted| *wanted != built.diff_id)
                {
                    return Err(EngineError::broken(WRONG_CONFIG));
                }
                engine.failpoint.pass("pull.layer-committed");
                self.tell(self.extracting(self.layer.wanted.size));
                self.tell(LayerState::Complete);
                Ok(Outcome::Done)
            }
            (Ok(stream), Err(StoreError::DigestMismatch { .. })) => {
                // Bytes that an earlier attempt left may be to blame; whoever gave these is not.
                if have == 0 {
                    self.distrust(stream.endpoints());
                }
                Ok(Outcome::WrongBytes)
            }
            // Who stops because the other half has stopped does not know why.
            (Err(error), Err(StoreError::Interrupted)) => Err(error),
            (_, Err(error)) => Err(store_error(error)),
            (Err(error), Ok(_)) => Err(error),
        }
    }

    fn distrust(self, gave: &[EndpointId]) {
        for endpoint in suspects(gave) {
            self.layers.repository.distrust(endpoint);
        }
    }

    /// Takes the bytes from the network; a thread writes them.
    async fn download(
        self,
        mut stream: BlobStream,
        writer: BlobWriter,
        have: u64,
        is_written: Arc<AtomicBool>,
        permit: OwnedSemaphorePermit,
    ) -> Result<BlobStream> {
        let (pieces, received) = mpsc::channel(PIECES_QUEUED);
        // The thread holds the lead too: nobody may begin before it has let go of the file.
        let lead = Arc::clone(self.lead);
        let writing = tokio::task::spawn_blocking(move || {
            let written = write(writer, received);
            drop(lead);
            written
        });
        let total = self.layer.wanted.size;
        let mut current = have;
        let mut throttle = Throttle::default();
        let streamed = loop {
            match stream.next().await {
                Ok(Some(bytes)) => {
                    current += bytes.len() as u64;
                    if pieces.send(Some(bytes)).await.is_err() {
                        // The thread says why.
                        break Ok(());
                    }
                    if throttle.is_due() {
                        self.progress(LayerState::Downloading { current, total });
                    }
                }
                Ok(None) => break pieces.send(None).await.or(Ok(())),
                Err(error) => break Err(pull_error(error)),
            }
        };
        drop(pieces);
        let written = writing.await.doing(|| "writing a layer")?;
        // Order: the registry's failure goes before that of the thread, which only follows it.
        streamed?;
        written.map_err(|error| match error {
            StoreError::Interrupted => EngineError::Unavailable("interrupted".to_owned()),
            other => store_error(other),
        })?;
        drop(permit);
        self.layers.engine.failpoint.pass("pull.written");
        self.tell(LayerState::Verifying);
        self.tell(LayerState::Downloaded);
        is_written.store(true, Ordering::Relaxed);
        Ok(stream)
    }

    /// Unpacks what is written, on threads.
    async fn unpack(
        self,
        builder: LayerBuilder,
        is_written: Arc<AtomicBool>,
    ) -> Result<Result<BuiltDigests, StoreError>> {
        let permit = acquire(&self.layers.engine.registries.unpacking).await?;
        let (lead, teller) = (Arc::clone(self.lead), self.layers.teller.clone());
        let (id, total) = (self.layer.id().to_owned(), self.layer.wanted.size);
        let unpacked = tokio::task::spawn_blocking(move || {
            let mut throttle = Throttle::default();
            let mut tell = |current: u64| {
                // Until all is here it is shown how much is here.
                if is_written.load(Ordering::Relaxed) && throttle.is_due() {
                    let state = LayerState::Extracting { current, total };
                    lead.publish(state.clone());
                    teller.progress(&id, state);
                }
            };
            let built = builder.build(&mut tell);
            drop((permit, lead));
            built
        });
        unpacked.await.doing(|| "unpacking a layer")
    }

    fn extracting(self, current: u64) -> LayerState {
        LayerState::Extracting { current, total: self.layer.wanted.size }
    }

    fn tell(self, state: LayerState) {
        self.lead.publish(state.clone());
        self.layers.teller.layer(self.layer.id(), state);
    }

    fn progress(self, state: LayerState) {
        self.lead.publish(state.clone());
        self.layers.teller.progress(self.layer.id(), state);
    }

    fn on_retry(self) -> RetryHook {
        // Order: weakly, or the flight would not end before its stream does.
        let (lead, teller) = (Arc::downgrade(self.lead), self.layers.teller.clone());
        let id = self.layer.id().to_owned();
        Arc::new(move |wait: Duration| {
            let state = LayerState::retrying(wait);
            if let Some(lead) = lead.upgrade() {
                lead.publish(state.clone());
            }
            teller.progress(&id, state);
        })
    }
}

/// Who is to blame for wrong bytes that several gave, one after the other. The last was asked because
/// those before it were out of order: it is believed until it has given all of them alone.
fn suspects<T>(gave: &[T]) -> &[T] {
    match gave {
        [earlier @ .., _] if !earlier.is_empty() => earlier,
        _ => gave,
    }
}

/// Writes pieces as they come; `None` is the end. When they stop without it, what is written stays
/// for the next attempt.
fn write(
    mut writer: BlobWriter,
    mut pieces: mpsc::Receiver<Option<Bytes>>,
) -> Result<(), StoreError> {
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Some(bytes) => writer.write(&bytes)?,
            None => return writer.finish(),
        }
    }
    Ok(())
}

pub(super) async fn acquire(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_owned().await.doing(|| "waiting for others")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gave_the_rest_is_believed_before_who_broke_off() {
        assert_eq!(suspects(&[1]), [1]);
        assert_eq!(suspects(&[1, 2]), [1]);
        assert_eq!(suspects(&[1, 2, 3]), [1, 2]);
        assert!(suspects::<u8>(&[]).is_empty());
    }
}
