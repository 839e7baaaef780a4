//! The paths of the protocol. [OCI distribution, endpoints]

use ferry_oci::digest::Digest;

use crate::registry::Selector;

/// Answers whether there is a registry, and how it wants to be asked.
pub const BASE: &str = "/v2/";

/// A manifest of a repository.
pub fn manifest(repository: &str, which: &Selector) -> String {
    format!("/v2/{repository}/manifests/{which}")
}

/// A blob of a repository.
pub fn blob(repository: &str, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

/// Where uploads into a repository begin.
pub fn uploads(repository: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/")
}

/// The tags of a repository.
pub fn tags(repository: &str) -> String {
    format!("/v2/{repository}/tags/list")
}

/// What refers to a manifest.
pub fn referrers(repository: &str, subject: &Digest) -> String {
    format!("/v2/{repository}/referrers/{subject}")
}

/// The tag of the index of what refers to a manifest, in registries without [`referrers`].
/// [OCI distribution, referrers tag schema]
pub fn referrers_tag(subject: &Digest) -> String {
    // A tag has at most 128 characters, so the specification cuts both parts.
    let digits = subject.hex();
    format!("{}-{}", subject.algorithm().name(), &digits[..digits.len().min(64)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let digest = Digest::sha256_of(b"");
        let tag = Selector::Tag("latest".into());
        assert_eq!(manifest("library/busybox", &tag), "/v2/library/busybox/manifests/latest");
        assert_eq!(
            manifest("a", &Selector::Digest(digest.clone())),
            format!("/v2/a/manifests/{digest}")
        );
        assert_eq!(blob("a/b", &digest), format!("/v2/a/b/blobs/{digest}"));
        assert_eq!(uploads("a/b"), "/v2/a/b/blobs/uploads/");
        assert_eq!(tags("a"), "/v2/a/tags/list");
        assert_eq!(referrers("a", &digest), format!("/v2/a/referrers/{digest}"));
    }

    #[test]
    fn the_tag_of_referrers_is_never_too_long() {
        let short = Digest::sha256_of(b"");
        assert_eq!(referrers_tag(&short), format!("sha256-{}", short.hex()));
        let long: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(referrers_tag(&long), format!("sha512-{}", "ab".repeat(32)));
    }
}
