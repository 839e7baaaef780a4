//! Finding images.

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;

use super::{Image, ImageId, Timestamp};
use crate::database::ImageRow;
use crate::error::StoreError;
use crate::store::Store;

impl Store {
    pub(super) fn list_images(&self) -> Result<Vec<Image>, StoreError> {
        let mut images = Vec::new();
        for id in self.database().image_ids()? {
            match self.image_by_id(&id) {
                // One that was removed since is no fault.
                Ok(image) => images.extend(image),
                // What is wrong with one image is not wrong with the others.
                Err(error) if error.is_damage() => {
                    tracing::warn!(%id, %error, "an image is left out of the list");
                }
                Err(error) => return Err(error),
            }
        }
        // RFC 3339 in UTC sorts as text; the rare others are only less well sorted.
        images.sort_by(|a, b| b.config.created.cmp(&a.config.created).then(a.id.cmp(&b.id)));
        Ok(images)
    }

    pub(super) fn get_image(&self, reference: &str) -> Result<Image, StoreError> {
        let id = self.resolve_image(reference)?;
        self.image_by_id(&id)?.ok_or_else(|| StoreError::NoSuchImage(reference.to_owned()))
    }

    /// Finds an image's id as Docker does: a digest first, then a name, then the beginning of an id.
    pub(super) fn resolve_image(&self, reference: &str) -> Result<ImageId, StoreError> {
        let missing = || StoreError::NoSuchImage(shown(reference));
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        if let Ok(digest) = Digest::from_sha256_hex(digits) {
            let id = ImageId::from(digest);
            return match self.database().image(&id)? {
                Some(_) => Ok(id),
                None => Err(StoreError::NoSuchImage(id.to_string())),
            };
        }
        let parsed = Reference::parse(reference);
        if let Ok(name) = &parsed
            && let Some(id) = self.database().image_by_name(&complete(name))?
        {
            return Ok(id);
        }
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if !digits.is_empty() && digits.len() < 64 && digits.bytes().all(is_hex) {
            let found = self.database().images_by_prefix(digits)?;
            if let [id] = found.as_slice() {
                return Ok(id.clone());
            }
            // Compat: Docker does not tell that there are several.
        }
        parsed?;
        Err(missing())
    }

    /// The name that a text finds an image by; `None` when it finds it by its id.
    pub(super) fn name_of(&self, reference: &str) -> Result<Option<Reference>, StoreError> {
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        let Ok(name) = Reference::parse(reference) else { return Ok(None) };
        if Digest::from_sha256_hex(digits).is_ok() {
            return Ok(None);
        }
        let name = complete(&name);
        Ok(self.database().image_by_name(&name)?.map(|_| name))
    }

    pub(super) fn image_by_id(&self, id: &ImageId) -> Result<Option<Image>, StoreError> {
        let Some(row) = self.database().image(id)? else { return Ok(None) };
        let ImageRow { id, parent, manifest_digest, last_tagged, names, layer_sizes } = row;
        let (repo_digests, repo_tags) = names.into_iter().partition(|name| name.digest().is_some());
        Ok(Some(Image {
            config: self.config(&id)?,
            id,
            repo_tags,
            repo_digests,
            size: layer_sizes.iter().fold(0, |all, size| u64::saturating_add(all, *size)),
            layer_sizes,
            last_tagged,
            parent,
            manifest_digest,
        }))
    }

    pub(super) fn tag_image(
        &self,
        source: &str,
        target: &Reference,
    ) -> Result<ImageId, StoreError> {
        if target.digest().is_some() {
            return Err(StoreError::Invalid("cannot import digest reference".to_owned()));
        }
        let _changes = self.lock_changes();
        let id = self.resolve_image(source)?;
        // What the one name stands for, the other does too.
        let stands_for = match self.name_of(source)? {
            Some(name) => self.database().name_target(&name)?,
            None => None,
        };
        let (name, now) = (target.clone().with_default_tag(), Timestamp::now());
        self.database().put_name(&name, &id, stands_for.as_ref(), now)?;
        Ok(id)
    }
}

/// The name as it is kept: with a tag, or with a digest and none.
fn complete(name: &Reference) -> Reference {
    let name = name.clone().with_default_tag();
    match name.digest() {
        Some(digest) => name.with_digest(digest.clone()),
        None => name,
    }
}

/// A name that was not found, as Docker shows it: short and with its tag.
pub(super) fn shown(reference: &str) -> String {
    match Reference::parse(reference) {
        Ok(name) => name.with_default_tag().familiar(),
        Err(_) => reference.to_owned(),
    }
}
