//! Which containers there are, and who has which name.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::container::Container;
use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::names;

/// All containers, by id and by name.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_id: BTreeMap<ContainerId, Arc<Container>>,
    /// Names in use, those being created or renamed to among them.
    names: HashMap<String, ContainerId>,
}

/// A name that is kept for a container; dropping it gives the name back.
#[derive(Debug)]
pub(crate) struct Reservation {
    registry: Arc<Registry>,
    name: Option<String>,
    id: ContainerId,
}

impl Reservation {
    /// The name.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Leaves the name with the container for good.
    pub(crate) fn commit(mut self) -> String {
        self.name.take().unwrap_or_default()
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.registry.release(&name, &self.id);
        }
    }
}

impl Registry {
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a name for a container.
    ///
    /// # Errors
    /// `Conflict` in Docker's words when another has it.
    pub(crate) fn reserve(self: &Arc<Self>, name: &str, id: &ContainerId) -> Result<Reservation> {
        let mut index = self.write();
        if let Some(holder) = index.names.get(name) {
            return Err(EngineError::NameInUse { name: name.to_owned(), id: holder.clone() });
        }
        index.names.insert(name.to_owned(), id.clone());
        Ok(Reservation { registry: Arc::clone(self), name: Some(name.to_owned()), id: id.clone() })
    }

    /// Keeps a name that nobody has, made up.
    pub(crate) fn reserve_any(self: &Arc<Self>, id: &ContainerId) -> Result<Reservation> {
        for attempt in 0.. {
            let mut random = [0; 3];
            getrandom::fill(&mut random)
                .map_err(|error| EngineError::broken(format!("random numbers: {error}")))?;
            let name = names::make_up(random, attempt / 4);
            if let Ok(reservation) = self.reserve(&name, id) {
                return Ok(reservation);
            }
        }
        Err(EngineError::broken("no name is free"))
    }

    /// Gives a name back, if it is still this container's.
    pub(crate) fn release(&self, name: &str, id: &ContainerId) {
        let mut index = self.write();
        if index.names.get(name).is_some_and(|holder| holder == id) {
            index.names.remove(name);
        }
    }

    /// Makes a container known.
    pub(crate) fn insert(&self, container: Arc<Container>) {
        self.write().by_id.insert(container.id().clone(), container);
    }

    /// Forgets a container and its name.
    pub(crate) fn remove(&self, id: &ContainerId) {
        let mut index = self.write();
        index.by_id.remove(id);
        index.names.retain(|_, holder| holder != id);
    }

    /// Finds a container by its id, its name or the beginning of its id, in this order.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when several ids begin so.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        let missing = || EngineError::NoSuchContainer(reference.to_owned());
        let index = self.read();
        if let Some(container) = index.by_id.get(reference) {
            return Ok(Arc::clone(container));
        }
        let name = reference.strip_prefix('/').unwrap_or(reference);
        if let Some(container) = index.names.get(name).and_then(|id| index.by_id.get(id)) {
            return Ok(Arc::clone(container));
        }
        if reference.is_empty() {
            return Err(missing());
        }
        let range = (Bound::Included(reference), Bound::Unbounded);
        let mut found = index
            .by_id
            .range::<str, _>(range)
            .take_while(|(id, _)| id.as_str().starts_with(reference));
        match (found.next(), found.next()) {
            (Some((_, container)), None) => Ok(Arc::clone(container)),
            (Some(_), Some(_)) => Err(EngineError::AmbiguousPrefix(reference.to_owned())),
            (None, _) => Err(missing()),
        }
    }

    /// All containers.
    pub(crate) fn all(&self) -> Vec<Arc<Container>> {
        self.read().by_id.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::tests::container;

    fn registry() -> Arc<Registry> {
        let registry = Arc::new(Registry::default());
        for (digits, name) in [("aa", "web"), ("ab", "db"), ("cd", "aa")] {
            let container = container(&format!("{digits}{}", "0".repeat(62)), name);
            let reservation = registry.reserve(name, container.id()).unwrap();
            reservation.commit();
            registry.insert(container);
        }
        registry
    }

    #[track_caller]
    fn check(reference: &str, expect: &str) {
        let said = match registry().find(reference) {
            Ok(container) => container.snapshot().name.clone(),
            Err(error) => error.to_string(),
        };
        assert_eq!(said, expect);
    }

    #[test]
    fn containers_are_found_by_id_name_and_prefix() {
        check("web", "web");
        check("/web", "web");
        check("cd", "aa");
        check("ab0", "db");
        check(&format!("aa{}", "0".repeat(62)), "web");
        // A name is stronger than the beginning of an id.
        check("aa", "aa");
        check("a", "multiple IDs found with provided prefix: a");
        check("", "No such container: ");
        check("nope", "No such container: nope");
    }

    #[test]
    fn a_name_belongs_to_one_container_and_comes_back() {
        let registry = registry();
        let id = ContainerId::random();
        let error = registry.reserve("web", &id).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "Conflict. The container name \"/web\" is already in use by container \
                 \"aa{}\". You have to remove (or rename) that container to be able to reuse that \
                 name.",
                "0".repeat(62)
            )
        );
        drop(registry.reserve("new", &id).unwrap());
        registry.reserve("new", &id).unwrap().commit();
        assert!(registry.reserve("new", &id).is_err());
        // Who does not have a name can not give it back.
        registry.release("web", &id);
        assert!(registry.reserve("web", &id).is_err());
        registry.remove(&ContainerId::parse(&format!("aa{}", "0".repeat(62))).unwrap());
        assert!(registry.reserve("web", &id).is_ok());
    }
}
