//! A registry in memory, which can be told to misbehave. It remembers what it was asked.

mod guard;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ferry_distribution::{
    Credentials, CredentialsFor, Registry, RegistryConfig, Repository, RetryHook, RoleKind,
    Transport,
};
use ferry_oci::digest::Digest;
use ferry_oci::manifest::{Descriptor, media_type};
use ferry_oci::reference::Reference;
use futures_util::stream;
use http::header::{CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// What goes wrong with the next requests that match.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) method: Method,
    /// A part of the path.
    pub(crate) path: &'static str,
    pub(crate) times: u32,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    /// The connection breaks after so many bytes of the answer's body.
    Cut(usize),
    /// The request is done, its answer is lost.
    LostAnswer,
    /// The request's body is taken so far, and the connection breaks.
    TakeOnly(usize),
    /// So much of the request's body is taken, and the rest forgotten.
    Forget(usize),
    Status(u16, &'static str),
    Header(&'static str, &'static str),
    /// The body is this instead.
    Bytes(&'static [u8]),
    /// `Range` is not heeded.
    NoRange,
    /// Nothing is answered.
    Stall,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Guard {
    #[default]
    Open,
    /// `Basic` with this user and password.
    Basic(&'static str, &'static str),
    /// Tokens from `/token` for this user and password; `None` for anybody.
    Token(Option<(&'static str, &'static str)>),
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) blobs: HashMap<(String, String), Bytes>,
    pub(crate) manifests: HashMap<(String, String), (String, Bytes)>,
    uploads: HashMap<String, Vec<u8>>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) guard: Guard,
    /// Tokens that are good, with what they allow.
    pub(crate) tokens: HashMap<String, String>,
    /// So many of the next tokens are good for nothing.
    pub(crate) stillborn: usize,
    pub(crate) has_referrers: bool,
    pub(crate) least: Option<u64>,
    pub(crate) page: usize,
    /// The pages of the tags, when they are not those of the manifests.
    pub(crate) listed: Vec<Vec<&'static str>>,
    count: u32,
}

pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _accepting: AbortOnDropHandle<()>,
}

pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let status = StatusCode::from_u16(status).unwrap();
        Self { status, headers: HeaderMap::new(), body: body.into() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, format!(r#"{{"errors":[{{"code":"{code}","message":""}}]}}"#))
    }

    fn with(mut self, name: impl http::header::IntoHeaderName, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { page: 2, ..State::default() }));
        let shared = Arc::clone(&state);
        let accepting = async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&state), request));
                    let io = TokioIo::new(socket);
                    // That a connection breaks is what is tested.
                    let connection = hyper::server::conn::http1::Builder::new();
                    connection.serve_connection(io, service).await.ok();
                });
            }
        };
        let tasks = tokio_util::task::TaskTracker::new();
        let accepting = AbortOnDropHandle::new(tasks.spawn(accepting));
        Self { address, state, _accepting: accepting }
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Descriptor {
        let digest = Digest::sha256_of(bytes);
        let key = ("a/b".to_owned(), digest.to_string());
        self.state().blobs.insert(key, Bytes::copy_from_slice(bytes));
        Descriptor::new(media_type::OCI_LAYER_GZIP, digest, bytes.len() as u64)
    }

    /// Puts a manifest under its digest and a tag.
    pub(crate) fn put_manifest(&self, tag: &str, media: &str, text: &str) -> Descriptor {
        let digest = Digest::sha256_of(text.as_bytes());
        let value = (media.to_owned(), Bytes::copy_from_slice(text.as_bytes()));
        for which in [tag.to_owned(), digest.to_string()] {
            self.state().manifests.insert(("a/b".to_owned(), which), value.clone());
        }
        Descriptor::new(media, digest, text.len() as u64)
    }

    pub(crate) fn fault(&self, method: Method, path: &'static str, times: u32, what: What) {
        self.state().faults.push(Fault { method, path, times, what });
    }

    /// What was asked, as `GET /v2/...`; of those whose path has this in it.
    pub(crate) fn asked(&self, part: &str) -> Vec<Seen> {
        let state = self.state();
        state.seen.iter().filter(|seen| seen.path.contains(part)).cloned().collect()
    }

    pub(crate) fn methods(&self, part: &str) -> String {
        let seen = self.asked(part);
        seen.iter().map(|seen| seen.method.as_str()).collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn name(&self, rest: &str) -> Reference {
        Reference::parse(&format!("{}/{rest}", self.address)).unwrap()
    }

    pub(crate) fn repository(&self, role: RoleKind) -> Repository {
        self.repository_as(role, Credentials::None)
    }

    pub(crate) fn repository_as(&self, role: RoleKind, credentials: Credentials) -> Repository {
        self.registry_as(credentials).repository(&self.name("a/b"), role).unwrap()
    }

    pub(crate) fn registry_as(&self, credentials: Credentials) -> Registry {
        let source = CredentialsFor { registry: self.address.to_string(), credentials };
        Registry::new(transport(Vec::new()), Arc::new(source))
    }
}

