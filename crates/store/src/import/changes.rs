//! Dockerfile instructions that change a configuration.

use ferry_oci::image::RunConfig;

use crate::error::StoreError;

/// Applies instructions to an empty configuration.
pub(super) fn apply(changes: &[String]) -> Result<RunConfig, StoreError> {
    match changes.first() {
        None => Ok(RunConfig::default()),
        Some(change) => {
            Err(StoreError::Invalid(format!("{change}: changes are not supported yet")))
        }
    }
}
