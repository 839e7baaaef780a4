//! Writing: blobs and manifests.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use ferry_distribution::{
    BlobSource, DistributionError, DistributionErrorKind as Kind, MountCandidate, PushStep, Pushed,
    RawManifest, Registry, Repository, RoleKind, Selector,
};
use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, media_type};
use ferry_oci::reference::Reference;
use http::Method;

use crate::fake::{Fake, What, transport};

struct Content(Vec<u8>);

impl BlobSource for Content {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let from = usize::try_from(from).unwrap();
        Ok(Box::new(io::Cursor::new(self.0[from..].to_vec())))
    }

    fn size(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }
}

fn content(count: u32) -> Vec<u8> {
    (0..count).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

fn descriptor(bytes: &[u8]) -> Descriptor {
    let digest = Digest::sha256_of(bytes);
    Descriptor::new(media_type::OCI_LAYER_GZIP, digest, bytes.len() as u64)
}

async fn push(
    repository: &Repository,
    bytes: &[u8],
    from: &[&str],
) -> (Result<Pushed, DistributionError>, Vec<PushStep>) {
    let source: Arc<dyn BlobSource> = Arc::new(Content(bytes.to_vec()));
    let from: Vec<_> =
        from.iter().map(|name| MountCandidate { repository: (*name).to_owned() }).collect();
    let mut steps = Vec::new();
    let result = repository
        .push_blob(&descriptor(bytes), &source, &from, &mut |step| steps.push(step))
        .await;
    (result, steps)
}

#[track_caller]
fn check_has(fake: &Fake, bytes: &[u8]) {
    let key = ("a/b".to_owned(), Digest::sha256_of(bytes).to_string());
    assert!(fake.state().blobs.get(&key).is_some_and(|have| have == bytes), "not as it was sent");
}

#[tokio::test]
async fn a_small_blob_is_sent_at_once() {
    let fake = Fake::start().await;
    let repository = fake.repository(RoleKind::Push);
    for count in [0, 1, 100_000] {
        let bytes = content(count);
        fake.state().seen.clear();
        let (pushed, steps) = push(&repository, &bytes, &[]).await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded);
        assert_eq!(steps.last(), Some(&PushStep::Sent { bytes: count.into() }));
        assert_eq!(fake.methods("/blobs/"), "HEAD POST PUT");
        check_has(&fake, &bytes);
        let (pushed, steps) = push(&repository, &bytes, &[]).await;
        assert_eq!((pushed.unwrap(), steps), (Pushed::Existed, vec![PushStep::Exists]));
    }
}

#[tokio::test]
async fn a_registry_that_wants_pieces_gets_a_stream() {
    let fake = Fake::start().await;
    fake.state().least = Some(4096);
    for count in [1, 200_000] {
        fake.state().seen.clear();
        let bytes = content(count);
        let (pushed, _) = push(&fake.repository(RoleKind::Push), &bytes, &[]).await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded);
        assert_eq!(fake.methods("/blobs/"), "HEAD POST PATCH PUT");
        check_has(&fake, &bytes);
    }
}

#[tokio::test]
async fn an_upload_is_taken_up_where_it_broke() {
    let fake = Fake::start().await;
    fake.state().least = Some(1);
    let bytes = content(900_000);
    fake.fault(Method::PATCH, "/uploads/", 1, What::TakeOnly(300_000));
    let (pushed, steps) = push(&fake.repository(RoleKind::Push), &bytes, &[]).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert!(steps.iter().any(|step| matches!(step, PushStep::Retrying(_))));
    assert_eq!(fake.methods("/blobs/"), "HEAD POST PATCH GET PATCH PUT");
    let patches = fake.asked("/blobs/");
    assert_eq!(patches[4].headers["content-range"], "300000-899999");
    assert_eq!(patches[4].body.len(), 600_000);
    check_has(&fake, &bytes);
}

#[tokio::test]
async fn an_upload_whose_last_answer_is_lost_is_done() {
    let fake = Fake::start().await;
    let bytes = content(1000);
    fake.fault(Method::PUT, "/uploads/", 1, What::LostAnswer);
    let (pushed, _) = push(&fake.repository(RoleKind::Push), &bytes, &[]).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert_eq!(fake.methods("/blobs/"), "HEAD POST PUT GET HEAD");
    check_has(&fake, &bytes);
}

