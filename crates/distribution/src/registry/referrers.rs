//! What says something about a manifest: signatures, lists of parts, attestations.
//! [OCI distribution, listing referrers; referrers tag schema]

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, media_type};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};

use super::ask::{Question, Reply};
use super::refusal::Asked;
use super::tags::Pages;
use super::{RawManifest, Repository, Selector};
use crate::error::DistributionError;
use crate::limits;
use crate::protocol::paths;

const WHAT: &str = "the list of referrers";
/// Descriptors of a list at most.
const MAX_REFERRERS: usize = 100_000;

impl Repository {
    /// What refers to a manifest, of one kind or of all. A registry that keeps no such list is
    /// asked for the tag that stands for it.
    ///
    /// # Errors
    /// When no endpoint can say, or what it says makes no sense.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, DistributionError> {
        let mut found = match self.listed_referrers(subject).await? {
            Some(found) => found,
            None => self.tagged_referrers(subject).await?,
        };
        if let Some(wanted) = artifact_type {
            found.retain(|one| one.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    /// The registry's own list; nothing when it keeps none.
    async fn listed_referrers(
        &self,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, DistributionError> {
        let path = paths::referrers(self.0.name.path(), subject);
        let mut question = Question::new(self, Method::GET, path, Asked::List, WHAT);
        question.request.headers.insert(ACCEPT, HeaderValue::from_static(media_type::OCI_INDEX));
        let mut reply = match self.ask(&question).await {
            // What other things answer to an address they do not know.
            Ok(reply) if !is_index(&reply) => return Ok(None),
            Ok(reply) => reply,
            Err(error) if says_no_list(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        let mut pages = Pages::default();
        loop {
            found.extend(parse(&reply.body)?.manifests);
            if found.len() > MAX_REFERRERS {
                let limit = MAX_REFERRERS as u64;
                return Err(DistributionError::TooLarge { what: WHAT.into(), limit });
            }
            match self.next_page(&reply, &mut question, &mut pages).await? {
                Some(next) => reply = next,
                None => return Ok(Some(found)),
            }
        }
    }

    async fn tagged_referrers(
        &self,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>, DistributionError> {
        let tag = Selector::Tag(paths::referrers_tag(subject));
        match self.manifest(&tag).await {
            Ok(fetched) => Ok(parse(&fetched.raw.bytes)?.manifests),
            Err(error) => super::manifests::nothing(error).map(Option::unwrap_or_default),
        }
    }

    /// Enters a manifest into the list that a tag has.
    pub(super) async fn enter_referrer(
        &self,
        subject: &Digest,
        referrer: Descriptor,
    ) -> Result<(), DistributionError> {
        let tag = Selector::Tag(paths::referrers_tag(subject));
        let mut manifests = self.tagged_referrers(subject).await?;
        if manifests.iter().any(|one| one.digest == referrer.digest) {
            return Ok(());
        }
        manifests.push(referrer);
        let index = Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        let bytes = serde_json::to_vec(&index).map_err(|error| DistributionError::Malformed {
            what: WHAT.into(),
            why: error.to_string(),
        })?;
        if bytes.len() as u64 > limits::MAX_MANIFEST {
            let limit = limits::MAX_MANIFEST;
            return Err(DistributionError::TooLarge { what: WHAT.into(), limit });
        }
        let index = RawManifest::new(media_type::OCI_INDEX, bytes);
        self.put_manifest(&tag, &index).await.map(|_| ())
    }
}

fn is_index(reply: &Reply) -> bool {
    let media_type = reply.header(CONTENT_TYPE).and_then(|value| value.split(';').next());
    media_type.is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type::OCI_INDEX))
}

/// Whether a refusal is that of a registry which keeps no lists.
fn says_no_list(error: &DistributionError) -> bool {
    match error {
        DistributionError::NameUnknown { .. } | DistributionError::ManifestUnknown { .. } => true,
        DistributionError::Refused { answer, .. } => {
            matches!(answer.status, 400 | 404 | 405 | 406 | 501)
        }
        _ => false,
    }
}

fn parse(bytes: &[u8]) -> Result<Index, DistributionError> {
    let malformed = |error: ferry_oci::manifest::ParseManifestError| DistributionError::Malformed {
        what: WHAT.into(),
        why: error.to_string(),
    };
    Index::parse(bytes).map_err(malformed)
}
