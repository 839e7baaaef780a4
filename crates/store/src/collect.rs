//! Garbage: what nothing needs any more, found by a pure plan and then taken away.
//!
//! Needed are the images, what their names stand for, the layers of containers, what a lease or a
//! pin holds; then, of documents, what a needed index lists and what is about a needed document.
//! Rows go first: a file without a row is swept at the next start, a row without a file would be a
//! lie.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use ferry_oci::digest::Digest;

use crate::error::StoreError;
use crate::image::Timestamp;
use crate::layout::digest_of_name;
use crate::limits;
use crate::store::{Changes, Store, delete_in_background};

/// How much a collection takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collect {
    /// What unfinished pulls have left, too, though it might be wanted soon.
    pub drop_idle_leases: bool,
    /// All blobs that came in part, too, if nobody fetches them at present.
    pub all_partials: bool,
}

/// What a collection took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers.
    pub layers: usize,
    /// Manifests and compressed layers.
    pub blobs: usize,
    /// Blobs that had come in part.
    pub partials: usize,
    /// Bytes of all these.
    pub bytes: u64,
}

/// Something to be forgotten and deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Garbage {
    /// A layer, and its compressed forms with it.
    Layer(Digest),
    /// A blob.
    Blob(Digest),
    /// A manifest or an index.
    Manifest(Digest),
}

/// All that decides what is needed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// With the bytes of their archives.
    pub layers: HashMap<Digest, u64>,
    /// Blobs, and the layers that they are compressed forms of.
    pub blobs: Vec<(Digest, Option<Digest>)>,
    pub manifests: Vec<SnapshotManifest>,
    pub children: HashMap<Digest, Vec<Digest>>,
    /// Layers of images and containers.
    pub needed_layers: HashSet<Digest>,
    pub images: HashSet<Digest>,
    /// What names stand for, and images came with.
    pub targets: HashSet<Digest>,
    pub leased: HashSet<Digest>,
    /// Layers that an operation under way counts upon.
    pub pinned: HashSet<Digest>,
}

/// A document, as far as it matters here.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotManifest {
    pub digest: Digest,
    pub image: Option<Digest>,
    pub subject: Option<Digest>,
}

/// What nothing needs, in a fixed order.
pub(crate) fn plan(snapshot: &Snapshot) -> Vec<Garbage> {
    let live = live_manifests(snapshot);
    let is_idle =
        |digest: &Digest| !snapshot.leased.contains(digest) && !snapshot.pinned.contains(digest);
    let layers = snapshot.layers.keys();
    let layers = layers.filter(|id| !snapshot.needed_layers.contains(*id) && is_idle(id));
    let layers: HashSet<&Digest> = layers.collect();
    let manifests = snapshot.manifests.iter().map(|manifest| &manifest.digest);
    let manifests = manifests.filter(|digest| !live.contains(digest));
    let listed: HashSet<&Digest> =
        live.iter().filter_map(|digest| snapshot.children.get(*digest)).flatten().collect();
    // A compressed form goes with its layer, and before it when no manifest names it, unless
    // somebody counts upon the layer as it is.
    let stays = |layer: &Digest| layers.contains(layer) || snapshot.pinned.contains(layer);
    let blobs = snapshot.blobs.iter().filter(|(_, layer)| !layer.as_ref().is_some_and(stays));
    let blobs = blobs
        .map(|(digest, _)| digest)
        .filter(|digest| !listed.contains(digest) && is_idle(digest));
    let mut garbage: Vec<Garbage> = layers.iter().copied().cloned().map(Garbage::Layer).collect();
    garbage.extend(blobs.cloned().map(Garbage::Blob));
    garbage.extend(manifests.cloned().map(Garbage::Manifest));
    garbage.sort();
    garbage
}

fn live_manifests(snapshot: &Snapshot) -> HashSet<&Digest> {
    let mut known = HashSet::new();
    let mut about: HashMap<&Digest, Vec<&Digest>> = HashMap::new();
    let mut pending = Vec::new();
    for SnapshotManifest { digest, image, subject } in &snapshot.manifests {
        known.insert(digest);
        if let Some(subject) = subject {
            about.entry(subject).or_default().push(digest);
        }
        let describes = image.as_ref().is_some_and(|image| snapshot.images.contains(image));
        if describes || snapshot.targets.contains(digest) || snapshot.leased.contains(digest) {
            pending.push(digest);
        }
    }
    let mut live = HashSet::new();
    while let Some(digest) = pending.pop() {
        if !known.contains(digest) || !live.insert(digest) {
            continue;
        }
        pending.extend(snapshot.children.get(digest).into_iter().flatten());
        pending.extend(about.get(digest).into_iter().flatten());
    }
    live
}

impl Store {
    /// Takes away what nothing needs, leases that have run out, and blobs that came in part and
    /// are too old or too many.
    ///
    /// # Errors
    /// When the database or a directory cannot be read or written.
    pub fn collect_garbage(&self, how: Collect) -> Result<Collected, StoreError> {
        let changes = self.lock_changes();
        self.end_idle_leases(&changes, how.drop_idle_leases)?;
        let mut collected = self.collect_unused(&changes)?;
        self.collect_partials(&changes, how.all_partials, &mut collected)?;
        self.database().delete_orphaned_notes()?;
        Ok(collected)
    }

