//! OCI layouts, in directories and in archives. [OCI image, image-layout.md]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, Descriptor, Index, Manifest, media_type,
};
use ferry_oci::reference::Reference;
use futures_util::StreamExt as _;

use super::archive::{self, TarWriter};
use super::files::{CHUNK, Files, local};
use super::remote::Check;
use super::{Answered, BlobBody, ContentRead, ContentWrite};
use crate::error::DistributionError;
use crate::limits;
use crate::registry::{RawManifest, Selector};

const INDEX: &str = "index.json";
/// What Docker looks for in an archive, beside the layout.
const DOCKER_LIST: &str = "manifest.json";
const LAYOUT: &str = "oci-layout";
const VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.hex())
}

/// An image in a layout.
#[derive(Debug)]
pub struct LayoutContent {
    files: Files,
    index: Index,
    top: Descriptor,
}

impl LayoutContent {
    /// Opens the image of that tag in a directory; without one, the only image.
    ///
    /// # Errors
    /// When it is no layout, or has no such image.
    pub fn directory(path: &Path, tag: Option<&str>) -> Result<Self, DistributionError> {
        Self::open(Files::Directory(path.to_owned()), tag)
    }

    /// The same in an archive of a layout.
    ///
    /// # Errors
    /// As with a directory.
    pub fn archive(path: &Path, tag: Option<&str>) -> Result<Self, DistributionError> {
        Self::open(archive::open(path)?, tag)
    }

    fn open(files: Files, tag: Option<&str>) -> Result<Self, DistributionError> {
        let malformed = |why: String| DistributionError::Malformed { what: files.to_string(), why };
        let bytes = files.get(INDEX)?.bytes(INDEX, limits::MAX_MANIFEST)?;
        let index: Index =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        let is_named = |descriptor: &&Descriptor| {
            tag.is_none_or(|tag| {
                [ANNOTATION_REF_NAME, ANNOTATION_IMAGE_NAME]
                    .iter()
                    .any(|key| descriptor.annotations.get(*key).is_some_and(|name| name == tag))
            })
        };
        let mut found = index.manifests.iter().filter(is_named);
        let top = found.next().cloned();
        let top =
            top.ok_or_else(|| malformed(format!("no image is called {:?}", tag.unwrap_or(""))))?;
        if tag.is_none() && found.next().is_some() {
            return Err(malformed("it has several images; name one".into()));
        }
        Ok(Self { files, index, top })
    }
}

