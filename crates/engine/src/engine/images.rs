//! What changes images.

use std::io::Read;
use std::sync::Arc;

use ferry_oci::reference::Reference;
use ferry_store::{ImageId, ImportOptions, LoadProgress, Loaded, Removed};

use super::Engine;
use crate::error::Result;
use crate::images;
use crate::inner::finish;

impl Engine {
    /// Takes images in from an archive of `docker save` or an OCI layout.
    ///
    /// # Errors
    /// `Invalid` for a bad archive.
    pub async fn load(
        &self,
        archive: Box<dyn Read + Send>,
        progress: Box<dyn FnMut(LoadProgress) + Send>,
    ) -> Result<Vec<Loaded>> {
        finish(&self.inner, images::load(Arc::clone(&self.inner), archive, progress)).await
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

    /// Takes a name from an image, and removes it with its last; with `prune`, then its parents too
    /// that nothing else needs.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when a container uses it.
    pub async fn image_remove(
        &self,
        reference: &str,
        force: bool,
        prune: bool,
    ) -> Result<Vec<Removed>> {
        let work = images::remove(Arc::clone(&self.inner), reference.to_owned(), force, prune);
        finish(&self.inner, work).await
    }
}
