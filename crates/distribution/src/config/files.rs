//! The files of a registry, in the directories that are configured.

use std::path::{Path, PathBuf};

use super::ConfigError;
use super::certs::{CertsDir, is_missing, read_certs_dir};
use super::hosts_toml::{HostsFile, parse_hosts_toml};

/// What the files of a registry say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryFiles {
    /// Its `hosts.toml`, if it has one.
    pub hosts: Option<HostsFile>,
    /// Its certificates.
    pub certs: CertsDir,
}

/// Reads what the first of the directories that knows a registry, a host with its port if it has
/// one, says of it. `_default` stands for every registry that has no directory of its own.
///
/// # Errors
/// When a file is there and cannot be read or understood.
pub fn read_registry_files(dirs: &[PathBuf], host: &str) -> Result<RegistryFiles, ConfigError> {
    // Names come from users: one that leads elsewhere has no directory.
    let is_name = !host.is_empty() && !host.starts_with('.') && !host.contains(['/', '\0']);
    let names = [host.to_owned(), with_underscores(host), "_default".to_owned()];
    for name in names.iter().filter(|_| is_name) {
        let mut candidates = dirs.iter().map(|dir| dir.join(name));
        if let Some(dir) = candidates.find(|dir| dir.is_dir()) {
            return read(&dir);
        }
    }
    Ok(RegistryFiles::default())
}

/// The form that containerd has for file systems without colons: `host_5000_`.
fn with_underscores(host: &str) -> String {
    host.rsplit_once(':').map_or_else(|| host.to_owned(), |(host, port)| format!("{host}_{port}_"))
}

fn read(dir: &Path) -> Result<RegistryFiles, ConfigError> {
    let path = dir.join("hosts.toml");
    let hosts = match std::fs::read_to_string(&path) {
        Ok(text) => Some(parse_hosts_toml(&text, dir)?),
        Err(error) if is_missing(&error) => None,
        Err(source) => return Err(ConfigError::File { doing: "reading", path, source }),
    };
    Ok(RegistryFiles { hosts, certs: read_certs_dir(dir)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_directory_that_knows_a_registry_counts() {
        let scratch = tempfile::tempdir().unwrap();
        let dirs = ["ferry", "docker"].map(|name| scratch.path().join(name));
        let write = |path: &str, text: &str| {
            let path = scratch.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("ferry/a:5000/hosts.toml", "server = 'https://ferry'");
        write("docker/a:5000/hosts.toml", "server = 'https://docker'");
        write("docker/b_5000_/ca.crt", "");
        write("docker/_default/hosts.toml", "server = 'https://default'");
        write("docker/broken/hosts.toml", "[");
        write("hosts.toml", "server = 'https://above'");
        let read = |host: &str| read_registry_files(&dirs, host);
        let server = |host| read(host).unwrap().hosts.unwrap().server.unwrap().url.to_string();
        assert_eq!(server("a:5000"), "https://ferry/");
        assert_eq!(server("a"), "https://default/");
        let b = read("b:5000").unwrap();
        assert_eq!((b.hosts, b.certs.ca.len()), (None, 1));
        for outside in ["..", ".", "", "a/../..", "../ferry/a:5000"] {
            assert_eq!(read(outside).unwrap(), RegistryFiles::default(), "{outside}");
        }
        assert!(read("broken").unwrap_err().to_string().contains("broken/hosts.toml is malformed"));
    }
}
