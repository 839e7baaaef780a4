//! Where a repository is reached.

use std::fmt;
use std::fs;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ferry_oci::reference::Reference;
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::hosts_toml::base_url;
use crate::config::{CertsDir, ConfigError, Host, Insecure, RegistryConfig, RegistryFiles};
use crate::error::DistributionError;

/// The domain of Docker's own registry in names.
const DOCKER_DOMAIN: &str = "docker.io";
/// What it was called once, and still is where one logs in.
const DOCKER_INDEX: &str = "index.docker.io";
/// The host that serves it.
const DOCKER_HOST: &str = "registry-1.docker.io";

/// Names an endpoint among those of a registry: its base URL, without credentials and query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(String);

impl EndpointId {
    /// Names the endpoint with this base URL.
    pub fn new(base: &Uri) -> Self {
        let scheme = base.scheme_str().unwrap_or("https");
        let authority = base.authority().map_or("", |authority| authority.as_str());
        // Before the last `@` stands who one is there, which is nobody else's business.
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        Self(format!("{scheme}://{host}{}", base.path().trim_end_matches('/')))
    }

    /// The base URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a repository is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoleKind {
    /// Reading; mirrors are asked first.
    Pull,
    /// Writing, and reading what one writes over; mirrors are passed over.
    Push,
}

/// What an endpoint is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Role {
    /// Fetching what has a digest.
    pub pull: bool,
    /// Saying which digest a tag has.
    pub resolve: bool,
    /// Taking what is sent.
    pub push: bool,
}

impl Role {
    /// Everything.
    pub const ALL: Self = Self { pull: true, resolve: true, push: true };
    /// Everything but taking what is sent, as Docker's mirrors.
    pub const READ: Self = Self { pull: true, resolve: true, push: false };
}

/// Whom an endpoint has to be, and who we are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsPolicy {
    /// Whether the certificate is not verified.
    pub skip_verify: bool,
    /// Files of authorities that are trusted besides those of the system.
    pub ca: Vec<PathBuf>,
    /// Files of our certificates with their keys; one without a second has both in it.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
}

/// One place where a registry, or a copy of it, is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name among the endpoints of a registry.
    pub id: EndpointId,
    /// What the paths of the protocol, which begin with `/v2/`, are put behind.
    pub base: Uri,
    /// Whether the path of `base` stands in place of `/v2`.
    pub override_path: bool,
    /// The registry that is meant, for a mirror that serves several; sent as `?ns=`.
    pub ns: Option<String>,
    /// How its TLS is to be.
    pub tls: TlsPolicy,
    /// Sent with every request to it and to nobody else.
    pub headers: Vec<(String, String)>,
    /// What it is for.
    pub role: Role,
    /// Whether it stands for another registry, which is asked when it has not what is wanted.
    pub is_mirror: bool,
}

impl fmt::Debug for Endpoint {
    /// Without the values of headers, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("id", &self.id)
            .field("ns", &self.ns)
            .field("tls", &self.tls)
            .field("role", &self.role)
            .field("is_mirror", &self.is_mirror)
            .finish_non_exhaustive()
    }
}

/// What is escaped in a query, and what the rest of an unreserved text is. [RFC 3986, section 2.3]
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'/');

impl Endpoint {
    /// The registry itself at a base URL, without any certificates of its own.
    fn plain(base: Uri) -> Self {
        Self {
            id: EndpointId::new(&base),
            base,
            override_path: false,
            ns: None,
            tls: TlsPolicy::default(),
            headers: Vec::new(),
            role: Role::ALL,
            is_mirror: false,
        }
    }

    /// The host, with the port if it has one.
    pub fn host(&self) -> &str {
        self.base.authority().map_or("", |authority| authority.as_str())
    }

    /// Whether who it is goes unproved.
    pub fn is_insecure(&self) -> bool {
        self.tls.skip_verify || self.base.scheme_str() == Some("http")
    }

    /// Whether a URL is at this endpoint: its scheme, host and port.
    pub fn has_origin(&self, url: &Uri) -> bool {
        is_same_origin(&self.base, url)
    }

    /// The URL of a path of the protocol, such as `/v2/`.
    ///
    /// # Errors
    /// When the path is none.
    pub(crate) fn url(
        &self,
        path: &str,
        query: &[(String, String)],
    ) -> Result<Uri, DistributionError> {
        let prefix = self.base.path().trim_end_matches('/');
        let (prefix, path) = if self.override_path {
            (prefix, path.strip_prefix("/v2").unwrap_or(path))
        } else {
            (prefix.strip_suffix("/v2").unwrap_or(prefix), path)
        };
        let scheme = self.base.scheme_str().unwrap_or("https");
        let url = format!("{scheme}://{}{prefix}{path}", self.host());
        let ns = self.ns.iter().map(|ns| ("ns", ns.as_str()));
        let query = query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        with_query(&url, query.chain(ns))
    }
}