impl ContentRead for LayoutContent {
    fn manifest<'a>(&'a self, which: Option<&'a Selector>) -> Answered<'a, RawManifest> {
        Box::pin(async move {
            let digest = match which {
                None => &self.top.digest,
                Some(Selector::Digest(digest)) => digest,
                Some(Selector::Tag(tag)) => {
                    let (what, why) = (self.files.to_string(), format!("{tag:?} was not opened"));
                    return Err(DistributionError::Malformed { what, why });
                }
            };
            let piece = self.files.get(&blob_path(digest))?;
            let bytes = piece.bytes("the manifest", limits::MAX_MANIFEST)?;
            if !digest.matches(&bytes) {
                let actual = Digest::sha256_of(&bytes);
                let expected = digest.clone();
                return Err(DistributionError::Digest { what: "manifest", expected, actual });
            }
            let own = self.index.manifests.iter().find(|member| member.digest == *digest);
            let media = own.map(|own| own.media_type.clone()).filter(|it| !it.is_empty());
            let media = media.unwrap_or_else(|| stated_type(&bytes));
            Ok(RawManifest { media_type: media, digest: digest.clone(), bytes })
        })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, BlobBody> {
        Box::pin(async move { Ok(self.files.get(&blob_path(&blob.digest))?.into_body()) })
    }

    fn referrers<'a>(&'a self, subject: &'a Digest) -> Answered<'a, Vec<Descriptor>> {
        Box::pin(async move {
            let mut found = Vec::new();
            for member in self.index.manifests.iter().filter(|member| member.is_manifest()) {
                let raw = self.manifest(Some(&Selector::Digest(member.digest.clone()))).await?;
                let Ok(manifest) = Manifest::parse(&raw.bytes) else { continue };
                if manifest.subject.is_some_and(|about| about.digest == *subject) {
                    found.push(member.clone());
                }
            }
            Ok(found)
        })
    }
}

/// What a document says that it is; a manifest if it says nothing.
pub(super) fn stated_type(bytes: &[u8]) -> String {
    let json: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let stated = json.get("mediaType").and_then(serde_json::Value::as_str);
    let assumed = if json.get("manifests").is_some() {
        media_type::OCI_INDEX
    } else {
        media_type::OCI_MANIFEST
    };
    stated.unwrap_or(assumed).to_owned()
}

/// Writes an image into a layout.
#[derive(Debug)]
pub struct LayoutWriter {
    path: PathBuf,
    tag: Option<String>,
    sink: Sink,
    /// For Docker's archives: the list of the one image in it, once that is known.
    docker: Option<Mutex<Option<Vec<u8>>>>,
    /// What the layout lists in the end.
    listed: Mutex<Vec<Descriptor>>,
}

#[derive(Debug)]
enum Sink {
    Directory,
    /// Beside its place until it is whole.
    Archive(Mutex<Archive>),
}

#[derive(Debug)]
struct Archive {
    temporary: PathBuf,
    writer: Option<TarWriter<BufWriter<File>>>,
    written: Vec<Digest>,
}

impl Drop for Archive {
    fn drop(&mut self) {
        // After the renaming there is none.
        drop(fs::remove_file(&self.temporary));
    }
}

impl LayoutWriter {
    /// Writes into a directory beside what it has; it is made when it is first written to.
    pub fn directory(path: &Path, tag: Option<&str>) -> Self {
        Self::new(path, tag, Sink::Directory)
    }

    /// Writes an archive anew.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn archive(path: &Path, tag: Option<&str>) -> Result<Self, DistributionError> {
        let temporary = beside(path);
        let file = File::options().write(true).create_new(true).open(&temporary);
        let file = file.map_err(|source| local("creating", &temporary, source))?;
        let writer = Some(TarWriter::new(BufWriter::with_capacity(CHUNK, file)));
        let archive = Archive { temporary, writer, written: Vec::new() };
        Ok(Self::new(path, tag, Sink::Archive(Mutex::new(archive))))
    }

