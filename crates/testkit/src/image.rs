//! Tiny images, made from Debian's `busybox-static` or from nothing.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::command::find_program;
use crate::tar::{Entry, Tar};

/// How an archive or a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
    /// xz.
    Xz,
}

impl Compression {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Gzip, Self::Zstd, Self::Xz];

    /// Packs `bytes`.
    #[must_use]
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => bytes.to_vec(),
            Self::Gzip => {
                let mut out =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(bytes).expect("writing to memory");
                out.finish().expect("writing to memory")
            }
            Self::Zstd => zstd::encode_all(bytes, 1).expect("writing to memory"),
            Self::Xz => {
                let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
                out.write_all(bytes).expect("writing to memory");
                out.finish().expect("writing to memory")
            }
        }
    }

    fn layer_media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
            Self::Xz => "application/vnd.oci.image.layer.v1.tar+xz",
        }
    }
}

/// The sha256 digest of `bytes`, in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// An image in memory.
#[derive(Debug, Clone)]
pub struct Image {
    /// Uncompressed layer archives, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// The `config` part of its configuration: `Cmd`, `Env`, `User`...
    pub config: Value,
    created: &'static str,
}

impl Image {
    /// An image of these layers that starts `sh`.
    #[must_use]
    pub fn new(layers: Vec<Vec<u8>>) -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self { layers, config: json!({ "Cmd": ["sh"], "Env": [path] }), created: CREATED }
    }

    /// Sets when it was made; images are listed by that.
    #[must_use]
    pub fn created(mut self, stamp: &'static str) -> Self {
        self.created = stamp;
        self
    }

    /// Sets a key of its `config`.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.config[key] = value;
        self
    }

    /// Adds a layer.
    #[must_use]
    pub fn layer(mut self, layer: &Tar) -> Self {
        self.layers.push(layer.finish());
        self
    }

    /// The image with nothing but Debian's static busybox, its applets and a few users.
    #[must_use]
    pub fn busybox() -> Self {
        static LAYER: OnceLock<Vec<u8>> = OnceLock::new();
        Self::new(vec![LAYER.get_or_init(busybox_layer).clone()])
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration(&self) -> Vec<u8> {
        let diff_ids: Vec<String> =
            self.layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
        let history: Vec<Value> = (0..self.layers.len())
            .map(|at| json!({ "created": self.created, "created_by": format!("layer {at}") }))
            .collect();
        let configuration = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": self.created,
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": history,
        });
        serde_json::to_vec(&configuration).expect("JSON in memory")
    }

    /// The image's id, as every engine computes it.
    #[must_use]
    pub fn id(&self) -> String {
        format!("sha256:{}", sha256(&self.configuration()))
    }

    /// What `docker save` writes: `manifest.json`, the configuration, one folder per layer.
    #[must_use]
    pub fn docker_archive(&self, tags: &[&str]) -> Vec<u8> {
        let configuration = self.configuration();
        let name = format!("{}.json", sha256(&configuration));
        let mut tar = Tar::new();
        let mut layers = Vec::new();
        for (at, layer) in self.layers.iter().enumerate() {
            let folder = format!("{at:02}{}", &sha256(layer)[2..]);
            let path = format!("{folder}/layer.tar");
            tar.directory(&format!("{folder}/"), 0o755).file(&path, 0o644, layer);
            layers.push(path);
        }
        let manifest = json!([{ "Config": name, "RepoTags": tags, "Layers": layers }]);
        tar.file(&name, 0o644, &configuration);
        tar.file("manifest.json", 0o644, manifest.to_string());
        tar.finish()
    }

    /// An OCI image layout as an archive, its layers packed as said.
    #[must_use]
    pub fn oci_layout(&self, tag: Option<&str>, layers: Compression) -> Vec<u8> {
        let mut tar = Tar::new();
        self.layout_into(&mut tar, tag, layers);
        tar.finish()
    }

    /// What today's `docker save` writes: an OCI layout, with the `manifest.json` of old that points
    /// into it.
    #[must_use]
    pub fn saved(&self, tag: &str, layers: Compression) -> Vec<u8> {
        let mut tar = Tar::new();
        let (config, layers) = self.layout_into(&mut tar, Some(tag), layers);
        let manifest = json!([{ "Config": config, "RepoTags": [tag], "Layers": layers }]);
        tar.file("manifest.json", 0o644, manifest.to_string());
        tar.finish()
    }

    /// Writes a layout and gives the paths of the configuration and the layers.
    fn layout_into(
        &self,
        tar: &mut Tar,
        tag: Option<&str>,
        layers: Compression,
    ) -> (String, Vec<String>) {
        tar.file("oci-layout", 0o644, r#"{"imageLayoutVersion":"1.0.0"}"#);
        tar.directory("blobs/", 0o755).directory("blobs/sha256/", 0o755);
        let mut paths = Vec::new();
        let mut blob = |media_type: &str, bytes: &[u8]| {
            let digest = sha256(bytes);
            paths.push(format!("blobs/sha256/{digest}"));
            tar.file(&format!("blobs/sha256/{digest}"), 0o644, bytes);
            json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
        };
        let config = blob("application/vnd.oci.image.config.v1+json", &self.configuration());
        let layers: Vec<Value> = self
            .layers
            .iter()
            .map(|layer| blob(layers.layer_media_type(), &layers.pack(layer)))
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        let mut descriptor = blob(MANIFEST, manifest.to_string().as_bytes());
        if let Some(tag) = tag {
            let short = tag.rsplit(':').next().unwrap_or(tag);
            descriptor["annotations"] = json!({
                "io.containerd.image.name": format!("docker.io/library/{tag}"),
                "org.opencontainers.image.ref.name": short,
            });
        }
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor] });
        tar.file("index.json", 0o644, index.to_string());
        let layer_paths = paths[1..paths.len() - 1].to_vec();
        (paths.remove(0), layer_paths)
    }
}

