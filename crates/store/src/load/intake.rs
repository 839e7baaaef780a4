//! Reads the outer archive once, and builds the layers in it on the way.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ferry_oci::digest::Digest;

use crate::arrival::{ArrivedLayer, LayerSource, Pin, SpooledBlob};
use crate::compression::{Compression, peek, read_ahead};
use crate::error::{ErrorKind, StoreError};
use crate::ingest::{self, decode_error};
use crate::limits;
use crate::store::{LoadProgress, Store};
use crate::take_in::{Expansion, Received, decode_bounded, receive, receive_buffered};
use crate::tar::{self, ByteSource, Entry, EntryKind, FileData, StreamSource, TarReader};

/// What an archive contains, by normalised path.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) documents: HashMap<String, Vec<u8>>,
    links: HashMap<String, String>,
    layers: HashMap<String, Result<Taken, StoreError>>,
    /// Entries that were left out, and why; it matters only if one is asked for.
    left_out: HashMap<String, String>,
}

#[derive(Debug)]
struct Taken {
    diff_id: Digest,
    /// The digest of the entry as it came.
    digest: Digest,
    /// `None` when it was taken out already.
    layer: Option<ArrivedLayer>,
}

impl Contents {
    pub(super) fn has(&self, path: &str) -> bool {
        self.documents.contains_key(path) || self.left_out.contains_key(path)
    }

    /// A small file. One that is named by its digest has that digest.
    pub(super) fn document(&self, path: &str) -> Result<&[u8], StoreError> {
        let path = self.resolve(path)?;
        let Some(bytes) = self.documents.get(&path) else {
            return Err(self.missing(&path));
        };
        match digest_of_path(&path) {
            Some(expected) if !expected.matches(bytes) => Err(StoreError::DigestMismatch {
                what: path,
                expected,
                actual: Digest::sha256_of(bytes),
            }),
            _ => Ok(bytes),
        }
    }

    /// The diff id of a layer, checked against what its manifest promised; the layer itself comes
    /// with the first who asks.
    pub(super) fn take_layer(
        &mut self,
        path: &str,
        blob: Option<&(Digest, String)>,
    ) -> Result<(Digest, Option<ArrivedLayer>), StoreError> {
        let path = self.resolve(path)?;
        let missing = self.missing(&path);
        let taken = match self.layers.get_mut(&path) {
            Some(Ok(taken)) => taken,
            Some(Err(_)) => {
                return Err(self.layers.remove(&path).and_then(Result::err).unwrap_or(missing));
            }
            None => return Err(missing),
        };
        let mut layer = taken.layer.take();
        match blob {
            Some((expected, _)) if *expected != taken.digest => {
                return Err(StoreError::DigestMismatch {
                    what: path,
                    expected: expected.clone(),
                    actual: taken.digest.clone(),
                });
            }
            Some((_, media_type)) => {
                let blob = layer.as_mut().and_then(|layer| layer.blob.as_mut());
                if let Some(blob) = blob {
                    blob.media_type.clone_from(media_type);
                }
            }
            // Nothing refers to the compressed form.
            None => {
                if let Some(layer) = &mut layer {
                    layer.blob = None;
                }
            }
        }
        Ok((taken.diff_id.clone(), layer))
    }

    /// Whether there is a layer at this path, good or not.
    pub(super) fn has_layer(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|path| self.layers.contains_key(&path))
    }

    /// The diff id of a layer, which stays.
    pub(super) fn diff_id(&self, path: &str) -> Result<Digest, StoreError> {
        let path = self.resolve(path)?;
        match self.layers.get(&path) {
            Some(Ok(taken)) => Ok(taken.diff_id.clone()),
            Some(Err(error)) => Err(StoreError::Archive(format!("{path}: {error}"))),
            None => Err(self.missing(&path)),
        }
    }

    fn resolve(&self, path: &str) -> Result<String, StoreError> {
        let mut path = normalized(path.as_bytes())?;
        // Old Dockers link a layer to its twin; once is enough, a few do no harm.
        for _ in 0..8 {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => break,
            }
        }
        Ok(path)
    }

    fn missing(&self, path: &str) -> StoreError {
        match self.left_out.get(path) {
            Some(why) => StoreError::Archive(format!("{path}: {why}")),
            None => StoreError::Archive(format!("{path} is not in the archive")),
        }
    }
}

