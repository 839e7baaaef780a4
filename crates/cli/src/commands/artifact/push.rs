//! `artifact push`

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ferry_distribution::{
    ArtifactParts, BlobBody, BlobSource, CopyEvent, DistributionError, EMPTY, LocalFile, PushStep,
    Pushed, Repository, Selector, build_artifact, empty,
};
use ferry_oci::manifest::Descriptor;
use ferry_oci::reference::Reference;

use super::{TITLE, UNKNOWN_TYPE};
use crate::command_line::Matches;
use crate::commands::transfer::Transfer;
use crate::console;
use crate::registries;
use crate::report::Failure;

/// The type of a file that nothing is said of.
const ANY_FILE: &str = "application/octet-stream";

pub(super) async fn run(
    matches: &Matches,
    name: &Reference,
    repository: &Repository,
) -> Result<(), Failure> {
    let annotations = annotations(&matches.list("annotation"))?;
    if name.digest().is_some() {
        return Err(Failure::plain("cannot push a digest reference"));
    }
    let typed = matches.args.get(1..).unwrap_or_default();
    let mut files = Vec::new();
    let mut titles = HashSet::new();
    for text in typed {
        let file = File::open(text).await?;
        if !titles.insert(file.title.clone()) {
            return Err(Failure::plain(format!("two files would be called {:?}", file.title)));
        }
        files.push(file);
    }
    let config = match matches.value("config") {
        Some(text) => Some(config(text).await?),
        None => None,
    };
    let artifact_type = artifact_type(matches, config.is_some())?;
    let subject = match matches.value("subject") {
        Some(text) => Some(subject(name, repository, text).await?),
        None => None,
    };
    let mut parts = ArtifactParts { artifact_type, subject, annotations, ..Default::default() };
    let mut blobs: Vec<(Descriptor, BlobBody)> = Vec::new();
    if config.is_none() || files.is_empty() {
        blobs.push((empty(), BlobBody::Here(Arc::new(Empty))));
    }
    if let Some((descriptor, file)) = config {
        blobs.push((descriptor.clone(), file.body()));
        parts.config = Some(descriptor);
    }
    for file in files {
        parts.files.push(file.descriptor());
        blobs.push((file.local.descriptor(&file.media_type), file.local.body()));
    }
    let raw = build_artifact(parts);
    let mut transfer = Transfer::new(matches.flag("quiet"));
    let mut done = HashSet::new();
    for (blob, body) in blobs {
        if done.insert(blob.digest.clone()) {
            send(repository, &blob, body, &mut transfer).await.map_err(registries::failure)?;
        }
    }
    let pushed = repository.push_manifest(name.tag(), &raw).await.map_err(registries::failure)?;
    transfer.tell(&CopyEvent::Manifest(raw.descriptor()));
    console::line(pushed.as_str())
}

/// A file as it is pushed.
struct File {
    title: String,
    media_type: String,
    local: LocalFile,
}

impl File {
    /// Reads `FILE[:MEDIATYPE]`. Its title is its path, if that is one beneath where it is taken
    /// up again, or else its name.
    async fn open(text: &str) -> Result<Self, Failure> {
        let (path, media_type) = split(text)?;
        let path = Path::new(path);
        if path.is_dir() {
            return Err(Failure::plain(format!(
                "{} is a directory; pack it into an archive and push that",
                path.display()
            )));
        }
        let local = hashed(path).await?;
        let media_type = media_type.unwrap_or(ANY_FILE).to_owned();
        Ok(Self { title: title(path), media_type, local })
    }

    fn descriptor(&self) -> Descriptor {
        let mut descriptor = self.local.descriptor(&self.media_type);
        descriptor.annotations.insert(TITLE.into(), self.title.clone());
        descriptor
    }
}

/// Divides `FILE:MEDIATYPE`; a file whose name has a colon must be followed by its type.
fn split(text: &str) -> Result<(&str, Option<&str>), Failure> {
    match text.rsplit_once(':') {
        None => Ok((text, None)),
        Some((path, kind)) if is_media_type(kind) && !path.is_empty() => Ok((path, Some(kind))),
        Some((_, kind)) => Err(Failure::plain(format!(
            "{text}: {kind:?} is no media type such as text/plain; write FILE:MEDIATYPE"
        ))),
    }
}

/// [RFC 6838, 4.2]
fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_fine = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c);
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_fine)
    };
    text.split_once('/').is_some_and(|(kind, name)| is_name(kind) && is_name(name))
}

/// A path beneath the current directory as it is, in one form; of others the last part.
fn title(path: &Path) -> String {
    use std::path::Component;
    let parts: Vec<Component<'_>> =
        path.components().filter(|part| *part != Component::CurDir).collect();
    let is_beneath = parts.iter().all(|part| matches!(part, Component::Normal(_)));
    let parts = if is_beneath { &parts[..] } else { &parts[parts.len().saturating_sub(1)..] };
    let names: Vec<_> = parts.iter().map(|part| part.as_os_str().to_string_lossy()).collect();
    names.join("/")
}

