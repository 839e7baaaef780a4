//! A repository in a registry, and what is asked of it.

mod ask;
mod blobs;
mod manifests;
mod referrers;
mod refusal;
mod stream;
mod tags;
mod uploads;

pub(crate) use refusal::whole_name;
pub use stream::BlobStream;

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;
use ferry_oci::reference::Reference;
use tokio_util::task::TaskTracker;

use crate::auth::credentials::{CredentialSource, Credentials};
use crate::auth::{Authenticator, Scopes};
use crate::endpoint::{Endpoint, EndpointId, RoleKind};
use crate::error::DistributionError;
use crate::transport::Transport;

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// The one that bears the tag now.
    Tag(String),
    /// The one with these bytes.
    Digest(Digest),
}

impl Selector {
    /// What a name selects: its digest before its tag, as Docker; nothing when it has neither.
    pub fn of(name: &Reference) -> Option<Self> {
        match (name.digest(), name.tag()) {
            (Some(digest), _) => Some(Self::Digest(digest.clone())),
            (None, Some(tag)) => Some(Self::Tag(tag.to_owned())),
            (None, None) => None,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A manifest or an index as it came: its bytes are never written anew, for their digest is its
/// name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    /// What it is; of the answer's head, or of the document itself.
    pub media_type: String,
    /// The digest of `bytes`.
    pub digest: Digest,
    /// The document.
    pub bytes: Bytes,
}

impl RawManifest {
    /// Takes a document and computes its digest.
    pub fn new(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { media_type: media_type.into(), digest: Digest::sha256_of(&bytes), bytes }
    }

    /// Bytes of the document.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Points to it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size())
    }
}

/// A manifest, and who gave it.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// The document; its digest is verified.
    pub raw: RawManifest,
    /// Where it came from.
    pub endpoint: EndpointId,
}

/// A repository of the same registry that may have a blob.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MountCandidate {
    /// Its path, without the registry: `library/busybox`.
    pub repository: String,
}

/// The bytes of a blob that is to be sent.
pub trait BlobSource: Send + Sync {
    /// Opens them `from` this byte on; an attempt may need them anew.
    ///
    /// # Errors
    /// When they cannot be read; the push fails with it.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;

    /// How many bytes, when that is known before they are read.
    fn size(&self) -> Option<u64>;
}

/// The registries, asked in somebody's name. Its clones share the tokens that it is given.
#[derive(Clone, Debug)]
pub struct Registry(Arc<RegistryInner>);

#[derive(Debug)]
struct RegistryInner {
    authenticator: Authenticator,
    credentials: Arc<dyn CredentialSource>,
    /// What is still said to registries after its caller has gone: that an upload is given up.
    farewells: TaskTracker,
}

impl Registry {
    /// Asks through a transport, as whom the source knows.
    pub fn new(transport: Transport, credentials: Arc<dyn CredentialSource>) -> Self {
        let authenticator = Authenticator::new(transport);
        let farewells = TaskTracker::new();
        Self(Arc::new(RegistryInner { authenticator, credentials, farewells }))
    }

    /// Opens a repository; nothing is asked yet. Tag and digest of the name do not matter.
    ///
    /// # Errors
    /// When the configuration of its registry cannot be used.
    pub fn repository(
        &self,
        name: &Reference,
        role: RoleKind,
    ) -> Result<Repository, DistributionError> {
        let endpoints = self.0.authenticator.transport().endpoints(name)?;
        let endpoints = endpoints.into_iter().filter(|endpoint| match role {
            RoleKind::Pull => endpoint.role.pull || endpoint.role.resolve,
            RoleKind::Push => endpoint.role.push,
        });
        let places = endpoints.map(|endpoint| {
            let registry = if endpoint.is_mirror { endpoint.host() } else { name.domain() };
            let who = self.0.credentials.credentials(registry);
            Place { endpoint, who, standing: Mutex::new(Standing::Good) }
        });
        let places: Vec<Place> = places.collect();
        if places.is_empty() {
            let what = format!("the configuration of the registry {}", name.domain());
            let verb = if role == RoleKind::Pull { "pull from" } else { "push to" };
            let why = format!("no host is left to {verb}");
            return Err(DistributionError::Malformed { what, why });
        }
        let (registry, name, target) = (self.clone(), name.clone(), OnceLock::new());
        Ok(Repository(Arc::new(RepositoryInner { registry, name, role, places, target })))
    }

