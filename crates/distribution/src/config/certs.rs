//! Certificates of a registry, in files that are named by Docker's rules.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// What lies in the directory of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertsDir {
    /// `*.crt`: authorities that are trusted besides those of the system.
    pub ca: Vec<PathBuf>,
    /// `*.cert` with `*.key`: who we are.
    pub client: Vec<(PathBuf, PathBuf)>,
}

/// Reads a directory such as `/etc/docker/certs.d/localhost:5000`. One that is not there has
/// nothing in it.
///
/// # Errors
/// When it cannot be read, or a certificate or a key has no counterpart.
pub fn read_certs_dir(dir: &Path) -> Result<CertsDir, ConfigError> {
    let failed = |source| ConfigError::File { doing: "reading", path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(CertsDir::default()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    pair(dir, &names)
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn pair(dir: &Path, names: &[OsString]) -> Result<CertsDir, ConfigError> {
    let mut found = CertsDir::default();
    let is_here = |name: &str| names.iter().any(|here| here == name);
    for name in names.iter().filter_map(|name| name.to_str()) {
        if name.ends_with(".crt") {
            found.ca.push(dir.join(name));
        } else if let Some(stem) = name.strip_suffix(".cert") {
            let key = format!("{stem}.key");
            if !is_here(&key) {
                return Err(ConfigError::MissingKey { certificate: name.to_owned(), key });
            }
            found.client.push((dir.join(name), dir.join(key)));
        } else if let Some(stem) = name.strip_suffix(".key") {
            let certificate = format!("{stem}.cert");
            if !is_here(&certificate) {
                return Err(ConfigError::MissingCertificate { certificate, key: name.to_owned() });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(names: &[&str]) -> Result<(Vec<String>, Vec<String>), String> {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("registry:5000");
        std::fs::create_dir(&dir).unwrap();
        for name in names {
            std::fs::write(dir.join(name), "").unwrap();
        }
        let found = read_certs_dir(&dir).map_err(|error| error.to_string())?;
        let name = |path: &PathBuf| path.strip_prefix(&dir).unwrap().to_str().unwrap().to_owned();
        let client = found.client.iter().map(|(a, b)| format!("{}+{}", name(a), name(b)));
        Ok((found.ca.iter().map(name).collect(), client.collect()))
    }

    #[test]
    fn files_are_known_by_their_names() {
        let (ca, client) =
            check(&["z.crt", "ca.crt", "me.cert", "me.key", "hosts.toml", "x.pem"]).unwrap();
        assert_eq!(ca, ["ca.crt", "z.crt"]);
        assert_eq!(client, ["me.cert+me.key"]);
    }

    #[test]
    fn a_half_of_a_pair_is_refused_in_dockers_words() {
        assert_eq!(
            check(&["me.cert"]).unwrap_err(),
            "missing key me.key for client certificate me.cert. CA certificates must use the extension .crt"
        );
        assert_eq!(
            check(&["me.key"]).unwrap_err(),
            "missing client certificate me.cert for key me.key"
        );
    }

    #[test]
    fn a_registry_without_a_directory_has_no_certificates() {
        let scratch = tempfile::tempdir().unwrap();
        assert_eq!(read_certs_dir(&scratch.path().join("none")).unwrap(), CertsDir::default());
        let file = scratch.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(read_certs_dir(&file.join("none")).unwrap(), CertsDir::default());
    }
}
