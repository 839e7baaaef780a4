use super::*;

const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[track_caller]
fn check(text: &str, complete: &str, familiar: &str) {
    let reference = Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    assert_eq!(reference.to_string(), complete, "{text}");
    assert_eq!(reference.familiar(), familiar, "{text}");
    assert_eq!(Reference::parse(complete).as_ref(), Ok(&reference), "{complete} parses back");
}

#[track_caller]
fn refused(text: &str, words: &str) {
    let error = Reference::parse(text).expect_err(text);
    assert_eq!(error.to_string(), words, "{text}");
}

#[test]
fn familiar_names_are_completed() {
    check("busybox", "docker.io/library/busybox", "busybox");
    check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
    check("library/busybox", "docker.io/library/busybox", "busybox");
    check("docker.io/busybox", "docker.io/library/busybox", "busybox");
    check("index.docker.io/busybox:a", "docker.io/library/busybox:a", "busybox:a");
    check("grafana/grafana", "docker.io/grafana/grafana", "grafana/grafana");
    check("localhost/x", "localhost/x", "localhost/x");
    check("localhost:5000/x:y", "localhost:5000/x:y", "localhost:5000/x:y");
    check("ghcr.io/a/b/c", "ghcr.io/a/b/c", "ghcr.io/a/b/c");
    check("Upper/x", "Upper/x", "Upper/x");
    check("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x");
    check("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b");
    check("a__b/c---d/e.f_g", "docker.io/a__b/c---d/e.f_g", "a__b/c---d/e.f_g");
}

#[test]
fn digests_follow_name_or_tag() {
    check(
        &format!("busybox@{SUM}"),
        &format!("docker.io/library/busybox@{SUM}"),
        &format!("busybox@{SUM}"),
    );
    check(&format!("x.y/z:t@{SUM}"), &format!("x.y/z:t@{SUM}"), &format!("x.y/z:t@{SUM}"));
}

#[test]
fn malformed_names_are_refused_in_dockers_words() {
    refused("Foo", "invalid reference format: repository name (library/Foo) must be lowercase");
    refused("a/B:c", "invalid reference format: repository name (a/B) must be lowercase");
    refused("", "invalid reference format");
    refused(":tag", "invalid reference format");
    refused("a:", "invalid reference format");
    refused("-a", "invalid reference format");
    refused("a___b", "invalid reference format");
    refused("a..b", "invalid reference format");
    refused("a/", "invalid reference format");
    refused("/a", "invalid reference format");
    refused("a//b", "invalid reference format");
    refused("a b", "invalid reference format");
    refused("../x", "invalid reference format");
    refused("a:b:c", "invalid reference format");
    refused("host:port/x", "invalid reference format");
    refused("a@sha256:12", "invalid reference format");
    refused(&format!("a:{}", "t".repeat(129)), "invalid reference format");
    refused(&"a".repeat(256), "repository name must not be more than 255 characters");
    refused(&format!("a@md5:{}", "0".repeat(32)), "unsupported digest algorithm");
    refused(&format!("a@sha256:{}", "0".repeat(32)), "invalid checksum digest length");
    let id = "0".repeat(64);
    refused(
        &id,
        &format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings"),
    );
}

#[test]
fn tags_are_added_and_replaced() {
    let plain = Reference::parse("a").unwrap();
    assert_eq!(plain.clone().with_default_tag().familiar(), "a:latest");
    assert_eq!(plain.with_tag("x").unwrap().with_default_tag().familiar(), "a:x");
    assert_eq!(plain.with_tag("é"), Err(ParseReferenceError::Tag));
    let digest: Digest = SUM.parse().unwrap();
    let pinned = plain.with_digest(digest);
    assert_eq!(pinned.clone().with_default_tag(), pinned);
}

#[test]
fn references_survive_json() {
    let reference = Reference::parse("busybox:1").unwrap();
    let json = serde_json::to_string(&reference).unwrap();
    assert_eq!(json, "\"docker.io/library/busybox:1\"");
    assert_eq!(serde_json::from_str::<Reference>(&json).unwrap(), reference);
}