/// Puts more into the query of a URL, behind what is there.
pub(crate) fn with_query<'a>(
    url: &str,
    query: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Uri, DistributionError> {
    let mut text = url.to_owned();
    let mut before = if url.contains('?') { '&' } else { '?' };
    for (name, value) in query {
        text.push(before);
        text.extend(utf8_percent_encode(name, QUERY));
        text.push('=');
        text.extend(utf8_percent_encode(value, QUERY));
        before = '&';
    }
    text.parse().map_err(|error: http::uri::InvalidUri| DistributionError::Malformed {
        what: format!("the URL {}", url.split('?').next().unwrap_or_default()),
        why: error.to_string(),
    })
}

/// Whether two URLs have the same scheme, host and port. [RFC 6454, section 5]
pub(crate) fn is_same_origin(one: &Uri, other: &Uri) -> bool {
    let origin = |url: &Uri| {
        let scheme = url.scheme_str()?.to_ascii_lowercase();
        let host = url.host()?.to_ascii_lowercase();
        let port = url.port_u16().or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })?;
        Some((scheme, host, port))
    };
    origin(one).is_some() && origin(one) == origin(other)
}

/// The places where the registry of a name is reached, in the order in which they are asked.
///
/// `files` gives what the files of a registry say; its name is a host with its port if it has
/// one, and `docker.io` for Docker's own.
///
/// # Errors
/// When a mirror that is configured is no URL, or `files` fails.
pub fn endpoints(
    config: &RegistryConfig,
    name: &Reference,
    files: &dyn Fn(&str) -> Result<RegistryFiles, ConfigError>,
) -> Result<Vec<Endpoint>, ConfigError> {
    let domain = name.domain();
    let found = files(domain)?;
    let mut all = Vec::new();
    for host in found.hosts.iter().flat_map(|hosts| &hosts.hosts) {
        let mut endpoint = of_host(config, host, domain);
        endpoint.is_mirror = stands_for_another(&endpoint, domain);
        all.push(endpoint);
    }
    if domain == DOCKER_DOMAIN {
        for mirror in &config.mirrors {
            all.push(of_mirror(config, mirror, files)?);
        }
    }
    all.extend(of_server(config, domain, &found)?);
    Ok(all)
}

/// The places where a registry itself is reached, without its mirrors.
pub(crate) fn server_endpoints(
    config: &RegistryConfig,
    server: &str,
    files: &dyn Fn(&str) -> Result<RegistryFiles, ConfigError>,
) -> Result<Vec<Endpoint>, ConfigError> {
    let domain = if server == DOCKER_INDEX { DOCKER_DOMAIN } else { server };
    of_server(config, domain, &files(domain)?)
}

fn of_server(
    config: &RegistryConfig,
    domain: &str,
    files: &RegistryFiles,
) -> Result<Vec<Endpoint>, ConfigError> {
    if let Some(server) = files.hosts.as_ref().and_then(|hosts| hosts.server.as_ref()) {
        let mut endpoint = of_host(config, server, domain);
        trust(&mut endpoint.tls, &files.certs);
        return Ok(vec![endpoint]);
    }
    let host = if domain == DOCKER_DOMAIN { DOCKER_HOST } else { domain };
    let base = |scheme: &str| {
        base_url(&format!("{scheme}://{host}"))
            .map_err(|why| ConfigError::Invalid { what: format!("registry {domain}"), why })
    };
    let mut secured = Endpoint::plain(base("https")?);
    trust(&mut secured.tls, &files.certs);
    if !is_insecure(config, domain) {
        return Ok(vec![secured]);
    }
    // As Docker: whoever speaks TLS is preferred, whatever the certificate; else without.
    secured.tls.skip_verify = true;
    Ok(vec![secured, Endpoint::plain(base("http")?)])
}

fn of_host(config: &RegistryConfig, host: &Host, domain: &str) -> Endpoint {
    let mut base = host.url.clone();
    if base.host() == Some(DOCKER_DOMAIN) && base.port().is_none() {
        // As containerd: nobody answers at the name that images bear.
        let real =
            format!("{}://{DOCKER_HOST}{}", base.scheme_str().unwrap_or("https"), base.path());
        base = real.parse().unwrap_or(base);
    }
    let mut endpoint = Endpoint::plain(base);
    endpoint.override_path = host.override_path;
    endpoint.headers.clone_from(&host.header);
    endpoint.role = host.role;
    endpoint.tls = TlsPolicy {
        skip_verify: host.skip_verify || is_insecure(config, endpoint.host()),
        ca: host.ca.clone(),
        client: host.client.clone(),
    };
    endpoint.ns = stands_for_another(&endpoint, domain).then(|| domain.to_owned());
    endpoint
}

