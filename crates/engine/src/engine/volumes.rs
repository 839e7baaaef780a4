//! What can be done with volumes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Engine;
use crate::error::{EngineError, Result};
use crate::event::EventKind;
use crate::inner::finish;
use crate::request::{Volume, VolumeRequest};

impl Engine {
    /// Creates a volume, or shows the one that has the name.
    ///
    /// # Errors
    /// `Invalid` for the name, driver or options.
    pub async fn volume_create(&self, request: VolumeRequest) -> Result<Volume> {
        let inner = Arc::clone(&self.inner);
        finish(&self.inner, async move {
            let shared = Arc::clone(&inner);
            let made = inner.blocking(move || shared.volumes.create(request, None)).await?;
            let (volume, is_new) = made?;
            if is_new {
                let attributes = [("driver", "local")];
                inner.tell_of(EventKind::Volume, "create", &volume.name, &attributes);
            }
            Ok(volume)
        })
        .await
    }

    /// Lists volumes by name.
    ///
    /// # Errors
    /// `Invalid` for an unknown filter.
    pub fn volumes(&self, filters: &BTreeMap<String, Vec<String>>) -> Result<Vec<Volume>> {
        self.inner.volumes.list(filters)
    }

    /// Shows one volume.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        self.inner.volumes.get(name)
    }

    /// Removes a volume; with `force`, one that is not there is no error.
    ///
    /// # Errors
    /// `Conflict` when a container uses it.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        finish(&self.inner, async move {
            let (shared, wanted) = (Arc::clone(&inner), name.clone());
            let removed = inner.deleting(move || shared.volumes.remove(&wanted)).await?;
            match removed {
                Ok(()) => {
                    inner.tell_of(EventKind::Volume, "destroy", &name, &[("driver", "local")]);
                    Ok(())
                }
                Err(EngineError::NoSuchVolume(_)) if force => Ok(()),
                Err(error) => Err(error),
            }
        })
        .await
    }
}
