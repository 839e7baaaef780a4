//! The images that are measured with, made once of this machine's own files and kept.
//!
//! What is in them depends on the machine; who compares, compares on one machine.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use ferry_testkit::image::sha256;
use ferry_testkit::tar::Tar;
use serde_json::{Value, json};

use crate::tools;

/// What an image is to be like.
pub(super) struct Plan {
    pub(super) name: &'static str,
    layers: usize,
    /// Files of all layers.
    files: usize,
    /// Bytes of the smallest and of the largest file that is taken.
    sizes: (u64, u64),
    /// Bytes of all files of one layer, at most.
    layer_size: u64,
}

pub(super) const PLANS: [Plan; 3] = [
    // 300 MiB of a few large files.
    Plan {
        name: "large",
        layers: 12,
        files: 144,
        sizes: (1 << 20, 25 << 20),
        layer_size: 25 << 20,
    },
    // A system of 30,000 files in one layer.
    Plan { name: "files", layers: 1, files: 30_000, sizes: (0, 4 << 20), layer_size: 900 << 20 },
    // Many layers of many files.
    Plan { name: "layers", layers: 19, files: 35_640, sizes: (0, 4 << 20), layer_size: 120 << 20 },
];

/// An image on disk: blobs as a registry has them, and an archive as `docker save` writes it.
pub(super) struct Corpus {
    pub(super) name: &'static str,
    pub(super) blobs: PathBuf,
    pub(super) archive: PathBuf,
    /// The digest of its manifest, and of its configuration.
    pub(super) manifest: String,
    pub(super) id: String,
    pub(super) files: u64,
    pub(super) layers: usize,
    /// Bytes of the layers, uncompressed and compressed.
    pub(super) plain: u64,
    pub(super) packed: u64,
}

impl Corpus {
    /// Opens the image, and makes it when it is not there.
    pub(super) fn open(plan: &Plan, root: &Path) -> Result<Self> {
        let folder = tools::target().join("bench-images").join(plan.name);
        let facts = folder.join("facts.json");
        if !facts.exists() {
            println!("{}: making it of the files below {}", plan.name, root.display());
            make(plan, root, &folder)?;
        }
        let facts = fs::read(&facts).context("reading what the image is")?;
        let facts: Value = serde_json::from_slice(&facts).context("reading what the image is")?;
        let text = |key: &str| facts[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| facts[key].as_u64().unwrap_or_default();
        Ok(Self {
            name: plan.name,
            blobs: folder.join("blobs"),
            archive: folder.join("saved.tar"),
            manifest: text("manifest"),
            id: text("id"),
            files: number("files"),
            layers: plan.layers,
            plain: number("plain"),
            packed: number("packed"),
        })
    }

    /// What its archive names it.
    pub(super) fn saved_name(&self) -> String {
        saved_name(self.name)
    }
}

fn saved_name(name: &str) -> String {
    format!("ferry-bench-{name}:1")
}

fn make(plan: &Plan, root: &Path, folder: &Path) -> Result<()> {
    let doing = || format!("making {}", folder.display());
    // What an earlier attempt left.
    drop(fs::remove_dir_all(folder));
    fs::create_dir_all(folder.join("blobs")).with_context(doing)?;
    let mut files = Files::below(root, plan);
    let per_layer = plan.files.div_ceil(plan.layers);
    let mut archive = File::create(folder.join("saved.tar")).with_context(doing)?;
    let (mut diff_ids, mut layers, mut count, mut plain, mut packed) =
        (Vec::new(), Vec::new(), 0, 0, 0);
    for at in 0..plan.layers {
        let layer = files.layer(at, per_layer, plan.layer_size, &mut count);
        let blob = gzip(&layer)?;
        let diff_id = sha256(&layer);
        println!(
            "{}: layer {} of {}, {} MiB, {} MiB with gzip",
            plan.name,
            at + 1,
            plan.layers,
            layer.len() >> 20,
            blob.len() >> 20
        );
        (plain, packed) = (plain + layer.len(), packed + blob.len());
        let digest = put(folder, &blob)?;
        let media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        layers.push(json!({ "mediaType": media_type, "digest": digest, "size": blob.len() }));
        append(&mut archive, &format!("blobs/sha256/{diff_id}"), &layer).with_context(doing)?;
        diff_ids.push(diff_id);
    }
    ensure!(count > plan.files as u64 / 4, "below {} are {count} files only", root.display());
    let config = configuration(&diff_ids);
    let id = put(folder, &config)?;
    let media_type = "application/vnd.docker.container.image.v1+json";
    let described = json!({ "mediaType": media_type, "digest": id, "size": config.len() });
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "config": described, "layers": layers,
    });
    let manifest = put(folder, manifest.to_string().as_bytes())?;
    finish_archive(&mut archive, plan.name, &config, &diff_ids).with_context(doing)?;
    let facts = json!({
        "manifest": manifest, "id": id, "files": count, "plain": plain, "packed": packed,
    });
    fs::write(folder.join("facts.json"), facts.to_string()).with_context(doing)
}

