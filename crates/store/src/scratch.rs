//! What the tests share: a store in a directory of its own, and archives for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;
use tempfile::TempDir;

use crate::collect::Garbage;
use crate::error::StoreError;
use crate::image::{ImageId, ImageUse, Removed};
use crate::store::{ImportOptions, LayerStoreChoice, LayerStoreKind, Loaded, Store, StoreConfig};
use crate::tar::builder::TarBuilder;

impl Store {
    /// Forgets a blob that is needed, and deletes it.
    pub(crate) fn drop_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        let garbage = [Garbage::Blob(digest.clone()), Garbage::Manifest(digest.clone())];
        self.database().delete_garbage(&garbage)?;
        let path = self.layout().blob(digest);
        fs::remove_file(&path).map_err(|e| StoreError::file("delete", path, e))
    }
}

/// A store in a directory of its own.
pub(crate) struct Scratch {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
}

impl Scratch {
    pub(crate) fn new(kind: LayerStoreKind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layer_store = LayerStoreChoice::Only(kind);
        let store = Store::open(StoreConfig { data_root: dir.path().join("root"), layer_store });
        Self { dir, store: store.unwrap() }
    }

    /// Closes the store and opens it again, as after a crash.
    pub(crate) fn reopen(self) -> Self {
        let Self { dir, store } = self;
        let layer_store = LayerStoreChoice::Only(store.layer_store());
        drop(store);
        let store = Store::open(StoreConfig { data_root: dir.path().join("root"), layer_store });
        Self { dir, store: store.unwrap() }
    }

    pub(crate) fn import(&self, archive: &[u8]) -> ImageId {
        let options =
            ImportOptions { created: "2024-01-01T00:00:00Z".into(), ..ImportOptions::default() };
        self.store.import(archive, options).unwrap()
    }

    /// Loads an archive; gives what `docker load` would print.
    pub(crate) fn load(&self, archive: &[u8]) -> Result<Vec<String>, StoreError> {
        let loaded = self.store.load(archive, None, &mut |_| ())?;
        Ok(loaded
            .into_iter()
            .map(|loaded| match loaded {
                Loaded::Name { reference, .. } => format!("Loaded image: {}", reference.familiar()),
                Loaded::Id(id) => format!("Loaded image ID: {id}"),
            })
            .collect())
    }

    pub(crate) fn load_layers(&self, layers: &[Vec<u8>]) -> ImageId {
        let loaded = self.store.load(docker_archive(layers).as_slice(), None, &mut |_| ()).unwrap();
        match loaded.as_slice() {
            [Loaded::Id(id)] => id.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn tag(&self, source: &str, target: &str) {
        self.store.images().tag(source, &Reference::parse(target).unwrap()).unwrap();
    }

    /// Removes an image that these containers use; gives what `docker rmi` would print.
    pub(crate) fn remove(
        &self,
        reference: &str,
        force: bool,
        users: &[(&str, bool)],
    ) -> Result<Vec<String>, String> {
        let users = |_: &ImageId| -> Vec<ImageUse> {
            let user = |&(id, running): &(&str, bool)| ImageUse { container: id.into(), running };
            users.iter().map(user).collect()
        };
        Self::printed(self.store.images().remove(reference, force, false, &users))
    }

    /// Removes an image and the parents that only it needed; gives what `docker rmi` would print.
    pub(crate) fn remove_and_prune(&self, reference: &str) -> Result<Vec<String>, String> {
        Self::printed(self.store.images().remove(reference, false, true, &|_| Vec::new()))
    }

    fn printed(removed: Result<Vec<Removed>, StoreError>) -> Result<Vec<String>, String> {
        let removed = removed.map_err(|error| error.to_string())?;
        Ok(removed
            .into_iter()
            .map(|removed| match removed {
                Removed::Untagged(name) => format!("Untagged: {name}"),
                Removed::Deleted(id) => format!("Deleted: {id}"),
                Removed::DeletedLayer(chain) => format!("Deleted: {chain}"),
            })
            .collect())
    }

    /// Everything in the data root that belongs to images.
    pub(crate) fn leftovers(&self) -> BTreeSet<PathBuf> {
        let list = |name: &str| {
            let entries = fs::read_dir(self.store.data_root().join(name)).unwrap();
            entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("nothing"))
        };
        list("tmp").chain(list("layers")).chain(list("blobs/sha256")).collect()
    }

    /// The same, once what is deleted in the background is gone.
    pub(crate) fn settled(&self) -> BTreeSet<PathBuf> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let left = self.leftovers();
            let pending = left.iter().any(|path| path.parent().unwrap().ends_with("tmp"));
            if !pending || std::time::Instant::now() > deadline {
                return left;
            }
            std::thread::yield_now();
        }
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// A layer with one file.
pub(crate) fn layer(name: &str, data: &[u8]) -> Vec<u8> {
    TarBuilder::new().file(name, data).finish()
}

/// The configuration of an image of these layers.
pub(crate) fn config(layers: &[Vec<u8>]) -> String {
    let ids = layers.iter().map(|layer| format!("{:?}", Digest::sha256_of(layer).as_str()));
    let ids = ids.collect::<Vec<_>>().join(",");
    format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
    )
}

/// An archive of an old `docker save`, of one image without a name.
pub(crate) fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
    named_docker_archive(layers, "null")
}

