//! Reading: manifests, blobs, tags, referrers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ferry_distribution::{
    Credentials, CredentialsFor, DistributionError, DistributionErrorKind as Kind, EndpointId,
    Registry, Repository, RoleKind, Secret, Selector,
};
use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, media_type};
use ferry_oci::reference::Reference;
use http::Method;
use http::header::{AUTHORIZATION, RANGE};

use crate::fake::{Fake, What, quiet, transport};

const EMPTY_INDEX: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn tag(tag: &str) -> Selector {
    Selector::Tag(tag.to_owned())
}

/// So many bytes that do not repeat soon.
fn bytes(count: u32) -> Vec<u8> {
    (0..count).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

async fn read(
    repository: &Repository,
    blob: &Descriptor,
    from: u64,
) -> Result<Vec<u8>, DistributionError> {
    let mut stream = repository.blob(blob, from, quiet());
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await? {
        assert!(!bytes.is_empty());
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn a_manifest_is_fetched_and_described() {
    let fake = Fake::start().await;
    let put = fake.put_manifest("1", media_type::OCI_INDEX, EMPTY_INDEX);
    let repository = fake.repository(RoleKind::Pull);
    let found = repository.manifest(&tag("1")).await.unwrap();
    assert_eq!(found.raw.descriptor(), put);
    assert_eq!(found.raw.bytes, EMPTY_INDEX);
    assert_eq!(repository.head_manifest(&tag("1")).await.unwrap(), Some(put.clone()));
    let by_digest = Selector::Digest(put.digest.clone());
    assert_eq!(repository.head_manifest(&by_digest).await.unwrap(), Some(put));
    assert_eq!(repository.head_manifest(&tag("2")).await.unwrap(), None);
    let error = repository.manifest(&tag("2")).await.unwrap_err();
    let name = fake.name("a/b:2");
    assert_eq!(
        error.to_string(),
        format!("manifest for {name} not found: manifest unknown: manifest unknown")
    );
}

#[tokio::test]
async fn a_manifest_with_another_digest_is_refused() {
    let fake = Fake::start().await;
    let put = fake.put_manifest("1", media_type::OCI_INDEX, EMPTY_INDEX);
    let repository = fake.repository(RoleKind::Pull);
    for which in [tag("1"), Selector::Digest(put.digest)] {
        fake.fault(Method::GET, "/manifests/", 1, What::Bytes(b"{}"));
        let error = repository.manifest(&which).await.unwrap_err();
        assert!(matches!(error, DistributionError::Digest { .. }), "{error:?}");
    }
    // Without a digest in the head, the tag's word is all there is.
    fake.fault(Method::GET, "/manifests/", 1, What::Header("docker-content-digest", "none"));
    assert!(repository.manifest(&tag("1")).await.is_ok());
}

#[tokio::test]
async fn what_passes_is_waited_for() {
    let fake = Fake::start().await;
    fake.put_manifest("1", media_type::OCI_INDEX, EMPTY_INDEX);
    fake.fault(Method::GET, "/manifests/", 1, What::Status(503, ""));
    fake.fault(Method::GET, "/manifests/", 1, What::Cut(3));
    assert!(fake.repository(RoleKind::Pull).manifest(&tag("1")).await.is_ok());
    assert_eq!(fake.methods("/manifests/"), "GET GET GET");
    fake.fault(Method::GET, "/manifests/", 1, What::Status(429, ""));
    fake.state().faults.last_mut().unwrap().times = 9;
    let error = fake.repository(RoleKind::Pull).manifest(&tag("1")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::RateLimited);
}

#[tokio::test]
async fn a_blob_is_resumed_where_it_broke() {
    let fake = Fake::start().await;
    let content = bytes(300_000);
    let blob = fake.put_blob(&content);
    let repository = fake.repository(RoleKind::Pull);
    fake.fault(Method::GET, "/blobs/", 1, What::Cut(100_000));
    fake.fault(Method::GET, "/blobs/", 1, What::Status(502, "<html>"));
    fake.fault(Method::GET, "/blobs/", 1, What::Cut(50_000));
    assert_eq!(read(&repository, &blob, 0).await.unwrap(), content);
    let ranges: Vec<_> = fake
        .asked("/blobs/")
        .iter()
        .map(|seen| seen.headers.get(RANGE).map(|v| v.to_str().unwrap().to_owned()))
        .collect();
    let range = |from: u32| Some(format!("bytes={from}-"));
    assert_eq!(ranges, [None, range(100_000), range(100_000), range(150_000)]);
}

#[tokio::test]
async fn a_blob_is_read_from_any_byte_on() {
    let fake = Fake::start().await;
    let content = bytes(70_000);
    let blob = fake.put_blob(&content);
    let repository = fake.repository(RoleKind::Pull);
    for from in [1, 69_999, 70_000] {
        let rest = &content[usize::try_from(from).unwrap()..];
        assert_eq!(read(&repository, &blob, from).await.unwrap(), rest);
    }
    // A registry without ranges, whose answer is skipped forward.
    fake.fault(Method::GET, "/blobs/", 1, What::NoRange);
    assert_eq!(read(&repository, &blob, 1234).await.unwrap(), &content[1234..]);
    let error = read(&repository, &blob, 70_001).await.unwrap_err();
    assert!(matches!(error, DistributionError::Size { .. }), "{error:?}");
}

#[tokio::test]
async fn a_blob_of_another_size_is_refused() {
    let fake = Fake::start().await;
    let blob = fake.put_blob(&bytes(1000));
    let repository = fake.repository(RoleKind::Pull);
    for size in [999, 1001] {
        let wrong = Descriptor { size, ..blob.clone() };
        for from in [0, 10] {
            let error = read(&repository, &wrong, from).await.unwrap_err();
            assert!(matches!(error, DistributionError::Size { actual: 1000, .. }), "{error:?}");
        }
    }
    // Without a length in its head it is not known before the end.
    fake.fault(Method::GET, "/blobs/", 1, What::Header("transfer-encoding", "chunked"));
    let wrong = Descriptor { size: 999, ..blob.clone() };
    let error = read(&repository, &wrong, 0).await.unwrap_err();
    assert!(matches!(error, DistributionError::Size { .. }), "{error:?}");
    fake.fault(Method::GET, "/blobs/", 1, What::Header("content-range", "bytes 11-999/1000"));
    let error = read(&repository, &blob, 10).await.unwrap_err();
    assert!(matches!(error, DistributionError::Malformed { .. }), "{error:?}");
}

#[tokio::test]
async fn a_small_blob_is_verified() {
    let fake = Fake::start().await;
    let blob = fake.put_blob(b"{}");
    let repository = fake.repository(RoleKind::Pull);
    assert_eq!(repository.small_blob(&blob, 2).await.unwrap(), "{}");
    let error = repository.small_blob(&blob, 1).await.unwrap_err();
    assert!(matches!(error, DistributionError::TooLarge { .. }));
    for wrong in [&b"[]"[..], b"{"] {
        fake.fault(Method::GET, "/blobs/", 1, What::Bytes(wrong));
        assert_eq!(repository.small_blob(&blob, 2).await.unwrap_err().kind(), Kind::Internal);
    }
    assert!(repository.has_blob(&blob.digest).await.unwrap());
    assert!(!repository.has_blob(&Digest::sha256_of(b"other")).await.unwrap());
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_believed_while_it_tells_the_truth() {
    let (main, mirror) = (Fake::start().await, Fake::start().await);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("registry.test");
    std::fs::create_dir(&dir).unwrap();
    let hosts = format!(
        "server = \"http://{}\"\n[host.\"http://{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        main.address, mirror.address
    );
    std::fs::write(dir.join("hosts.toml"), hosts).unwrap();
    let source = CredentialsFor {
        registry: "registry.test".into(),
        credentials: Credentials::Bearer(Secret::new("s3cr3t")),
    };
    let registry = Registry::new(transport(vec![scratch.path().into()]), Arc::new(source));
    let name = Reference::parse("registry.test/a/b").unwrap();
    let repository = registry.repository(&name, RoleKind::Pull).unwrap();

    main.put_manifest("1", media_type::OCI_INDEX, EMPTY_INDEX);
    mirror.put_manifest("1", media_type::OCI_INDEX, EMPTY_INDEX);
    main.put_manifest("2", media_type::OCI_INDEX, EMPTY_INDEX);
    repository.manifest(&tag("1")).await.unwrap();
    assert_eq!((mirror.methods("/"), main.methods("/")), ("GET".into(), String::new()));
    // What the mirror has not, and what it has wrongly, the registry has.
    repository.manifest(&tag("2")).await.unwrap();
    assert_eq!(main.methods("/"), "GET");
    mirror.fault(Method::GET, "/manifests/", 1, What::Bytes(b"{}"));
    repository.manifest(&tag("1")).await.unwrap();
    assert_eq!(main.methods("/"), "GET GET");
    // It is not asked again.
    let count = mirror.asked("/").len();
    repository.manifest(&tag("1")).await.unwrap();
    assert_eq!(mirror.asked("/").len(), count);
    // Who we are at the registry is not the mirror's business.
    let told = |fake: &Fake| fake.asked("/").iter().any(|s| s.headers.contains_key(AUTHORIZATION));
    assert!(told(&main) && !told(&mirror));
}

#[tokio::test]
async fn a_blob_is_taken_from_the_registry_when_its_mirror_lies() {
    let (main, mirror) = (Fake::start().await, Fake::start().await);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("registry.test");
    std::fs::create_dir(&dir).unwrap();
    let hosts =
        format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", main.address, mirror.address);
    std::fs::write(dir.join("hosts.toml"), hosts).unwrap();
    let source = Arc::new(ferry_distribution::NoCredentials);
    let registry = Registry::new(transport(vec![scratch.path().into()]), source);
    let name = Reference::parse("registry.test/a/b").unwrap();
    let repository = registry.repository(&name, RoleKind::Pull).unwrap();
    let content = bytes(5000);
    let blob = main.put_blob(&content);
    let key = ("a/b".to_owned(), blob.digest.to_string());
    mirror.state().blobs.insert(key, Bytes::from(vec![0; 5000]));

    let mut stream = repository.blob(&blob, 0, quiet());
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.iter().all(|&byte| byte == 0));
    let gave: Vec<_> = stream.endpoints().iter().map(EndpointId::as_str).collect();
    assert_eq!(gave, [format!("http://{}", mirror.address)]);
    repository.distrust(&stream.endpoints()[0]);
    assert_eq!(read(&repository, &blob, 0).await.unwrap(), content);
    // In the middle of a blob too: the mirror goes away, the registry has the rest.
    let repository = registry.repository(&name, RoleKind::Pull).unwrap();
    let key = ("a/b".to_owned(), blob.digest.to_string());
    mirror.state().blobs.insert(key, Bytes::from(content.clone()));
    mirror.fault(Method::GET, "/blobs/", 1, What::Cut(1000));
    mirror.fault(Method::GET, "/blobs/", 9, What::Status(500, ""));
    let mut stream = repository.blob(&blob, 0, quiet());
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(all, content);
    let range = main.asked("/blobs/").last().unwrap().headers[RANGE].clone();
    assert_eq!(range, "bytes=1000-");
    // Both may be to blame when it is wrong.
    let gave: Vec<_> = stream.endpoints().iter().map(EndpointId::as_str).collect();
    assert_eq!(gave, [mirror.address, main.address].map(|at| format!("http://{at}")));
}

#[tokio::test]
async fn a_cut_after_progress_is_waited_for_as_the_first() {
    let fake = Fake::start().await;
    let content = bytes(6 << 20);
    let blob = fake.put_blob(&content);
    fake.fault(Method::GET, "/blobs/", 3, What::Cut(3 << 19));
    let waits = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&waits);
    let repository = fake.repository(RoleKind::Pull);
    let mut stream =
        repository.blob(&blob, 0, Arc::new(move |wait| heard.lock().unwrap().push(wait)));
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    assert!(all == content);
    let waits = waits.lock().unwrap();
    assert_eq!(waits.len(), 3, "{waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(1)), "{waits:?}");
}

#[tokio::test]
async fn foreign_layers_come_from_their_publisher() {
    let (fake, publisher) = (Fake::start().await, Fake::start().await);
    let content = bytes(2000);
    let mut blob = publisher.put_blob(&content);
    fake.state().guard = crate::fake::Guard::Basic("me", "s3cr3t");
    let user = Credentials::Basic { user: "me".into(), password: Secret::new("s3cr3t") };
    let repository = fake.repository_as(RoleKind::Pull, user);
    let url = format!("http://{}/v2/a/b/blobs/{}", publisher.address, blob.digest);
    blob.urls = vec!["ftp://nowhere/x".into(), url];
    let error = read(&repository, &blob, 0).await.unwrap_err();
    assert!(matches!(error, DistributionError::BlobUnknown { .. }), "{error:?}");
    blob.media_type = media_type::DOCKER_FOREIGN_LAYER.to_owned();
    assert_eq!(read(&repository, &blob, 500).await.unwrap(), &content[500..]);
    assert!(publisher.asked("/").iter().all(|seen| !seen.headers.contains_key(AUTHORIZATION)));
}

#[tokio::test]
async fn tags_come_in_pages() {
    let fake = Fake::start().await;
    for tag in ["a", "b", "c", "d", "e"] {
        fake.put_manifest(tag, media_type::OCI_INDEX, EMPTY_INDEX);
    }
    let repository = fake.repository(RoleKind::Pull);
    assert_eq!(repository.tags().await.unwrap(), ["a", "b", "c", "d", "e"]);
    assert_eq!(fake.asked("/tags/").len(), 3);
    assert_eq!(fake.asked("/tags/")[0].query, "n=1000");
    assert_eq!(fake.asked("/tags/")[1].query, "last=b");
    fake.fault(Method::GET, "/tags/", 1, What::Bytes(br#"{"name":"a/b","tags":null}"#));
    fake.state().page = 9;
    assert!(repository.tags().await.unwrap().is_empty());
    fake.fault(
        Method::GET,
        "/tags/",
        1,
        What::Header("link", "</v2/a/b/tags/list?n=1000>; rel=next"),
    );
    assert!(repository.tags().await.is_err());
    // A page may be empty, and a list come back to where it was.
    fake.state().listed = vec![vec![], vec!["a"], vec![], vec!["b"]];
    assert_eq!(repository.tags().await.unwrap(), ["a", "b"]);
    fake.state().listed.clear();
    let circle = "<https://other.example/>; rel=other, </v2/a/b/tags/list?last=b>; rel=next";
    fake.fault(Method::GET, "/tags/", 9, What::Header("link", circle));
    let error = repository.tags().await.unwrap_err();
    assert!(error.to_string().ends_with("it leads to where it was"), "{error}");
}

#[tokio::test]
async fn a_list_of_what_are_no_tags_is_not_kept() {
    let fake = Fake::start().await;
    let repository = fake.repository(RoleKind::Pull);
    let fat = format!(r#"{{"tags":["ok","{}"]}}"#, "x".repeat(1 << 20)).leak();
    fake.fault(Method::GET, "/tags/", 9, What::Bytes(fat.as_bytes()));
    let error = repository.tags().await.unwrap_err();
    assert!(error.to_string().ends_with("is no tag"), "{error}");
    assert_eq!(fake.asked("/tags/").len(), 1);
}

#[tokio::test]
async fn referrers_are_listed_by_registry_or_by_tag() {
    let fake = Fake::start().await;
    let subject = fake.put_manifest("1", media_type::OCI_INDEX, EMPTY_INDEX);
    let repository = fake.repository(RoleKind::Push);
    assert!(repository.referrers(&subject.digest, None).await.unwrap().is_empty());
    let about = |kind: &str| {
        let text = format!(
            r#"{{"schemaVersion":2,"artifactType":"{kind}","manifests":[],"subject":{{"mediaType":"m","digest":"{}","size":1}}}}"#,
            subject.digest
        );
        ferry_distribution::RawManifest::new(media_type::OCI_INDEX, text)
    };
    // First without a list of the registry's own, then with one.
    let (one, two) = (about("text/one"), about("text/two"));
    for manifest in [&one, &two, &one] {
        repository.push_manifest(None, manifest).await.unwrap();
    }
    for has_referrers in [true, false] {
        fake.state().has_referrers = has_referrers;
        let all = repository.referrers(&subject.digest, None).await.unwrap();
        assert_eq!(all.len(), 2, "{all:?}");
        let found = repository.referrers(&subject.digest, Some("text/two")).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].digest, two.digest);
    }
    // What others wrote stays in the list: what it is not known for too.
    let tag = format!("sha256-{}", subject.digest.hex());
    let key = ("a/b".to_owned(), tag.clone());
    let other = r#"{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"blake3:af1349b9","size":1},
        {"mediaType":"m","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1,"data":"eA==","x":[1]}],
        "annotations":{"a":"b"}}"#;
    fake.state().manifests.insert(key.clone(), (media_type::OCI_INDEX.into(), other.into()));
    repository.push_manifest(None, &about("text/four")).await.unwrap();
    let written = fake.state().manifests[&key].1.clone();
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    let before: serde_json::Value = serde_json::from_str(other).unwrap();
    assert_eq!(written["annotations"], before["annotations"]);
    assert_eq!(written["manifests"][0], before["manifests"][0]);
    assert_eq!(written["manifests"][1], before["manifests"][1]);
    assert_eq!(written["manifests"][2]["artifactType"], "text/four");
    fake.state().has_referrers = true;
    let puts = fake.methods("/manifests/sha256-").matches("PUT").count();
    repository.push_manifest(None, &about("text/three")).await.unwrap();
    assert_eq!(fake.methods("/manifests/sha256-").matches("PUT").count(), puts);
}
