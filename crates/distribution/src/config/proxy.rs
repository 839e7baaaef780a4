//! Which proxy a request goes through, by the rules of Go's `httpproxy`, which are Docker's.

use std::net::IpAddr;

use http::Uri;
use percent_encoding::percent_decode_str;

use super::{ConfigError, Insecure, ProxyConfig};
use crate::auth::credentials::{Credentials, Secret};

/// Someone who passes requests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    /// Where it is: `http`, `https` or `socks5`, a host and a port.
    pub(crate) url: Uri,
    /// Who we are there.
    pub(crate) credentials: Credentials,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    /// HTTP, plain or over TLS.
    Http,
    /// SOCKS version 5.
    Socks,
}

impl Proxy {
    /// Reads `[scheme://][user[:password]@]host[:port]`; without a scheme it speaks HTTP.
    fn parse(text: &str) -> Result<Self, ConfigError> {
        // Told without the password that may stand in it.
        let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
        let invalid = |why: &str| ConfigError::Invalid {
            what: format!("proxy {shown}"),
            why: why.to_owned(),
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            scheme @ ("http" | "https" | "socks5") => scheme.to_owned(),
            "socks5h" => "socks5".to_owned(),
            _ => return Err(invalid("it is none of http, https and socks5")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => 1080,
        };
        let parsed: http::uri::Authority =
            host.parse().map_err(|error: http::uri::InvalidUri| {
                invalid(&format!("its host is none: {error}"))
            })?;
        if parsed.host().is_empty() {
            return Err(invalid("it has no host"));
        }
        let port = match host.strip_prefix(parsed.host()) {
            Some("" | ":") => default_port,
            _ => parsed.port_u16().ok_or_else(|| invalid("its port is no number"))?,
        };
        let url = format!("{scheme}://{}:{port}/", parsed.host());
        let url = url
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid(&format!("it is no URL: {error}")))?;
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let credentials = user.map_or(Credentials::None, |user| {
            let (user, password) = user.split_once(':').unwrap_or((user, ""));
            Credentials::Basic { user: decode(user), password: Secret::new(decode(password)) }
        });
        Ok(Self { url, credentials })
    }

    pub(crate) fn kind(&self) -> ProxyKind {
        if self.url.scheme_str() == Some("socks5") { ProxyKind::Socks } else { ProxyKind::Http }
    }
}

/// A [`ProxyConfig`] that makes sense.
#[derive(Clone, Debug)]
pub(crate) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// Who is reached directly. A port restricts it to that port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everyone,
    Net(Insecure),
    Address(IpAddr, Option<u16>),
    /// The domain and all beneath it, or those beneath it only.
    Domain {
        name: String,
        port: Option<u16>,
        itself: bool,
    },
}

impl Proxies {
    /// # Errors
    /// When a proxy is no URL, or of a kind that is not spoken.
    pub(crate) fn new(config: &ProxyConfig) -> Result<Self, ConfigError> {
        let parse = |text: &Option<String>| {
            text.as_deref().filter(|text| !text.is_empty()).map(Proxy::parse).transpose()
        };
        let exceptions = config.no_proxy.split(',').filter_map(Exception::parse).collect();
        Ok(Self { http: parse(&config.http)?, https: parse(&config.https)?, exceptions })
    }

