//! What says something about a manifest: signatures, lists of parts, attestations.
//! [OCI distribution, listing referrers; referrers tag schema]

use std::time::{Duration, Instant};

use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, Index, media_type};
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use serde_json::{Value, json};

use super::ask::{Question, Reply};
use super::refusal::Asked;
use super::tags::Pages;
use super::{RawManifest, Repository, Selector};
use crate::error::DistributionError;
use crate::limits;
use crate::protocol::paths;
use crate::retry::random;

const WHAT: &str = "the list of referrers";
/// Descriptors of a list at most.
const MAX_REFERRERS: usize = 100_000;
/// How often a manifest is entered into a list at most, while others write it too.
const ENTRIES: u32 = 16;
/// How long others are waited for, who write it at the same time.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(2);

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
        Ok(self.tagged_list(subject).await?.manifests)
    }

    async fn tagged_list(&self, subject: &Digest) -> Result<TaggedList, DistributionError> {
        let tag = Selector::Tag(paths::referrers_tag(subject));
        let reply = match self.ask(&self.question(Method::GET, &tag)).await {
            Ok(reply) => reply,
            Err(error) => {
                return super::manifests::nothing(error).map(Option::unwrap_or_default);
            }
        };
        let manifests = parse(&reply.body)?.manifests;
        let document = serde_json::from_slice(&reply.body).ok();
        // A weak one never matches. [RFC 9110, 13.1.1]
        let version = reply.headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"));
        Ok(TaggedList { manifests, document, version: version.cloned() })
    }

    /// Enters a manifest into the list that a tag has. Others may do the same at this moment: the
    /// registry is asked to take the new list only in place of the one that was read. Not every
    /// registry heeds that, so the list is read again when whoever had read the old one has written
    /// too. [OCI distribution, pushing manifests with subject]
    pub(super) async fn enter_referrer(
        &self,
        subject: &Digest,
        referrer: &Descriptor,
    ) -> Result<(), DistributionError> {
        for attempt in 1..=ENTRIES {
            let began = Instant::now();
            let list = self.tagged_list(subject).await?;
            if list.manifests.iter().any(|one| one.digest == referrer.digest) {
                return Ok(());
            }
            match self.put_list(subject, list, referrer).await {
                Err(DistributionError::Refused { answer, .. }) if answer.status == 412 => {
                    tracing::debug!(%subject, attempt, "somebody else wrote the list of referrers");
                }
                other => other?,
            }
            // As long as others take for the same, and not all as long.
            let wait = began.elapsed().mul_f64(2.0 + f64::from(attempt) * random());
            tokio::time::sleep(wait.clamp(SHORTEST, LONGEST)).await;
        }
        Err(DistributionError::Malformed {
            what: format!("{WHAT} of {subject}"),
            why: format!("others have written it anew {ENTRIES} times"),
        })
    }

    async fn put_list(
        &self,
        subject: &Digest,
        list: TaggedList,
        referrer: &Descriptor,
    ) -> Result<(), DistributionError> {
        let TaggedList { document, version, .. } = list;
        let is_there = document.is_some();
        // What others have written stays as it is, what we do not know of it too.
        let mut document = document.unwrap_or_else(
            || json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [] }),
        );
        let malformed =
            |why: &str| DistributionError::Malformed { what: WHAT.into(), why: why.into() };
        let members = document.get_mut("manifests").and_then(Value::as_array_mut);
        let entry =
            serde_json::to_value(referrer).map_err(|error| malformed(&error.to_string()))?;
        members.ok_or_else(|| malformed("it lists nothing"))?.push(entry);
        let bytes = serde_json::to_vec(&document).map_err(|error| malformed(&error.to_string()))?;
        if bytes.len() as u64 > limits::MAX_MANIFEST {
            let limit = limits::MAX_MANIFEST;
            return Err(DistributionError::TooLarge { what: WHAT.into(), limit });
        }
        let condition = match version {
            Some(version) => Some((IF_MATCH, version)),
            None if is_there => None,
            None => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
        };
        let tag = Selector::Tag(paths::referrers_tag(subject));
        let index = RawManifest::new(media_type::OCI_INDEX, bytes);
        self.put_manifest(&tag, &index, condition).await.map(|_| ())
    }
}

/// The list that a tag has.
#[derive(Debug, Default)]
struct TaggedList {
    manifests: Vec<Descriptor>,
    /// The list as it is, if there is one.
    document: Option<Value>,
    /// What the registry tells its states apart by, if it does.
    version: Option<HeaderValue>,
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
