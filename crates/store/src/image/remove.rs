//! Taking names from images, and removing images that have none left.
//!
//! The rules, their order and their words are those of Docker's `image_delete.go`, since scripts
//! read them.

use ferry_oci::digest::Digest;
use ferry_oci::reference::Reference;

use super::{ImageId, ImageUse, Removed};
use crate::error::StoreError;
use crate::store::{ChangeLock, Store};

/// What keeps an image.
struct Conflict {
    /// Whether force does not help.
    hard: bool,
    /// Whether it is a container that keeps it.
    used: bool,
    message: String,
}

/// Which conflicts count.
#[derive(Clone, Copy)]
struct Mask {
    references: bool,
    stopped: bool,
}

impl Store {
    pub(super) fn remove_image(
        &self,
        reference: &str,
        force: bool,
        prune: bool,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Vec<Removed>, StoreError> {
        let changes = self.lock_changes();
        let removed = self.remove_rows(&changes, reference, force, prune, in_use)?;
        self.remove_unused_layers(&changes)?;
        Ok(removed)
    }

    /// The same, but for what only the image needed: a collection takes that away.
    pub(crate) fn remove_rows(
        &self,
        _changes: &ChangeLock<'_>,
        reference: &str,
        force: bool,
        prune: bool,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Vec<Removed>, StoreError> {
        let id = self.resolve_image(reference)?;
        let parent = self.database().image(&id)?.and_then(|row| row.parent);
        // Those that may be needed no more when a name goes.
        let mut parts = self.images_of_name(&id, None)?;
        let mut removal = Removal { store: self, id: &id, in_use, untagged: Vec::new() };
        let names = removal.names()?;
        let mut removed = if is_id_prefix(&id, reference) {
            removal.by_id(names, force)?
        } else {
            removal.by_name(reference, names, force)?
        };
        let is_gone = removed.iter().any(|step| matches!(step, Removed::Deleted(_)));
        if prune && is_gone {
            self.prune_parents(parent, in_use, &mut removed);
        }
        parts.retain(|part| *part != id);
        if !parts.is_empty() {
            let needed = self.parts_of_indexes()?;
            parts.retain(|part| !needed.contains(part));
            self.prune_parts(parts, in_use, &mut removed);
        }
        Ok(removed)
    }

    /// Removes further platforms of a name that is gone; as with parents, a failure ends only this.
    fn prune_parts(
        &self,
        parts: Vec<ImageId>,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
        removed: &mut Vec<Removed>,
    ) {
        for id in parts {
            match self.prune(&id, in_use) {
                Ok(pruned) => removed.extend(pruned.into_iter().flat_map(|pruned| pruned.steps)),
                Err(error) => {
                    tracing::warn!(image = id.short(), %error, "a platform is not removed");
                }
            }
        }
    }

    /// Removes an image that nothing needs any more, then its parent, and so on. What was asked for is
    /// done by then: a failure ends the pruning only.
    fn prune_parents(
        &self,
        mut next: Option<ImageId>,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
        removed: &mut Vec<Removed>,
    ) {
        while let Some(id) = next {
            match self.prune(&id, in_use) {
                Ok(Some(pruned)) => {
                    removed.extend(pruned.steps);
                    next = pruned.parent;
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(image = id.short(), %error, "a parent is not pruned");
                    break;
                }
            }
        }
    }

    /// Removes an image if nothing needs it.
    fn prune(
        &self,
        id: &ImageId,
        in_use: &dyn Fn(&ImageId) -> Vec<ImageUse>,
    ) -> Result<Option<Pruned>, StoreError> {
        let Some(row) = self.database().image(id)? else { return Ok(None) };
        let removal = Removal { store: self, id, in_use, untagged: Vec::new() };
        let mask = Mask { references: true, stopped: true };
        if removal.conflict(mask, &row.names)?.is_some() {
            return Ok(None);
        }
        Ok(Some(Pruned { steps: removal.delete()?, parent: row.parent }))
    }
}

/// An image that was removed since nothing needed it.
struct Pruned {
    steps: Vec<Removed>,
    parent: Option<ImageId>,
}

struct Removal<'a> {
    store: &'a Store,
    id: &'a ImageId,
    in_use: &'a dyn Fn(&ImageId) -> Vec<ImageUse>,
    untagged: Vec<Reference>,
}

impl Removal<'_> {
    fn names(&self) -> Result<Vec<Reference>, StoreError> {
        Ok(self.store.database().image(self.id)?.map(|row| row.names).unwrap_or_default())
    }