    /// Waits until registries have been told of the uploads that were given up.
    pub async fn settled(&self) {
        self.0.farewells.close();
        self.0.farewells.wait().await;
        self.0.farewells.reopen();
    }
}

/// A repository at its endpoints, which are asked in their order until one knows the answer.
#[derive(Clone, Debug)]
pub struct Repository(Arc<RepositoryInner>);

#[derive(Debug)]
struct RepositoryInner {
    registry: Registry,
    name: Reference,
    role: RoleKind,
    places: Vec<Place>,
    /// Where a push goes: the first place that answered it. What refers to something must come where
    /// that is.
    target: OnceLock<usize>,
}

/// An endpoint, and who we are there.
#[derive(Debug)]
struct Place {
    endpoint: Endpoint,
    who: Credentials,
    standing: Mutex<Standing>,
}

/// How an endpoint has behaved; the better are asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Good,
    /// It cannot be reached.
    Away,
    /// It gave bytes that are not what they should be.
    Liar,
}

impl Place {
    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how the endpoint behaved. Nobody is believed again who has lied once.
    fn note(&self, behaved: Standing) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        *standing = if *standing == Standing::Liar { Standing::Liar } else { behaved };
    }
}

impl Repository {
    /// The name that it was opened with.
    pub fn name(&self) -> &Reference {
        &self.0.name
    }

    /// This endpoint gave wrong bytes: it is asked last from now on.
    pub fn distrust(&self, endpoint: &EndpointId) {
        for place in self.0.places.iter().filter(|place| place.endpoint.id == *endpoint) {
            tracing::warn!(%endpoint, "gave bytes that do not have their digest");
            place.note(Standing::Liar);
        }
    }

    /// Waits until the registry has been told of the uploads that were given up.
    pub async fn settled(&self) {
        self.0.registry.settled().await;
    }

    fn authenticator(&self) -> &Authenticator {
        &self.0.registry.0.authenticator
    }

    /// The wanted endpoints, the best first; of a push the one that it goes to.
    fn order(&self, wanted: impl Fn(&Endpoint) -> bool) -> Vec<usize> {
        if let Some(&target) = self.0.target.get() {
            return vec![target];
        }
        let places = self.0.places.iter().enumerate();
        let mut order: Vec<(Standing, usize)> = places
            .filter(|(_, place)| wanted(&place.endpoint))
            .map(|(index, place)| (place.standing(), index))
            .collect();
        order.sort_unstable();
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// What requests of this repository's role need.
    fn scopes(&self) -> Scopes {
        match self.0.role {
            RoleKind::Pull => Scopes::pull(self.0.name.path()),
            RoleKind::Push => Scopes::push(self.0.name.path()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expect: Option<&str>) {
        let name = Reference::parse(name).unwrap();
        assert_eq!(Selector::of(&name).map(|which| which.to_string()).as_deref(), expect);
    }

    #[test]
    fn a_digest_selects_before_a_tag() {
        let digest = Digest::sha256_of(b"");
        check("busybox", None);
        check("busybox:1", Some("1"));
        check(&format!("busybox:1@{digest}"), Some(digest.as_str()));
    }

    #[test]
    fn a_manifest_is_described_by_its_own_bytes() {
        let manifest = RawManifest::new("t", &b"{}"[..]);
        let descriptor = manifest.descriptor();
        assert!(descriptor.digest.matches(b"{}"));
        assert_eq!((descriptor.media_type.as_str(), descriptor.size), ("t", 2));
    }
}