fn of_mirror(
    config: &RegistryConfig,
    mirror: &str,
    files: &dyn Fn(&str) -> Result<RegistryFiles, ConfigError>,
) -> Result<Endpoint, ConfigError> {
    let mut endpoint = Endpoint::plain(mirror_url(mirror)?);
    endpoint.role = Role::READ;
    endpoint.is_mirror = true;
    endpoint.tls.skip_verify = is_insecure(config, endpoint.host());
    let certs = files(endpoint.host())?.certs;
    trust(&mut endpoint.tls, &certs);
    Ok(endpoint)
}

/// # Errors
/// When the mirror is no URL of a registry.
pub(crate) fn mirror_url(mirror: &str) -> Result<Uri, ConfigError> {
    base_url(mirror).map_err(|why| ConfigError::Invalid {
        what: format!("mirror {}", mirror.rsplit_once('@').map_or(mirror, |(_, host)| host)),
        why,
    })
}

fn trust(tls: &mut TlsPolicy, certs: &CertsDir) {
    tls.ca.extend(certs.ca.iter().cloned());
    tls.client.extend(certs.client.iter().map(|(cert, key)| (cert.clone(), Some(key.clone()))));
}

fn stands_for_another(endpoint: &Endpoint, domain: &str) -> bool {
    let host = endpoint.host();
    host != domain && !(domain == DOCKER_DOMAIN && host == DOCKER_HOST)
}

/// Whether a registry is trusted without proof: it is configured so, or it is this machine.
///
/// Of a name, what DNS says counts only when networks are configured, and then all its addresses
/// have to be in them. That a name is this machine is for this machine's own file of hosts to say;
/// to Docker any answer of DNS is enough, which lets whoever answers switch the proof off.
fn is_insecure(config: &RegistryConfig, host: &str) -> bool {
    is_insecure_at(config, host, local_addresses, addresses)
}

fn is_insecure_at(
    config: &RegistryConfig,
    host: &str,
    local: impl Fn(&str) -> Vec<IpAddr>,
    found: impl Fn(&str) -> Vec<IpAddr>,
) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    if name == "localhost"
        || name.ends_with(".localhost")
        || config.insecure.iter().any(|insecure| insecure.covers_host(host))
    {
        return true;
    }
    let is_here = |address: &IpAddr| address.to_canonical().is_loopback();
    let is_configured =
        |address: &IpAddr| config.insecure.iter().any(|insecure| insecure.covers_address(*address));
    let all = |addresses: &[IpAddr], is: &dyn Fn(&IpAddr) -> bool| {
        !addresses.is_empty() && addresses.iter().all(is)
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return is_here(&address) || is_configured(&address);
    }
    if [DOCKER_DOMAIN, DOCKER_HOST].contains(&name.as_str()) {
        return false;
    }
    let has_networks = config.insecure.iter().any(|one| matches!(one, Insecure::Net { .. }));
    all(&local(&name), &is_here) || has_networks && all(&found(&name), &is_configured)
}

/// The addresses that this machine's file of hosts gives a name. hosts(5)
fn local_addresses(name: &str) -> Vec<IpAddr> {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    hosts_entries(&hosts, name)
}

fn hosts_entries(hosts: &str, name: &str) -> Vec<IpAddr> {
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| {
        let (address, names) = line.trim().split_once(char::is_whitespace)?;
        let is_of_it = names.split_whitespace().any(|one| one.eq_ignore_ascii_case(name));
        is_of_it.then(|| address.parse().ok())?
    });
    entries.collect()
}

/// How long it is waited for the addresses of a name; one without any is not trusted.
const LOOKUP: Duration = Duration::from_secs(2);

fn addresses(name: &str) -> Vec<IpAddr> {
    let (found, answer) = mpsc::channel();
    let name = name.to_owned();
    // The system's own lookup takes as long as it likes.
    drop(thread::spawn(move || {
        let addresses = (name.as_str(), 0).to_socket_addrs().map(|all| all.map(|one| one.ip()));
        found.send(addresses.map(Vec::from_iter).unwrap_or_default()).ok();
    }));
    answer.recv_timeout(LOOKUP).unwrap_or_default()
}

#[cfg(test)]
mod tests;