/// Opens a file and reads it once, on a thread of its own: an interruption does not wait for that.
async fn hashed(path: &Path) -> Result<LocalFile, Failure> {
    let path = path.to_owned();
    let hashing = tokio::task::spawn_blocking(move || LocalFile::open(&path));
    let hashed = hashing.await.map_err(|error| Failure::plain(error.to_string()))?;
    hashed.map_err(registries::failure)
}

async fn config(text: &str) -> Result<(Descriptor, LocalFile), Failure> {
    let (path, kind) = split(text)?;
    let Some(kind) = kind else {
        return Err(Failure::plain(format!(
            "--config {text}: its media type is missing; write FILE:MEDIATYPE"
        )));
    };
    let file = hashed(Path::new(path)).await?;
    Ok((file.descriptor(kind), file))
}

fn artifact_type(matches: &Matches, has_config: bool) -> Result<Option<String>, Failure> {
    match matches.value("artifact-type") {
        Some(kind) if is_media_type(kind) => Ok(Some(kind.to_owned())),
        Some(kind) => Err(Failure::plain(format!(
            "--artifact-type {kind:?} is no media type such as application/vnd.example+json"
        ))),
        None if has_config => Ok(None),
        None => Ok(Some(UNKNOWN_TYPE.to_owned())),
    }
}

fn annotations(values: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut all = BTreeMap::new();
    for text in values {
        let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            let why = format!("invalid annotation {text:?}, expected key=value");
            return Err(Failure::plain(why));
        };
        if all.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::plain(format!("two annotations are called {key:?}")));
        }
    }
    Ok(all)
}

/// What the artifact is about. It must be in the same repository: that is where it is looked for.
async fn subject(
    name: &Reference,
    repository: &Repository,
    text: &str,
) -> Result<Descriptor, Failure> {
    let which = match text.parse() {
        Ok(digest) => Selector::Digest(digest),
        Err(_) => {
            let subject = Reference::parse(text)
                .map_err(|error| Failure::plain(format!("--subject {text}: {error}")))?;
            if subject.name() != name.name() {
                return Err(Failure::plain(format!(
                    "--subject {text}: it must be in the repository {}; copy it there first",
                    name.familiar_name()
                )));
            }
            registries::selector(&subject)
        }
    };
    let found = repository.head_manifest(&which).await.map_err(registries::failure)?;
    let found = found.ok_or_else(|| Failure::plain(format!("no such manifest: {text}")))?;
    if found.is_index() || found.is_manifest() {
        return Ok(found);
    }
    let kind = found.media_type;
    Err(Failure::plain(format!("--subject {text} is {kind}, which nothing can be about")))
}

/// Sends a blob, unless it is there.
async fn send(
    repository: &Repository,
    blob: &Descriptor,
    body: BlobBody,
    transfer: &mut Transfer,
) -> Result<(), DistributionError> {
    let BlobBody::Here(source) = body else { return Ok(()) };
    let mut tell = |step: PushStep| {
        if let PushStep::Sent { bytes } = step {
            transfer.tell(&CopyEvent::Progress { blob: blob.clone(), bytes });
        }
    };
    let pushed = repository.push_blob(blob, &source, &[], &mut tell).await?;
    transfer.tell(&match pushed {
        Pushed::Existed => CopyEvent::Exists(blob.clone()),
        _ => CopyEvent::Copied(blob.clone()),
    });
    Ok(())
}

/// The empty configuration.
struct Empty;

impl BlobSource for Empty {
    fn open(&self, from: u64) -> std::io::Result<Box<dyn std::io::Read + Send>> {
        let from = usize::try_from(from).unwrap_or(EMPTY.len()).min(EMPTY.len());
        Ok(Box::new(&EMPTY[from..]))
    }

    fn size(&self) -> Option<u64> {
        Some(EMPTY.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_followed_by_its_type() {
        let check = |text: &str, expect: Option<(&str, Option<&str>)>| {
            assert_eq!(split(text).ok(), expect, "{text}");
        };
        check("a.txt", Some(("a.txt", None)));
        check("a.txt:text/plain", Some(("a.txt", Some("text/plain"))));
        check("a:b:application/vnd.x+json", Some(("a:b", Some("application/vnd.x+json"))));
        check("a:b", None);
        check("a:text/", None);
        check(":text/plain", None);
    }

    #[test]
    fn a_title_never_leads_upwards() {
        let check = |path: &str, expect: &str| assert_eq!(title(Path::new(path)), expect);
        check("a.txt", "a.txt");
        check("./d//a.txt", "d/a.txt");
        check("../d/a.txt", "a.txt");
        check("/etc/passwd", "passwd");
    }

    #[test]
    fn annotations_have_keys_and_are_different() {
        let parse = |texts: &[&str]| {
            annotations(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(parse(&["a=b=c", "d="]).unwrap()["a"], "b=c");
        assert!(parse(&["a"]).is_err() && parse(&["=a"]).is_err());
        assert!(parse(&["a=b", "a=c"]).is_err());
        assert!(is_media_type(ferry_oci::manifest::media_type::OCI_EMPTY));
    }
}