fn configuration(diff_ids: &[String]) -> Vec<u8> {
    let history =
        vec![json!({ "created": "2024-01-01T00:00:00Z", "created_by": "layer" }); diff_ids.len()];
    let diff_ids: Vec<String> = diff_ids.iter().map(|hex| format!("sha256:{hex}")).collect();
    let configuration = json!({
        "architecture": if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": { "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history,
    });
    configuration.to_string().into_bytes()
}

/// The end of what `docker save` writes: the documents that lead to the layers.
fn finish_archive(
    archive: &mut File,
    name: &str,
    config: &[u8],
    diff_ids: &[String],
) -> std::io::Result<()> {
    let path = |hex: &String| format!("blobs/sha256/{hex}");
    let digest = sha256(config);
    append(archive, &path(&digest), config)?;
    let layers: Vec<String> = diff_ids.iter().map(path).collect();
    let list =
        json!([{ "Config": path(&digest), "RepoTags": [saved_name(name)], "Layers": layers }]);
    append(archive, "manifest.json", list.to_string().as_bytes())?;
    archive.write_all(&[0; 1024])
}

/// Adds a file to an archive.
fn append(archive: &mut File, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut tar = Tar::new();
    tar.file(path, 0o644, bytes);
    let end = tar.finish();
    archive.write_all(&end[..end.len() - 1024])
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).context("compressing a layer")?;
    encoder.finish().context("compressing a layer")
}

fn put(folder: &Path, bytes: &[u8]) -> Result<String> {
    let name = sha256(bytes);
    fs::write(folder.join("blobs").join(&name), bytes).context("writing a blob")?;
    Ok(format!("sha256:{name}"))
}

/// Files of a folder, sorted, as long as they last.
struct Files {
    root: PathBuf,
    paths: std::vec::IntoIter<PathBuf>,
}

impl Files {
    fn below(root: &Path, plan: &Plan) -> Self {
        let mut paths = Vec::new();
        collect(root, plan.sizes, &mut paths);
        paths.sort();
        // From all over, not the first folders only.
        let step = (paths.len() / plan.files).max(1);
        let paths: Vec<PathBuf> = paths.into_iter().step_by(step).collect();
        Self { root: root.to_owned(), paths: paths.into_iter() }
    }

    /// An archive of the next files.
    fn layer(&mut self, at: usize, files: usize, size: u64, count: &mut u64) -> Vec<u8> {
        let mut tar = Tar::new();
        // Each stands in an archive once, or Docker refuses it.
        let mut folders = HashSet::new();
        let (mut taken, mut total) = (0, 0);
        while taken < files && total < size {
            let Some(path) = self.paths.next() else { break };
            // One that cannot be read is left out.
            let Ok(bytes) = fs::read(&path) else { continue };
            let relative = path.strip_prefix(&self.root).unwrap_or(&path);
            let name = Path::new(&format!("usr/{at}")).join(relative);
            let Some(name) = name.to_str() else { continue };
            let parent = Path::new(name).parent().unwrap_or(Path::new(""));
            if folders.insert(parent.to_owned()) {
                tar.directory(&format!("{}/", parent.display()), 0o755);
            }
            tar.file(name, 0o644, &bytes);
            (taken, total) = (taken + 1, total + bytes.len() as u64);
        }
        *count += taken as u64;
        tar.finish()
    }
}

fn collect(folder: &Path, sizes: (u64, u64), paths: &mut Vec<PathBuf>) {
    // What cannot be listed is left out.
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            collect(&entry.path(), sizes, paths);
        } else if kind.is_file() {
            let size = entry.metadata().map_or(0, |metadata| metadata.len());
            if (sizes.0..=sizes.1).contains(&size) {
                paths.push(entry.path());
            }
        }
    }
}
