//! Fetching one layer: a writer for its bytes, and a builder that makes the layer of them.

use std::fs;
use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ferry_oci::digest::{Digest, Hasher};
use ferry_sys::durable::{self, Survive};

use super::{PullIntake, WantedLayer};
use crate::arrival::{Pin, Placing};
use crate::collect::lease_end;
use crate::compression::{Compression, ahead, peek};
use crate::database::{BlobRow, Finished, LayerRow};
use crate::error::{ErrorKind, StoreError};
use crate::ingest::decode_error;
use crate::spool::{Follower, Spool, Stopped};
use crate::store::Store;
use crate::take_in::{Expansion, Received, receive_buffered};

/// A layer that this one fetches and nobody else.
#[derive(Debug)]
pub struct LayerFetch {
    intake: PullIntake,
    layer: WantedLayer,
    unpacked: Option<Digest>,
    spool: Arc<Spool>,
    fetching: Arc<Fetching>,
}

/// Takes the bytes of the compressed layer, in order. Dropped unfinished, it makes the builder
/// fail; what was written stays for the next attempt.
#[derive(Debug)]
pub struct BlobWriter {
    spool: Arc<Spool>,
    digest: Digest,
    size: u64,
    _fetching: Arc<Fetching>,
}

/// Makes the layer while its bytes come in.
#[derive(Debug)]
pub struct LayerBuilder {
    intake: PullIntake,
    layer: WantedLayer,
    /// The layer that it should be another packing of; it is pinned.
    unpacked: Option<Digest>,
    spool: Arc<Spool>,
    _fetching: Arc<Fetching>,
}

/// What a layer turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltDigests {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of that.
    pub archive_size: u64,
}

/// While it lives nobody else fetches the blob.
#[derive(Debug)]
struct Fetching {
    store: Store,
    digest: Digest,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.store.lock_pins().end_fetch(&self.digest);
    }
}

impl LayerFetch {
    /// `unpacked` is the layer, if it is here in another packing and pinned.
    pub(super) fn new(
        intake: PullIntake,
        layer: WantedLayer,
        unpacked: Option<Digest>,
    ) -> Result<Self, StoreError> {
        let (store, digest) = (intake.intake.store.clone(), layer.digest.clone());
        if !store.lock_pins().begin_fetch(&digest) {
            return Err(StoreError::Conflict(format!("layer {digest} is being fetched already")));
        }
        let path = store.layout().partial(&digest);
        let fetching = Arc::new(Fetching { store, digest });
        let spool = Spool::open(path, layer.size)?;
        Ok(Self { intake, layer, unpacked, spool, fetching })
    }

    /// How many of its bytes an earlier attempt left here; fetch from there.
    pub fn have(&self) -> u64 {
        self.spool.written()
    }

    /// Divides the work into its two halves, for two threads.
    ///
    /// # Errors
    /// None at present; the signature leaves room for calls that fail.
    pub fn split(self) -> Result<(BlobWriter, LayerBuilder), StoreError> {
        let Self { intake, layer, unpacked, spool, fetching } = self;
        let writer = BlobWriter {
            spool: Arc::clone(&spool),
            digest: layer.digest.clone(),
            size: layer.size,
            _fetching: Arc::clone(&fetching),
        };
        Ok((writer, LayerBuilder { intake, layer, unpacked, spool, _fetching: fetching }))
    }
}

impl BlobWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// `Invalid` when they are more than the layer's size; `Cancelled` when the builder has failed
    /// or is gone, which then says why; `Full`.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.spool.written();
        if bytes.len() as u64 > self.size.saturating_sub(written) {
            let (digest, size) = (&self.digest, self.size);
            return Err(StoreError::Archive(format!("layer {digest} is longer than {size} bytes")));
        }
        self.spool.push(bytes)
    }

    /// Throws away what was written, by this one and by earlier attempts.
    ///
    /// # Errors
    /// When the file cannot be truncated.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        self.spool.restart()
    }

    /// Tells that all bytes were written.
    ///
    /// # Errors
    /// `Invalid` when they are fewer than the layer's size; they stay for the next attempt.
    pub fn finish(self) -> Result<(), StoreError> {
        let (written, size) = (self.spool.written(), self.size);
        if written != size {
            let digest = &self.digest;
            return Err(StoreError::Archive(format!(
                "layer {digest} ended after {written} of {size} bytes"
            )));
        }
        self.spool.finish_writing();
        Ok(())
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        self.spool.abandon_writing();
    }
}