#[tokio::test]
async fn an_upload_that_is_forgotten_begins_anew() {
    let fake = Fake::start().await;
    let bytes = content(1000);
    fake.fault(Method::PUT, "/uploads/", 1, What::Status(404, ""));
    let repository = fake.repository(RoleKind::Push);
    let (pushed, _) = push(&repository, &bytes, &[]).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    check_has(&fake, &bytes);
    // A registry that cannot do it in the end is left in order.
    fake.state().blobs.clear();
    fake.fault(Method::PUT, "/uploads/", 9, What::Status(404, ""));
    let (pushed, _) = push(&repository, &bytes, &[]).await;
    assert_eq!(
        pushed.unwrap_err().to_string(),
        "blob upload unknown: blob upload unknown to registry"
    );
}

#[tokio::test]
async fn bodies_that_are_too_large_are_cut_in_pieces() {
    let fake = Fake::start().await;
    let bytes = content(9 << 20);
    fake.fault(Method::PUT, "/uploads/", 1, What::Status(413, "<html>"));
    let (pushed, _) = push(&fake.repository(RoleKind::Push), &bytes, &[]).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert_eq!(fake.methods("/blobs/"), "HEAD POST PUT GET PATCH PATCH PUT");
    let seen = fake.asked("/blobs/");
    assert_eq!(seen[4].headers["content-range"], "0-8388607");
    assert_eq!(seen[5].headers["content-range"], "8388608-9437183");
    check_has(&fake, &bytes);
}

#[tokio::test]
async fn a_registry_that_takes_less_gets_less() {
    let fake = Fake::start().await;
    fake.state().least = Some(1);
    let bytes = content(700_000);
    fake.fault(Method::PATCH, "/uploads/", 99, What::Forget(100_000));
    let (pushed, _) = push(&fake.repository(RoleKind::Push), &bytes, &[]).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert_eq!(fake.methods("/blobs/").matches("PATCH").count(), 7);
    check_has(&fake, &bytes);
    // Not for ever.
    let fake = Fake::start().await;
    fake.state().least = Some(1);
    fake.fault(Method::PATCH, "/uploads/", 99, What::Forget(2));
    let registry = fake.registry_as(ferry_distribution::Credentials::None);
    let repository = registry.repository(&fake.name("a/b"), RoleKind::Push).unwrap();
    let (pushed, _) = push(&repository, &bytes, &[]).await;
    let error = pushed.unwrap_err().to_string();
    assert!(error.ends_with("it has only 8 bytes of what was sent"), "{error}");
    registry.settled().await;
    assert_eq!(fake.methods("/blobs/"), "HEAD POST PATCH PATCH PATCH PATCH DELETE");
}

#[tokio::test]
async fn a_blob_that_cannot_be_looked_for_is_sent() {
    for status in [403, 405, 500] {
        let fake = Fake::start().await;
        fake.fault(Method::HEAD, "/blobs/", 99, What::Status(status, ""));
        let bytes = content(1000);
        let (pushed, _) = push(&fake.repository(RoleKind::Push), &bytes, &[]).await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded, "{status}");
        check_has(&fake, &bytes);
    }
    let fake = Fake::start().await;
    fake.fault(Method::HEAD, "/blobs/", 99, What::Status(401, ""));
    let (pushed, _) = push(&fake.repository(RoleKind::Push), &content(1000), &[]).await;
    assert_eq!(pushed.unwrap_err().kind(), Kind::Unauthorized);
}

#[tokio::test]
async fn a_push_goes_to_one_place() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path().join("registry.test");
    std::fs::create_dir(&dir).unwrap();
    let hosts =
        format!("server = \"http://{}\"\n[host.\"http://{}\"]\n", second.address, first.address);
    std::fs::write(dir.join("hosts.toml"), hosts).unwrap();
    let source = Arc::new(ferry_distribution::NoCredentials);
    let registry = Registry::new(transport(vec![scratch.path().into()]), source);
    let name = Reference::parse("registry.test/a/b").unwrap();
    let repository = registry.repository(&name, RoleKind::Push).unwrap();
    // The first is out of order until all attempts are over, so that all goes to the second.
    first.fault(Method::HEAD, "/blobs/", 3, What::LostAnswer);
    let bytes = content(1000);
    assert_eq!(push(&repository, &bytes, &[]).await.0.unwrap(), Pushed::Uploaded);
    check_has(&second, &bytes);
    let manifest = RawManifest::new(media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#);
    repository.push_manifest(Some("1"), &manifest).await.unwrap();
    assert_eq!(push(&repository, &bytes, &[]).await.0.unwrap(), Pushed::Existed);
    assert_eq!(second.methods("/manifests/"), "PUT");
    assert!(first.asked("/").iter().all(|seen| seen.method == Method::HEAD));
}

