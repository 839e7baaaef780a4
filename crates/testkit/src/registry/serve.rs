//! The protocol: what a request is answered, honestly; and where faults are put in.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::fault::{At, Manner, What, spoil};
use super::http::{Answer, Connection, Head, SeenRequest};
use super::{Shared, State};
use crate::image::sha256;

/// How much of a body is remembered.
const REMEMBERED: usize = 64 << 10;
/// Longer than any client waits.
const STALL: Duration = Duration::from_secs(600);

/// Answers one request.
pub(super) fn one(
    shared: &Shared,
    connection: &mut Connection,
    head: Head,
    scheme: &str,
) -> io::Result<()> {
    let what = shared.state().next_fault(&head);
    let sends = matches!(head.method.as_str(), "PATCH" | "PUT" | "POST");
    let most = match &what {
        Some(What::Cut { after }) if sends => *after,
        _ => usize::MAX,
    };
    let (body, is_whole) = connection.body(&head, most)?;
    {
        let mut state = shared.state();
        state.seen.push(SeenRequest {
            method: head.method.clone(),
            path: head.path().to_owned(),
            query: head.query().to_owned(),
            headers: head.headers.clone(),
            body: body[..body.len().min(REMEMBERED)].to_vec(),
            length: body.len(),
        });
        if !is_whole {
            // What came counts, as with registries that write as they read.
            if let Some(have) = state.uploads.get_mut(upload_of(head.path())) {
                have.extend_from_slice(&body);
            }
        }
        if what == Some(What::TokenExpires) {
            state.tokens.clear();
        }
    }
    if !is_whole {
        return Err(connection.cut());
    }
    let what = match what {
        Some(What::Late { by, then }) => {
            if shared.ends_within(by) {
                return Err(connection.cut());
            }
            then.map(|then| *then)
        }
        what => what,
    };
    if what == Some(What::Stall) {
        shared.ends_within(STALL);
        return Err(connection.cut());
    }
    let is_refusal = matches!(
        what,
        Some(What::Status(_) | What::RetryAfter(_) | What::RateLimitWords | What::RedirectTo(_))
            | Some(What::RedirectLoop)
    );
    let answer = if is_refusal {
        Answer::new(200)
    } else {
        let heeds_range = what != Some(What::NoRange);
        shared.state().answer(&head, body, scheme, heeds_range)
    };
    let (answer, manner) = match &what {
        Some(What::LostAnswer) => return Err(connection.cut()),
        // Of an upload that was cut, but had no more bytes than pass.
        Some(What::Cut { .. }) if sends => return Err(connection.cut()),
        Some(what) => spoil(what, &head, answer),
        None => (answer, Manner::default()),
    };
    connection.answer(shared, &head, &answer, manner)
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", sha256(bytes))
}

fn upload_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

impl State {
    /// The fault for this request, if there is one; it is one fewer then.
    fn next_fault(&mut self, head: &Head) -> Option<What> {
        let at = self.place(head)?;
        let fault = self.faults.iter_mut().find(|fault| fault.times > 0 && fault.at == at)?;
        fault.times -= 1;
        Some(fault.what.clone())
    }

    /// What a request is about.
    fn place(&self, head: &Head) -> Option<At> {
        let (path, reads) = (head.path(), matches!(head.method.as_str(), "GET" | "HEAD"));
        if path == "/token" {
            return Some(At::Token);
        }
        if path.contains("/manifests/") {
            return Some(if reads { At::Manifest } else { At::ManifestPut });
        }
        if path.ends_with("/tags/list") {
            return Some(At::Tags);
        }
        if path.contains("/blobs/uploads/") {
            return match head.method.as_str() {
                "POST" => Some(At::UploadStart),
                "PATCH" => Some(At::UploadData),
                "PUT" => Some(At::UploadEnd),
                _ => None,
            };
        }
        let (_, digest) = path.split_once("/blobs/")?;
        match head.method.as_str() {
            "GET" => self.kinds.get(digest).copied(),
            "HEAD" => Some(At::HasBlob),
            _ => None,
        }
    }

    fn answer(&mut self, head: &Head, body: Vec<u8>, scheme: &str, heeds_range: bool) -> Answer {
        if head.path() == "/token" {
            return self.give_token(head, &body);
        }
        if let Some(refusal) = self.refuse(head, scheme) {
            return refusal;
        }
        let path = head.path();
        if path == "/v2/" || path == "/v2" {
            return Answer::bytes(200, *b"{}");
        }
        let rest = path.strip_prefix("/v2/").unwrap_or_default();
        for kind in ["/manifests/", "/blobs/uploads/", "/blobs/", "/tags/list", "/referrers/"] {
            if let Some((repository, which)) = rest.split_once(kind) {
                return match kind {
                    "/manifests/" => self.manifest_request(repository, which, head, body),
                    "/blobs/uploads/" => self.upload_request(repository, which, head, body),
                    "/blobs/" => self.blob_request(repository, which, head, heeds_range),
                    "/tags/list" => self.tags(repository, head),
                    _ => self.referrers(repository, which),
                };
            }
        }
        Answer::error(404, "NAME_UNKNOWN", "repository name not known to registry")
    }

