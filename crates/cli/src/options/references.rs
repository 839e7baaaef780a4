//! Names of images, checked before the engine is asked.

/// A name taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    pub repository: &'a str,
    pub tag: Option<&'a str>,
    pub digest: Option<&'a str>,
}

/// Takes a name apart; the error is Docker's.
pub(crate) fn parse(name: &str) -> Result<Reference<'_>, String> {
    let invalid = || "invalid reference format".to_owned();
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (rest, None),
    };
    let (domain, path) = match repository.split_once('/') {
        Some((first, path)) if is_domain(first) => (Some(first), path),
        _ => (None, repository),
    };
    if path.chars().any(char::is_uppercase) && path.to_lowercase().split('/').all(is_component) {
        let full = if domain.is_some() || path.contains('/') {
            path.to_owned()
        } else {
            format!("library/{path}")
        };
        return Err(format!(
            "invalid reference format: repository name ({full}) must be lowercase"
        ));
    }
    let is_valid = path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
        && domain.is_none_or(|domain| {
            domain.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]".contains(c))
        });
    if is_valid { Ok(Reference { repository, tag, digest }) } else { Err(invalid()) }
}

/// Whether it is an id or the digest of an image rather than a name.
pub(crate) fn is_id(name: &str) -> bool {
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
}

/// Words of small letters and digits, joined by a dot, one or two underscores, or hyphens.
fn is_component(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let joints = part.split(is_word).filter(|joint| !joint.is_empty());
    part.starts_with(is_word)
        && part.ends_with(is_word)
        && joints
            .into_iter()
            .all(|joint| matches!(joint, "." | "_" | "__") || joint.chars().all(|c| c == '-'))
}

fn is_tag(tag: &str) -> bool {
    (1..=128).contains(&tag.len())
        && !tag.starts_with(['.', '-'])
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm.chars().all(|c| c.is_ascii_alphanumeric() || "-_+.".contains(c))
            && hex.len() >= 32
            && hex.chars().all(|c| c.is_ascii_hexdigit())
    })
}

impl Reference<'_> {
    /// The short form with a tag or digest, as it is told to people.
    pub(crate) fn familiar(&self) -> String {
        let short = self.repository.strip_prefix("docker.io/").unwrap_or(self.repository);
        let short = short.strip_prefix("library/").unwrap_or(short);
        match (self.tag, self.digest) {
            (Some(tag), Some(digest)) => format!("{short}:{tag}@{digest}"),
            (None, Some(digest)) => format!("{short}@{digest}"),
            (tag, None) => format!("{short}:{}", tag.unwrap_or("latest")),
        }
    }

    /// The repository with its registry.
    pub(crate) fn full(&self) -> String {
        let name = self.repository;
        match name.split_once('/') {
            Some(("docker.io", path)) if !path.contains('/') => format!("docker.io/library/{path}"),
            Some((first, _)) if is_domain(first) => name.to_owned(),
            Some(_) => format!("docker.io/{name}"),
            None => format!("docker.io/library/{name}"),
        }
    }

    /// What is asked of a registry: the digest, else the tag.
    pub(crate) fn version(&self) -> &str {
        self.digest.or(self.tag).unwrap_or("latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expect: Result<(&str, &str, &str), &str>) {
        let got = parse(name)
            .map(|it| (it.repository.to_owned(), it.version().to_owned(), it.familiar()));
        let expect = expect
            .map(|(name, version, shown)| (name.into(), version.into(), shown.into()))
            .map_err(str::to_owned);
        assert_eq!(got, expect, "{name}");
    }

    #[test]
    fn names_are_taken_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        check("busybox", Ok(("busybox", "latest", "busybox:latest")));
        check("docker.io/library/a:1", Ok(("docker.io/library/a", "1", "a:1")));
        check("host:5000/a/b", Ok(("host:5000/a/b", "latest", "host:5000/a/b:latest")));
        check(&format!("a@{digest}"), Ok(("a", &digest, &format!("a@{digest}"))));
        let invalid = "invalid reference format";
        for name in ["", "-a", "a:", "a b", "a@sha256:00", "a..b", "a/", "a:-x"] {
            check(name, Err(invalid));
        }
        check(
            "UPPER",
            Err("invalid reference format: repository name (library/UPPER) must be lowercase"),
        );
        let full = |name| parse(name).unwrap().full();
        assert_eq!(full("a"), "docker.io/library/a");
        assert_eq!(full("a/b"), "docker.io/a/b");
        assert_eq!(full("docker.io/a"), "docker.io/library/a");
        assert_eq!(full("localhost/a"), "localhost/a");
        assert!(is_id(&digest) && is_id(&"0a".repeat(32)) && !is_id("busybox"));
    }
}