/// Reads a whole archive.
pub(super) fn read<R: Read + Send>(
    store: &Store,
    reader: R,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<Contents, StoreError> {
    let (start, reader) = peek(reader).map_err(StoreError::Read)?;
    let compression = Compression::of(&start);
    let builders = Builders::default();
    let (jobs, queue) = sync_channel(QUEUE);
    let queue = Mutex::new(queue);
    let result: Result<Contents, StoreError> = thread::scope(|scope| {
        for _ in 0..BUILDERS {
            scope.spawn(|| builders.work(store, &queue));
        }
        // The builders end when the intake, and with it the queue's sender, is gone.
        let contents = Contents::default();
        let builders = &builders;
        let mut intake = Intake { store, contents, jobs, builders, count: 0, documents: 0 };
        if compression == Compression::None {
            intake.read(TarReader::new(StreamSource::new(reader)), progress)?;
        } else {
            let decoder = decode_bounded(compression, reader).map_err(decode_error)?;
            let (reader, _thread) = read_ahead(scope, decoder);
            intake.read(TarReader::new(StreamSource::new(reader)), progress)?;
        }
        Ok(intake.contents)
    });
    let layers = builders.layers.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut contents = result?;
    for (path, (_, layer)) in layers {
        match layer {
            // The machine's fault, not the archive's: whatever the archive wants of that layer.
            Err(error) if is_ours(&error) => return Err(error),
            layer => drop(contents.layers.insert(path, layer)),
        }
    }
    Ok(contents)
}

fn is_ours(error: &StoreError) -> bool {
    matches!(error.kind(), ErrorKind::Full | ErrorKind::Internal)
}

struct Intake<'a> {
    store: &'a Store,
    contents: Contents,
    jobs: SyncSender<Job>,
    builders: &'a Builders,
    /// Entries so far.
    count: usize,
    /// Bytes of documents so far.
    documents: u64,
}

/// What an entry is, by its first bytes.
enum Sort {
    Document,
    Layer(Compression),
    Other,
}