    /// Writes an archive as `docker save` does: a layout, and beside it the list that `docker load`
    /// reads. It holds one image; the name is complete.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn docker_archive(path: &Path, name: Option<&str>) -> Result<Self, DistributionError> {
        let writer = Self::archive(path, name)?;
        Ok(Self { docker: Some(Mutex::default()), ..writer })
    }

    fn new(path: &Path, tag: Option<&str>, sink: Sink) -> Self {
        let tag = tag.map(str::to_owned);
        Self { path: path.to_owned(), tag, sink, docker: None, listed: Mutex::default() }
    }

    /// How the list of an archive of Docker's names an image.
    fn docker_list(&self, image: &RawManifest) -> Result<Vec<u8>, DistributionError> {
        let manifest = Manifest::parse(&image.bytes).map_err(|error| {
            let what = format!("{} for an archive of Docker's", image.digest);
            DistributionError::Malformed { what, why: format!("{error}; it takes one image") }
        })?;
        let path = |blob: &Descriptor| blob_path(&blob.digest);
        // Here a name is as people write it; in the layout it is complete.
        let name = |tag: &String| match Reference::parse(tag) {
            Ok(name) => name.familiar(),
            Err(_) => tag.clone(),
        };
        let list = serde_json::json!([{
            "Config": path(&manifest.config),
            "RepoTags": self.tag.iter().map(name).collect::<Vec<_>>(),
            "Layers": manifest.layers.iter().map(path).collect::<Vec<_>>(),
        }]);
        Ok(list.to_string().into_bytes())
    }

    /// The annotations by which the image is found again.
    fn name(&self, descriptor: &mut Descriptor) {
        let Some(tag) = &self.tag else { return };
        let mut short = tag.as_str();
        if self.docker.is_some() {
            descriptor.annotations.insert(ANNOTATION_IMAGE_NAME.into(), tag.clone());
            short = tag.rsplit_once(':').map_or(short, |(_, tag)| tag);
        }
        descriptor.annotations.insert(ANNOTATION_REF_NAME.into(), short.to_owned());
    }

    fn has(&self, digest: &Digest) -> bool {
        match &self.sink {
            Sink::Directory => self.path.join(blob_path(digest)).exists(),
            Sink::Archive(archive) => {
                archive.lock().unwrap_or_else(PoisonError::into_inner).written.contains(digest)
            }
        }
    }

    /// Writes a whole file.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), DistributionError> {
        let written = match &self.sink {
            Sink::Directory => write_whole(&self.path.join(name), bytes),
            Sink::Archive(archive) => {
                let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                archive.file(name, bytes)
            }
        };
        written.map_err(|source| local("writing", &self.path, source))
    }

    async fn take(&self, blob: &Descriptor, body: BlobBody) -> Result<(), DistributionError> {
        // A blob is verified before it gets its name; an archive with a wrong one is given up.
        let path = self.path.join(blob_path(&blob.digest));
        let spool = match &self.sink {
            Sink::Directory => beside(&path),
            Sink::Archive(_) => beside(&self.path.with_extension(blob.digest.hex())),
        };
        let failed = |source| local("writing", &spool, source);
        if let Some(parent) = spool.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file =
            File::options().read(true).write(true).create_new(true).open(&spool).map_err(failed)?;
        let _half = Half(spool.clone());
        fill(&mut file, blob, body, &spool).await?;
        match &self.sink {
            Sink::Directory => fs::rename(&spool, &path).map_err(failed),
            Sink::Archive(archive) => {
                let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                archive.blob(blob, &file).map_err(failed)
            }
        }
    }

    fn finish_now(&self) -> Result<(), DistributionError> {
        self.put(LAYOUT, VERSION)?;
        let mut index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.into()),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: BTreeMap::new(),
        };
        if matches!(self.sink, Sink::Directory)
            && let Some(old) = Files::Directory(self.path.clone()).find(INDEX)?
        {
            let bytes = old.bytes(INDEX, limits::MAX_MANIFEST)?;
            index = serde_json::from_slice(&bytes).map_err(|error| {
                let what = self.path.join(INDEX).display().to_string();
                DistributionError::Malformed { what, why: error.to_string() }
            })?;
        }
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for new in listed {
            let name = new.annotations.get(ANNOTATION_REF_NAME);
            // A name stands for one image, and an image without one is listed once.
            index.manifests.retain(|old| match name {
                Some(name) => old.annotations.get(ANNOTATION_REF_NAME) != Some(name),
                None => *old != new,
            });
            index.manifests.push(new);
        }
        let bytes = serde_json::to_vec(&index).map_err(|error| DistributionError::Malformed {
            what: INDEX.into(),
            why: error.to_string(),
        })?;
        self.put(INDEX, &bytes)?;
        if let Some(list) = &self.docker {
            let list = list.lock().unwrap_or_else(PoisonError::into_inner).take();
            self.put(DOCKER_LIST, &list.unwrap_or_else(|| b"[]".to_vec()))?;
        }
        if let Sink::Archive(archive) = &self.sink {
            let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
            archive.commit(&self.path).map_err(|source| local("writing", &self.path, source))?;
        }
        Ok(())
    }
}

