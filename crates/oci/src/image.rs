//! Image configurations: what an image runs, and the layers it is made of.
//!
//! The digest of a configuration's bytes is the image's id, so [`ImageConfig`] keeps the bytes it
//! was parsed from and never writes them anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::Digest;
use crate::platform::Platform;

/// An image configuration together with its exact bytes.
#[derive(Clone, Debug)]
pub struct ImageConfig {
    bytes: Arc<[u8]>,
    digest: Digest,
    document: Document,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseImageConfigError {
    /// It is not a JSON object.
    #[error("image configuration is no JSON object")]
    NotAnObject,
    /// Its fields are not what we expect.
    #[error("image configuration is malformed: {0}")]
    Json(#[source] serde_json::Error),
    /// A kind of root filesystem other than `layers`.
    #[error("image configuration has a root filesystem of unknown type \"{0}\"")]
    RootFs(String),
}

impl ImageConfig {
    /// Parses a configuration.
    ///
    /// # Errors
    /// When the bytes are not JSON of the expected form.
    pub fn parse(bytes: impl Into<Arc<[u8]>>) -> Result<Self, ParseImageConfigError> {
        let bytes = bytes.into();
        // serde reads a list into a structure too; Go does not.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(ParseImageConfigError::NotAnObject);
        }
        let document: Document =
            serde_json::from_slice(&bytes).map_err(ParseImageConfigError::Json)?;
        if !matches!(document.rootfs.kind.as_str(), "layers" | "") {
            return Err(ParseImageConfigError::RootFs(document.rootfs.kind));
        }
        let digest = Digest::sha256_of(&bytes);
        Ok(Self { bytes, digest, document })
    }

    /// Writes a new configuration; its bytes are fixed from here on.
    pub fn from_document(document: Document) -> Self {
        let bytes: Arc<[u8]> = serde_json::to_vec(&document)
            .expect("a document has only text keys and plain values, which are always JSON")
            .into();
        let digest = Digest::sha256_of(&bytes);
        Self { bytes, digest, document }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of the bytes: the image's id.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What the bytes say.
    pub fn document(&self) -> &Document {
        &self.document
    }
}

impl std::ops::Deref for ImageConfig {
    type Target = Document;

    fn deref(&self) -> &Document {
        &self.document
    }
}

/// The fields of an image configuration. [OCI image, config.md § Properties], and Docker's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Processor architecture in Go's words.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub variant: String,
    /// Who made the image.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// Docker: a remark, for example of `docker import -m`.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// What a container of this image runs and how.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RunConfig,
    /// Docker: the container that was committed.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub container: String,
    /// When it was made, RFC 3339; absent in some reproducible images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Docker: version of the engine that made it.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub docker_version: String,
    /// One entry per build step.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Operating system.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// Version of the operating system; only Windows images have it.
    #[serde(
        default,
        rename = "os.version",
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features that the operating system must have; only Windows images have them.
    #[serde(
        default,
        rename = "os.features",
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// The layers.
    #[serde(default, deserialize_with = "null_is_default")]
    pub rootfs: RootFs,
}

impl Document {
    /// The platform that the image is for.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            os_features: Vec::new(),
            variant: self.variant.clone(),
        }
    }
}

/// The layers of an image, lowest first, by the digest of their uncompressed archives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(default, rename = "type", deserialize_with = "null_is_default")]
    pub kind: String,
    /// Digests of the uncompressed layers. Images from scratch have none.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub diff_ids: Vec<Digest>,
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub created_by: String,
    /// By whom.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub author: String,
    /// A remark.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

/// What a container of an image runs and how. `None` is Docker's `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RunConfig {
    /// Docker: host name of the container that was committed.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub hostname: String,
    /// Docker: domain name of the container that was committed.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub domainname: String,
    /// `user`, `uid`, `user:group`, `uid:gid`; empty is root.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub user: String,
    /// Ports that the image's program listens on: `80/tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposed_ports: Option<BTreeMap<String, Empty>>,
    /// `NAME=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The program, before the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command, or the program's arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Directories to put volumes at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volumes: Option<BTreeMap<String, Empty>>,
    /// Directory to start in; empty is `/`.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub working_dir: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that asks the program to end.
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub stop_signal: String,
    /// Seconds to wait after that signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// Docker: Windows only; the command is already escaped.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// Docker: how to see whether a container is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Docker: instructions for the builds that start from this image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Docker: the shell of the shell forms of `RUN`, `CMD` and `ENTRYPOINT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// How to see whether a container is well. Times are nanoseconds; zero means inherit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// Empty: inherit; `["NONE"]`; `["CMD", ...]`; `["CMD-SHELL", line]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// Between two checks.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one check.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// At the start, when failures do not count.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks during the start.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// Go's empty struct: the value of a map that is a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Compat: Go reads `null` into any field as if it were absent.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + DeserializeOwned,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_id_are_kept_exactly() {
        let text = br#"{ "os":"linux", "unknown": [1, 2], "architecture": "amd64", "rootfs":{"type":"layers","diff_ids":null}}"#;
        let config = ImageConfig::parse(text.to_vec()).unwrap();
        assert_eq!(config.bytes(), text);
        assert_eq!(*config.digest(), Digest::sha256_of(text));
        assert_eq!(config.platform().to_string(), "linux/amd64");
        assert!(config.rootfs.diff_ids.is_empty());
    }

    #[test]
    fn dockers_fields_are_understood() {
        let text = r#"{"config":{"Env":["A=b"],"Cmd":["sh"],"Entrypoint":null,"WorkingDir":"/w",
            "User":"1:2","ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"Labels":{"a":"b"},
            "StopSignal":"SIGINT","Shell":["/bin/bash","-c"],"OnBuild":[],"ArgsEscaped":true,
            "Healthcheck":{"Test":["CMD","true"],"Interval":1000000000,"Retries":3}},
            "history":[{"created_by":"x","empty_layer":true},{"comment":"c"}],
            "rootfs":{"type":"layers","diff_ids":[]}}"#;
        let config = ImageConfig::parse(text.as_bytes().to_vec()).unwrap().document().clone();
        let run = config.config;
        assert_eq!(run.env, Some(vec!["A=b".to_owned()]));
        assert_eq!(run.entrypoint, None);
        assert_eq!(run.working_dir, "/w");
        assert!(run.exposed_ports.unwrap().contains_key("80/tcp"));
        assert_eq!(run.on_build, Some(Vec::new()));
        assert!(run.args_escaped);
        let health = run.healthcheck.unwrap();
        assert_eq!((health.interval, health.retries), (1_000_000_000, 3));
        assert!(config.history[0].empty_layer);
        assert_eq!(config.history[1].comment, "c");
    }

    #[test]
    fn foreign_or_broken_configurations_are_refused() {
        assert!(ImageConfig::parse(b"[]".to_vec()).is_err());
        assert!(ImageConfig::parse(b"{".to_vec()).is_err());
        let foreign = br#"{"rootfs":{"type":"layers+base"}}"#.to_vec();
        assert!(matches!(ImageConfig::parse(foreign), Err(ParseImageConfigError::RootFs(_))));
        let wrong = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:12"]}}"#.to_vec();
        assert!(matches!(ImageConfig::parse(wrong), Err(ParseImageConfigError::Json(_))));
    }

    #[test]
    fn written_documents_parse_to_themselves() {
        let document = Document { os: "linux".into(), ..Document::default() };
        let written = ImageConfig::from_document(document.clone());
        let read = ImageConfig::parse(written.bytes().to_vec()).unwrap();
        assert_eq!(read.document(), &document);
        assert_eq!(read.digest(), written.digest());
    }
}
