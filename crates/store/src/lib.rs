//! Images, layers and the root filesystems made of them.
//!
//! A [`Store`] owns one data root: a database of names and records, content-addressed files, and
//! one directory per layer. It takes images in ([`Store::load`], [`Store::import`],
//! [`Store::begin_pull`]), answers questions about them ([`Store::images`]), makes the root
//! filesystems of containers as detached overlay mounts, and keeps the engine's records.
//!
//! Everything half-made lives in `tmp/` and is renamed into place; the database transaction that
//! makes it count comes last. Death at any moment leaves garbage that [`Store::open`] sweeps.
//!
//! All calls are synchronous. The store knows nothing of containers' lives, of HTTP and of
//! registries.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod changes;
pub mod collect;
pub mod commit;
pub mod convert;
pub mod documents;
pub mod error;
pub mod image;
pub mod manifest;
pub mod out;
pub mod prune;
pub mod pull;
pub mod records;
pub mod scrub;
pub mod store;
pub mod usage;

mod containers;
mod diff;
mod export;
mod import;
mod load;

mod arrival;
mod compress;
mod compression;
mod ingest;
mod layers;
mod roots;
mod setup;
mod space;
mod spool;
mod take_in;
mod tar;
mod tree;

mod database;
mod layout;
mod limits;

#[cfg(test)]
mod scratch;

pub use arrival::KeptLayers;
pub use collect::{Collect, Collected};
pub use commit::CommitImage;
pub use convert::Converted;
pub use error::{ErrorKind, StoreError};
pub use image::{Image, ImageId, ImageUse, Images, Removal, Removed, Timestamp};
pub use manifest::KeptManifest;
pub use out::{ManifestSummary, PushBlob, PushManifest, PushPlan};
pub use prune::{LabelFilter, PruneFilter, Pruned};
pub use pull::{
    BlobWriter, BuiltDigests, LayerBuilder, LayerFetch, PullIntake, PulledImage, PulledOutcome,
    Wanted, WantedLayer,
};
pub use records::{Record, Records};
pub use scrub::{Damage, DamagedThing, Repair, ScrubReport, ScrubStep};
pub use store::{
    Discarded, FsSize, ImportOptions, LayerStoreChoice, LayerStoreKind, LoadProgress, Loaded,
    MountOptions, Store, StoreConfig,
};
pub use usage::{ImageUsage, Usage};