    fn manifest_request(
        &mut self,
        repository: &str,
        which: &str,
        head: &Head,
        body: Vec<u8>,
    ) -> Answer {
        let key = (repository.to_owned(), which.to_owned());
        match head.method.as_str() {
            "GET" | "HEAD" => match self.manifests.get(&key) {
                Some((media_type, bytes)) => Answer::bytes(200, Arc::clone(bytes))
                    .with("Content-Type", media_type)
                    .with("Docker-Content-Digest", &format!("sha256:{}", sha256(bytes)))
                    .with("ETag", &etag(bytes)),
                None => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            },
            // [RFC 9110, 13.1]
            "PUT" if !self.is_as_expected(&key, head) => Answer::new(412),
            "PUT" => self.take_manifest(key, head, body),
            "DELETE" if self.manifests.remove(&key).is_some() => Answer::new(202),
            "DELETE" => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            _ => Answer::error(405, "UNSUPPORTED", ""),
        }
    }

    /// Whether what is to be replaced is what the client had seen, if it says so.
    fn is_as_expected(&self, key: &(String, String), head: &Head) -> bool {
        let now = self.manifests.get(key).map(|(_, bytes)| etag(bytes));
        match (head.header("if-match"), head.header("if-none-match")) {
            (Some(seen), _) => now.as_deref() == Some(seen),
            (None, Some("*")) => now.is_none(),
            _ => true,
        }
    }

    /// Takes a manifest whose parts are all here, as registries insist.
    fn take_manifest(&mut self, key: (String, String), head: &Head, body: Vec<u8>) -> Answer {
        let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(&body) else {
            return Answer::error(400, "MANIFEST_INVALID", "");
        };
        let list = |name: &str| parsed[name].as_array().cloned().unwrap_or_default();
        let digest = |it: &serde_json::Value| it["digest"].as_str().map(ToOwned::to_owned);
        let repository = key.0.clone();
        let blobs = std::iter::once(parsed["config"].clone()).chain(list("layers"));
        for missing in blobs.filter(|blob| !blob["urls"].is_array()).filter_map(|it| digest(&it)) {
            if !self.blobs.contains_key(&(repository.clone(), missing.clone())) {
                return Answer::error(404, "MANIFEST_BLOB_UNKNOWN", &missing);
            }
        }
        for missing in list("manifests").iter().filter_map(digest) {
            if !self.manifests.contains_key(&(repository.clone(), missing.clone())) {
                return Answer::error(404, "MANIFEST_UNKNOWN", &missing);
            }
        }
        let media_type = head.header("content-type").unwrap_or_default().to_owned();
        let digest = format!("sha256:{}", sha256(&body));
        if key.1.starts_with("sha256:") && key.1 != digest {
            return Answer::error(400, "DIGEST_INVALID", "");
        }
        let value = (media_type, Arc::from(body));
        self.manifests.insert((repository.clone(), digest.clone()), value.clone());
        let place = format!("/v2/{repository}/manifests/{digest}");
        self.manifests.insert(key, value);
        let answer =
            Answer::new(201).with("Location", &place).with("Docker-Content-Digest", &digest);
        match parsed["subject"]["digest"].as_str() {
            Some(subject) if !self.has_no_referrers => answer.with("OCI-Subject", subject),
            _ => answer,
        }
    }

    fn blob_request(
        &self,
        repository: &str,
        digest: &str,
        head: &Head,
        heeds_range: bool,
    ) -> Answer {
        let Some(bytes) = self.blobs.get(&(repository.to_owned(), digest.to_owned())) else {
            return Answer::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
        };
        let range = head.header("range").filter(|_| heeds_range);
        let from = range.and_then(|text| text.strip_prefix("bytes=")?.split('-').next());
        let answer = match from.and_then(|text| text.parse::<usize>().ok()) {
            None => Answer::bytes(200, Arc::clone(bytes)),
            Some(from) if from >= bytes.len() => {
                let total = format!("bytes */{}", bytes.len());
                return Answer::new(416).with("Content-Range", &total);
            }
            Some(from) => {
                let part = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Answer::bytes(206, &bytes[from..]).with("Content-Range", &part)
            }
        };
        answer
            .with("Content-Type", "application/octet-stream")
            .with("Accept-Ranges", "bytes")
            .with("Docker-Content-Digest", digest)
    }