impl Archive {
    fn writer(&mut self) -> io::Result<&mut TarWriter<BufWriter<File>>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the archive is finished"))
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let writer = self.writer()?;
        writer.header(name, bytes.len() as u64)?;
        writer.data(bytes)?;
        writer.pad(bytes.len() as u64)
    }

    fn blob(&mut self, blob: &Descriptor, file: &File) -> io::Result<()> {
        let piece = super::files::Piece::whole(file.try_clone()?)?;
        let mut reader = piece.reader(0);
        let writer = self.writer()?;
        writer.header(&blob_path(&blob.digest), blob.size)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match reader.read(&mut buffer)? {
                0 => break,
                count => writer.data(&buffer[..count])?,
            }
        }
        writer.pad(blob.size)?;
        self.written.push(blob.digest.clone());
        Ok(())
    }

    fn commit(&mut self, path: &Path) -> io::Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let file = writer.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&self.temporary, path)
    }
}

impl ContentWrite for LayoutWriter {
    fn has_blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, bool> {
        Box::pin(async move { Ok(self.has(&blob.digest)) })
    }

    fn put_blob<'a>(&'a self, blob: &'a Descriptor, body: BlobBody) -> Answered<'a, ()> {
        Box::pin(self.take(blob, body))
    }

    fn put_manifest<'a>(&'a self, manifest: &'a RawManifest, is_top: bool) -> Answered<'a, ()> {
        Box::pin(async move {
            if let (true, Some(list)) = (is_top, &self.docker) {
                let text = self.docker_list(manifest)?;
                *list.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            }
            if !self.has(&manifest.digest) {
                self.put(&blob_path(&manifest.digest), &manifest.bytes)?;
                if let Sink::Archive(archive) = &self.sink {
                    let mut archive = archive.lock().unwrap_or_else(PoisonError::into_inner);
                    archive.written.push(manifest.digest.clone());
                }
            }
            let about = Manifest::parse(&manifest.bytes).ok().and_then(|parsed| parsed.subject);
            if is_top || about.is_some() {
                let mut descriptor = manifest.descriptor();
                if is_top {
                    self.name(&mut descriptor);
                }
                self.listed.lock().unwrap_or_else(PoisonError::into_inner).push(descriptor);
            }
            Ok(())
        })
    }

    fn finish(&self) -> Answered<'_, ()> {
        Box::pin(async { self.finish_now() })
    }
}

/// Writes a body into a file, and verifies it.
pub(super) async fn fill(
    file: &mut (dyn io::Write + Send),
    blob: &Descriptor,
    body: BlobBody,
    path: &Path,
) -> Result<(), DistributionError> {
    let mut check = Check::new(blob);
    match body {
        BlobBody::Stream(mut stream) => {
            while let Some(bytes) = stream.next().await {
                let bytes = bytes?;
                check.add(&bytes)?;
                file.write_all(&bytes).map_err(|source| local("writing", path, source))?;
            }
        }
        BlobBody::Here(source) => {
            let failed = |source| DistributionError::Source { source };
            let mut reader = source.open(0).map_err(failed)?;
            let mut buffer = vec![0; CHUNK];
            loop {
                let count = reader.read(&mut buffer).map_err(failed)?;
                if count == 0 {
                    break;
                }
                check.add(&buffer[..count])?;
                let written = file.write_all(&buffer[..count]);
                written.map_err(|source| local("writing", path, source))?;
            }
        }
    }
    check.finish()
}

/// Writes a file whole or not at all.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = beside(path);
    let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}

/// A file that is being written. It goes when this is dropped, as when a copy is given up; what was
/// renamed by then stays.
#[derive(Debug)]
pub(super) struct Half(pub(super) PathBuf);

impl Drop for Half {
    fn drop(&mut self) {
        // After the renaming there is none.
        drop(fs::remove_file(&self.0));
    }
}

/// A name beside a file, which nobody else uses.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    path.with_file_name(format!(".tmp-{}-{name}", std::process::id()))
}
