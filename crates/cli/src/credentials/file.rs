//! The credentials in `config.json`. They are encoded there, not encrypted.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferry_api::registry::AuthConfig;
use ferry_sys::durable::{self, Survive};
use serde::Serialize as _;
use serde_json::{Map, Value as Json};

use super::hostname;
use crate::config::Config;
use crate::console;

/// Who may read the file when it is new: the user.
const MODE: u32 = 0o600;

/// The credentials of one registry, or nobody's.
pub(super) fn get(config: &Config, server: &str) -> AuthConfig {
    let Some(entries) = entries(config.json()) else { return AuthConfig::default() };
    // Compat: older clients kept addresses, with scheme and path.
    let found = entries
        .get_key_value(server)
        .or_else(|| entries.iter().find(|(address, _)| hostname(address) == server));
    let Some((address, entry)) = found else { return AuthConfig::default() };
    decode(address, entry).unwrap_or_else(|why| {
        let path = config.path();
        console::complain(&format!(
            "WARNING: Error parsing config file ({}): {why}",
            path.display()
        ));
        serde_json::from_value(entry.clone()).unwrap_or_default()
    })
}

/// Keeps the credentials of a registry; whether the file changed.
pub(super) fn store(
    config: &Config,
    auth: &AuthConfig,
    default_helper: Option<&str>,
) -> Result<bool, String> {
    let server = auth.serveraddress.as_str();
    let entry = encode(auth);
    let mut json = read(config)?;
    let is_same = entries(&json).and_then(|all| all.get(server)).is_some_and(|old| *old == entry);
    if is_same {
        return Ok(false);
    }
    if let Some(helper) = default_helper {
        json.insert("credsStore".into(), helper.into());
    }
    let all = json.entry("auths").or_insert_with(|| Json::Object(Map::new()));
    if let Some(all) = all.as_object_mut() {
        all.insert(server.to_owned(), entry);
        all.sort_keys();
    }
    write(&config.path(), &json)?;
    Ok(true)
}

/// Forgets the credentials of a registry.
pub(super) fn erase(config: &Config, server: &str) -> Result<(), String> {
    let mut json = read(config)?;
    let all = json.get_mut("auths").and_then(Json::as_object_mut);
    if all.and_then(|all| all.remove(server)).is_none() {
        return Ok(());
    }
    write(&config.path(), &json)
}

trait Entries {
    fn of(&self, key: &str) -> Option<&Json>;
}

impl Entries for Json {
    fn of(&self, key: &str) -> Option<&Json> {
        self.get(key)
    }
}

impl Entries for Map<String, Json> {
    fn of(&self, key: &str) -> Option<&Json> {
        self.get(key)
    }
}

fn entries(json: &impl Entries) -> Option<&Map<String, Json>> {
    json.of("auths")?.as_object()
}

/// Reads `user:password` out of its base64.
fn decode(address: &str, entry: &Json) -> Result<AuthConfig, String> {
    let mut auth: AuthConfig = serde_json::from_value(entry.clone()).unwrap_or_default();
    if !auth.auth.is_empty() {
        let bytes = STANDARD.decode(&auth.auth).map_err(|error| {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _)
                | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                    auth.auth.len()
                }
            };
            format!("illegal base64 data at input byte {at}")
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let (user, password) = text
            .split_once(':')
            .filter(|(user, _)| !user.is_empty())
            .ok_or("Invalid auth configuration file")?;
        (auth.username, auth.password) = (user.into(), password.trim_matches('\0').into());
        auth.auth.clear();
    }
    address.clone_into(&mut auth.serveraddress);
    Ok(auth)
}

fn encode(auth: &AuthConfig) -> Json {
    let mut entry = Map::new();
    if !auth.username.is_empty() || !auth.password.is_empty() {
        let text = STANDARD.encode(format!("{}:{}", auth.username, auth.password));
        entry.insert("auth".into(), text.into());
    }
    for (name, token) in
        [("identitytoken", &auth.identitytoken), ("registrytoken", &auth.registrytoken)]
    {
        if !token.is_empty() {
            entry.insert(name.into(), token.as_str().into());
        }
    }
    Json::Object(entry)
}