impl Drop for LayerBuilder {
    fn drop(&mut self) {
        self.spool.abandon_reading();
    }
}

/// What came of one pass over the bytes.
enum Pass {
    Restarted,
    Done(Result<Unpacked, StoreError>),
}

/// What the bytes turned out to be.
enum Unpacked {
    /// A layer that is here and pinned.
    Known(BuiltDigests),
    /// Another one than was expected.
    Other,
    New(Received),
}

impl Unpacked {
    fn digests(&self) -> Option<BuiltDigests> {
        match self {
            Self::Known(digests) => Some(digests.clone()),
            Self::Other => None,
            Self::New(received) => Some(BuiltDigests {
                diff_id: received.diff_id.clone(),
                archive_size: received.archive_size,
            }),
        }
    }
}

impl LayerBuilder {
    /// Makes the layer and puts it and its compressed form into place, held by the pull's lease.
    /// Blocks until the writer has finished; `tell` hears how many compressed bytes were read.
    ///
    /// # Errors
    /// `Cancelled` when the writer went away; `Invalid` for other bytes than the digest's, which
    /// are thrown away, and for an archive that is malformed or hostile; `Full`.
    pub fn build(self, tell: &mut (dyn FnMut(u64) + Send)) -> Result<BuiltDigests, StoreError> {
        let store = &self.intake.intake.store;
        let mut known = match &self.unpacked {
            Some(diff_id) => store.database().layer(diff_id)?,
            None => None,
        };
        let unpacked = loop {
            match self.pass(known.as_ref(), &mut *tell)? {
                Pass::Restarted => {}
                // It says so of itself, wrongly: now it is read as any other.
                Pass::Done(Ok(Unpacked::Other)) => known = None,
                Pass::Done(unpacked) => break unpacked,
            }
        };
        // Right bytes that are no layer never will be one.
        let unpacked = unpacked.inspect_err(|error| {
            if error.kind() == ErrorKind::Invalid {
                self.discard_blob();
            }
        })?;
        self.spool.finish_reading();
        let built = unpacked.digests().ok_or(StoreError::Interrupted)?;
        self.place(unpacked, &built.diff_id)?;
        Ok(built)
    }

