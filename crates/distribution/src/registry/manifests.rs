//! Manifests: asked for, sent and removed.

use bytes::Bytes;
use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, Manifest, media_type};
use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::ask::{Question, Reply};
use super::refusal::Asked;
use super::{FetchedManifest, RawManifest, Repository, Selector};
use crate::auth::Scopes;
use crate::error::DistributionError;
use crate::protocol::accept::ACCEPT_MANIFESTS;
use crate::protocol::paths;
use crate::transport::RequestBody;

/// The digest of what an answer is about.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Said by registries that list a manifest among the referrers of its subject.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Repository {
    /// What a tag or a digest stands for, without fetching it; nothing when it is not there.
    ///
    /// # Errors
    /// When no endpoint can say.
    pub async fn head_manifest(
        &self,
        which: &Selector,
    ) -> Result<Option<Descriptor>, DistributionError> {
        let reply = match self.ask(&self.question(Method::HEAD, which)).await {
            Ok(reply) => reply,
            Err(error) => return nothing(error),
        };
        let digest = match which {
            Selector::Digest(digest) => Some(digest.clone()),
            Selector::Tag(_) => reply.header(CONTENT_DIGEST).and_then(|text| text.parse().ok()),
        };
        let size = reply.header(CONTENT_LENGTH).and_then(|text| text.parse().ok());
        let media_type = stated_media_type(&reply);
        if let (Some(digest), Some(size), Some(media_type)) = (digest, size, media_type) {
            return Ok(Some(Descriptor::new(media_type, digest, size)));
        }
        // A registry that says too little in its head.
        match self.manifest(which).await {
            Ok(fetched) => Ok(Some(fetched.raw.descriptor())),
            Err(error) => nothing(error),
        }
    }

    /// Fetches a manifest or an index and verifies its digest.
    ///
    /// # Errors
    /// When it is not there ([`DistributionError::ManifestUnknown`]), is larger than
    /// [`crate::limits::MAX_MANIFEST`], or no endpoint gives it as it should be.
    pub async fn manifest(&self, which: &Selector) -> Result<FetchedManifest, DistributionError> {
        let check = |reply: &Reply| digest_of(which, reply).map(|_| ());
        let question = Question { check: Some(&check), ..self.question(Method::GET, which) };
        let reply = self.ask(&question).await?;
        let digest = digest_of(which, &reply)?;
        let media_type = stated_media_type(&reply)
            .or_else(|| media_type_of(&reply.body))
            .unwrap_or_else(|| "application/octet-stream".to_owned());
        let endpoint = self.0.places[reply.place].endpoint.id.clone();
        let raw = RawManifest { media_type, digest, bytes: reply.body };
        Ok(FetchedManifest { raw, endpoint })
    }

    pub(super) fn question(&self, method: Method, which: &Selector) -> Question<'static> {
        let path = paths::manifest(self.0.name.path(), which);
        let asked = Asked::Manifest(which.clone());
        let mut question = Question::new(self, method, path, asked, "the manifest");
        let headers = &mut question.request.headers;
        headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_MANIFESTS));
        question
    }

    /// Sends a manifest or an index, under a tag or under its digest alone. What it names must be
    /// there. When it says something about another manifest and the registry keeps no list of
    /// such, it is entered into the list that a tag has instead.
    ///
    /// # Errors
    /// When the registry refuses it, or says that it got something else.
    pub async fn push_manifest(
        &self,
        tag: Option<&str>,
        manifest: &RawManifest,
    ) -> Result<Digest, DistributionError> {
        let which = tag.map_or_else(
            || Selector::Digest(manifest.digest.clone()),
            |tag| Selector::Tag(tag.to_owned()),
        );
        let reply = self.put_manifest(&which, manifest, None).await?;
        if let Some((subject, descriptor)) = referrer(manifest)
            && reply.header(OCI_SUBJECT).is_none()
        {
            self.enter_referrer(&subject, &descriptor).await?;
        }
        Ok(manifest.digest.clone())
    }

    /// Sends a manifest, perhaps on a condition: with status 412 it is not fulfilled.
    pub(super) async fn put_manifest(
        &self,
        which: &Selector,
        manifest: &RawManifest,
        condition: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Reply, DistributionError> {
        let mut question = self.question(Method::PUT, which);
        question.request.headers.extend(condition);
        question.request.headers.remove(ACCEPT);
        let media_type = HeaderValue::from_str(&manifest.media_type);
        let media_type = media_type.map_err(|error| DistributionError::Malformed {
            what: "the media type of the manifest".into(),
            why: error.to_string(),
        })?;
        question.request.headers.insert(CONTENT_TYPE, media_type);
        question.request.body = RequestBody::Bytes(manifest.bytes.clone());
        let check = |reply: &Reply| {
            let said = reply.header(CONTENT_DIGEST).and_then(|text| text.parse::<Digest>().ok());
            match said.filter(|said| !said.matches(&manifest.bytes)) {
                None => Ok(()),
                Some(actual) => {
                    let expected = manifest.digest.clone();
                    Err(DistributionError::Digest { what: "manifest", expected, actual })
                }
            }
        };
        self.ask(&Question { check: Some(&check), ..question }).await
    }

    /// Removes a manifest and the tags that it has.
    ///
    /// # Errors
    /// When it is not there, or the registry removes nothing.
    pub async fn delete_manifest(&self, digest: &Digest) -> Result<(), DistributionError> {
        let which = Selector::Digest(digest.clone());
        let mut question = self.question(Method::DELETE, &which);
        question.scopes = Scopes::delete(self.0.name.path());
        self.ask(&question).await.map(|_| ())
    }
}

