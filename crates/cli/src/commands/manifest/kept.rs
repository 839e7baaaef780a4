//! Lists in the making: `manifests/LIST/IMAGE` beside `config.json`, as Docker's client keeps them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ferry_oci::manifest::{Descriptor, media_type};
use ferry_oci::reference::Reference;
use ferry_sys::durable::{self, Survive};
use serde_json::Value as Json;

use crate::config::Config;
use crate::report::Failure;

/// An image in a list.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    /// Its name, complete.
    pub(super) reference: String,
    /// What the list says of it.
    pub(super) descriptor: Descriptor,
    /// Its manifest.
    pub(super) bytes: Vec<u8>,
}

impl Member {
    /// Its manifest as JSON.
    pub(super) fn document(&self) -> Result<Json, Failure> {
        serde_json::from_slice(&self.bytes)
            .map_err(|error| Failure::plain(format!("the manifest of {}: {error}", self.reference)))
    }

    /// All of it, as Docker's client writes it.
    pub(super) fn to_json(&self) -> Result<Json, Failure> {
        let is_oci = self.descriptor.media_type == media_type::OCI_MANIFEST;
        let kind = if is_oci { "OCIManifest" } else { "SchemaV2Manifest" };
        Ok(serde_json::json!({
            "Ref": self.reference,
            "Descriptor": self.descriptor,
            "Raw": STANDARD.encode(&self.bytes),
            kind: self.document()?,
        }))
    }

    fn from_json(json: &Json) -> Option<Self> {
        let reference = json.get("Ref")?.as_str()?.to_owned();
        let descriptor: Descriptor =
            serde_json::from_value(json.get("Descriptor")?.clone()).ok()?;
        let bytes = STANDARD.decode(json.get("Raw")?.as_str()?).ok()?;
        descriptor.digest.matches(&bytes).then_some(Self { reference, descriptor, bytes })
    }
}

/// Where the lists are.
#[derive(Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn of(config: &Config) -> Self {
        Self(config.directory().join("manifests"))
    }

    fn path(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }

    /// The members of a list, by the names of their files; nothing if there is no such list.
    pub(super) fn list(&self, list: &Reference) -> Result<Option<Vec<Member>>, Failure> {
        let directory = self.path(list);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&directory, &error)),
        };
        let paths: io::Result<Vec<PathBuf>> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut paths = paths.map_err(|error| failed(&directory, &error))?;
        paths.sort();
        let members: Result<Vec<Option<Member>>, Failure> =
            paths.iter().map(|path| read(path)).collect();
        Ok(Some(members?.into_iter().flatten().collect()))
    }

    /// A member of a list, if it is in it.
    pub(super) fn get(
        &self,
        list: &Reference,
        image: &Reference,
    ) -> Result<Option<Member>, Failure> {
        read(&self.path(list).join(file_name(image)))
    }

    /// Puts an image into a list.
    pub(super) fn save(
        &self,
        list: &Reference,
        image: &Reference,
        member: &Member,
    ) -> Result<(), Failure> {
        let directory = self.path(list);
        fs::create_dir_all(&directory).map_err(|error| failed(&directory, &error))?;
        let path = directory.join(file_name(image));
        let bytes = member.to_json()?.to_string();
        durable::write(&path, bytes.as_bytes(), 0o644, Survive::Processes)
            .map_err(|error| Failure::plain(error.to_string()))
    }

    /// Removes a list.
    pub(super) fn remove(&self, list: &Reference) -> Result<(), Failure> {
        let directory = self.path(list);
        fs::remove_dir_all(&directory).map_err(|error| failed(&directory, &error))
    }
}

fn read(path: &Path) -> Result<Option<Member>, Failure> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, &error)),
    };
    let json: Option<Json> = serde_json::from_slice(&bytes).ok();
    match json.as_ref().and_then(Member::from_json) {
        Some(member) => Ok(Some(member)),
        None => Err(Failure::plain(format!("{} is malformed", path.display()))),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::plain(format!("{}: {error}", path.display()))
}

/// A complete name as a file's: no separator of paths is left in it.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

#[cfg(test)]
mod tests {
    use ferry_oci::digest::Digest;

    use super::*;

    #[test]
    fn a_member_is_read_as_it_was_written() {
        let bytes = br#"{"schemaVersion":2}"#.to_vec();
        let size = bytes.len() as u64;
        let descriptor =
            Descriptor::new(media_type::DOCKER_MANIFEST, Digest::sha256_of(&bytes), size);
        let member = Member { reference: "h:1/a:1".into(), descriptor, bytes };
        let json = member.to_json().unwrap();
        assert_eq!(Member::from_json(&json), Some(member.clone()));
        assert!(json.get("SchemaV2Manifest").is_some());
        let mut wrong = json;
        wrong["Raw"] = STANDARD.encode("{}").into();
        assert_eq!(Member::from_json(&wrong), None);
        let name = Reference::parse("127.0.0.1:5871/l:1").unwrap();
        assert_eq!(file_name(&name), "127.0.0.1-5871_l-1");
    }
}
