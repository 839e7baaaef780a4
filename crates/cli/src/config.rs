//! The client's configuration: `config.json`, contexts, and where the engine is.

use std::path::{Path, PathBuf};

use ferry_client::Address;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::options::files::reason;
use crate::report::Failure;

/// Where our own engine listens, and where Docker's does.
const SOCKETS: [&str; 2] = ["/run/ferry/ferry.sock", "/var/run/docker.sock"];

/// The configuration directory and what `config.json` in it says.
#[derive(Debug)]
pub(crate) struct Config {
    directory: PathBuf,
    json: Json,
}

/// What the command line says about the engine.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub hosts: Vec<String>,
    pub context: Option<String>,
}

/// The engine that is spoken to.
#[derive(Debug)]
pub(crate) struct Engine {
    pub address: Address,
    /// The context's name.
    pub context: String,
}

impl Config {
    /// Reads `config.json`; that there is none is no fault.
    pub(crate) fn load(directory: Option<&str>) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let directory = match directory.map(str::to_owned).or_else(|| set("DOCKER_CONFIG")) {
            Some(directory) => PathBuf::from(directory),
            None => Path::new(&set("HOME").unwrap_or_default()).join(".docker"),
        };
        let path = directory.join("config.json");
        let json = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let path = path.display();
                crate::console::complain(&format!(
                    "WARNING: Error loading config file: {path}: {error}"
                ));
                Json::Null
            }),
            Err(_absent) => Json::Null,
        };
        Self { directory, json }
    }

    /// Where `config.json` is, or would be.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("config.json")
    }

    /// The directory of the configuration.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What `config.json` says.
    pub(crate) fn json(&self) -> &Json {
        &self.json
    }

    /// A text of the configuration, such as `psFormat`.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.json.get(key)?.as_str().filter(|text| !text.is_empty())
    }

    /// The environment of a new container as `proxies` has it for the engine at `host`.
    pub(crate) fn proxies(&self, host: &str) -> Vec<(String, String)> {
        const NAMES: [(&str, &str); 5] = [
            ("httpProxy", "HTTP_PROXY"),
            ("httpsProxy", "HTTPS_PROXY"),
            ("noProxy", "NO_PROXY"),
            ("ftpProxy", "FTP_PROXY"),
            ("allProxy", "ALL_PROXY"),
        ];
        let Some(proxies) = self.json.get("proxies") else { return Vec::new() };
        let Some(proxy) = proxies.get(host).or_else(|| proxies.get("default")) else {
            return Vec::new();
        };
        NAMES
            .iter()
            .filter_map(|(key, name)| Some((name, proxy.get(key)?.as_str()?)))
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| {
                [(*name).to_owned(), name.to_lowercase()].map(|name| (name, value.to_owned()))
            })
            .collect()
    }

    /// Finds the engine: by `--context`, `-H`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current
    /// context, and else at the default sockets.
    pub(crate) fn engine(&self, choice: &Choice) -> Result<Engine, Failure> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let failed = |why: String| {
            Failure::plain(format!(
                "Failed to initialize: unable to resolve docker endpoint: {why}"
            ))
        };
        if choice.context.is_some() && !choice.hosts.is_empty() {
            return Err(Failure::plain(
                "conflicting options: cannot specify both --host and --context",
            ));
        }
        if choice.hosts.len() > 1 {
            return Err(failed("Specify only one -H".into()));
        }
        let host = choice.hosts.first().cloned();
        let context = match (&choice.context, host.or_else(|| set("DOCKER_HOST"))) {
            (Some(context), _) => context.clone(),
            (None, Some(host)) => {
                let address = read_host(&host).map_err(failed)?;
                return Ok(Engine { address, context: "default".into() });
            }
            (None, None) => set("DOCKER_CONTEXT")
                .or_else(|| self.text("currentContext").map(str::to_owned))
                .unwrap_or_else(|| "default".into()),
        };
        if context != "default" {
            let host = self.context_host(&context).map_err(failed)?;
            let address = read_host(&host).map_err(failed)?;
            return Ok(Engine { address, context });
        }
        if let Some(host) = choice.context.as_ref().and_then(|_default| set("DOCKER_HOST")) {
            return Ok(Engine { address: read_host(&host).map_err(failed)?, context });
        }
        let [own, docker] = SOCKETS;
        let path = if Path::new(own).exists() { own } else { docker };
        Ok(Engine { address: Address::Unix(path.into()), context })
    }

    fn context_host(&self, name: &str) -> Result<String, String> {
        let digest = hex(&Sha256::digest(name.as_bytes()));
        let path = self.directory.join("contexts/meta").join(digest).join("meta.json");
        let bytes = std::fs::read(&path).map_err(|error| {
            format!(
                "context {name:?}: context not found: open {}: {}",
                path.display(),
                reason(&error)
            )
        })?;
        let meta: Json = serde_json::from_slice(&bytes)
            .map_err(|error| format!("context {name:?}: {}: {error}", path.display()))?;
        let host = meta.pointer("/Endpoints/docker/Host").and_then(Json::as_str);
        host.map(str::to_owned).ok_or_else(|| format!("context {name:?} has no docker endpoint"))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads a host as Docker does: without a scheme it is TCP.
fn read_host(host: &str) -> Result<Address, String> {
    let host = host.trim();
    let refuse = |scheme: &str| {
        Err(format!("{scheme}:// hosts are not supported yet; use unix:// or tcp://"))
    };
    let text = match host.split_once("://") {
        Some((scheme @ ("ssh" | "npipe" | "fd" | "https"), _)) => return refuse(scheme),
        Some(("unix" | "tcp" | "http", _)) => host.to_owned(),
        Some(_) => return Err(format!("invalid bind address format: {host}")),
        None => format!("tcp://{host}"),
    };
    text.parse().map_err(|error: ferry_client::InvalidAddress| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_unix_or_tcp() {
        let check = |host: &str, expect: Result<&str, &str>| {
            let got = read_host(host).map(|address| address.to_string());
            assert_eq!(got, expect.map(str::to_owned).map_err(str::to_owned), "{host}");
        };
        check("unix:///run/x.sock", Ok("unix:///run/x.sock"));
        check("tcp://h:1", Ok("tcp://h:1"));
        check("h", Ok("tcp://h:2375"));
        check("ssh://h", Err("ssh:// hosts are not supported yet; use unix:// or tcp://"));
        check("foo://h", Err("invalid bind address format: foo://h"));
    }

    #[test]
    fn proxies_become_variables_in_both_cases() {
        let json = serde_json::json!({"proxies": {"default": {"httpProxy": "http://p:1"}}});
        let config = Config { directory: PathBuf::new(), json };
        let expect = [("HTTP_PROXY", "http://p:1"), ("http_proxy", "http://p:1")];
        let expect = expect.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(config.proxies("unix:///x"), expect);
    }
}