impl Intake<'_> {
    fn read<S: ByteSource>(
        &mut self,
        mut reader: TarReader<S>,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<(), StoreError> {
        while let Some(entry) = reader.next_entry()? {
            self.count += 1;
            if self.count > limits::MAX_OUTER_ENTRIES {
                let most = limits::MAX_OUTER_ENTRIES;
                return Err(StoreError::Archive(format!(
                    "more than {most} entries in the archive"
                )));
            }
            if self.builders.failed.load(Ordering::Relaxed) {
                break;
            }
            let Entry { path, kind, .. } = entry;
            let path = normalized(&path)?;
            match kind {
                EntryKind::File(FileData { sparse: Some(_), .. }) => {
                    let why = "sparse entries are not taken here".to_owned();
                    self.contents.left_out.insert(path, why);
                }
                EntryKind::File(data) => self.take_file(path, data.size, &mut reader, progress)?,
                EntryKind::HardLink(target) => {
                    self.contents.links.insert(path, normalized(&target)?);
                }
                EntryKind::Symlink(target) => {
                    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir).as_bytes();
                    let target = normalized(&[dir, b"/", &target].concat())?;
                    self.contents.links.insert(path, target);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take_file<S: ByteSource>(
        &mut self,
        path: String,
        size: u64,
        tar: &mut TarReader<S>,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<(), StoreError> {
        let mut start = [0; START];
        let mut filled = 0;
        while filled < START {
            match tar.read_data(&mut start[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) => return Err(decode_error(error)),
            }
        }
        let start = &start[..filled];
        match sort(&path, start) {
            Sort::Document => {
                let limit = match path.as_str() {
                    "manifest.json" | "index.json" => limits::MAX_LISTING,
                    _ => limits::MAX_CONFIG,
                };
                if size > limit || self.documents.saturating_add(size) > limits::MAX_DOCUMENTS {
                    let why = format!("{size} bytes are too many for a document");
                    self.contents.left_out.insert(path, why);
                    return Ok(());
                }
                self.documents += size;
                let mut bytes = start.to_vec();
                EntryReader { tar, has_failed: false }
                    .read_to_end(&mut bytes)
                    .map_err(decode_error)?;
                self.contents.documents.insert(path, bytes);
                Ok(())
            }
            Sort::Layer(compression) => {
                if let Some(taken) = self.find_present(&path)? {
                    self.contents.layers.insert(path, Ok(taken));
                    return Ok(());
                }
                let id = short_id(&path);
                let mut told = 0;
                let tell = |current| {
                    if current - told >= PROGRESS_STEP || current == size {
                        told = current;
                        progress(LoadProgress::Layer { id: id.clone(), current, total: size });
                    }
                };
                let mut entry = EntryReader { tar, has_failed: false };
                let reader = Cursor::new(start).chain(&mut entry);
                let work = match compression {
                    Compression::None => self.receive(reader, tell),
                    compression => self.spool(compression, reader, tell),
                };
                let work = match work {
                    Ok(work) => work,
                    // The layer's own fault, which matters only if it is asked for.
                    Err(error) if !entry.has_failed && !is_ours(&error) => {
                        self.contents.layers.insert(path, Err(error));
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                let job = Job { path, order: self.count, work };
                // They only go when a panic took them; the scope tells of that.
                self.jobs.send(job).map_err(|_gone| {
                    StoreError::Read(io::Error::other("the threads that build layers are gone"))
                })
            }
            Sort::Other => {
                self.contents.left_out.insert(path, "it is no layer".to_owned());
                Ok(())
            }
        }
    }

    /// A layer that is here already, known by the digest that its path names.
    fn find_present(&self, path: &str) -> Result<Option<Taken>, StoreError> {
        let Some(digest) = digest_of_path(path) else { return Ok(None) };
        let diff_id = match self.store.database().layer_of_blob(&digest)? {
            Some(diff_id) if self.store.has_blob(&digest)? => diff_id,
            // It is taken again: the layer is here, and this packing of it is not whole.
            Some(_) => return Ok(None),
            None => digest.clone(),
        };
        let Some(pin) = Pin::new(self.store, &diff_id)? else { return Ok(None) };
        let source = LayerSource::Present(pin);
        let layer = ArrivedLayer { diff_id: diff_id.clone(), source, blob: None };
        Ok(Some(Taken { diff_id, digest, layer: Some(layer) }))
    }

    /// Takes an uncompressed layer to its last place in its directory, and reads it on the way.
    fn receive(&self, reader: impl Read, mut tell: impl FnMut(u64)) -> Result<Work, StoreError> {
        let received = receive(self.store, reader, Expansion::default(), &mut tell)?;
        Ok(Work::Build(received))
    }

    /// Copies a compressed layer to `tmp/`.
    fn spool(
        &self,
        compression: Compression,
        reader: impl Read,
        tell: impl FnMut(u64),
    ) -> Result<Work, StoreError> {
        let dir = self.store.layout().new_tmp_dir("layer")?;
        let path = dir.path().join("blob");
        let (file, digest) = ingest::store_stream(&path, reader, tell)?;
        let size = file.metadata().map_err(|e| StoreError::file("stat", &path, e))?.len();
        let blob = SpooledBlob { digest, size, media_type: String::new(), path, dir };
        Ok(Work::Decompress { compression, file, blob })
    }
}

/// Enough for a tar header.
const START: usize = 512;
const PROGRESS_STEP: u64 = 512 << 10;
/// Layers that wait for a builder. They wait in `tmp/`, but the trees of uncompressed ones in memory.
const QUEUE: usize = 16;
/// Each decompresses on a second thread.
const BUILDERS: usize = 2;

struct EntryReader<'a, S> {
    tar: &'a mut TarReader<S>,
    /// The stream failed, not what the entry says.
    has_failed: bool,
}

impl<S: ByteSource> Read for EntryReader<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.tar.read_data(buffer);
        self.has_failed |= read.is_err();
        read
    }
}

/// A layer in `tmp/` that is still to be made.
struct Job {
    path: String,
    /// Of two entries of the same path the later counts, whichever is made first.
    order: usize,
    work: Work,
}

enum Work {
    Build(Received),
    Decompress { compression: Compression, file: File, blob: SpooledBlob },
}

/// What became of an entry, and which in order it was.
type Made = (usize, Result<Taken, StoreError>);

/// The threads that build layers, and what they made.
#[derive(Default)]
struct Builders {
    layers: Mutex<HashMap<String, Made>>,
    /// Something happened that makes going on useless.
    failed: AtomicBool,
}

impl Builders {
    fn work(&self, store: &Store, queue: &Mutex<Receiver<Job>>) {
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Job { path, order, work }) = job else { break };
            let result = make(store, work);
            if result.as_ref().is_err_and(is_ours) {
                self.failed.store(true, Ordering::Relaxed);
            }
            let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
            if layers.get(&path).is_none_or(|(known, _)| *known < order) {
                layers.insert(path, (order, result));
            }
        }
    }
}

fn make(store: &Store, work: Work) -> Result<Taken, StoreError> {
    let (received, digest, blob) = match work {
        Work::Build(received) => {
            let digest = received.diff_id.clone();
            (received, digest, None)
        }
        Work::Decompress { compression, file, blob } => {
            let received = decompress(store, compression, &file, &blob)?;
            (received, blob.digest.clone(), Some((file, blob)))
        }
    };
    let diff_id = received.diff_id.clone();
    let source = match Pin::new(store, &diff_id)? {
        Some(pin) => LayerSource::Present(pin),
        None => LayerSource::New(received.build(store.layer_store())?),
    };
    let blob = match blob {
        Some((file, blob)) => {
            file.sync_all().map_err(|e| StoreError::file("fsync", &blob.path, e))?;
            Some(blob)
        }
        None => None,
    };
    let layer = ArrivedLayer { diff_id: diff_id.clone(), source, blob };
    Ok(Taken { diff_id, digest, layer: Some(layer) })
}

/// One thread decompresses, this one hashes, writes and reads.
fn decompress(
    store: &Store,
    compression: Compression,
    mut file: &File,
    blob: &SpooledBlob,
) -> Result<Received, StoreError> {
    file.rewind().map_err(|e| StoreError::file("read", &blob.path, e))?;
    thread::scope(|scope| {
        let decoder = compression.decode(file).map_err(decode_error)?;
        let (reader, _thread) = read_ahead(scope, decoder);
        let bounds = Expansion::Of(blob.size);
        receive_buffered(store, reader, bounds, &mut |_| ())
    })
}

fn sort(path: &str, start: &[u8]) -> Sort {
    // Order: the name of a layer's first entry may begin like a document.
    if tar::looks_like_archive(start) {
        return Sort::Layer(Compression::None);
    }
    if matches!(start.trim_ascii_start().first(), Some(b'{' | b'[')) {
        return Sort::Document;
    }
    let compression = Compression::of(start);
    let empty_layer =
        start.is_empty() && (path.ends_with(".tar") || digest_of_path(path).is_some());
    if compression != Compression::None || empty_layer {
        return Sort::Layer(compression);
    }
    if start.len() < START { Sort::Document } else { Sort::Other }
}

/// A path in the archive, without leading dots and slashes.
fn normalized(path: &[u8]) -> Result<String, StoreError> {
    let components = crate::tree::components(path)?;
    let joined = components.join(&b'/');
    let refuse = |why: &str| StoreError::Archive(format!("{}: {why}", tar::show(path)));
    if joined.len() > limits::MAX_OUTER_PATH {
        return Err(refuse("path is too long"));
    }
    String::from_utf8(joined).map_err(|_bytes| refuse("not UTF-8"))
}

/// The digest that a path of the form `blobs/sha256/<hex>` names.
fn digest_of_path(path: &str) -> Option<Digest> {
    let (algorithm, hex) = path.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// What people see of a layer while it comes in.
fn short_id(path: &str) -> String {
    match digest_of_path(path) {
        Some(digest) => digest.short().to_owned(),
        None => path.split('/').next().unwrap_or_default().chars().take(12).collect(),
    }
}
