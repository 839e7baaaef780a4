//! What is here of what a name leads to, so that a registry need not be asked for it again.

use std::collections::HashMap;
use std::fs;

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Index, Manifest};
use ferry_oci::reference::Reference;

use crate::error::StoreError;
use crate::limits;
use crate::store::Store;

/// Documents that are read at most, and how many bytes they have together.
const MAX_DOCUMENTS: usize = 128;
const MAX_BYTES: u64 = 16 << 20;

/// Documents by their digests.
type Documents = HashMap<Digest, Vec<u8>>;

impl Store {
    /// What a name stands for, and the manifests, indexes and configurations that this leads to, by
    /// their digests: those that are here whole.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn documents_of(
        &self,
        name: &Reference,
    ) -> Result<(Option<Digest>, Documents), StoreError> {
        let name = name.clone().with_default_tag();
        let Some(target) = self.database().name_target(&name)? else {
            return Ok((None, HashMap::new()));
        };
        let mut found = HashMap::new();
        let mut left = MAX_BYTES;
        let mut wanted = vec![(target.clone(), limits::MAX_INDEX_DEPTH)];
        while let Some((digest, depth)) = wanted.pop() {
            if found.len() == MAX_DOCUMENTS || found.contains_key(&digest) {
                continue;
            }
            let Some(bytes) = self.read_document(&digest, left)? else { continue };
            left -= bytes.len() as u64;
            if let (Ok(index), Some(depth)) = (Index::parse(&bytes), depth.checked_sub(1)) {
                wanted.extend(index.manifests.into_iter().map(|member| (member.digest, depth)));
            } else if let Ok(manifest) = Manifest::parse(&bytes) {
                wanted.push((manifest.config.digest, 0));
            }
            found.insert(digest, bytes);
        }
        Ok((Some(target), found))
    }

    /// The bytes of a document that is here and is what it should be, and not larger than this.
    fn read_document(&self, digest: &Digest, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        if !self.has_blob(digest)? {
            return Ok(None);
        }
        let path = self.layout().blob(digest);
        let length = fs::metadata(&path).map_or(u64::MAX, |metadata| metadata.len());
        if length > most {
            return Ok(None);
        }
        // One that cannot be read is fetched.
        Ok(fs::read(&path).ok().filter(|bytes| digest.matches(bytes)))
    }
}
