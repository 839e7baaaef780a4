//! How registries are reached: what the administrator or the user has configured.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use crate::limits;

mod certs;
mod files;
pub(crate) mod hosts_toml;
pub(crate) mod proxy;

pub use self::certs::{CertsDir, read_certs_dir};
pub use self::files::{RegistryFiles, read_registry_files};
pub use self::hosts_toml::{Host, HostsFile, parse_hosts_toml};

/// How registries are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Base URLs of mirrors of `docker.io`, in the order in which they are asked.
    pub mirrors: Vec<String>,
    /// Registries whose certificates are not verified, and which may speak plain HTTP. This
    /// machine itself always is one; it need not stand here.
    pub insecure: Vec<Insecure>,
    /// Directories with one directory per registry, `<host[:port]>/`, in which `hosts.toml`,
    /// `*.crt`, `*.cert` and `*.key` lie. Those of the first directory that has it count.
    pub certs_dirs: Vec<PathBuf>,
    /// Through whom they are reached.
    pub proxy: ProxyConfig,
    /// Registries to which layers are pushed that their publisher does not want distributed.
    pub foreign_push_to: Vec<String>,
    /// How often a request is made at one endpoint at most; at least 1.
    pub attempts: u32,
    /// What requests say of who makes them.
    pub user_agent: String,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            certs_dirs: Vec::new(),
            proxy: ProxyConfig::default(),
            foreign_push_to: Vec::new(),
            attempts: limits::ATTEMPTS,
            user_agent: concat!("ferry/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Registries that are trusted without proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// One registry: a host, with its port if it has one.
    Host(String),
    /// All at these addresses.
    Net {
        /// Where the range begins.
        address: IpAddr,
        /// How many bits all its addresses share.
        prefix: u8,
    },
}

/// A text that is neither a host nor a range of addresses; in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseInsecureError {
    /// It begins with a scheme.
    #[error("insecure registry {0} should not contain '://'")]
    Scheme(String),
    /// It is no host with an optional port.
    #[error("insecure registry {0} is not valid: invalid host \"{0}\"")]
    Host(String),
}

impl Insecure {
    /// Whether a registry of this name, a host with its port if it has one, is meant. A range
    /// means a registry that is named by its address; what address another name has is not asked.
    pub fn covers_host(&self, registry: &str) -> bool {
        match self {
            Self::Host(host) => host.eq_ignore_ascii_case(registry),
            Self::Net { .. } => host_address(registry).is_some_and(|a| self.covers_address(a)),
        }
    }

    /// Whether a registry at this address is meant.
    pub fn covers_address(&self, candidate: IpAddr) -> bool {
        let Self::Net { address, prefix } = self else { return false };
        let (address, candidate) = (address.to_canonical(), candidate.to_canonical());
        let (net, candidate, width) = match (address, candidate) {
            (IpAddr::V4(a), IpAddr::V4(c)) => (u32::from(a).into(), u32::from(c).into(), 32),
            (IpAddr::V6(a), IpAddr::V6(c)) => (u128::from(a), u128::from(c), 128_u32),
            _ => return false,
        };
        let free = width.saturating_sub(u32::from(*prefix));
        (net ^ candidate).checked_shr(free).unwrap_or(0) == 0
    }
}

/// The address in `1.2.3.4:5000`, `[::1]:5000` and the like.
fn host_address(registry: &str) -> Option<IpAddr> {
    if let Some(rest) = registry.strip_prefix('[') {
        return rest.split(']').next()?.parse().ok();
    }
    registry.parse().ok().or_else(|| registry.rsplit_once(':')?.0.parse().ok())
}

impl FromStr for Insecure {
    type Err = ParseInsecureError;

    /// Parses `host`, `host:port`, or a range such as `10.0.0.0/8`.
    fn from_str(text: &str) -> Result<Self, ParseInsecureError> {
        if text.contains("://") {
            return Err(ParseInsecureError::Scheme(text.to_owned()));
        }
        if let Some((address, prefix)) = text.split_once('/')
            && let (Ok(address), Ok(prefix)) = (address.parse::<IpAddr>(), prefix.parse::<u8>())
            && prefix <= if address.is_ipv4() { 32 } else { 128 }
        {
            return Ok(Self::Net { address, prefix });
        }
        let authority: Result<http::uri::Authority, _> = text.parse();
        let is_host = authority.is_ok_and(|authority| {
            let rest = authority.as_str().strip_prefix(authority.host()).unwrap_or("-");
            rest.is_empty() || authority.port_u16().is_some()
        });
        if !is_host || text.contains('@') {
            return Err(ParseInsecureError::Host(text.to_owned()));
        }
        Ok(Self::Host(text.to_owned()))
    }
}

impl fmt::Display for Insecure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Net { address, prefix } => write!(f, "{address}/{prefix}"),
        }
    }
}

