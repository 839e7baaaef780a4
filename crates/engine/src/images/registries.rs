//! The way to registries, and what their refusals are in the engine's kinds.

use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};

use ferry_distribution::{
    Credentials, CredentialsFor, DistributionError, DistributionErrorKind as Kind, Registry,
    RegistryConfig, Transport,
};
use ferry_oci::reference::Reference;
use tokio::sync::Semaphore;

use super::flights::Flights;
use crate::error::{EngineError, Result};

/// How many layers go over the network at once, of all transfers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransferLimits {
    /// Layers that come in.
    pub downloads: usize,
    /// Layers that go out.
    pub uploads: usize,
}

impl Default for TransferLimits {
    /// Docker's.
    fn default() -> Self {
        Self { downloads: 3, uploads: 5 }
    }
}

/// The way to registries.
#[derive(Debug)]
pub(crate) struct Registries {
    config: RegistryConfig,
    /// Made at the first use: it takes memory that an engine without registries need not have.
    transport: Mutex<Option<Transport>>,
    pub(crate) downloads: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
    /// Layers that are unpacked at once; it takes two threads for each. One that comes in is unpacked
    /// meanwhile, and may wait for its registry for long: so there is room for each of these, and
    /// beside them for as many as there are processors.
    pub(crate) unpacking: Arc<Semaphore>,
    pub(crate) flights: Flights,
}

impl Registries {
    pub(crate) fn new(config: RegistryConfig, limits: TransferLimits) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let unpacking = limits.downloads.saturating_add(cores).min(Semaphore::MAX_PERMITS);
        Self {
            config,
            transport: Mutex::default(),
            downloads: Arc::new(Semaphore::new(limits.downloads)),
            uploads: Arc::new(Semaphore::new(limits.uploads)),
            unpacking: Arc::new(Semaphore::new(unpacking)),
            flights: Flights::default(),
        }
    }

    pub(crate) fn config(&self) -> &RegistryConfig {
        &self.config
    }

    pub(crate) fn transport(&self) -> Result<Transport, DistributionError> {
        let mut kept = self.transport.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(transport) = &*kept {
            return Ok(transport.clone());
        }
        let transport = Transport::new(self.config.clone())?;
        *kept = Some(transport.clone());
        Ok(transport)
    }

    /// The registries, asked as the one who asks the engine.
    pub(crate) fn registry(
        &self,
        name: &Reference,
        credentials: Credentials,
    ) -> Result<Registry, DistributionError> {
        let registry = name.domain().to_owned();
        let source = Arc::new(CredentialsFor { registry, credentials });
        Ok(Registry::new(self.transport()?, source))
    }
}

