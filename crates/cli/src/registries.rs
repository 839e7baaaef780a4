//! Registries, asked without an engine: by `image copy`, `manifest` and the like.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ferry_api::registry::AuthConfig;
use ferry_distribution::{
    CredentialSource, Credentials, DistributionError, Insecure, ProxyConfig, Registry,
    RegistryConfig, Repository, RoleKind, Selector, Transport,
};
use ferry_oci::reference::Reference;

use crate::config::Config;
use crate::credentials::{Store, key};
use crate::report::Failure;

/// How long registries are told of what is given up.
const FAREWELL: Duration = Duration::from_secs(5);
/// Where the certificates of registries lie, before the user's own.
const CERTS_DIRS: [&str; 2] = ["/etc/ferry/certs.d", "/etc/docker/certs.d"];

/// How a registry is reached, beyond what is configured.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Its certificate is not verified, and it may speak plain HTTP.
    pub is_insecure: bool,
    /// `user:password` in place of what a login left.
    pub credentials: Option<String>,
    /// A token in place of all credentials; it goes to the registry as it is.
    pub token: Option<String>,
    /// Nobody in particular asks.
    pub is_anonymous: bool,
    /// How often a request is repeated at most, if not as often as usual.
    pub retries: Option<u32>,
}

/// Opens the repository of a name as the user.
pub(crate) fn open(
    config: &Config,
    name: &Reference,
    role: RoleKind,
    access: &Access,
) -> Result<Repository, Failure> {
    let mut insecure = Vec::new();
    if access.is_insecure {
        insecure.push(Insecure::Host(name.domain().to_owned()));
    }
    let mut certs_dirs: Vec<PathBuf> = CERTS_DIRS.iter().map(PathBuf::from).collect();
    certs_dirs.push(config.directory().join("certs.d"));
    let usual = RegistryConfig::default();
    let settings = RegistryConfig {
        attempts: access.retries.map_or(usual.attempts, |retries| retries.saturating_add(1)),
        insecure,
        certs_dirs,
        proxy: ProxyConfig::from_pairs(std::env::vars()),
        ..usual
    };
    let transport = Transport::new(settings).map_err(|error| Failure::plain(words(&error)))?;
    let auth = who(config, name, access);
    let credentials: Arc<dyn CredentialSource> =
        Arc::new(Kept { registry: name.domain().to_owned(), auth });
    Registry::new(transport, credentials).repository(name, role).map_err(failure)
}

/// Who asks the registry of a name.
fn who(config: &Config, name: &Reference, access: &Access) -> Credentials {
    if access.is_anonymous {
        return Credentials::None;
    }
    if let Some(token) = &access.token {
        let nothing = String::new;
        return Credentials::from_parts(nothing(), nothing(), nothing(), token.clone());
    }
    if let Some(text) = &access.credentials {
        return typed(text);
    }
    let key = key(name.domain());
    // A store that fails knows nobody; the registry may not ask.
    read(Store::of(config, key).get(key).unwrap_or_default())
}

/// Does the work of a command until it is done or interrupted, and then waits until the registries
/// that it wrote to have been told of the uploads that were given up; `settled` is that wait. What
/// is half-made goes when the work is dropped.
pub(crate) async fn interruptible(
    work: impl Future<Output = Result<(), Failure>>,
    settled: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let result = tokio::select! {
        result = work => result,
        _interrupt = tokio::signal::ctrl_c() => Err(Failure::silent(130)),
    };
    // A registry that does not listen forgets uploads by itself.
    tokio::time::timeout(FAREWELL, settled).await.ok();
    result
}

/// What of a repository a name selects; `latest` when it does not say.
pub(crate) fn selector(name: &Reference) -> Selector {
    Selector::of(name).unwrap_or_else(|| Selector::Tag("latest".to_owned()))
}

fn typed(text: &str) -> Credentials {
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Credentials::from_parts(user.into(), password.into(), String::new(), String::new())
}

fn read(auth: AuthConfig) -> Credentials {
    Credentials::from_parts(auth.username, auth.password, auth.identitytoken, auth.registrytoken)
}

#[derive(Debug)]
struct Kept {
    registry: String,
    auth: Credentials,
}

impl CredentialSource for Kept {
    fn credentials(&self, registry: &str) -> Credentials {
        if registry == self.registry { self.auth.clone() } else { Credentials::None }
    }
}

/// An error with its causes.
pub(crate) fn words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    words
}

/// The end of a command that a registry refused.
pub(crate) fn failure(error: DistributionError) -> Failure {
    Failure::plain(words(&error))
}
