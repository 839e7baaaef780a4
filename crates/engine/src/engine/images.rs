//! What changes images.

use std::io::{Read, Write};
use std::sync::Arc;

use ferry_distribution::{Credentials, LoginOutcome};
use ferry_oci::manifest::Descriptor;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_store::{
    Converted, ImageId, ImportOptions, LayerStoreKind, LoadProgress, Loaded, PruneFilter, Pruned,
    Removal, Removed,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Engine;
use crate::error::Result;
use crate::images;
use crate::images::commit::CommitRequest;
use crate::images::maintenance::{ScrubEvent, ScrubOutcome, ScrubRequest};
use crate::images::pull::PullRequest;
use crate::images::push::PushRequest;
use crate::images::transfer::Events;
use crate::inner::finish;

impl Engine {
    /// Takes images in from an archive of `docker save` or an OCI layout; with a platform only those
    /// for it.
    ///
    /// # Errors
    /// `Invalid` for a bad archive; `NotFound` when nothing in it is for the platform.
    pub async fn load(
        &self,
        archive: Box<dyn Read + Send>,
        platform: Option<Platform>,
        progress: Box<dyn FnMut(LoadProgress) + Send>,
    ) -> Result<Vec<Loaded>> {
        let work = images::load(Arc::clone(&self.inner), archive, platform, progress);
        finish(&self.inner, work).await
    }

    /// Makes an image of one layer from an archive of files.
    ///
    /// # Errors
    /// `Invalid` for a bad archive.
    pub async fn import(
        &self,
        archive: Box<dyn Read + Send>,
        options: ImportOptions,
    ) -> Result<ImageId> {
        finish(&self.inner, images::import(Arc::clone(&self.inner), archive, options)).await
    }

    /// Gives an image a further name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tag(&self, source: &str, target: Reference) -> Result<()> {
        let work = images::tag(Arc::clone(&self.inner), source.to_owned(), target);
        finish(&self.inner, work).await
    }

    /// Takes a name from an image, and removes it with its last. Of a name that stands for several
    /// platforms only these go, if any are given.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a container uses it.
    pub async fn image_remove(
        &self,
        reference: &str,
        platforms: Vec<Platform>,
        how: Removal,
    ) -> Result<Vec<Removed>> {
        let inner = Arc::clone(&self.inner);
        let work = images::remove(inner, reference.to_owned(), platforms, how);
        finish(&self.inner, work).await
    }

    /// Fetches an image from its registry. The first event comes when the registry has answered;
    /// cancelled, it keeps what it has fetched for the next pull.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `TooMany` in Docker's words; `Internal` when the registry is not
    /// there or not in order; `Unavailable` when it is cancelled.
    pub async fn pull(
        &self,
        request: PullRequest,
        events: Events,
        cancel: CancellationToken,
    ) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        // Boxed: what waits for a registry is large.
        finish(&self.inner, Box::pin(images::pull::pull(inner, request, events, cancel))).await
    }

    /// Sends an image to its registry. The first event comes at once.
    ///
    /// # Errors
    /// As [`Engine::pull`], and `Forbidden`.
    pub async fn push(
        &self,
        request: PushRequest,
        events: Events,
        cancel: CancellationToken,
    ) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        // Boxed: what waits for a registry is large.
        finish(&self.inner, Box::pin(images::push::push(inner, request, events, cancel))).await
    }

    /// Tries credentials at a registry: its host, or a URL with it.
    ///
    /// # Errors
    /// `Unauthorized` from the one who gives tokens; `Internal` with the registry's own refusal, as
    /// Docker has it.
    pub async fn login(&self, server: &str, credentials: Credentials) -> Result<LoginOutcome> {
        let inner = Arc::clone(&self.inner);
        Box::pin(images::inspect::login(inner, server.to_owned(), credentials)).await
    }

    /// Asks a registry what a name stands for, and for which platforms that is.
    ///
    /// # Errors
    /// `NotFound`, `Unauthorized`, `Forbidden` in the registry's words.
    pub async fn distribution_inspect(
        &self,
        name: Reference,
        credentials: Credentials,
    ) -> Result<(Descriptor, Vec<Platform>)> {
        let inner = Arc::clone(&self.inner);
        Box::pin(images::inspect::distribution_inspect(inner, name, credentials)).await
    }

    /// Writes images as an archive. Nothing is written before all are found.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn save(
        &self,
        names: Vec<String>,
        platform: Option<Platform>,
        out: Box<dyn Write + Send>,
    ) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, images::archives::save(inner, names, platform, out)).await
    }

    /// Writes the files of a container as an archive, without what is mounted in it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn export(&self, container: &str, out: Box<dyn Write + Send>) -> Result<()> {
        let container = self.inner.registry.find(container)?;
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, images::archives::export(inner, container, out)).await
    }

    /// Makes an image of a container's changes; one that runs goes on afterwards.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` for a bad change.
    pub async fn commit(&self, container: &str, request: CommitRequest) -> Result<ImageId> {
        let container = self.inner.registry.find(container)?;
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, images::commit::commit(inner, container, request)).await
    }

    /// Removes images that nobody names or uses.
    ///
    /// # Errors
    /// When the store can not be read; images that can not be removed stay.
    pub async fn prune_images(&self, filter: PruneFilter) -> Result<Pruned> {
        finish(&self.inner, images::prune::prune(Arc::clone(&self.inner), filter)).await
    }

    /// Looks whether all that is stored is what it should be; cancelled, it stops soon.
    ///
    /// # Errors
    /// When the database can not be read.
    pub async fn scrub(
        &self,
        request: ScrubRequest,
        told: mpsc::Sender<ScrubEvent>,
        cancel: CancellationToken,
    ) -> Result<ScrubOutcome> {
        let inner = Arc::clone(&self.inner);
        // Boxed: what waits for a registry is large.
        finish(&self.inner, Box::pin(images::maintenance::scrub(inner, request, told, cancel)))
            .await
    }

    /// Keeps all layers in one way; those that containers run on stay as they are.
    ///
    /// # Errors
    /// When the kernel can not mount layers of that kind. What was done by then stays done.
    pub async fn convert_layers(
        &self,
        to: LayerStoreKind,
        told: mpsc::Sender<ScrubEvent>,
    ) -> Result<Converted> {
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, images::maintenance::convert(inner, to, told)).await
    }
}