/// An error with all its causes, as Docker writes them.
fn words(error: &DistributionError) -> String {
    let mut text = match error {
        // Compat: dockerd asks whether there is a registry before it asks for anything else.
        DistributionError::Connect { request, .. } | DistributionError::Tls { request, .. } => {
            match (request.find('"'), request.find("/v2/")) {
                (Some(url), Some(path)) if url < path => {
                    format!("Get {}/v2/\"", &request[url..path])
                }
                _ => request.clone(),
            }
        }
        // Compat: dockerd asks for the head of a manifest first.
        DistributionError::NoCredentials { request }
        | DistributionError::TokenRefused { request, .. }
            if request.contains("/manifests/") =>
        {
            error.to_string().replacen("Get ", "Head ", 1)
        }
        _ => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A registry's refusal of a pull, in the engine's kinds.
pub(crate) fn pull_error(error: DistributionError) -> EngineError {
    let words = words(&error);
    match (&error, error.kind()) {
        // That no token is given says nothing of what is there.
        (DistributionError::TokenRefused { .. }, Kind::Denied) => EngineError::Forbidden(words),
        // Compat: to have no credentials is no refusal of any.
        (
            DistributionError::NoCredentials { .. }
            | DistributionError::Login { .. }
            | DistributionError::Config(_),
            _,
        ) => internal(words, error),
        // Compat: dockerd says that what one may not see is not there.
        (_, Kind::NotFound | Kind::Denied) => EngineError::NotFound(words),
        (_, Kind::Unauthorized) => EngineError::Unauthorized(words),
        (_, Kind::RateLimited) => EngineError::TooMany(words),
        (_, Kind::Invalid) => EngineError::Invalid(words),
        // Compat: a registry that is not there is an error of the engine.
        (_, Kind::Unavailable | Kind::Internal) => internal(words, error),
    }
}

/// What fails when a registry is asked about an image: the registry's own words.
pub(crate) fn inspect_error(error: DistributionError) -> EngineError {
    match &error {
        DistributionError::ManifestUnknown { answer, .. }
        | DistributionError::NameUnknown { answer, .. } => {
            EngineError::NotFound(answer.to_string())
        }
        DistributionError::Denied { answer, .. } => EngineError::Forbidden(answer.to_string()),
        _ => pull_error(error),
    }
}

/// What fails in a login; an address that makes no sense is the client's fault.
pub(crate) fn login_error(error: DistributionError) -> EngineError {
    match error {
        DistributionError::Config(_) => EngineError::Invalid(words(&error)),
        _ => pull_error(error),
    }
}

/// What fails in a push; it is only told in its stream.
pub(crate) fn push_error(error: DistributionError) -> EngineError {
    match &error {
        // Compat: dockerd does not say what it asked.
        DistributionError::NoCredentials { .. } => {
            internal("no basic auth credentials".to_owned(), error)
        }
        DistributionError::Denied { answer, .. } => EngineError::Forbidden(answer.to_string()),
        _ => pull_error(error),
    }
}

fn internal(doing: String, error: DistributionError) -> EngineError {
    EngineError::Internal { doing, source: Some(Box::new(error)) }
}

#[cfg(test)]
mod tests {
    use ferry_distribution::Answer;

    use super::*;
    use crate::error::ErrorKind;

    fn answer(status: u16, code: &str, message: &str) -> Answer {
        Answer { status, code: code.into(), message: message.into() }
    }

    #[track_caller]
    fn check(error: &EngineError, kind: ErrorKind, words: &str) {
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, words));
    }

    #[test]
    fn refusals_have_the_kinds_of_docker() {
        let unknown = || DistributionError::ManifestUnknown {
            name: "a:b".into(),
            answer: answer(404, "MANIFEST_UNKNOWN", "manifest unknown"),
        };
        let words = "manifest for a:b not found: manifest unknown: manifest unknown";
        check(&pull_error(unknown()), ErrorKind::NotFound, words);
        let words = "manifest unknown: manifest unknown";
        check(&inspect_error(unknown()), ErrorKind::NotFound, words);

        let nobody = || DistributionError::NoCredentials {
            request: "Get \"https://h/v2/a/manifests/b\"".into(),
        };
        let words = "Head \"https://h/v2/a/manifests/b\": no basic auth credentials";
        check(&pull_error(nobody()), ErrorKind::Internal, words);
        check(&push_error(nobody()), ErrorKind::Internal, "no basic auth credentials");

        let refused = |status| DistributionError::TokenRefused {
            request: "Get \"https://h/v2/a/manifests/b\"".into(),
            answer: answer(status, "DENIED", "no"),
        };
        let words = "Head \"https://h/v2/a/manifests/b\": denied: no";
        check(&pull_error(refused(403)), ErrorKind::Forbidden, words);
        check(&pull_error(refused(401)), ErrorKind::Unauthorized, words);
        check(&inspect_error(refused(403)), ErrorKind::Forbidden, words);
        let login = |status| DistributionError::Login { url: "http://h/v2/".to_owned(), status };
        let words = "login attempt to http://h/v2/ failed with status: 403 Forbidden";
        check(&login_error(login(403)), ErrorKind::Internal, words);

        let dead = DistributionError::Connect {
            request: "Get \"https://h:5/v2/a/manifests/b\"".into(),
            source: "dial tcp: connection refused".into(),
        };
        let words = "Get \"https://h:5/v2/\": dial tcp: connection refused";
        check(&pull_error(dead), ErrorKind::Internal, words);

        let wrong = DistributionError::Unauthorized {
            answer: answer(401, "UNAUTHORIZED", "authentication required"),
        };
        let words = "unauthorized: authentication required";
        check(&pull_error(wrong), ErrorKind::Unauthorized, words);
    }
}