    fn upload_request(&mut self, repository: &str, id: &str, head: &Head, body: Vec<u8>) -> Answer {
        if head.method == "POST" {
            return self.begin_upload(repository, head);
        }
        let Some(have) = self.uploads.get_mut(id) else {
            return Answer::error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry");
        };
        match head.method.as_str() {
            "GET" => self.going_on(repository, id, 204),
            "DELETE" => {
                self.uploads.remove(id);
                Answer::new(204)
            }
            "PATCH" => {
                let begin = head.header("content-range").and_then(|range| range.split('-').next());
                if begin.is_some_and(|begin| begin.parse() != Ok(have.len())) {
                    return self.going_on(repository, id, 416);
                }
                have.extend_from_slice(&body);
                self.going_on(repository, id, 202)
            }
            "PUT" => {
                let mut bytes = std::mem::take(have);
                self.uploads.remove(id);
                bytes.extend_from_slice(&body);
                self.end_upload(repository, head, bytes)
            }
            _ => Answer::error(405, "UNSUPPORTED", ""),
        }
    }

    fn begin_upload(&mut self, repository: &str, head: &Head) -> Answer {
        if let (Some(digest), Some(from)) = (head.parameter("mount"), head.parameter("from"))
            && let Some(bytes) = self.blobs.get(&(from, digest.clone())).cloned()
        {
            let place = format!("/v2/{repository}/blobs/{digest}");
            self.blobs.insert((repository.to_owned(), digest), bytes);
            return Answer::new(201).with("Location", &place);
        }
        self.count += 1;
        let id = format!("upload-{}", self.count);
        self.uploads.insert(id.clone(), Vec::new());
        self.going_on(repository, &id, 202)
    }

    fn end_upload(&mut self, repository: &str, head: &Head, bytes: Vec<u8>) -> Answer {
        let digest = head.parameter("digest").unwrap_or_default();
        if format!("sha256:{}", sha256(&bytes)) != digest {
            return Answer::error(400, "DIGEST_INVALID", "provided digest did not match");
        }
        let place = format!("/v2/{repository}/blobs/{digest}");
        self.blobs.insert((repository.to_owned(), digest.clone()), bytes.into());
        Answer::new(201).with("Location", &place).with("Docker-Content-Digest", &digest)
    }

    /// Says where an upload stands.
    fn going_on(&self, repository: &str, id: &str, status: u16) -> Answer {
        let have = self.uploads.get(id).map_or(0, Vec::len);
        Answer::new(status)
            .with("Location", &format!("/v2/{repository}/blobs/uploads/{id}?_state=x"))
            .with("Range", &format!("0-{}", have.saturating_sub(1)))
            .with("Docker-Upload-UUID", id)
    }

    fn tags(&self, repository: &str, head: &Head) -> Answer {
        let mine = self.manifests.keys().filter(|(of, _)| of == repository);
        let mut tags: Vec<&str> = mine.map(|(_, which)| which.as_str()).collect();
        if tags.is_empty() {
            let words = "repository name not known to registry";
            return Answer::error(404, "NAME_UNKNOWN", words);
        }
        let last = head.parameter("last");
        tags.retain(|tag| !tag.contains(':') && last.as_deref().is_none_or(|last| *tag > last));
        let page = self.page.unwrap_or(usize::MAX);
        let link = tags
            .get(page)
            .and(tags.get(page.wrapping_sub(1)))
            .map(|last| format!("</v2/{repository}/tags/list?n={page}&last={last}>; rel=\"next\""));
        tags.truncate(page);
        let body = serde_json::json!({ "name": repository, "tags": tags });
        let answer = Answer::bytes(200, body.to_string().into_bytes())
            .with("Content-Type", "application/json");
        match link {
            Some(link) => answer.with("Link", &link),
            None => answer,
        }
    }

    fn referrers(&self, repository: &str, subject: &str) -> Answer {
        if self.has_no_referrers {
            return Answer::bytes(404, *b"404 page not found");
        }
        let mut found = Vec::new();
        for ((of, which), (media_type, bytes)) in &self.manifests {
            let Ok(parsed) = serde_json::from_slice::<serde_json::Value>(bytes) else { continue };
            if of == repository && which.contains(':') && parsed["subject"]["digest"] == subject {
                found.push(serde_json::json!({
                    "mediaType": media_type, "digest": which, "size": bytes.len(),
                    "artifactType": parsed["artifactType"],
                }));
            }
        }
        let media_type = "application/vnd.oci.image.index.v1+json";
        let body = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type, "manifests": found,
        });
        Answer::bytes(200, body.to_string().into_bytes()).with("Content-Type", media_type)
    }
}
