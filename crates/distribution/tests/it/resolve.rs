//! From a name to an image.

use ferry_distribution::{
    DistributionError, DistributionErrorKind as Kind, KnownDocuments, Repository, Resolved,
    RoleKind, Selector, resolve,
};
use ferry_oci::manifest::{Descriptor, media_type};
use ferry_oci::platform::Platform;
use http::Method;

use crate::fake::{Fake, What};

fn tag(tag: &str) -> Selector {
    Selector::Tag(tag.to_owned())
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// Puts an image for an architecture.
fn image(fake: &Fake, architecture: &str) -> Descriptor {
    let config = format!(r#"{{"os":"linux","architecture":"{architecture}","config":{{}}}}"#);
    let config = fake.put_blob(config.as_bytes());
    let manifest = manifest(&config, media_type::OCI_CONFIG);
    let mut descriptor = fake.put_manifest(architecture, media_type::OCI_MANIFEST, &manifest);
    descriptor.platform = Some(format!("linux/{architecture}").parse().unwrap());
    descriptor
}

fn manifest(config: &Descriptor, media: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{media}","digest":"{}","size":{}}},"layers":[]}}"#,
        config.digest, config.size
    )
}

fn index(fake: &Fake, tag: &str, members: &[&Descriptor]) -> Descriptor {
    let members = serde_json::to_string(members).unwrap();
    let text = format!(r#"{{"schemaVersion":2,"manifests":{members}}}"#);
    fake.put_manifest(tag, media_type::OCI_INDEX, &text)
}

/// Resolves where nothing is known.
async fn find(
    repository: &Repository,
    which: &Selector,
    platform: &Platform,
) -> Result<Resolved, DistributionError> {
    resolve(repository, which, platform, &KnownDocuments::default()).await
}

async fn error(fake: &Fake, which: &str) -> DistributionError {
    find(&fake.repository(RoleKind::Pull), &tag(which), &amd64()).await.unwrap_err()
}

#[tokio::test]
async fn of_what_is_known_only_the_name_is_asked() {
    let fake = Fake::start().await;
    let amd = image(&fake, "amd64");
    index(&fake, "1", &[&amd]);
    let repository = fake.repository(RoleKind::Pull);
    let first = find(&repository, &tag("1"), &amd64()).await.unwrap();
    let documents =
        [&first.target, &first.manifest].map(|raw| (raw.digest.clone(), raw.bytes.clone()));
    let config = (first.parsed.config.digest.clone(), first.config.clone());
    let mut known = KnownDocuments {
        target: Some(first.target.digest.clone()),
        documents: documents.into_iter().chain([config]).collect(),
    };
    fake.state().seen.clear();
    let again = resolve(&repository, &tag("1"), &amd64(), &known).await.unwrap();
    assert_eq!((again.target, again.manifest), (first.target, first.manifest.clone()));
    assert_eq!(
        (fake.methods("/manifests/").as_str(), fake.methods("/blobs/").as_str()),
        ("HEAD", "")
    );
    // What is damaged here is fetched; what HEAD cannot say is asked by GET.
    known.documents.insert(first.manifest.digest.clone(), "{}".into());
    fake.fault(Method::HEAD, "/manifests/", 1, What::Status(405, ""));
    fake.state().seen.clear();
    resolve(&repository, &tag("1"), &amd64(), &known).await.unwrap();
    assert_eq!(fake.methods("/manifests/"), "HEAD GET GET");
    // The tag has moved on.
    fake.put_manifest("1", media_type::OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#);
    let error = resolve(&repository, &tag("1"), &amd64(), &known).await.unwrap_err();
    assert!(matches!(error, DistributionError::NoPlatform { .. }), "{error:?}");
}

#[tokio::test]
async fn an_index_leads_to_the_image_of_the_platform() {
    let fake = Fake::start().await;
    let (arm, amd) = (image(&fake, "arm64"), image(&fake, "amd64"));
    let mut statement = fake.put_manifest("att", media_type::OCI_MANIFEST, "{}");
    statement.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    statement.annotations.insert("vnd.docker.reference.digest".into(), amd.digest.to_string());
    let top = index(&fake, "1", &[&arm, &amd, &statement]);
    let repository = fake.repository(RoleKind::Pull);
    let found = find(&repository, &tag("1"), &amd64()).await.unwrap();
    assert_eq!(found.target.descriptor(), top);
    assert_eq!(found.index.as_ref(), Some(&found.target));
    assert_eq!(found.manifest.digest, amd.digest);
    assert!(found.parsed.config.digest.matches(&found.config));
    assert_eq!(found.platform.architecture, "amd64");
    assert_eq!(found.attestations.len(), 1);
    assert_eq!(found.attestations[0].digest, statement.digest);
    // One that is missing does no harm.
    fake.fault(Method::GET, statement.digest.to_string().leak(), 9, What::Status(404, ""));
    let found = find(&repository, &tag("1"), &amd64()).await.unwrap();
    assert!(found.attestations.is_empty());

    let s390x = "linux/s390x".parse().unwrap();
    let error = find(&repository, &tag("1"), &s390x).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert_eq!(
        error.to_string(),
        "no matching manifest for linux/s390x in the manifest list entries"
    );
}

#[tokio::test]
async fn nested_indexes_are_searched() {
    let fake = Fake::start().await;
    let (arm, amd) = (image(&fake, "arm64"), image(&fake, "amd64"));
    let arms = index(&fake, "arms", &[&arm]);
    let mut nested = index(&fake, "amds", &[&amd]);
    for depth in 1..4 {
        let top = index(&fake, "top", &[&arms, &nested]);
        let repository = fake.repository(RoleKind::Pull);
        let found = find(&repository, &tag("top"), &amd64()).await;
        if depth < 4 - 1 {
            let found = found.unwrap();
            assert_eq!(found.manifest.digest, amd.digest);
            assert_eq!(found.target.digest, top.digest);
            assert_ne!(found.index.unwrap().digest, top.digest);
        }
        nested = top;
    }
    for _ in 0..2 {
        nested = index(&fake, "top", &[&nested]);
    }
    let error = error(&fake, "top").await;
    assert!(error.to_string().ends_with("it nests more than 4 deep"), "{error}");
}

#[tokio::test]
async fn a_single_image_is_taken_whatever_its_processor() {
    let fake = Fake::start().await;
    let arm = image(&fake, "arm64");
    let repository = fake.repository(RoleKind::Pull);
    let found = find(&repository, &tag("arm64"), &amd64()).await.unwrap();
    assert_eq!((found.platform.architecture.as_str(), found.index), ("arm64", None));
    let by_digest = Selector::Digest(arm.digest);
    assert!(find(&repository, &by_digest, &amd64()).await.is_ok());
    let windows = "windows/amd64".parse().unwrap();
    let error = find(&repository, &tag("arm64"), &windows).await.unwrap_err();
    assert!(matches!(error, DistributionError::NoPlatform { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    let fake = Fake::start().await;
    let config = fake.put_blob(b"{}");
    let artifact = manifest(&config, "application/vnd.cncf.helm.config.v1+json");
    fake.put_manifest("helm", media_type::OCI_MANIFEST, &artifact);
    let words = "unsupported media type application/vnd.cncf.helm.config.v1+json";
    assert_eq!(error(&fake, "helm").await.to_string(), words);

    let old = r#"{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[]}"#;
    for media in [media_type::DOCKER_V1_SIGNED, media_type::DOCKER_MANIFEST, "application/json"] {
        fake.put_manifest("old", media, old);
        let error = error(&fake, "old").await;
        let name = fake.name("a/b:old");
        assert!(
            error.to_string().contains(&format!("Suggest the author of {name} to upgrade")),
            "{error}"
        );
    }
    fake.put_manifest("junk", media_type::OCI_MANIFEST, "<html>");
    assert!(matches!(error(&fake, "junk").await, DistributionError::Malformed { .. }));
    let both = r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#;
    fake.put_manifest("both", media_type::OCI_INDEX, both);
    assert!(matches!(error(&fake, "both").await, DistributionError::Malformed { .. }));
}

#[tokio::test]
async fn sizes_and_digests_must_be_as_said() {
    let fake = Fake::start().await;
    let mut amd = image(&fake, "amd64");
    amd.size += 1;
    index(&fake, "1", &[&amd]);
    assert!(matches!(error(&fake, "1").await, DistributionError::Size { .. }));
    fake.fault(Method::GET, "/blobs/", 1, What::Bytes(b"wrong"));
    assert_eq!(error(&fake, "amd64").await.kind(), Kind::Internal);
    let config = fake.put_blob(b"{}");
    let huge = Descriptor { size: 17 << 20, ..config };
    let text = manifest(&huge, media_type::OCI_CONFIG);
    fake.put_manifest("huge", media_type::OCI_MANIFEST, &text);
    assert!(matches!(error(&fake, "huge").await, DistributionError::TooLarge { .. }));
}
