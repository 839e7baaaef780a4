//! The platforms that a name stands for, by way of an index.

use std::collections::{BTreeSet, HashSet};

use ferry_oci::digest::Digest;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use super::{Image, ImageId, ImageUse, Removal, Removed};
use crate::error::StoreError;
use crate::limits;
use crate::store::Store;

impl Store {
    pub(super) fn get_image_for(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<Image, StoreError> {
        let id = self.resolve_image(reference)?;
        let name = self.name_of(reference)?;
        match self.platform_of_name(&id, name.as_ref(), platform)? {
            Some(id) => {
                self.image_by_id(&id)?.ok_or_else(|| StoreError::NoSuchImage(reference.to_owned()))
            }
            None => Err(self.other_platform(&id, reference, platform)?),
        }
    }

    /// Docker's sentence about an image of another platform.
    pub(crate) fn other_platform(
        &self,
        image: &ImageId,
        shown: &str,
        platform: &Platform,
    ) -> Result<StoreError, StoreError> {
        let actual = self.config(image)?.platform();
        Ok(StoreError::NotFound(format!(
            "image with reference {shown} was found but its platform ({actual}) does not match the specified platform ({platform})"
        )))
    }

    /// The images that are here of what a name stands for: the one that it leads to, then the others
    /// of its index. Without a name, those of the names of the image.
    pub(crate) fn images_of_name(
        &self,
        image: &ImageId,
        name: Option<&Reference>,
    ) -> Result<Vec<ImageId>, StoreError> {
        let database = self.database();
        let names = match name {
            Some(name) => vec![name.clone()],
            None => database.image(image)?.map(|row| row.names).unwrap_or_default(),
        };
        let mut found = vec![image.clone()];
        let mut seen = HashSet::new();
        for name in names {
            let Some(target) = database.name_target(&name)? else { continue };
            let mut level = vec![target];
            for _ in 0..=limits::MAX_INDEX_DEPTH {
                let mut next = Vec::new();
                for parent in level {
                    if seen.insert(parent.clone()) {
                        next.extend(self.listed_images(&parent, &mut found)?);
                    }
                }
                level = next;
            }
        }
        Ok(found)
    }

    /// Adds the images that an index lists, and gives the indexes in it.
    fn listed_images(
        &self,
        parent: &Digest,
        found: &mut Vec<ImageId>,
    ) -> Result<Vec<Digest>, StoreError> {
        let database = self.database();
        let mut indexes = Vec::new();
        for child in database.children(parent)? {
            let Some(row) = database.manifest(&child.digest)? else { continue };
            match row.image {
                Some(image) if !found.contains(&image) && database.image(&image)?.is_some() => {
                    found.push(image);
                }
                Some(_) => {}
                None => indexes.push(row.digest),
            }
        }
        Ok(indexes)
    }

    pub(super) fn parts_of_indexes(&self) -> Result<HashSet<ImageId>, StoreError> {
        Ok(self.database().images_of_indexes()?.into_iter().collect())
    }

    pub(super) fn remove_platforms(
        &self,
        reference: &str,
        platforms: &[Platform],
        how: Removal,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Vec<Removed>, StoreError> {
        let id = self.resolve_image(reference)?;
        let name = self.name_of(reference)?;
        let mut doomed = BTreeSet::new();
        for platform in platforms {
            match self.platform_of_name(&id, name.as_ref(), platform)? {
                Some(image) => drop(doomed.insert(image)),
                None => return Err(self.other_platform(&id, reference, platform)?),
            }
        }
        let all = self.images_of_name(&id, name.as_ref())?;
        let Some(stays) = all.iter().find(|image| !doomed.contains(image)) else {
            return self.remove_image(reference, how.force, how.prune, in_use);
        };
        let target = name.map(|name| self.database().name_target(&name)).transpose()?.flatten();
        for image in &doomed {
            self.check_names(image, target.as_ref(), how.force)?;
        }
        let mut removed = Vec::new();
        for image in &doomed {
            if let Some(target) = &target {
                self.hand_over(image, stays, target, how, in_use)?;
            }
            removed.extend(self.remove_image(image.as_str(), how.force, how.prune, in_use)?);
        }
        Ok(removed)
    }

    /// Refuses to remove an image that is more than a part of what is asked for.
    fn check_names(
        &self,
        image: &ImageId,
        target: Option<&Digest>,
        force: bool,
    ) -> Result<(), StoreError> {
        for name in self.database().image(image)?.map(|row| row.names).unwrap_or_default() {
            if !force && self.database().name_target(&name)?.as_ref() != target {
                return Err(StoreError::Conflict(format!(
                    "unable to delete {} (must be forced) - image is referenced in multiple repositories",
                    image.short(),
                )));
            }
        }
        Ok(())
    }

    /// Lets the names of an index lead to another of its images, unless containers keep the first.
    fn hand_over(
        &self,
        from: &ImageId,
        to: &ImageId,
        target: &Digest,
        how: Removal,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<(), StoreError> {
        let _changes = self.lock_changes();
        let is_kept = in_use(from).iter().any(|user| user.running || !how.force);
        // The removal says so, before the names are touched.
        if is_kept || self.database().has_children(from)? {
            return Ok(());
        }
        self.database().move_names(target, from, to)
    }
}