    /// Removes the layers, the manifests and the blobs that nothing needs any more.
    pub(crate) fn remove_unused_layers(&self, changes: &Changes) -> Result<(), StoreError> {
        self.collect_unused(changes).map(drop)
    }

    fn end_idle_leases(&self, changes: &Changes, all: bool) -> Result<(), StoreError> {
        let now = now_seconds();
        let mut leases = self.database().leases()?;
        leases.retain(|(id, expires)| !changes.holds_lease(id) && (all || *expires <= now));
        let ids: Vec<String> = leases.into_iter().map(|(id, _)| id).collect();
        if ids.is_empty() { Ok(()) } else { self.database().end_leases(&ids) }
    }

    fn collect_unused(&self, changes: &Changes) -> Result<Collected, StoreError> {
        let mut snapshot = self.database().snapshot()?;
        snapshot.pinned = changes.pinned_layers();
        let planned = plan(&snapshot);
        let mut collected = Collected::default();
        if planned.is_empty() {
            return Ok(collected);
        }
        let mut paths = Vec::new();
        for thing in self.database().delete_garbage(&planned)? {
            match thing {
                Garbage::Layer(diff_id) => {
                    self.roots().close(&diff_id);
                    collected.layers += 1;
                    collected.bytes += snapshot.layers.get(&diff_id).copied().unwrap_or_default();
                    let forms = snapshot.blobs.iter();
                    let forms = forms.filter(|(_, layer)| layer.as_ref() == Some(&diff_id));
                    for (blob, _) in forms {
                        self.count_blob(blob, &mut paths, &mut collected);
                    }
                    paths.push(self.layout().layer(&diff_id));
                }
                Garbage::Blob(digest) | Garbage::Manifest(digest) => {
                    self.count_blob(&digest, &mut paths, &mut collected);
                }
            }
        }
        self.discard_all(paths);
        Ok(collected)
    }

    fn count_blob(&self, digest: &Digest, paths: &mut Vec<PathBuf>, collected: &mut Collected) {
        let path = self.layout().blob(digest);
        collected.blobs += 1;
        // One that is not there has no bytes; that it is not there is told when it is moved away.
        collected.bytes += fs::metadata(&path).map_or(0, |metadata| metadata.len());
        paths.push(path);
    }

    fn discard_all(&self, paths: Vec<PathBuf>) {
        let mut discarded = Vec::with_capacity(paths.len());
        for path in paths {
            match self.layout().discard(&path) {
                Ok(path) => discarded.push(path),
                Err(error) => tracing::warn!(%error, "cannot remove what nothing needs"),
            }
        }
        delete_in_background(discarded);
    }

    fn collect_partials(
        &self,
        changes: &Changes,
        all: bool,
        collected: &mut Collected,
    ) -> Result<(), StoreError> {
        let dir = self.layout().partials();
        let fail = |e| StoreError::file("read", &dir, e);
        let mut partials = Vec::new();
        for entry in fs::read_dir(&dir).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            // Names that are no digests are not ours to judge.
            let Some(digest) = digest_of_name(&entry.file_name()) else { continue };
            let metadata = entry.metadata().map_err(fail)?;
            partials.push(Partial {
                path: entry.path(),
                size: metadata.len(),
                age: metadata
                    .modified()
                    .ok()
                    .and_then(|at| SystemTime::now().duration_since(at).ok()),
                is_locked: changes.is_fetching(&digest),
            });
        }
        let doomed = doomed(partials, all);
        collected.partials += doomed.len();
        collected.bytes += doomed.iter().map(|partial| partial.size).sum::<u64>();
        self.discard_all(doomed.into_iter().map(|partial| partial.path).collect());
        Ok(())
    }
}

/// A blob that came in part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Partial {
    path: PathBuf,
    size: u64,
    /// Since it was last written; `None` when that is in the future.
    age: Option<Duration>,
    /// Somebody fetches it.
    is_locked: bool,
}

/// Those that go: all, or the old ones and then the oldest beyond what all may have together.
fn doomed(mut partials: Vec<Partial>, all: bool) -> Vec<Partial> {
    let mut total: u64 = partials.iter().map(|partial| partial.size).sum();
    partials.retain(|partial| !partial.is_locked);
    partials.sort_by_key(|partial| Reverse(partial.age));
    partials.retain(|partial| {
        let is_old = partial.age.is_some_and(|age| age > limits::MAX_PARTIAL_AGE);
        let goes = all || is_old || total > limits::MAX_PARTIAL_BYTES;
        if goes {
            total -= partial.size;
        }
        goes
    });
    partials
}

/// Seconds since 1970.
pub(crate) fn now_seconds() -> i64 {
    Timestamp::now().seconds
}

/// When a lease ends that is made or renewed now.
pub(crate) fn lease_end() -> i64 {
    now_seconds().saturating_add(limits::LEASE_SECONDS)
}