/// The same with a JSON list of names.
pub(crate) fn named_docker_archive(layers: &[Vec<u8>], names: &str) -> Vec<u8> {
    let mut archive = TarBuilder::new();
    let mut paths = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let path = format!("{index:064x}/layer.tar");
        archive = archive.file(&path, layer);
        paths.push(format!("{path:?}"));
    }
    let paths = paths.join(",");
    let manifest = format!(r#"[{{"Config":"c.json","RepoTags":{names},"Layers":[{paths}]}}]"#);
    archive
        .file("c.json", config(layers).as_bytes())
        .file("manifest.json", manifest.as_bytes())
        .finish()
}

/// An OCI layout of one image, whose layers are these bytes under these media types.
pub(crate) struct Layout {
    pub(crate) archive: TarBuilder,
    pub(crate) manifest: Digest,
    pub(crate) manifest_len: usize,
}

impl Layout {
    /// `layers` are pairs of the uncompressed layer and what the layout has of it.
    pub(crate) fn new(layers: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let plain: Vec<Vec<u8>> = layers.iter().map(|(plain, _)| plain.clone()).collect();
        let config = config(&plain);
        let mut archive =
            TarBuilder::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let mut descriptors = Vec::new();
        for (_, blob) in layers {
            archive = archive.file(&blob_path(blob), blob);
            let media_type = "application/vnd.oci.image.layer.v1.tar+gzip";
            descriptors.push(descriptor(blob, media_type, ""));
        }
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            descriptor(config.as_bytes(), "application/vnd.oci.image.config.v1+json", ""),
            descriptors.join(","),
        );
        let archive = archive
            .file(&blob_path(config.as_bytes()), config.as_bytes())
            .file(&blob_path(manifest.as_bytes()), manifest.as_bytes());
        let digest = Digest::sha256_of(manifest.as_bytes());
        Self { archive, manifest: digest, manifest_len: manifest.len() }
    }

    /// Ends the layout with an index that has this image under these annotations.
    pub(crate) fn finish(self, annotations: &str) -> Vec<u8> {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{},"annotations":{{{annotations}}}}}]}}"#,
            self.manifest, self.manifest_len,
        );
        self.archive.file("index.json", index.as_bytes()).finish()
    }
}

pub(crate) fn blob_path(blob: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::sha256_of(blob).hex())
}

/// A descriptor as JSON; `more` are further fields, each after a comma.
pub(crate) fn descriptor(blob: &[u8], media_type: &str, more: &str) -> String {
    let (digest, size) = (Digest::sha256_of(blob), blob.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
}

/// An OCI layout of `multi:1` for linux/amd64 and linux/arm64, and a statement about the first.
pub(crate) struct Platforms {
    pub(crate) manifests: Vec<Digest>,
    pub(crate) index: Digest,
    configs: Vec<String>,
    archive: TarBuilder,
}

impl Platforms {
    pub(crate) fn new() -> Self {
        let mut archive =
            TarBuilder::new().file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        let add = |archive: TarBuilder, bytes: &[u8]| archive.file(&blob_path(bytes), bytes);
        let media = "application/vnd.oci.image.manifest.v1+json";
        let config_media = "application/vnd.oci.image.config.v1+json";
        let (mut listed, mut manifests, mut configs) = (Vec::new(), Vec::new(), Vec::new());
        for architecture in ["amd64", "arm64"] {
            let plain = layer("arch", architecture.as_bytes());
            let blob = gzip(&plain);
            let config = config(&[plain]).replacen("amd64", architecture, 1);
            let manifest = format!(
                r#"{{"schemaVersion":2,"mediaType":"{media}","config":{},"layers":[{}]}}"#,
                descriptor(config.as_bytes(), config_media, ""),
                descriptor(&blob, "application/vnd.oci.image.layer.v1.tar+gzip", ""),
            );
            for bytes in [&blob, config.as_bytes(), manifest.as_bytes()] {
                archive = add(archive, bytes);
            }
            let platform =
                format!(r#","platform":{{"os":"linux","architecture":"{architecture}"}}"#);
            listed.push(descriptor(manifest.as_bytes(), media, &platform));
            manifests.push(Digest::sha256_of(manifest.as_bytes()));
            configs.push(blob_path(config.as_bytes()));
        }
        let statement = format!(
            r#"{{"schemaVersion":2,"mediaType":"{media}","config":{},"layers":[{}]}}"#,
            descriptor(b"{\"about\":1}", config_media, ""),
            descriptor(b"{\"says\":\"it\"}", "application/vnd.in-toto+json", ""),
        );
        for bytes in [&b"{\"about\":1}"[..], b"{\"says\":\"it\"}", statement.as_bytes()] {
            archive = add(archive, bytes);
        }
        let about = format!(
            r#","platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest","vnd.docker.reference.digest":"{}"}}"#,
            manifests[0]
        );
        listed.push(descriptor(statement.as_bytes(), media, &about));
        let index_media = "application/vnd.oci.image.index.v1+json";
        let index = format!(
            r#"{{"schemaVersion":2,"mediaType":"{index_media}","manifests":[{}]}}"#,
            listed.join(",")
        );
        let name = r#","annotations":{"io.containerd.image.name":"docker.io/library/multi:1"}"#;
        let outer = format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            descriptor(index.as_bytes(), index_media, name)
        );
        archive = add(archive, index.as_bytes()).file("index.json", outer.as_bytes());
        Self { manifests, index: Digest::sha256_of(index.as_bytes()), configs, archive }
    }

    /// Where the configuration of an image is in the archive.
    pub(crate) fn config(&self, image: usize) -> String {
        self.configs[image].clone()
    }

    pub(crate) fn archive(&self) -> Vec<u8> {
        self.archive.clone().finish()
    }
}
