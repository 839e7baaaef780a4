//! What is asked for when a manifest is wanted.

/// The value of `Accept` for manifests and indexes of every kind. Those of schema 1 are asked for
/// too, so that they can be refused in words and not by a registry that has nothing else.
pub const ACCEPT_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.v1+prettyjws, \
    application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_one_line_of_media_types() {
        let types: Vec<_> = ACCEPT_MANIFESTS.split(", ").collect();
        assert_eq!(types.len(), 6);
        assert!(types.iter().all(|one| one.starts_with("application/") && !one.contains(' ')));
    }
}
