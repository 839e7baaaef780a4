//! Images: what they are, and how they are found, named and removed.

mod find;
mod platforms;
mod remove;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use ferry_oci::digest::{Digest, ParseDigestError};
use ferry_oci::image::ImageConfig;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

pub(crate) use self::remove::chain_ids;
use crate::error::StoreError;
use crate::store::Store;

/// An image's id: the digest of its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageId(Digest);

impl ImageId {
    /// The digest of the configuration.
    pub fn digest(&self) -> &Digest {
        &self.0
    }

    /// The whole text, `sha256:<hex>`.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The first twelve digits, as Docker shows ids.
    pub fn short(&self) -> &str {
        self.0.short()
    }
}

impl From<Digest> for ImageId {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ImageId {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        text.parse().map(Self)
    }
}

/// An image and all that is known of it.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the configuration.
    pub id: ImageId,
    /// The configuration, with its exact bytes.
    pub config: ImageConfig,
    /// Its names with tags, sorted; shown with [`Reference::familiar`].
    pub repo_tags: Vec<Reference>,
    /// Its names with digests, sorted; only pulled and pushed images have any.
    pub repo_digests: Vec<Reference>,
    /// Bytes of all files in all layers, as Docker counts them.
    pub size: u64,
    /// Each layer's part of `size`, lowest first.
    pub layer_sizes: Vec<u64>,
    /// When a name was last given to it, as seconds since 1970; `None` if never.
    pub last_tagged: Option<Timestamp>,
    /// The image it was committed or built from, while that is still here.
    pub parent: Option<ImageId>,
    /// The digest of the manifest it came with, if it came with one.
    pub manifest_digest: Option<Digest>,
}

/// A moment: seconds and nanoseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Whole seconds.
    pub seconds: i64,
    /// The rest.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// The present moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: since.subsec_nanos(),
        }
    }
}

/// A container that uses an image; the engine knows them, the store does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageUse {
    /// The container's whole id.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
}

/// How an image is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Though containers that do not run are made of it, or it has names in several repositories.
    pub force: bool,
    /// With its parents that nothing else needs.
    pub prune: bool,
}

/// What a removal did, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name was taken away, as Docker shows it: `busybox:latest`.
    Untagged(String),
    /// An image.
    Deleted(ImageId),
    /// A layer that only this image had, by its chain id.
    DeletedLayer(Digest),
}

/// The images of a store.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub(crate) store: &'a Store,
}

impl Images<'_> {
    /// All images, newest first by the time in their configuration; without those whose
    /// configuration is damaged, which a pull or a load brings again.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        self.store.list_images()
    }

    /// How many images there are, damaged ones too.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn count(&self) -> Result<usize, StoreError> {
        self.store.database().count_images()
    }

    /// Finds an image by name (`busybox`, `busybox:tag`, `busybox@sha256:...`), id
    /// (`sha256:<hex>`, `<hex>`) or the beginning of an id.
    ///
    /// # Errors
    /// `NotFound` with Docker's sentence; `Invalid` for a malformed name or an ambiguous prefix.
    pub fn get(&self, reference: &str) -> Result<Image, StoreError> {
        self.store.get_image(reference)
    }

    /// Finds only the id; cheaper than [`Images::get`].
    ///
    /// # Errors
    /// As [`Images::get`].
    pub fn resolve(&self, reference: &str) -> Result<ImageId, StoreError> {
        self.store.resolve_image(reference)
    }

    /// Gives an image a further name, taking it from another image if need be.
    /// Returns the image's id.
    ///
    /// # Errors
    /// `NotFound` for the source; `Invalid` when the target has a digest.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<ImageId, StoreError> {
        self.store.tag_image(source, target)
    }

    /// Finds an image as [`Images::get`] does; of the platforms that a name stands for, the one that
    /// suits `platform` best.
    ///
    /// # Errors
    /// As [`Images::get`]; `NotFound` with Docker's sentence when none suits.
    pub fn get_for(&self, reference: &str, platform: &Platform) -> Result<Image, StoreError> {
        self.store.get_image_for(reference, platform)
    }

    /// The images that have no name of their own and are listed by an index that a name stands for:
    /// further platforms of what that name is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn parts(&self) -> Result<HashSet<ImageId>, StoreError> {
        self.store.parts_of_indexes()
    }

    /// Removes platforms of what a name stands for; with the last of them the name goes, as by
    /// [`Images::remove`].
    ///
    /// # Errors
    /// `NotFound` with Docker's sentence, before anything is done; `Conflict` with Docker's sentence.
    pub fn remove_platforms(
        &self,
        reference: &str,
        platforms: &[Platform],
        how: Removal,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Vec<Removed>, StoreError> {
        self.store.remove_platforms(reference, platforms, how, in_use)
    }

    /// Takes a name from an image, and removes the image when that was its last; with `prune`, then
    /// its parents too, up to the first that has a name, another child or a container. What only the
    /// index listed that the name stood for goes with it.
    ///
    /// `in_use` names the containers of an image; it is asked under the store's lock.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with Docker's sentence.
    pub fn remove(
        &self,
        reference: &str,
        force: bool,
        prune: bool,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Vec<Removed>, StoreError> {
        self.store.remove_image(reference, force, prune, in_use)
    }
}
