//! Requests to registries: connections, redirections, deadlines. No status is judged here.

mod body;
mod connect;
mod failure;
mod redirect;

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ferry_oci::reference::Reference;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use self::body::{Outgoing, Watch};
use self::connect::Dial;
pub(crate) use self::redirect::resolve_securely;
use crate::auth::credentials::Secret;
use crate::config::proxy::{Proxies, ProxyKind};
use crate::config::{ConfigError, RegistryConfig, RegistryFiles, read_registry_files};
use crate::endpoint::{self, Endpoint, TlsPolicy};
use crate::error::DistributionError;
use crate::limits;
use crate::tls::{SystemRoots, client_config};

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How many such connections are kept per host.
const IDLE_PER_HOST: usize = 16;
/// How many policies of TLS have connections of their own at the same time.
const MAX_POOLS: usize = 16;

/// Makes requests to registries. One per process: its connections are shared.
#[derive(Clone, Debug)]
pub struct Transport(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RegistryConfig,
    user_agent: HeaderValue,
    proxies: Arc<Proxies>,
    roots: SystemRoots,
    pools: Mutex<HashMap<PoolKey, Pool>>,
}

type Pool = Client<Dial, Outgoing>;

/// A policy and the state of the files it names, which may be replaced at any time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PoolKey {
    policy: TlsPolicy,
    files: Vec<(PathBuf, [i128; 4])>,
}

/// What is asked.
pub(crate) struct Request {
    pub(crate) method: Method,
    /// A path of [`crate::protocol::paths`]; without meaning when a URL is given besides.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: RequestBody,
    /// Until the head of the answer is there. While a stream is being sent it counts from the
    /// last piece that the network took and may have sent by then.
    pub(crate) deadline: Duration,
    /// Bytes per second at which what the network took leaves at least.
    pub(crate) least_uplink: u64,
}

/// Opens what is to be sent from its beginning; anew for each redirection.
pub(crate) type Opener = Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>;

/// What is sent.
pub(crate) enum RequestBody {
    Empty,
    Bytes(Bytes),
    /// What can be read; of unknown length it is sent in chunks.
    Stream {
        open: Opener,
        length: Option<u64>,
    },
}

impl Request {
    /// A request without query, headers and body.
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: RequestBody::Empty,
            deadline: limits::HEAD,
            least_uplink: limits::LEAST_UPLINK,
        }
    }
}

impl RequestBody {
    fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Stream { length, .. } => *length == Some(0),
        }
    }
}

/// The head of an answer, whose body is still to come.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Who answered, after redirections.
    pub(crate) url: Uri,
    /// Method and URL, as errors tell them.
    pub(crate) request: String,
    body: Incoming,
    pace: Pace,
}