/// Not to be there is no failure of a question whether it is there.
pub(super) fn nothing<T>(error: DistributionError) -> Result<Option<T>, DistributionError> {
    match error {
        DistributionError::ManifestUnknown { .. }
        | DistributionError::NameUnknown { .. }
        | DistributionError::BlobUnknown { .. } => Ok(None),
        other => Err(other),
    }
}

/// The digest that a manifest was asked for by or was given with, when its bytes have it.
fn digest_of(which: &Selector, reply: &Reply) -> Result<Digest, DistributionError> {
    let expected = match which {
        Selector::Digest(digest) => Some(digest.clone()),
        Selector::Tag(_) => reply.header(CONTENT_DIGEST).and_then(|text| text.parse().ok()),
    };
    let Some(expected) = expected else { return Ok(Digest::sha256_of(&reply.body)) };
    let mut hasher = expected.verifier();
    hasher.update(&reply.body);
    let actual = hasher.finish();
    if actual == expected {
        Ok(expected)
    } else {
        Err(DistributionError::Digest { what: "manifest", expected, actual })
    }
}

/// The media type in the head, unless it is one that every file has.
fn stated_media_type(reply: &Reply) -> Option<String> {
    let value = reply.header(CONTENT_TYPE)?.split(';').next()?.trim().to_ascii_lowercase();
    let is_vague = matches!(
        value.as_str(),
        "" | "application/json" | "application/octet-stream" | "text/plain" | "text/html"
    );
    (!is_vague).then_some(value)
}

/// What a document is by what stands in it.
fn media_type_of(bytes: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        #[serde(default)]
        schema_version: u32,
        #[serde(default)]
        media_type: Option<String>,
        #[serde(default)]
        manifests: Option<IgnoredAny>,
        #[serde(default)]
        config: Option<IgnoredAny>,
    }
    let head: Head = serde_json::from_slice(bytes).ok()?;
    let by_fields = match head {
        Head { schema_version: 1, .. } => media_type::DOCKER_V1,
        Head { manifests: Some(_), .. } => media_type::OCI_INDEX,
        Head { config: Some(_), .. } => media_type::OCI_MANIFEST,
        _ => return head.media_type,
    };
    Some(head.media_type.unwrap_or_else(|| by_fields.to_owned()))
}

/// The subject of a manifest, and how the manifest stands in the list of its referrers.
fn referrer(manifest: &RawManifest) -> Option<(Digest, Descriptor)> {
    let mut descriptor = manifest.descriptor();
    let subject = if descriptor.is_index() {
        let index = Index::parse(&manifest.bytes).ok()?;
        descriptor.artifact_type = index.artifact_type;
        descriptor.annotations = index.annotations;
        index.subject?
    } else {
        let parsed = Manifest::parse(&manifest.bytes).ok()?;
        // [OCI image, artifact guidelines: without a type, the configuration's counts]
        descriptor.artifact_type = parsed.artifact_type.or(Some(parsed.config.media_type));
        descriptor.annotations = parsed.annotations;
        parsed.subject?
    };
    Some((subject.digest, descriptor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expect: Option<&str>) {
        let bytes = Bytes::copy_from_slice(document.as_bytes());
        assert_eq!(media_type_of(&bytes).as_deref(), expect);
    }

    #[test]
    fn a_document_says_what_it_is() {
        check(r#"{"schemaVersion":2,"manifests":[]}"#, Some(media_type::OCI_INDEX));
        check(r#"{"schemaVersion":2,"config":{}}"#, Some(media_type::OCI_MANIFEST));
        check(r#"{"schemaVersion":2,"mediaType":"x","config":{}}"#, Some("x"));
        check(r#"{"schemaVersion":1,"fsLayers":[]}"#, Some(media_type::DOCKER_V1));
        check("{}", None);
        check("<html>", None);
    }

    #[test]
    fn a_referrer_is_listed_by_its_type() {
        let subject = Digest::sha256_of(b"subject");
        let manifest = |artifact_type: &str| {
            let text = format!(
                r#"{{"schemaVersion":2,{artifact_type}"config":{{"mediaType":"c","digest":"{subject}","size":1}},
                "layers":[],"subject":{{"mediaType":"m","digest":"{subject}","size":7}},"annotations":{{"a":"b"}}}}"#
            );
            referrer(&RawManifest::new(media_type::OCI_MANIFEST, text)).unwrap()
        };
        let (of, descriptor) = manifest(r#""artifactType":"text/x","#);
        assert_eq!(of, subject);
        assert_eq!(descriptor.artifact_type.as_deref(), Some("text/x"));
        assert_eq!(descriptor.annotations["a"], "b");
        assert_eq!(manifest("").1.artifact_type.as_deref(), Some("c"));
        let plain = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert!(referrer(&RawManifest::new(media_type::OCI_INDEX, plain)).is_none());
    }
}