    /// By name: the name goes, and with the last name the image.
    fn by_name(
        &mut self,
        reference: &str,
        names: Vec<Reference>,
        force: bool,
    ) -> Result<Vec<Removed>, StoreError> {
        if !force
            && is_single(&names)
            && let Some(user) = (self.in_use)(self.id).first()
        {
            return Err(StoreError::Conflict(format!(
                "unable to remove repository reference \"{reference}\" (must force) - container {} is using its referenced image {}",
                short(&user.container),
                self.id.short(),
            )));
        }
        let given = Reference::parse(reference)?.with_default_tag();
        let given = match given.digest() {
            Some(digest) => given.with_digest(digest.clone()),
            None => given,
        };
        if !names.contains(&given) {
            return Err(StoreError::NoSuchImage(super::find::shown(reference)));
        }
        let mut rest: Vec<Reference> = names.into_iter().filter(|name| *name != given).collect();
        self.untagged.push(given.clone());
        // With the last tag of a repository its digests go too.
        let same = |name: &Reference| name.name() == given.name();
        if given.digest().is_none()
            && !rest.iter().any(|name| same(name) && name.digest().is_none())
        {
            let (gone, kept) = rest.into_iter().partition(same);
            self.untagged.extend::<Vec<Reference>>(gone);
            rest = kept;
        }
        if !rest.is_empty() {
            return self.untag();
        }
        let mask = Mask { references: false, stopped: !force };
        match self.conflict(mask, &[])? {
            None => self.delete(),
            // The name is gone; that a container keeps the image is no news to who forced it.
            Some(conflict) if conflict.used => self.untag(),
            Some(_) if self.store.database().has_children(self.id)? => self.untag(),
            Some(conflict) => Err(self.refuse(&conflict)),
        }
    }

    /// By id: all names go, if they are in one repository or by force, and the image.
    fn by_id(&mut self, names: Vec<Reference>, force: bool) -> Result<Vec<Removed>, StoreError> {
        let single = is_single(&names);
        let mask = Mask { references: !force && !single, stopped: !force };
        if let Some(conflict) = self.conflict(mask, &names)? {
            return Err(self.refuse(&conflict));
        }
        self.untagged = names;
        self.delete()
    }

    fn conflict(&self, mask: Mask, names: &[Reference]) -> Result<Option<Conflict>, StoreError> {
        if self.store.database().has_children(self.id)? {
            let message = "image has dependent child images".to_owned();
            return Ok(Some(Conflict { hard: true, used: false, message }));
        }
        let users = (self.in_use)(self.id);
        if let Some(user) = users.iter().find(|user| user.running) {
            let container = short(&user.container);
            let message = format!("image is being used by running container {container}");
            return Ok(Some(Conflict { hard: true, used: true, message }));
        }
        if mask.references && !names.is_empty() {
            let message = "image is referenced in multiple repositories".to_owned();
            return Ok(Some(Conflict { hard: false, used: false, message }));
        }
        if let (true, Some(user)) = (mask.stopped, users.first()) {
            let container = short(&user.container);
            let message = format!("image is being used by stopped container {container}");
            return Ok(Some(Conflict { hard: false, used: true, message }));
        }
        Ok(None)
    }

    fn refuse(&self, conflict: &Conflict) -> StoreError {
        let force = if conflict.hard { "cannot be forced" } else { "must be forced" };
        let id = self.id.short();
        StoreError::Conflict(format!("unable to delete {id} ({force}) - {}", conflict.message))
    }

    fn untag(&self) -> Result<Vec<Removed>, StoreError> {
        self.store.database().delete_names(&self.untagged, None)?;
        Ok(self.told(Vec::new()))
    }

    fn delete(&self) -> Result<Vec<Removed>, StoreError> {
        let database = self.store.database();
        let layers = database.image_layers(self.id)?;
        database.delete_names(&self.untagged, Some(self.id))?;
        let chains = self.unshared_chains(&layers)?;
        // Its manifests go with the layers, when all that was asked for is done.
        let digest = self.id.digest();
        if !database.knows_blob(digest)?
            && let Err(error) = std::fs::remove_file(self.store.layout().blob(digest))
        {
            // What cannot be deleted now is swept at the next start.
            tracing::warn!(%digest, %error, "cannot delete a blob");
        }
        let image = Removed::Deleted(self.id.clone());
        let chains = chains.into_iter().map(Removed::DeletedLayer);
        Ok(self.told(std::iter::once(image).chain(chains).collect()))
    }

    fn told(&self, deleted: Vec<Removed>) -> Vec<Removed> {
        let untagged = self.untagged.iter().map(|name| Removed::Untagged(name.familiar()));
        untagged.chain(deleted).collect()
    }

    /// The chain ids that no other image and no container has, uppermost first: Docker's layers.
    fn unshared_chains(&self, layers: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let database = self.store.database();
        let of_images = database.layers_of_images()?.into_iter();
        let of_images = of_images.map(|(_, layers)| layers.into_iter().map(|(id, _)| id).collect());
        let others = database.layers_of_containers()?.into_iter().chain(of_images);
        // A chain is known by all that it consists of: what another has is a beginning of both.
        let shared = |other: Vec<Digest>| {
            other.iter().zip(layers).take_while(|(other, own)| other == own).count()
        };
        let kept = others.map(shared).max().unwrap_or(0);
        let mut chains = chain_ids(layers).split_off(kept);
        chains.reverse();
        Ok(chains)
    }
}

/// Docker's id of each layer together with all beneath it, lowest first.
pub(crate) fn chain_ids(layers: &[Digest]) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(layers.len());
    for layer in layers {
        chains.push(match chains.last() {
            None => layer.clone(),
            Some(below) => Digest::sha256_of(format!("{below} {layer}").as_bytes()),
        });
    }
    chains
}

/// Whether all names are one tag, or digests of its repository.
fn is_single(names: &[Reference]) -> bool {
    let mut tags = names.iter().filter(|name| name.digest().is_none());
    let Some(first) = tags.next().or_else(|| names.first()) else { return true };
    tags.next().is_none() && names.iter().all(|name| name.name() == first.name())
}

fn is_id_prefix(id: &ImageId, reference: &str) -> bool {
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    id.digest().hex().starts_with(digits)
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}
