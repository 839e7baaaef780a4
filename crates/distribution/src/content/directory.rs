//! The plainest form: a directory with `manifest.json` and a file for each blob, by the digits of
//! its digest. [containers/image, directory transport 1.1]

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use ferry_oci::digest::Digest;
use ferry_oci::manifest::Descriptor;

use super::files::{Files, local};
use super::layout::{Half, beside, fill, stated_type, write_whole};
use super::{Answered, BlobBody, ContentRead, ContentWrite};
use crate::error::DistributionError;
use crate::limits;
use crate::registry::{RawManifest, Selector};

const TOP: &str = "manifest.json";
const VERSION: &[u8] = b"Directory Transport Version: 1.1\n";

/// An image in such a directory.
#[derive(Debug)]
pub struct DirectoryContent {
    path: PathBuf,
}

impl DirectoryContent {
    /// The directory; it is made when it is first written to.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), DistributionError> {
        let path = self.path.join(name);
        write_whole(&path, bytes).map_err(|source| local("writing", &path, source))
    }
}

fn member(digest: &Digest) -> String {
    format!("{}.manifest.json", digest.hex())
}

impl ContentRead for DirectoryContent {
    fn manifest<'a>(&'a self, which: Option<&'a Selector>) -> Answered<'a, RawManifest> {
        Box::pin(async move {
            let files = Files::Directory(self.path.clone());
            let name = match which {
                Some(Selector::Digest(digest)) => member(digest),
                Some(Selector::Tag(_)) | None => TOP.to_owned(),
            };
            let bytes = files.get(&name)?.bytes("the manifest", limits::MAX_MANIFEST)?;
            let manifest = RawManifest::new(stated_type(&bytes), bytes);
            match which {
                Some(Selector::Digest(digest)) if *digest != manifest.digest => {
                    Err(DistributionError::Digest {
                        what: "manifest",
                        expected: digest.clone(),
                        actual: manifest.digest,
                    })
                }
                _ => Ok(manifest),
            }
        })
    }

    fn blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, BlobBody> {
        let files = Files::Directory(self.path.clone());
        Box::pin(async move { Ok(files.get(blob.digest.hex())?.into_body()) })
    }

    fn referrers<'a>(&'a self, _subject: &'a Digest) -> Answered<'a, Vec<Descriptor>> {
        // The format has none.
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl ContentWrite for DirectoryContent {
    fn has_blob<'a>(&'a self, blob: &'a Descriptor) -> Answered<'a, bool> {
        let there = self.path.join(blob.digest.hex()).exists();
        Box::pin(async move { Ok(there) })
    }

    fn put_blob<'a>(&'a self, blob: &'a Descriptor, body: BlobBody) -> Answered<'a, ()> {
        Box::pin(async move {
            let path = self.path.join(blob.digest.hex());
            let spool = beside(&path);
            let failed = |source| local("writing", &path, source);
            fs::create_dir_all(&self.path).map_err(failed)?;
            let mut file =
                File::options().write(true).create_new(true).open(&spool).map_err(failed)?;
            let _half = Half(spool.clone());
            fill(&mut file, blob, body, &spool).await?;
            fs::rename(&spool, &path).map_err(failed)
        })
    }

    fn put_manifest<'a>(&'a self, manifest: &'a RawManifest, is_top: bool) -> Answered<'a, ()> {
        let name = if is_top { TOP.to_owned() } else { member(&manifest.digest) };
        Box::pin(async move { self.put(&name, &manifest.bytes) })
    }

    fn finish(&self) -> Answered<'_, ()> {
        Box::pin(async { self.put("version", VERSION) })
    }
}
