//! Registries: the client's side of the OCI distribution protocol.
//!
//! What a repository has is asked, fetched and sent here, with mirrors, credentials, proxies,
//! certificates, repetition and resumption; every byte that has a digest is verified against it.
//! The pieces of the protocol that both sides share stand in [`protocol`] and are pure.
//!
//! The crate knows no store and no API of an engine, prints nothing, and reads no environment and
//! no home directory by itself: its callers hand it a [`RegistryConfig`] and a
//! [`CredentialSource`].
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod protocol;

mod assemble;
mod auth;
mod choose;
mod config;
mod content;
mod copy;
mod endpoint;
mod error;
mod events;
pub mod limits;
mod registry;
mod resolve;
mod retry;
mod tls;
mod transport;

pub use assemble::{
    AnnotationPlace, ArtifactParts, AssembleError, CombinePlan, CombineSource, Combined, EMPTY,
    IndexAnnotation, IndexKind, build_artifact, build_index, combine, empty,
};
pub use auth::credentials::{CredentialSource, Credentials, CredentialsFor, NoCredentials, Secret};
pub use auth::{LoginOutcome, login};
pub use choose::{Chosen, choose};
pub use config::{
    CertsDir, ConfigError, Host, HostsFile, Insecure, ParseInsecureError, ProxyConfig,
    RegistryConfig, RegistryFiles, parse_hosts_toml, read_certs_dir, read_registry_files,
};
pub use content::{
    Answered, BlobBody, ContentRead, ContentWrite, DirectoryContent, DockerArchive, LayoutContent,
    LayoutWriter, LocalFile, RegistryContent, save_blob,
};
pub use copy::{CopyEvent, CopyPlan, copy};
pub use endpoint::{Endpoint, EndpointId, Role, RoleKind, TlsPolicy, endpoints};
pub use error::{Answer, BoxError, DistributionError, DistributionErrorKind};
pub use events::{PushStep, Pushed, RetryHook};
pub use registry::{
    BlobSource, BlobStream, FetchedManifest, MountCandidate, RawManifest, Registry, Repository,
    Selector,
};
pub use resolve::{KnownDocuments, Resolved, resolve};
pub use transport::Transport;
