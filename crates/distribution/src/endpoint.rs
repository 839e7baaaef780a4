//! Where a repository is reached.

use std::fmt;

/// Names an endpoint among those of a registry: its base URL, without credentials and query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(String);

impl EndpointId {
    /// Names the endpoint with this base URL.
    pub fn new(base: &http::Uri) -> Self {
        let scheme = base.scheme_str().unwrap_or("https");
        let authority = base.authority().map_or("", |authority| authority.as_str());
        // Before the last `@` stands who one is there, which is nobody else's business.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Self(format!("{scheme}://{host}{}", base.path().trim_end_matches('/')))
    }

    /// The base URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a repository is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Reading; mirrors are asked first.
    Pull,
    /// Writing, and reading what one writes over; mirrors are passed over.
    Push,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(base: &str, expect: &str) {
        assert_eq!(EndpointId::new(&base.parse().unwrap()).as_str(), expect);
    }

    #[test]
    fn an_endpoint_is_named_without_secrets() {
        check("https://registry-1.docker.io", "https://registry-1.docker.io");
        check("https://user:pass@mirror:5000/v2/?ns=docker.io", "https://mirror:5000/v2");
        check("http://[::1]:5000/", "http://[::1]:5000");
    }
}