/// Reads the file as it is now; another client may have written it since we began.
fn read(config: &Config) -> Result<Map<String, Json>, String> {
    let path = config.path();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(format!("open {}: {error}", path.display())),
    };
    // What cannot be understood is not written over.
    serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the file whole or not at all, where a link leads, with the mode and owner it had.
fn write(path: &Path, json: &Map<String, Json>) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("writing {}: {error}", path.display());
    let mut bytes = Vec::new();
    let indented = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut out = serde_json::Serializer::with_formatter(&mut bytes, indented);
    json.serialize(&mut out).map_err(|error| failed(&error))?;
    if let Some(directory) = path.parent() {
        use std::os::unix::fs::DirBuilderExt as _;
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(directory);
        made.map_err(|error| failed(&error))?;
    }
    let path = target(path);
    let before = std::fs::metadata(&path).ok();
    let mode = before.as_ref().map_or(MODE, |file| file.permissions().mode() & 0o777);
    durable::write(&path, &bytes, mode, Survive::Processes).map_err(|error| failed(&error))?;
    if let Some(before) = before {
        // Compat: a file of another's that we may write stays his, if we may say so.
        drop(chown(&path, Some(before.uid()), Some(before.gid())));
    }
    Ok(())
}

/// Where the file is, when its place has a link to it.
fn target(path: &Path) -> PathBuf {
    if let Ok(real) = std::fs::canonicalize(path) {
        return real;
    }
    match (std::fs::read_link(path), path.parent()) {
        (Ok(link), Some(directory)) => directory.join(link),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(user: &str, password: &str) -> AuthConfig {
        AuthConfig {
            username: user.into(),
            password: password.into(),
            serveraddress: "host:5000".into(),
            ..AuthConfig::default()
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let auth = auth("me", "s3cret:with colon");
        assert_eq!(decode("host:5000", &encode(&auth)).unwrap(), auth);
        let token = AuthConfig { identitytoken: "t".into(), ..self::auth("me", "") };
        assert_eq!(encode(&token).to_string(), r#"{"auth":"bWU6","identitytoken":"t"}"#);
        assert_eq!(encode(&AuthConfig::default()).to_string(), "{}");
    }

    #[test]
    fn malformed_entries_are_told_in_dockers_words() {
        let check = |auth: &str, expect: &str| {
            assert_eq!(decode("h", &serde_json::json!({ "auth": auth })).unwrap_err(), expect);
        };
        check("!!!", "illegal base64 data at input byte 0");
        check("bWU=", "Invalid auth configuration file");
        check("OnB3", "Invalid auth configuration file");
    }

    #[test]
    fn the_file_keeps_what_is_not_ours_and_its_mode() {
        let directory = std::env::temp_dir().join(format!("ferry-cli-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let real = directory.join("real.json");
        std::fs::write(&real, r#"{"foo":{"b":[1,2]},"auths":{"z":{}}}"#).unwrap();
        std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
        let link = directory.join("config.json");
        std::os::unix::fs::symlink("real.json", &link).unwrap();
        let config = Config::load(directory.to_str());
        assert!(store(&config, &auth("me", "pw"), None).unwrap());
        assert!(!store(&config, &auth("me", "pw"), None).unwrap());
        let text = std::fs::read_to_string(&real).unwrap();
        let expect = "{\n\t\"foo\": {\n\t\t\"b\": [\n\t\t\t1,\n\t\t\t2\n\t\t]\n\t},\n\t\"auths\": {\n\t\t\"host:5000\": {\n\t\t\t\"auth\": \"bWU6cHc=\"\n\t\t},\n\t\t\"z\": {}\n\t}\n}";
        assert_eq!(text, expect);
        assert!(link.is_symlink());
        assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(get(&Config::load(directory.to_str()), "host:5000"), auth("me", "pw"));
        erase(&config, "host:5000").unwrap();
        assert_eq!(get(&Config::load(directory.to_str()), "host:5000"), AuthConfig::default());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
