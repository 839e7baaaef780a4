//! Who the user is at registries: what logins left in `config.json`, and in the programs that keep
//! secrets for it.

mod file;
mod helper;
mod store;

use ferry_api::registry::AuthConfig;
use ferry_oci::reference::Reference;

use crate::config::Config;

pub(crate) use store::Store;

/// What Docker Hub is called among credentials.
pub(crate) const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// The name under which the credentials of a registry, the domain of a name, are kept.
pub(crate) fn key(domain: &str) -> &str {
    if domain == "docker.io" { DOCKER_HUB } else { domain }
}

/// The credentials for an image's registry; nobody's where none are kept.
pub(crate) fn for_image(config: &Config, image: &Reference) -> AuthConfig {
    let key = key(image.domain());
    // Compat: a store that fails is one that knows nobody; the registry may not ask.
    Store::of(config, key).get(key).unwrap_or_default()
}

/// The host and port of an address as people write it: `https://host:5000/v2/` is `host:5000`.
pub(crate) fn hostname(address: &str) -> &str {
    let rest = match address.split_once("://") {
        Some((scheme, rest)) if !scheme.is_empty() => rest,
        _ => return address.split('/').next().unwrap_or_default(),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expect: &str) {
        assert_eq!(hostname(address), expect, "{address}");
    }

    #[test]
    fn an_address_is_known_by_its_host() {
        check("host", "host");
        check("host:5000/v2/", "host:5000");
        check("http://host:5000/", "host:5000");
        check("https://me:pw@host/v1/?x", "host");
        check(DOCKER_HUB, "index.docker.io");
        assert_eq!(key("docker.io"), DOCKER_HUB);
        assert_eq!(key("quay.io"), "quay.io");
    }
}