pub(crate) fn transport(certs_dirs: Vec<PathBuf>) -> Transport {
    Transport::new(RegistryConfig { certs_dirs, attempts: 4, ..RegistryConfig::default() }).unwrap()
}

/// Tells nobody.
pub(crate) fn quiet() -> RetryHook {
    Arc::new(|_| {})
}

async fn serve(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::io::Error> {
    let (head, mut incoming) = request.into_parts();
    let path = head.uri.path().to_owned();
    let what = {
        let mut state = state.lock().unwrap();
        let is_meant =
            |f: &&mut Fault| f.times > 0 && f.method == head.method && path.contains(f.path);
        state.faults.iter_mut().find(is_meant).map(|fault| {
            fault.times -= 1;
            fault.what.clone()
        })
    };
    let most = if let Some(What::TakeOnly(most)) = what { most } else { usize::MAX };
    let mut body = Vec::new();
    while body.len() < most
        && let Some(frame) = incoming.frame().await
    {
        body.extend_from_slice(&frame.map_err(std::io::Error::other)?.into_data().unwrap());
    }
    body.truncate(if let Some(What::Forget(after)) = what { after } else { most });
    let seen = Seen {
        method: head.method,
        path,
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: body.into(),
    };
    let mut answer = {
        let mut state = state.lock().unwrap();
        state.seen.push(seen.clone());
        match &what {
            Some(What::Status(status, body)) => Answer::new(*status, *body),
            Some(What::NoRange) => {
                let mut seen = seen;
                seen.headers.remove(RANGE);
                state.answer(&seen)
            }
            _ => state.answer(&seen),
        }
    };
    let mut cut = usize::MAX;
    match what {
        Some(What::Stall) => std::future::pending().await,
        Some(What::LostAnswer | What::TakeOnly(_)) => {
            return Err(std::io::Error::other("the answer is lost"));
        }
        Some(What::Cut(after)) => cut = after,
        Some(What::Header(name, value)) => {
            answer.headers.insert(name, value.parse().unwrap());
        }
        Some(What::Bytes(bytes)) => answer.body = Bytes::from_static(bytes),
        Some(What::Status(..) | What::NoRange | What::Forget(_)) | None => {}
    }
    Ok(respond(answer, cut))
}

fn respond(answer: Answer, cut: usize) -> Response<Body> {
    let length = answer.body.len();
    let is_cut = cut < length;
    let bytes = answer.body.slice(..cut.min(length));
    let broken = is_cut.then(|| Err(std::io::Error::other("cut")));
    let frames = std::iter::once(Ok(Frame::data(bytes))).chain(broken);
    // A pause, so that what was written before the break leaves.
    let frames = stream::unfold(frames, |mut frames| async {
        let next = frames.next()?;
        if next.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some((next, frames))
    });
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    if !response.headers().contains_key("transfer-encoding") {
        response.headers_mut().entry("content-length").or_insert(length.into());
    }
    response
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Answer {
        if seen.path == "/token" {
            return self.give_token(seen);
        }
        if let Some(refusal) = self.refuse(seen) {
            return refusal;
        }
        if seen.path == "/v2/" {
            return Answer::new(200, "{}");
        }
        let Some(rest) = seen.path.strip_prefix("/v2/") else {
            return Answer::new(404, "");
        };
        for kind in ["/manifests/", "/blobs/uploads/", "/blobs/", "/tags/list", "/referrers/"] {
            if let Some((repository, which)) = rest.split_once(kind) {
                return match kind {
                    "/manifests/" => self.manifest(repository, which, seen),
                    "/blobs/uploads/" => self.upload(repository, which, seen),
                    "/blobs/" => self.blob(repository, which, seen),
                    "/tags/list" => self.tags(seen),
                    _ => self.referrers(which),
                };
            }
        }
        Answer::error(404, "NAME_UNKNOWN")
    }

    fn manifest(&mut self, repository: &str, which: &str, seen: &Seen) -> Answer {
        let key = (repository.to_owned(), which.to_owned());
        match seen.method {
            Method::GET | Method::HEAD => match self.manifests.get(&key) {
                Some((media, bytes)) => Answer::new(200, bytes.clone())
                    .with(CONTENT_TYPE, media)
                    .with("docker-content-digest", Digest::sha256_of(bytes).as_str()),
                None => Answer::error(404, "MANIFEST_UNKNOWN"),
            },
            Method::PUT => {
                let media = seen.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
                let digest = Digest::sha256_of(&seen.body);
                let value = (media, seen.body.clone());
                self.manifests.insert((key.0.clone(), digest.to_string()), value.clone());
                self.manifests.insert(key, value);
                let answer = Answer::new(201, "").with("docker-content-digest", digest.as_str());
                if self.has_referrers { answer.with("oci-subject", "yes") } else { answer }
            }
            Method::DELETE => match self.manifests.remove(&key) {
                Some(_) => Answer::new(202, ""),
                None => Answer::error(404, "MANIFEST_UNKNOWN"),
            },
            _ => Answer::error(405, "UNSUPPORTED"),
        }
    }

    fn blob(&mut self, repository: &str, digest: &str, seen: &Seen) -> Answer {
        let Some(bytes) = self.blobs.get(&(repository.to_owned(), digest.to_owned())) else {
            return Answer::error(404, "BLOB_UNKNOWN");
        };
        let range = seen.headers.get(RANGE).map(|value| value.to_str().unwrap());
        let Some(from) = range.and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-'))
        else {
            return Answer::new(200, bytes.clone());
        };
        let from: usize = from.parse().unwrap();
        if from >= bytes.len() {
            let total = format!("bytes */{}", bytes.len());
            return Answer::new(416, "").with("content-range", &total);
        }
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        Answer::new(206, bytes.slice(from..)).with("content-range", &range)
    }

    fn upload(&mut self, repository: &str, id: &str, seen: &Seen) -> Answer {
        let query = |name: &str| {
            let pair = seen.query.split('&').find_map(|pair| pair.strip_prefix(name));
            pair.and_then(|value| value.strip_prefix('=')).map(|text| text.replace("%3A", ":"))
        };
        if seen.method == Method::POST {
            if let (Some(digest), Some(from)) = (query("mount"), query("from"))
                && let Some(bytes) = self.blobs.get(&(from, digest.clone())).cloned()
            {
                self.blobs.insert((repository.to_owned(), digest), bytes);
                return Answer::new(201, "");
            }
            self.count += 1;
            let id = format!("upload-{}", self.count);
            self.uploads.insert(id.clone(), Vec::new());
            return self.going_on(repository, &id, 202);
        }
        let Some(have) = self.uploads.get_mut(id) else {
            return Answer::error(404, "BLOB_UPLOAD_UNKNOWN");
        };
        match seen.method {
            Method::GET => self.going_on(repository, id, 204),
            Method::DELETE => {
                self.uploads.remove(id);
                Answer::new(204, "")
            }
            Method::PATCH => {
                if let Some(range) = seen.headers.get("content-range") {
                    let begin = range.to_str().unwrap().split('-').next().unwrap();
                    if begin.parse::<usize>().unwrap() != have.len() {
                        return Answer::new(416, "");
                    }
                }
                have.extend_from_slice(&seen.body);
                self.going_on(repository, id, 202)
            }
            Method::PUT => {
                let mut bytes = self.uploads.remove(id).unwrap();
                bytes.extend_from_slice(&seen.body);
                let digest = query("digest").unwrap();
                if Digest::sha256_of(&bytes).as_str() != digest {
                    return Answer::error(400, "DIGEST_INVALID");
                }
                self.blobs.insert((repository.to_owned(), digest), bytes.into());
                Answer::new(201, "")
            }
            _ => Answer::error(405, "UNSUPPORTED"),
        }
    }

    fn going_on(&self, repository: &str, id: &str, status: u16) -> Answer {
        let have = self.uploads[id].len();
        let answer = Answer::new(status, "")
            .with(LOCATION, &format!("/v2/{repository}/blobs/uploads/{id}?state=x"))
            .with(RANGE, &format!("0-{}", have.saturating_sub(1)));
        match self.least {
            Some(least) => answer.with("oci-chunk-min-length", &least.to_string()),
            None => answer,
        }
    }

    fn tags(&self, seen: &Seen) -> Answer {
        if !self.listed.is_empty() {
            let at = seen.query.strip_prefix("p=").map_or(0, |n| n.parse::<usize>().unwrap());
            let body = serde_json::json!({ "name": "a/b", "tags": self.listed[at] }).to_string();
            let answer = Answer::new(200, body);
            if at + 1 == self.listed.len() {
                return answer;
            }
            let link = format!("</v2/a/b/tags/list?p={}>; rel=\"next\"", at + 1);
            return answer.with("link", "<https://h/>; rel=other").with("link", &link);
        }
        let mut tags: Vec<&str> = self.manifests.keys().map(|(_, which)| which.as_str()).collect();
        tags.retain(|which| !which.contains(':'));
        tags.sort_unstable();
        let last = seen.query.strip_prefix("last=");
        tags.retain(|tag| last.is_none_or(|last| *tag > last));
        let is_all = tags.len() <= self.page;
        tags.truncate(self.page);
        let body = serde_json::json!({ "name": "a/b", "tags": tags }).to_string();
        let answer = Answer::new(200, body);
        if is_all {
            return answer;
        }
        let link = format!("</v2/a/b/tags/list?last={}>; rel=\"next\"", tags[tags.len() - 1]);
        answer.with("link", &link)
    }

    fn referrers(&self, subject: &str) -> Answer {
        if !self.has_referrers {
            return Answer::new(404, "404 page not found");
        }
        let mut found = Vec::new();
        for ((_, which), (media, bytes)) in &self.manifests {
            let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            if which.contains(':') && document["subject"]["digest"] == subject {
                found.push(serde_json::json!({
                    "mediaType": media, "digest": which, "size": bytes.len(),
                    "artifactType": document["artifactType"],
                }));
            }
        }
        let body = serde_json::json!({ "schemaVersion": 2, "manifests": found }).to_string();
        Answer::new(200, body).with(CONTENT_TYPE, media_type::OCI_INDEX)
    }
}