/// Through whom registries are reached. URLs may have a user and a password in them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The proxy of `http:` URLs.
    pub http: Option<String>,
    /// The proxy of `https:` URLs.
    pub https: Option<String>,
    /// Hosts, domains and ranges that are reached directly, separated by commas.
    pub no_proxy: String,
}

impl ProxyConfig {
    /// Takes the three out of variables of an environment, which the caller has read; as Go does,
    /// `HTTP_PROXY` goes before `http_proxy`, and an empty value is none.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        const NAMES: [[&str; 2]; 3] = [
            ["HTTP_PROXY", "http_proxy"],
            ["HTTPS_PROXY", "https_proxy"],
            ["NO_PROXY", "no_proxy"],
        ];
        let mut found: [[Option<String>; 2]; 3] = Default::default();
        for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            for (names, values) in NAMES.iter().zip(&mut found) {
                if let Some(place) = names.iter().position(|known| *known == name) {
                    values[place] = Some(value.clone());
                }
            }
        }
        let [http, https, no_proxy] = found.map(|[upper, lower]| upper.or(lower));
        Self { http, https, no_proxy: no_proxy.unwrap_or_default() }
    }
}

impl fmt::Debug for ProxyConfig {
    /// Without the passwords of proxies.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |url: &Option<String>| {
            url.as_deref().map(|url| url.rsplit_once('@').map_or(url, |(_, host)| host).to_owned())
        };
        f.debug_struct("ProxyConfig")
            .field("http", &host(&self.http))
            .field("https", &host(&self.https))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

/// Why what is configured for a registry cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{doing} {}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not say what it should.
    #[error("{} is malformed: {why}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// In what way.
        why: String,
    },
    /// A certificate of ours without its key; in Docker's words.
    #[error(
        "missing key {key} for client certificate {certificate}. CA certificates must use the extension .crt"
    )]
    MissingKey {
        /// The name of the file that is there.
        certificate: String,
        /// The name of the file that is not.
        key: String,
    },
    /// A key of ours without its certificate; in Docker's words.
    #[error("missing client certificate {certificate} for key {key}")]
    MissingCertificate {
        /// The name of the file that is not there.
        certificate: String,
        /// The name of the file that is.
        key: String,
    },
    /// A value cannot be used.
    #[error("{what} is not valid: {why}")]
    Invalid {
        /// Which, with its value.
        what: String,
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn covers(insecure: &str, registry: &str) -> bool {
        let insecure: Insecure = insecure.parse().unwrap();
        assert_eq!(insecure.to_string().parse::<Insecure>().unwrap(), insecure);
        insecure.covers_host(registry)
    }

    #[test]
    fn a_host_is_trusted_with_its_port_only() {
        assert!(covers("registry.example:5000", "Registry.example:5000"));
        assert!(!covers("registry.example", "registry.example:5000"));
        assert!(!covers("registry.example:5000", "registry.example"));
    }

    #[test]
    fn a_range_covers_what_shares_its_bits() {
        assert!(covers("10.0.0.0/8", "10.255.0.1:5000"));
        assert!(!covers("10.0.0.0/8", "11.0.0.1"));
        assert!(covers("0.0.0.0/0", "1.2.3.4"));
        assert!(!covers("0.0.0.0/0", "[::1]:5000"));
        assert!(covers("192.168.1.7/32", "192.168.1.7"));
        assert!(!covers("192.168.1.7/32", "192.168.1.6"));
        assert!(covers("::1/128", "[::1]:5000"));
        assert!(!covers("fd00::/8", "[fe80::1]"));
        assert!(covers("10.0.0.0/8", "[::ffff:10.1.1.1]:80"));
        assert!(!covers("10.0.0.0/8", "ten.example"));
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        let parse = |text: &str| text.parse::<Insecure>().map_err(|error| error.to_string());
        assert_eq!(
            parse("http://a").unwrap_err(),
            "insecure registry http://a should not contain '://'"
        );
        for wrong in ["", "10.0.0.0/33", "a/b", "user@host", "host:port", "a b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn proxies_are_taken_from_an_environment() {
        let pairs = [
            ("http_proxy", "http://low:1"),
            ("HTTP_PROXY", "http://u:s3cret@high:1"),
            ("HTTPS_PROXY", ""),
            ("https_proxy", "http://tls:1"),
            ("NO_PROXY", "localhost,.example"),
            ("PATH", "/bin"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let proxy = ProxyConfig::from_pairs(pairs);
        assert_eq!(proxy.http.as_deref(), Some("http://u:s3cret@high:1"));
        assert_eq!(proxy.https.as_deref(), Some("http://tls:1"));
        assert_eq!(proxy.no_proxy, "localhost,.example");
        assert!(!format!("{proxy:?}").contains("s3cret"));
    }
}
