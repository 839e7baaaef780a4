//! What registries are asked beside pulls and pushes: who one is there, and what a name stands for.

use std::sync::Arc;

use ferry_distribution::{Credentials, LoginOutcome, Repository, RoleKind, Selector, limits};
use ferry_oci::manifest::{Descriptor, Index, Manifest};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use super::registries::{inspect_error, login_error, pull_error};
use crate::error::{EngineError, Result};
use crate::inner::Inner;

pub(crate) async fn login(
    engine: Arc<Inner>,
    server: String,
    credentials: Credentials,
) -> Result<LoginOutcome> {
    let inner = Arc::clone(&engine);
    let transport = engine.blocking(move || inner.registries.transport()).await?;
    let transport = transport.map_err(pull_error)?;
    ferry_distribution::login(&transport, &server, &credentials).await.map_err(login_error)
}

pub(crate) async fn distribution_inspect(
    engine: Arc<Inner>,
    name: Reference,
    credentials: Credentials,
) -> Result<(Descriptor, Vec<Platform>)> {
    let name = name.with_default_tag();
    let opened = super::repository(&engine, &name, credentials, RoleKind::Pull).await;
    let repository = opened.map_err(inspect_error)?;
    let which =
        Selector::of(&name).ok_or_else(|| EngineError::invalid("a name without tag and digest"))?;
    let raw = repository.manifest(&which).await.map_err(inspect_error)?.raw;
    let platforms = match Index::parse(&raw.bytes) {
        Ok(index) => index.manifests.into_iter().filter_map(|member| member.platform).collect(),
        Err(_) => platform_of(&repository, &raw.bytes).await.into_iter().collect(),
    };
    Ok((raw.descriptor(), platforms))
}

/// What a single manifest is for.
///
/// Compat: of an artifact, or of an image whose configuration cannot be had, that is nothing.
async fn platform_of(repository: &Repository, manifest: &[u8]) -> Option<Platform> {
    let manifest = Manifest::parse(manifest).ok()?;
    let config = repository.small_blob(&manifest.config, limits::MAX_CONFIG).await.ok()?;
    let platform: Platform = serde_json::from_slice(&config).ok()?;
    Some(platform).filter(|found| !found.os.is_empty() || !found.architecture.is_empty())
}