    /// Reads all bytes once. The thread hashes and decompresses; this one writes and reads the
    /// archive.
    ///
    /// An archive that makes no sense is read to its end all the same: when its bytes are not those
    /// of the digest, that is what is told.
    fn pass(
        &self,
        known: Option<&LayerRow>,
        tell: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Pass, StoreError> {
        let store = &self.intake.intake.store;
        let mut hashing = Hashing {
            follower: self.spool.follow(),
            hasher: self.layer.digest.verifier(),
            total: Arc::default(),
            tell,
        };
        let bounds = Expansion::Reading(Arc::clone(&hashing.total));
        let (received, read) = thread::scope(|scope| {
            let (archive, thread) = ahead(scope, move |sender| {
                let decoded = peek(&mut hashing).and_then(|(start, reader)| {
                    sender.pump(Compression::of(&start).decode(reader)?);
                    Ok(())
                });
                if let Err(error) = decoded {
                    sender.fail(error);
                }
                hashing.finish()
            });
            let received = match known {
                Some(layer) => compare(layer, archive),
                None => receive_buffered(store, archive, bounds, &mut |_| ()).map(Unpacked::New),
            };
            // Nobody needs the rest.
            if received.as_ref().is_err_and(is_ours) {
                self.spool.abandon_reading();
            }
            (received, thread.join())
        });
        let Ok(read) = read else {
            return Err(StoreError::Read(io::Error::other("the thread that decompresses is gone")));
        };
        match read {
            // Order: our own failure made the other side stop.
            Err(_) if matches!(&received, Err(error) if is_ours(error)) => Ok(Pass::Done(received)),
            Err(Stopped::Restarted) => Ok(Pass::Restarted),
            Err(Stopped::Abandoned) => Err(StoreError::Interrupted),
            Err(Stopped::File(error)) => Err(StoreError::file("read", self.spool.path(), error)),
            Ok(actual) if actual != self.layer.digest => {
                self.discard_blob();
                let (expected, what) = (self.layer.digest.clone(), "layer".to_owned());
                Err(StoreError::DigestMismatch { what, expected, actual })
            }
            Ok(_) => Ok(Pass::Done(received)),
        }
    }

    /// Deletes the compressed bytes, so that the next attempt begins anew.
    fn discard_blob(&self) {
        if let Err(error) = fs::remove_file(self.spool.path()) {
            tracing::warn!(path = %self.spool.path().display(), %error, "cannot delete a blob");
        }
    }

    fn place(&self, unpacked: Unpacked, diff_id: &Digest) -> Result<(), StoreError> {
        let intake = &self.intake.intake;
        let store = &intake.store;
        // It may have come under another compression meanwhile.
        let pin = Pin::new(store, diff_id)?;
        let layer = match (&pin, unpacked) {
            (None, Unpacked::New(received)) => Some(received.build(store.layer_store())?),
            (None, _) => return Err(StoreError::NoSuchLayer(diff_id.clone())),
            (Some(_), _) => None,
        };
        self.spool.sync()?;
        let WantedLayer { digest, size, media_type, .. } = self.layer.clone();
        let mut placing = Placing::new(store);
        let changes = store.lock_changes();
        let placed = (|| {
            let layer = layer.map(|layer| placing.place_layer(layer)).transpose()?.flatten();
            let partial: PathBuf = self.spool.path().to_owned();
            let is_new = placing
                .place_blob(&digest, |to| durable::rename(&partial, to, Survive::Processes))?;
            if !is_new {
                self.discard_blob();
            }
            Ok(layer)
        })();
        let (changes, synced) = changes.wait(store, || placing.sync());
        let placed = placed.and_then(|layer| {
            synced?;
            store.database().finish_layer(&Finished {
                lease: &intake.lease.id,
                lease_expires: lease_end(),
                layer: layer.as_ref(),
                diff_id,
                blob: &BlobRow { digest: digest.clone(), size, media_type },
            })
        });
        if placed.is_err() {
            placing.undo();
        }
        drop(changes);
        placed?;
        let pin = match pin {
            Some(pin) => Some(pin),
            None => Pin::new(store, diff_id)?,
        };
        let mut taken = intake.taken();
        taken.diff_ids.insert(digest, diff_id.clone());
        let before = pin.and_then(|pin| taken.pins.insert(diff_id.clone(), pin));
        // A pin is let go when no lock is held.
        drop(taken);
        drop(before);
        Ok(())
    }
}

/// Hashes an archive that is expected to be that of a layer that is here. It is told apart as soon as
/// it is longer, so that nothing large comes of little.
fn compare(layer: &LayerRow, mut archive: impl BufRead) -> Result<Unpacked, StoreError> {
    let (mut hasher, mut archive_size) = (layer.diff_id.verifier(), 0);
    loop {
        let bytes = match archive.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(decode_error(error)),
        };
        let length = bytes.len();
        archive_size += length as u64;
        if archive_size > layer.archive_size {
            return Ok(Unpacked::Other);
        }
        if length == 0 {
            break;
        }
        hasher.update(bytes);
        archive.consume(length);
    }
    let diff_id = hasher.finish();
    Ok(match diff_id == layer.diff_id {
        true => Unpacked::Known(BuiltDigests { diff_id, archive_size }),
        false => Unpacked::Other,
    })
}

fn is_ours(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Full | ErrorKind::Internal)
}

/// Hashes what is read of the compressed layer.
struct Hashing<'a> {
    follower: Follower,
    hasher: Hasher,
    /// Bytes that were read.
    total: Arc<AtomicU64>,
    tell: &'a mut (dyn FnMut(u64) + Send),
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.follower.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        let before = self.total.fetch_add(length as u64, Ordering::Relaxed);
        (self.tell)(before + length as u64);
        Ok(length)
    }
}

impl Hashing<'_> {
    /// Reads what the decompressor left, and gives the digest of all.
    fn finish(mut self) -> Result<Digest, Stopped> {
        let rest = io::copy(&mut self, &mut io::sink());
        match (rest, self.follower.into_stopped()) {
            (_, Some(stopped)) => Err(stopped),
            (Err(error), None) => Err(Stopped::File(error)),
            (Ok(_), None) => Ok(self.hasher.finish()),
        }
    }
}
