//! What a token is to allow: `repository:library/busybox:pull,push`.

use std::collections::{BTreeMap, BTreeSet};

/// Rights on resources, in one fixed order, so that equal sets are equal texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scopes(BTreeMap<String, BTreeSet<String>>);

impl Scopes {
    /// Reading a repository.
    pub(crate) fn pull(repository: &str) -> Self {
        Self::of(repository, &["pull"])
    }

    /// Reading a repository and writing to it.
    pub(crate) fn push(repository: &str) -> Self {
        Self::of(repository, &["pull", "push"])
    }

    /// Removing from a repository, with what reading and writing need.
    pub(crate) fn delete(repository: &str) -> Self {
        Self::of(repository, &["delete", "pull", "push"])
    }

    fn of(repository: &str, actions: &[&str]) -> Self {
        let actions = actions.iter().map(|&action| action.to_owned()).collect();
        Self(BTreeMap::from([(format!("repository:{repository}"), actions)]))
    }

    /// Reads the scope of a challenge: several are separated by spaces. A part without actions is
    /// none.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scopes = Self::default();
        for part in text.split_ascii_whitespace() {
            // The name in the middle may have a colon, of a registry's port.
            let Some((resource, actions)) = part.rsplit_once(':') else { continue };
            if !resource.contains(':') {
                continue;
            }
            let actions = actions.split(',').filter(|action| !action.is_empty());
            scopes.0.entry(resource.to_owned()).or_default().extend(actions.map(str::to_owned));
        }
        scopes
    }

    /// Both together.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (resource, actions) in &other.0 {
            self.0.entry(resource.clone()).or_default().extend(actions.iter().cloned());
        }
        self
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One text per resource.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(resource, actions)| {
            let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
            format!("{resource}:{}", actions.join(","))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scopes: &Scopes, expect: &[&str]) {
        assert_eq!(scopes.texts().collect::<Vec<_>>(), expect);
    }

    #[test]
    fn rights_on_one_resource_are_joined() {
        check(&Scopes::pull("a/b"), &["repository:a/b:pull"]);
        check(&Scopes::push("a").and(&Scopes::pull("a")), &["repository:a:pull,push"]);
        check(
            &Scopes::push("b").and(&Scopes::pull("a")),
            &["repository:a:pull", "repository:b:pull,push"],
        );
        check(&Scopes::delete("a"), &["repository:a:delete,pull,push"]);
    }

    #[test]
    fn the_scope_of_a_challenge_is_read() {
        check(&Scopes::parse("repository:a/b:push,pull"), &["repository:a/b:pull,push"]);
        check(&Scopes::parse("repository:h:5000/a:pull"), &["repository:h:5000/a:pull"]);
        check(
            &Scopes::parse(" registry:catalog:*  repository:a:pull"),
            &["registry:catalog:*", "repository:a:pull"],
        );
        check(&Scopes::parse("nonsense a:b"), &[]);
        assert!(Scopes::parse("").is_empty());
    }
}
