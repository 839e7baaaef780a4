//! Where images are, as skopeo's users name it.

use std::path::PathBuf;

use ferry_oci::reference::Reference;

/// Where an image is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Registry(Reference),
    Layout(PathBuf, Option<String>),
    Archive(PathBuf, Option<String>),
    DockerArchive(PathBuf, Option<String>),
    Directory(PathBuf),
}

impl Place {
    /// Reads `docker://NAME`, `oci:DIRECTORY[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:NAME]`, `dir:DIRECTORY`; anything else is the name of an image.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path = |rest: &str| match rest.split_once(':') {
            Some((path, tag)) if !tag.is_empty() => (PathBuf::from(path), Some(tag.to_owned())),
            Some((path, _)) => (PathBuf::from(path), None),
            None => (PathBuf::from(rest), None),
        };
        let place = match text.split_once(':') {
            Some(("oci", rest)) if !rest.is_empty() => {
                let (path, tag) = path(rest);
                Self::Layout(path, tag)
            }
            Some(("oci-archive", rest)) if !rest.is_empty() => {
                let (path, tag) = path(rest);
                Self::Archive(path, tag)
            }
            Some(("docker-archive", rest)) if !rest.is_empty() => {
                let (path, name) = path(rest);
                Self::DockerArchive(path, name)
            }
            Some(("dir", rest)) if !rest.is_empty() => Self::Directory(rest.into()),
            Some((
                other @ ("docker-daemon" | "containers-storage" | "ostree" | "sif" | "tarball"),
                _,
            )) => {
                return Err(format!(
                    "{text}: the transport {other} is not supported; there are docker://, oci:, \
                     oci-archive:, docker-archive: and dir:"
                ));
            }
            _ => {
                let name = text.strip_prefix("docker://").unwrap_or(text);
                let name = Reference::parse(name).map_err(|error| format!("{text}: {error}"))?;
                Self::Registry(name.with_default_tag())
            }
        };
        Ok(place)
    }
}

/// Whether a place was named with the tag or the digest of one image.
pub(super) fn has_tag(text: &str) -> bool {
    match text.strip_prefix("oci:") {
        Some(rest) => rest.split_once(':').is_some_and(|(_, tag)| !tag.is_empty()),
        None => Reference::parse(text.strip_prefix("docker://").unwrap_or(text))
            .is_ok_and(|name| name.tag().is_some() || name.digest().is_some()),
    }
}

/// A name as archives of Docker's have it: with its registry and its tag.
pub(super) fn complete(text: &str) -> Result<String, String> {
    let name = Reference::parse(text).map_err(|error| format!("{text}: {error}"))?;
    if name.digest().is_some() {
        return Err(format!("{text}: an archive of Docker's names its image by a tag"));
    }
    Ok(name.with_default_tag().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &Place) {
        assert_eq!(Place::parse(text).as_ref(), Ok(expect), "{text}");
    }

    #[test]
    fn places_are_told_by_their_prefix() {
        let name = |text: &str| Place::Registry(Reference::parse(text).unwrap().with_default_tag());
        check("docker://host:5000/a", &name("host:5000/a:latest"));
        check("host:5000/a:1", &name("host:5000/a:1"));
        check("oci:/d:v1", &Place::Layout("/d".into(), Some("v1".into())));
        check("oci:/d", &Place::Layout("/d".into(), None));
        check("oci-archive:a.tar:", &Place::Archive("a.tar".into(), None));
        let docker = Place::DockerArchive("a.tar".into(), Some("host:5000/a:1".into()));
        check("docker-archive:a.tar:host:5000/a:1", &docker);
        check("dir:d", &Place::Directory("d".into()));
        assert!(Place::parse("docker://UPPER").is_err());
        let other = Place::parse("docker-daemon:busybox:latest").unwrap_err();
        assert!(other.contains("docker-daemon is not supported"), "{other}");
    }

    #[test]
    fn one_image_is_told_from_all() {
        let check = |text: &str, expect: bool| assert_eq!(has_tag(text), expect, "{text}");
        check("docker://host:5000/a", false);
        check("docker://host:5000/a:1", true);
        check("oci:/d", false);
        check("oci:/d:1", true);
        assert_eq!(complete("busybox").as_deref(), Ok("docker.io/library/busybox:latest"));
        assert!(complete("busybox@sha256:0").is_err());
    }
}