#[tokio::test]
async fn a_neighbours_blob_is_mounted() {
    let fake = Fake::start().await;
    let bytes = content(1000);
    let digest = Digest::sha256_of(&bytes).to_string();
    fake.state().blobs.insert(("c/d".into(), digest), bytes.clone().into());
    let registry = fake.registry_as(ferry_distribution::Credentials::None);
    let repository = registry.repository(&fake.name("a/b"), RoleKind::Push).unwrap();
    let (pushed, steps) = push(&repository, &bytes, &["x/y", "c/d"]).await;
    assert_eq!(pushed.unwrap(), Pushed::Mounted("c/d".into()));
    assert_eq!(steps, [PushStep::Mounted { from: "c/d".into() }]);
    check_has(&fake, &bytes);
    registry.settled().await;
    // The upload that the first neighbour led to is given up.
    let methods: Vec<_> = fake.methods("/blobs/").split(' ').map(str::to_owned).collect();
    assert_eq!(methods.iter().filter(|method| *method == "DELETE").count(), 1, "{methods:?}");

    let bytes = content(999);
    fake.state().seen.clear();
    let (pushed, _) = push(&repository, &bytes, &["x/y"]).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    assert_eq!(fake.methods("/blobs/"), "HEAD POST PUT");
    // One who may not look there sends it.
    let bytes = content(998);
    fake.fault(Method::POST, "/uploads/", 1, What::Status(403, ""));
    assert_eq!(push(&repository, &bytes, &["x/y"]).await.0.unwrap(), Pushed::Uploaded);
    check_has(&fake, &bytes);
}

#[tokio::test]
async fn an_upload_that_is_dropped_is_given_up() {
    let fake = Fake::start().await;
    fake.fault(Method::PUT, "/uploads/", 1, What::Stall);
    let registry = fake.registry_as(ferry_distribution::Credentials::None);
    let repository = registry.repository(&fake.name("a/b"), RoleKind::Push).unwrap();
    let bytes = content(1000);
    let pushing = push(&repository, &bytes, &[]);
    assert!(tokio::time::timeout(Duration::from_millis(300), pushing).await.is_err());
    registry.settled().await;
    assert_eq!(fake.methods("/blobs/"), "HEAD POST PUT DELETE");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_tried_again() {
    struct Broken;
    impl BlobSource for Broken {
        fn open(&self, _: u64) -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(&b"short"[..]))
        }
        fn size(&self) -> Option<u64> {
            None
        }
    }
    let fake = Fake::start().await;
    let repository = fake.repository(RoleKind::Push);
    let source: Arc<dyn BlobSource> = Arc::new(Broken);
    let blob = descriptor(&content(1000));
    let error = repository.push_blob(&blob, &source, &[], &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, DistributionError::Source { .. }), "{error:?}");
    assert_eq!(fake.state().seen.iter().filter(|seen| seen.method == Method::POST).count(), 1);
    // Bytes that have another digest than was said, and another size.
    let wrong = Descriptor { digest: Digest::sha256_of(b"x"), ..blob.clone() };
    let source: Arc<dyn BlobSource> = Arc::new(Content(content(1000)));
    let error = repository.push_blob(&wrong, &source, &[], &mut |_| {}).await.unwrap_err();
    assert!(error.to_string().starts_with("digest invalid"), "{error}");
    let wrong = Descriptor { size: 999, ..blob };
    let error = repository.push_blob(&wrong, &source, &[], &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, DistributionError::Size { .. }), "{error:?}");
}

#[tokio::test]
async fn a_manifest_is_sent_as_it_is() {
    let fake = Fake::start().await;
    let repository = fake.repository(RoleKind::Push);
    let manifest =
        RawManifest::new(media_type::OCI_INDEX, r#"{"schemaVersion":2, "manifests":[]}"#);
    fake.fault(Method::PUT, "/manifests/", 1, What::Status(500, ""));
    let digest = repository.push_manifest(Some("1"), &manifest).await.unwrap();
    assert_eq!(digest, manifest.digest);
    let found = repository.manifest(&Selector::Tag("1".into())).await.unwrap().raw;
    assert_eq!(found, manifest);
    let other = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    fake.fault(Method::PUT, "/manifests/", 1, What::Header("docker-content-digest", other));
    let error = repository.push_manifest(Some("1"), &manifest).await.unwrap_err();
    assert!(matches!(error, DistributionError::Digest { .. }), "{error:?}");
    repository.delete_manifest(&digest).await.unwrap();
    let error = repository.delete_manifest(&digest).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}