impl Response {
    /// The header as text; none when it is not there or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The whole body, of at most `limit` bytes; `what` names it in the error.
    pub(crate) async fn bytes(
        mut self,
        limit: u64,
        what: &str,
    ) -> Result<Bytes, DistributionError> {
        let too_large = || DistributionError::TooLarge { what: what.to_owned(), limit };
        let stated = self.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse::<u64>().ok());
        if stated.is_some_and(|stated| stated > limit) {
            return Err(too_large());
        }
        let mut whole = BytesMut::new();
        while let Some(bytes) = self.chunk(limits::STALL).await? {
            if (whole.len() + bytes.len()) as u64 > limit {
                return Err(too_large());
            }
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    /// The next bytes of the body, never none at all; nothing at its end.
    pub(crate) async fn chunk(
        &mut self,
        stall: Duration,
    ) -> Result<Option<Bytes>, DistributionError> {
        loop {
            let began = Instant::now();
            let frame = match tokio::time::timeout(stall, self.body.frame()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(_) => {
                    let request = self.request.clone();
                    return Err(DistributionError::Stalled { request, after: stall });
                }
            };
            let frame = frame.map_err(|error| failure::of_body(&self.request, &error))?;
            let bytes = frame.into_data().unwrap_or_default();
            if self.pace.is_too_slow(bytes.len() as u64, began.elapsed()) {
                let request = self.request.clone();
                return Err(DistributionError::Stalled { request, after: limits::SLOW });
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

/// How quickly a body comes. Only the time counts in which it is waited for.
#[derive(Debug, Default)]
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Counts so many bytes that were waited for so long.
    fn is_too_slow(&mut self, bytes: u64, waited: Duration) -> bool {
        self.bytes += bytes;
        self.waited += waited;
        if self.waited < limits::SLOW {
            return false;
        }
        let least = self.waited.as_secs() * limits::LEAST_RATE;
        let Self { bytes, .. } = std::mem::take(self);
        bytes < least
    }
}

/// Whom a request may tell our secrets.
#[derive(Clone, Copy)]
struct Trust<'a> {
    /// Who we are; gone once a redirection led elsewhere.
    auth: Option<&'a Secret>,
    /// Whether the request has never left where it was sent first.
    is_home: bool,
}

impl Transport {
    /// Takes the configuration. Nothing is read and nobody is spoken to before the first request.
    ///
    /// # Errors
    /// When a mirror or a proxy is no URL.
    pub fn new(config: RegistryConfig) -> Result<Self, ConfigError> {
        for mirror in &config.mirrors {
            endpoint::mirror_url(mirror)?;
        }
        let proxies = Arc::new(Proxies::new(&config.proxy)?);
        let user_agent = HeaderValue::from_str(&config.user_agent).map_err(|error| {
            ConfigError::Invalid { what: "user agent".to_owned(), why: error.to_string() }
        })?;
        let (roots, pools) = (SystemRoots::default(), Mutex::default());
        Ok(Self(Arc::new(Inner { config, user_agent, proxies, roots, pools })))
    }

    pub(crate) fn config(&self) -> &RegistryConfig {
        &self.0.config
    }

    /// The places where the registry of a name is reached, in the order in which they are asked.
    /// Files of registries are read each time.
    pub(crate) fn endpoints(&self, name: &Reference) -> Result<Vec<Endpoint>, ConfigError> {
        endpoint::endpoints(&self.0.config, name, &|host| self.files(host))
    }

    /// The places where a registry itself is reached, for a login. It is a host, with its port if
    /// it has one; `docker.io` and `index.docker.io` are Docker's.
    pub(crate) fn server_endpoints(&self, server: &str) -> Result<Vec<Endpoint>, ConfigError> {
        endpoint::server_endpoints(&self.0.config, server, &|host| self.files(host))
    }

    fn files(&self, host: &str) -> Result<RegistryFiles, ConfigError> {
        read_registry_files(&self.0.config.certs_dirs, host)
    }

    /// Asks an endpoint. Redirections are followed; `auth` and the headers of the endpoint go to
    /// its own origin only.
    pub(crate) async fn send(
        &self,
        e: &Endpoint,
        r: &Request,
        auth: Option<&Secret>,
    ) -> Result<Response, DistributionError> {
        self.follow(e.url(&r.path, &r.query)?, e, r, Trust { auth, is_home: true }).await
    }

    /// Asks at a URL that the endpoint named: the location of an upload, the next page of a list.
    /// Where that is not at the endpoint itself, neither `auth` nor anything else that is secret
    /// goes there.
    pub(crate) async fn send_to(
        &self,
        url: &Uri,
        e: &Endpoint,
        r: &Request,
        auth: Option<&Secret>,
    ) -> Result<Response, DistributionError> {
        let is_home = e.has_origin(url);
        let trust = Trust { auth: auth.filter(|_| is_home), is_home };
        self.follow(with_query(url, r)?, e, r, trust).await
    }

    /// Asks the server of tokens that an endpoint named, and proves there who we are, wherever it
    /// is; over TLS, but for an endpoint that goes unproved itself.
    pub(crate) async fn send_to_realm(
        &self,
        url: &Uri,
        e: &Endpoint,
        r: &Request,
        auth: Option<&Secret>,
    ) -> Result<Response, DistributionError> {
        let is_allowed = match url.scheme_str() {
            Some("https") => true,
            Some("http") => e.is_insecure(),
            _ => false,
        };
        if !is_allowed {
            let why = "credentials are not sent over plain HTTP".to_owned();
            let request = DistributionError::request_line(&r.method, url);
            return Err(DistributionError::Redirect { request, why });
        }
        self.follow(with_query(url, r)?, e, r, Trust { auth, is_home: true }).await
    }

    async fn follow(
        &self,
        mut url: Uri,
        e: &Endpoint,
        r: &Request,
        mut trust: Trust<'_>,
    ) -> Result<Response, DistributionError> {
        let first = DistributionError::request_line(&r.method, &url);
        for _ in 0..=limits::MAX_REDIRECTS {
            let response = self.once(&url, e, r, trust).await?;
            let location = response.headers.get(http::header::LOCATION);
            let question = redirect::Question {
                status: response.status,
                location: location.map(HeaderValue::as_bytes),
                method: &r.method,
                url: &url,
                has_body: !r.body.is_empty(),
                may_drop_tls: e.tls.skip_verify,
            };
            let next = redirect::plan(&question).map_err(|why| DistributionError::Redirect {
                request: response.request.clone(),
                why,
            })?;
            let Some(next) = next else { return Ok(response) };
            if !endpoint::is_same_origin(&url, &next) {
                // For good: a way back here does not make trusted who sent us on it.
                trust = Trust { auth: None, is_home: false };
            }
            url = next;
        }
        let why = format!("stopped after {} redirects", limits::MAX_REDIRECTS);
        Err(DistributionError::Redirect { request: first, why })
    }

    async fn once(
        &self,
        url: &Uri,
        e: &Endpoint,
        r: &Request,
        trust: Trust<'_>,
    ) -> Result<Response, DistributionError> {
        let request = DistributionError::request_line(&r.method, url);
        let malformed = |why: String| DistributionError::Malformed { what: request.clone(), why };
        let at_endpoint = e.has_origin(url);
        let pool = self.pool(&e.tls, at_endpoint)?;
        let watch = Arc::new(Watch::new());
        let body = Outgoing::new(&r.body, &watch)
            .map_err(|source| DistributionError::Source { source })?;
        let mut message = http::Request::new(body);
        *message.method_mut() = r.method.clone();
        *message.uri_mut() = url.clone();
        *message.headers_mut() = self.headers(url, e, r, trust).map_err(malformed)?;

        let mut sending = std::pin::pin!(pool.request(message));
        let response = loop {
            tokio::select! {
                biased;
                response = &mut sending => break response,
                () = tokio::time::sleep_until(watch.last() + watch.allows(r)) => {
                    let after = watch.allows(r);
                    if watch.last().elapsed() >= after {
                        return Err(DistributionError::Stalled { request, after });
                    }
                }
            }
        };
        let response = response.map_err(|error| match watch.failure() {
            Some(source) => DistributionError::Source { source },
            None => failure::of_request(&request, &error),
        })?;
        let (head, body) = response.into_parts();
        tracing::debug!(request, status = head.status.as_u16(), "a registry answered");
        let (status, headers, pace) = (head.status, head.headers, Pace::default());
        Ok(Response { status, headers, url: url.clone(), request, body, pace })
    }

    fn headers(
        &self,
        url: &Uri,
        e: &Endpoint,
        r: &Request,
        trust: Trust<'_>,
    ) -> Result<HeaderMap, String> {
        let secret = |text: &str| {
            let mut value = HeaderValue::from_str(text)
                .map_err(|error| format!("what is secret cannot be sent: {error}"))?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        };
        let mut headers = r.headers.clone();
        headers.insert(USER_AGENT, self.0.user_agent.clone());
        if r.body.is_empty() && matches!(r.method, Method::POST | Method::PUT | Method::PATCH) {
            // Some servers and proxies refuse these without a length.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if trust.is_home && e.has_origin(url) {
            for (name, value) in &e.headers {
                let name: HeaderName = name
                    .parse()
                    .map_err(|error| format!("the header {name} cannot be sent: {error}"))?;
                headers.append(name, secret(value)?);
            }
        }
        if !trust.is_home {
            headers.remove(AUTHORIZATION);
            headers.remove(COOKIE);
        }
        if let Some(auth) = trust.auth {
            headers.insert(AUTHORIZATION, secret(auth.expose())?);
        }
        // A tunnel has its own; here it is the proxy itself that reads the request.
        headers.remove(PROXY_AUTHORIZATION);
        let proxy = self.0.proxies.towards(url).filter(|proxy| proxy.kind() == ProxyKind::Http);
        let proxy = proxy.filter(|_| url.scheme_str() == Some("http"));
        if let Some(proof) = proxy.and_then(|proxy| proxy.credentials.authorization()) {
            headers.insert(PROXY_AUTHORIZATION, secret(proof.expose())?);
        }
        Ok(headers)
    }

    /// The connections under a policy. Our certificates are shown to the endpoint only; its
    /// authorities count wherever it sends us, as with Docker.
    fn pool(&self, policy: &TlsPolicy, at_endpoint: bool) -> Result<Pool, DistributionError> {
        let mut policy = policy.clone();
        if !at_endpoint {
            policy.client.clear();
        }
        let key = PoolKey::of(policy)?;
        let mut pools = self.0.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&key) {
            return Ok(pool.clone());
        }
        let tls = client_config(&key.policy, &self.0.roots)?;
        // Nobody has configured anything for proxies: the system's authorities count.
        let proxy_tls = client_config(&TlsPolicy::default(), &self.0.roots)?;
        let dial = Dial::new(tls, proxy_tls, self.0.proxies.clone());
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(dial);
        if pools.len() >= MAX_POOLS {
            pools.clear();
        }
        pools.insert(key, pool.clone());
        Ok(pool)
    }
}

fn with_query(url: &Uri, r: &Request) -> Result<Uri, DistributionError> {
    let query = r.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    endpoint::with_query(&url.to_string(), query)
}

impl PoolKey {
    fn of(policy: TlsPolicy) -> Result<Self, ConfigError> {
        let client = policy
            .client
            .iter()
            .flat_map(|(certificate, key)| [Some(certificate), key.as_ref()].into_iter().flatten());
        let files = policy.ca.iter().chain(client).map(|path| {
            let stat = std::fs::metadata(path).map_err(|source| ConfigError::File {
                doing: "reading",
                path: path.clone(),
                source,
            })?;
            let state = [
                i128::from(stat.ino()),
                i128::from(stat.size()),
                i128::from(stat.mtime()),
                i128::from(stat.mtime_nsec()),
            ];
            Ok((path.clone(), state))
        });
        let files = files.collect::<Result<_, ConfigError>>()?;
        Ok(Self { policy, files })
    }
}

#[cfg(test)]
mod tests;