    /// The proxy on the way to a URL. This machine is always reached directly.
    pub(crate) fn towards(&self, url: &Uri) -> Option<&Proxy> {
        let is_https = url.scheme_str() == Some("https");
        let proxy = if is_https { &self.https } else { &self.http };
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let port = url.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost"
            || address.is_some_and(|address| address.to_canonical().is_loopback())
        {
            return None;
        }
        let is_direct = self.exceptions.iter().any(|one| one.covers(&host, address, port));
        proxy.as_ref().filter(|_| !is_direct)
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Some(Self::Everyone);
        }
        if text.contains('/') {
            let net = text.parse().ok().filter(|net| matches!(net, Insecure::Net { .. }));
            return net.map(Self::Net);
        }
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, None));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Some(Self::Address(address, port));
        }
        let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
        let (name, itself) = name.strip_prefix('.').map_or((name, true), |rest| (rest, false));
        (!name.is_empty()).then(|| Self::Domain { name: name.to_owned(), port, itself })
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, to_port: u16) -> bool {
        match self {
            Self::Everyone => true,
            Self::Net(net) => address.is_some_and(|address| net.covers_address(address)),
            Self::Address(one, port) => {
                address.is_some_and(|address| address.to_canonical() == one.to_canonical())
                    && port.is_none_or(|port| port == to_port)
            }
            Self::Domain { name, port, itself } => {
                let is_beneath = host.strip_suffix(name.as_str()).is_some_and(|b| b.ends_with('.'));
                (is_beneath || (*itself && host == name)) && port.is_none_or(|port| port == to_port)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(no_proxy: &str) -> Proxies {
        let config = ProxyConfig {
            http: Some("plain".into()),
            https: Some("http://me:p%40ss@tls:3128/".into()),
            no_proxy: no_proxy.into(),
        };
        Proxies::new(&config).unwrap()
    }

    #[track_caller]
    fn check(no_proxy: &str, url: &str, expect: Option<&str>) {
        let proxies = proxies(no_proxy);
        let proxy = proxies.towards(&url.parse().unwrap());
        assert_eq!(proxy.map(|proxy| proxy.url.to_string()).as_deref(), expect, "{url}");
    }

    #[test]
    fn the_scheme_chooses_the_proxy() {
        check("", "http://registry.example/v2/", Some("http://plain:80/"));
        check("", "https://registry.example/v2/", Some("http://tls:3128/"));
        let none = Proxies::new(&ProxyConfig::default()).unwrap();
        assert_eq!(none.towards(&"https://registry.example".parse().unwrap()), None);
    }

    #[test]
    fn this_machine_is_reached_directly() {
        for url in ["http://localhost:5000", "https://127.9.9.9", "http://[::1]:5000"] {
            check("", url, None);
        }
    }

    #[test]
    fn exceptions_are_those_of_go() {
        let on = Some("http://plain:80/");
        check("foo.com", "http://foo.com", None);
        check(" x , FOO.com", "http://bar.Foo.com:81", None);
        check("foo.com", "http://notfoo.com", on);
        check(".foo.com", "http://foo.com", on);
        check(".foo.com", "http://bar.foo.com", None);
        check("*.foo.com", "http://bar.foo.com", None);
        check("foo.com:81", "http://foo.com", on);
        check("foo.com:80", "http://foo.com", None);
        check("10.0.0.0/8", "http://10.1.2.3:5000", None);
        check("10.0.0.0/8", "http://11.1.2.3:5000", on);
        check("10.1.2.3", "http://10.1.2.3:5000", None);
        check("10.1.2.3:80", "http://10.1.2.3:5000", on);
        check("fd00::1", "http://[fd00::1]:5000", None);
        check("*", "http://anything", None);
        check(",nonsense/33,:", "http://anything", on);
    }

    #[test]
    fn who_we_are_at_a_proxy_is_not_in_its_url() {
        let proxies = proxies("");
        let proxy = proxies.towards(&"https://a.example".parse().unwrap()).unwrap();
        let password = Secret::new("p@ss");
        assert_eq!(proxy.credentials, Credentials::Basic { user: "me".into(), password });
        assert!(
            !format!("{proxies:?}").contains("p@ss") && !format!("{proxies:?}").contains("%40")
        );
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_its_password() {
        for wrong in ["ftp://u:s3cret@h", "http://", "http://u:s3cret@h:port", "socks4://h"] {
            let config = ProxyConfig { http: Some(wrong.into()), ..ProxyConfig::default() };
            let error = Proxies::new(&config).unwrap_err().to_string();
            assert!(error.starts_with("proxy ") && !error.contains("s3cret"), "{error}");
        }
        let socks = Proxy::parse("socks5h://h").unwrap();
        assert_eq!(
            (socks.url.to_string().as_str(), socks.kind()),
            ("socks5://h:1080/", ProxyKind::Socks)
        );
    }
}