const CREATED: &str = "2024-05-06T07:08:09.123456789Z";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// This machine's architecture in the words of images.
#[must_use]
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Where Debian has its static busybox.
#[must_use]
pub fn busybox_program() -> PathBuf {
    let program =
        find_program("busybox").expect("busybox is missing: apt-get install busybox-static");
    assert!(is_static(&program), "{} is not static: install busybox-static", program.display());
    program
}

/// Whether an ELF program asks for no interpreter.
fn is_static(program: &Path) -> bool {
    let bytes = std::fs::read(program).expect("reading busybox");
    let number = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    // PT_INTERP is 3.
    (0..count).all(|at| number(table + at * size, 4) != 3)
}

/// The users that the test image knows.
pub const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    daemon:x:1:1:daemon:/:/bin/false\n\
    app:x:1000:1001:An App:/home/app:/bin/sh\n";

/// The groups that the test image knows.
pub const GROUP: &str =
    "root:x:0:\ndaemon:x:1:\nwheel:x:10:root,app\nappgroup:x:1001:\nextra:x:1002:app\n";

fn busybox_layer() -> Vec<u8> {
    let program = busybox_program();
    let applets = crate::Invocation::new(&program).arg("--list").run().ok();
    let mut tar = Tar::new();
    for folder in ["bin", "etc", "home", "proc", "sys", "dev", "var", "usr", "usr/bin"] {
        tar.directory(&format!("{folder}/"), 0o755);
    }
    tar.directory("root/", 0o700).directory("tmp/", 0o1777);
    tar.entry(&Entry { uid: 1000, gid: 1001, ..Entry::new(b'5', "home/app/", 0o755) });
    tar.file("bin/busybox", 0o755, std::fs::read(&program).expect("reading busybox"));
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    tar.file("etc/passwd", 0o644, PASSWD).file("etc/group", 0o644, GROUP);
    tar.finish()
}
