//! `hosts.toml`, in which containerd and we keep where a registry is to be found.
//! [containerd, docs/hosts.md]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::Uri;
use serde::Deserialize;
use toml::Spanned;

use super::ConfigError;
use crate::endpoint::Role;

/// Where a registry is to be found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsFile {
    /// The registry itself, asked last; when it is not said it is the one that the name says.
    ///
    /// It is the registry by whatever name: who logged in at the registry is known to it.
    pub server: Option<Host>,
    /// Who is asked before, in this order.
    pub hosts: Vec<Host>,
}

/// One of the places.
#[derive(Clone, PartialEq, Eq)]
pub struct Host {
    /// Where its API is: everything before `/v2/`, or, with `override_path`, in place of it.
    pub url: Uri,
    /// What it is for.
    pub role: Role,
    /// Files of authorities that are trusted besides those of the system.
    pub ca: Vec<PathBuf>,
    /// Files of certificates of ours, with their keys; a file without a second has both in it.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether its certificate is not verified.
    pub skip_verify: bool,
    /// Sent with every request to it and to nobody else.
    pub header: Vec<(String, String)>,
    /// Whether the path of `url` stands in place of `/v2`.
    pub override_path: bool,
}

impl std::fmt::Debug for Host {
    /// Without the values of headers, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let header: Vec<_> = self.header.iter().map(|(name, _)| name).collect();
        f.debug_struct("Host")
            .field("url", &self.url)
            .field("role", &self.role)
            .field("ca", &self.ca)
            .field("client", &self.client)
            .field("skip_verify", &self.skip_verify)
            .field("header", &header)
            .field("override_path", &self.override_path)
            .finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    server: Option<String>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, RawHost>,
    // The registry itself has its settings beside `server`.
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<RawClient>,
    skip_verify: Option<bool>,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    override_path: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHost {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<RawClient>,
    skip_verify: Option<bool>,
    #[serde(default)]
    header: BTreeMap<String, OneOrMany>,
    override_path: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawClient {
    One(String),
    Many(Vec<ClientFile>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ClientFile {
    Both(String),
    Pair(Vec<String>),
}

/// Reads the text of a `hosts.toml` in the directory `dir`, which relative paths are meant from.
///
/// # Errors
/// When it is no TOML, has a key that is not known, or a value that makes no sense.
pub fn parse_hosts_toml(text: &str, dir: &Path) -> Result<HostsFile, ConfigError> {
    let malformed = |why: String| ConfigError::Malformed { path: dir.join("hosts.toml"), why };
    let file: RawFile =
        toml::from_str(text).map_err(|error| malformed(error.message().to_owned()))?;
    let own = RawHost {
        capabilities: file.capabilities,
        ca: file.ca,
        client: file.client,
        skip_verify: file.skip_verify,
        header: file.header,
        override_path: file.override_path,
    };
    let server = file.server.filter(|server| !server.is_empty());
    if server.is_none() && !own.says_nothing() {
        return Err(malformed("settings of the registry itself need its `server`".to_owned()));
    }
    let server = server.map(|url| own.into_host(&url, dir)).transpose().map_err(malformed)?;
    // The map is sorted by name; what counts is the order of the file.
    let mut hosts: Vec<_> = file.host.into_iter().collect();
    hosts.sort_by_key(|(url, _)| url.span().start);
    let hosts = hosts.into_iter().map(|(url, host)| host.into_host(url.get_ref(), dir));
    Ok(HostsFile { server, hosts: hosts.collect::<Result<_, _>>().map_err(malformed)? })
}

impl RawHost {
    fn says_nothing(&self) -> bool {
        self.capabilities.is_none()
            && self.ca.is_none()
            && self.client.is_none()
            && self.skip_verify.is_none()
            && self.header.is_empty()
            && self.override_path.is_none()
    }

    fn into_host(self, url: &str, dir: &Path) -> Result<Host, String> {
        let path = |file: String| dir.join(file);
        let mut header = Vec::new();
        for (name, values) in self.header {
            let is_name = name.parse::<http::HeaderName>().is_ok();
            for value in values.into_vec() {
                if !is_name || http::HeaderValue::from_str(&value).is_err() {
                    return Err(format!("the header {name} cannot be sent"));
                }
                header.push((name.clone(), value));
            }
        }
        Ok(Host {
            url: base_url(url)?,
            role: role(self.capabilities.as_deref())?,
            ca: self.ca.map_or_else(Vec::new, OneOrMany::into_vec).into_iter().map(path).collect(),
            client: self.client.map_or_else(|| Ok(Vec::new()), |client| client.files(dir))?,
            skip_verify: self.skip_verify.unwrap_or(false),
            header,
            override_path: self.override_path.unwrap_or(false),
        })
    }
}

impl RawClient {
    fn files(self, dir: &Path) -> Result<Vec<(PathBuf, Option<PathBuf>)>, String> {
        let files = match self {
            Self::One(file) => vec![ClientFile::Both(file)],
            Self::Many(files) => files,
        };
        let files = files.into_iter().map(|file| match file {
            ClientFile::Both(both) => Ok((dir.join(both), None)),
            ClientFile::Pair(pair) => match pair.as_slice() {
                [both] => Ok((dir.join(both), None)),
                [certificate, key] if key.is_empty() => Ok((dir.join(certificate), None)),
                [certificate, key] => Ok((dir.join(certificate), Some(dir.join(key)))),
                other => Err(format!("a client certificate has two files, not {}", other.len())),
            },
        });
        files.collect()
    }
}

fn role(capabilities: Option<&[String]>) -> Result<Role, String> {
    let Some(capabilities) = capabilities.filter(|these| !these.is_empty()) else {
        return Ok(Role::ALL);
    };
    let mut role = Role::default();
    for capability in capabilities {
        match capability.to_ascii_lowercase().as_str() {
            "pull" => role.pull = true,
            "resolve" => role.resolve = true,
            "push" => role.push = true,
            other => return Err(format!("unknown capability {other}")),
        }
    }
    Ok(role)
}

/// Reads the base URL of a registry or a mirror; without a scheme it is `https`.
pub(crate) fn base_url(text: &str) -> Result<Uri, String> {
    let has_scheme = text.contains("://");
    let full = if has_scheme { text.to_owned() } else { format!("https://{text}") };
    let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
    let url: Uri = full.parse().map_err(|error| format!("{shown} is no URL: {error}"))?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(format!("{shown} is neither http nor https"));
    }
    if authority.contains('@') {
        return Err(format!("{shown} has a user or a password in its URL"));
    }
    if authority.is_empty() || url.host().is_none_or(str::is_empty) {
        return Err(format!("{shown} has no host"));
    }
    if url.query().is_some() || text.contains('#') {
        return Err(format!("{shown} has a query or a fragment"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HostsFile, String> {
        parse_hosts_toml(text, Path::new("/certs/a")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_example_of_containerd_is_read_in_its_order() {
        let file = parse(
            r#"
            server = "https://registry-1.docker.io"

            [host."https://z.example"]
              capabilities = ["pull", "resolve"]
              ca = "z.crt"
              [host."https://z.example".header]
                x-custom-1 = "custom header"
                authorization = ["s3cret"]

            [host."http://a.example:5000/v2/mirror"]
              capabilities = ["pull"]
              skip_verify = true
              override_path = true
              client = [["/k/me.cert", "me.key"], ["/k/both.pem", ""]]

            [host."m.example"]
              ca = ["one.crt", "/two.crt"]
              client = "both.pem"
            "#,
        )
        .unwrap();
        let server = file.server.as_ref().unwrap();
        assert_eq!(
            (server.url.to_string().as_str(), server.role),
            ("https://registry-1.docker.io/", Role::ALL)
        );
        let [z, a, m] = file.hosts.as_slice() else { panic!("{file:?}") };
        assert_eq!(z.url, "https://z.example");
        assert_eq!(z.role, Role { pull: true, resolve: true, push: false });
        assert_eq!(z.ca, [Path::new("/certs/a/z.crt")]);
        assert_eq!(z.header.len(), 2);
        assert!(!format!("{file:?}").contains("s3cret"));
        assert_eq!(a.url, "http://a.example:5000/v2/mirror");
        assert!(a.skip_verify && a.override_path && !a.role.resolve);
        assert_eq!(
            a.client,
            [
                (PathBuf::from("/k/me.cert"), Some(PathBuf::from("/certs/a/me.key"))),
                (PathBuf::from("/k/both.pem"), None)
            ]
        );
        assert_eq!((m.url.scheme_str(), m.role), (Some("https"), Role::ALL));
        assert_eq!(m.ca, [Path::new("/certs/a/one.crt"), Path::new("/two.crt")]);
        assert_eq!(m.client, [(PathBuf::from("/certs/a/both.pem"), None)]);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(parse("").unwrap(), HostsFile::default());
        assert_eq!(parse("server = ''").unwrap(), HostsFile::default());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (wrong, why) in [
            ("server = 1", "string"),
            ("sever = 'https://a'", "sever"),
            ("[host.'https://a']\ndial_timeout = '1s'", "dial_timeout"),
            ("[host.'https://a']\ncapabilities = ['fly']", "unknown capability fly"),
            ("[host.'ftp://a']", "neither http nor https"),
            ("[host.'https://u:p@a']", "password"),
            ("[host.'https://a?x=y']", "query"),
            ("[host.'https://a']\nclient = [['a','b','c']]", "not 3"),
            ("[host.'https://a'.header]\n'x y' = 'z'", "header"),
            ("skip_verify = true", "`server`"),
            ("[", ""),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.starts_with("/certs/a/hosts.toml is malformed: "), "{error}");
            assert!(error.contains(why) && !error.contains("u:p"), "{wrong}: {error}");
        }
    }
}
