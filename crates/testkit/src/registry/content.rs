//! What a registry has: images put into it without a push.

use std::sync::Arc;

use serde_json::{Value, json};

use super::FaultRegistry;
use super::fault::At;
use crate::image::{architecture, sha256};
use crate::{Compression, Image};

/// In which of its forms an image is published.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Docker's media types instead of OCI's.
    pub docker: bool,
    /// How layers are packed.
    pub layers: Compression,
    /// What it is said to run on, in the words of images.
    pub architecture: &'static str,
}

impl Default for Form {
    fn default() -> Self {
        Self { docker: false, layers: Compression::Gzip, architecture: architecture() }
    }
}

impl Form {
    /// Docker's form, packed with gzip.
    #[must_use]
    pub fn docker() -> Self {
        Self { docker: true, ..Self::default() }
    }

    /// The usual form, for another machine.
    #[must_use]
    pub fn of(architecture: &'static str) -> Self {
        Self { architecture, ..Self::default() }
    }

    fn manifest(self) -> &'static str {
        if self.docker {
            "application/vnd.docker.distribution.manifest.v2+json"
        } else {
            "application/vnd.oci.image.manifest.v1+json"
        }
    }

    fn config(self) -> &'static str {
        if self.docker {
            "application/vnd.docker.container.image.v1+json"
        } else {
            "application/vnd.oci.image.config.v1+json"
        }
    }

    fn layer(self) -> &'static str {
        match (self.docker, self.layers) {
            (true, _) => "application/vnd.docker.image.rootfs.diff.tar.gzip",
            (false, Compression::Plain) => "application/vnd.oci.image.layer.v1.tar",
            (false, Compression::Zstd) => "application/vnd.oci.image.layer.v1.tar+zstd",
            (false, _) => "application/vnd.oci.image.layer.v1.tar+gzip",
        }
    }
}

/// Something in a registry that can be named.
#[derive(Debug, Clone)]
pub struct Published {
    /// Digest of its manifest.
    pub digest: String,
    /// Its manifest.
    pub manifest: Value,
    /// The image's id: the digest of its configuration.
    pub id: String,
    /// Digests of its layers as they are sent, lowest first.
    pub layers: Vec<String>,
    descriptor: Value,
}

impl FaultRegistry {
    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = format!("sha256:{}", sha256(bytes));
        self.shared.state().blobs.insert((repository.to_owned(), digest.clone()), Arc::from(bytes));
        digest
    }

    /// Puts a manifest into a repository, whatever it says, and gives its digest.
    pub fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) -> String {
        let (repository, tag) = name.split_once(':').unwrap_or((name, ""));
        let digest = format!("sha256:{}", sha256(bytes));
        let value = (media_type.to_owned(), Arc::from(bytes));
        let mut state = self.shared.state();
        for which in [tag, &digest].into_iter().filter(|which| !which.is_empty()) {
            state.manifests.insert((repository.to_owned(), which.to_owned()), value.clone());
        }
        digest
    }

    /// Puts an image into the registry as `repository:tag`, or without a tag.
    pub fn publish(&self, name: &str, image: &Image, form: Form) -> Published {
        self.publish_changed(name, image, form, |_| {})
    }

    /// The same, with something in its manifest changed before it is put in.
    pub fn publish_changed(
        &self,
        name: &str,
        image: &Image,
        form: Form,
        change: impl FnOnce(&mut Value),
    ) -> Published {
        let repository = name.split(':').next().unwrap_or_default();
        let mut config: Value =
            serde_json::from_slice(&image.configuration()).expect("our own JSON");
        // An image for this machine keeps its id.
        let config = if form.architecture == architecture() {
            image.configuration()
        } else {
            config["architecture"] = form.architecture.into();
            config.to_string().into_bytes()
        };
        let id = self.put_kind(repository, &config, At::Config);
        let config = json!({ "mediaType": form.config(), "digest": id, "size": config.len() });
        let mut layers = Vec::new();
        for (at, layer) in image.layers.iter().enumerate() {
            let packed = form.layers.pack(layer);
            let digest = self.put_kind(repository, &packed, At::Layer(at));
            let layer =
                json!({ "mediaType": form.layer(), "digest": digest, "size": packed.len() });
            layers.push(layer);
        }
        let digests = layers.iter().filter_map(|layer| Some(layer["digest"].as_str()?.to_owned()));
        let digests = digests.collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": form.manifest(), "config": config, "layers": layers,
        });
        change(&mut manifest);
        let bytes = manifest.to_string().into_bytes();
        let digest = self.put_manifest(name, form.manifest(), &bytes);
        let descriptor = json!({
            "mediaType": form.manifest(), "digest": digest, "size": bytes.len(),
            "platform": { "architecture": form.architecture, "os": "linux" },
        });
        Published { digest, manifest, id, layers: digests, descriptor }
    }

    /// Puts an index of these into the registry, and gives its digest.
    pub fn publish_index(&self, name: &str, members: &[&Published], docker: bool) -> String {
        let media_type = if docker {
            "application/vnd.docker.distribution.manifest.list.v2+json"
        } else {
            "application/vnd.oci.image.index.v1+json"
        };
        let members: Vec<&Value> = members.iter().map(|member| &member.descriptor).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": members });
        self.put_manifest(name, media_type, index.to_string().as_bytes())
    }

    /// Lets a blob that is here be one of the layers, for faults.
    pub fn take_for_layer(&self, digest: &str, at: usize) {
        self.shared.state().kinds.insert(digest.to_owned(), At::Layer(at));
    }

    fn put_kind(&self, repository: &str, bytes: &[u8], kind: At) -> String {
        let digest = self.put_blob(repository, bytes);
        self.shared.state().kinds.insert(digest.clone(), kind);
        digest
    }
}
