//! `manifest`: lists of images for several platforms, made here and pushed to a registry.

mod kept;

use std::collections::HashSet;

use ferry_distribution::{
    ContentRead as _, ContentWrite as _, DistributionError, DistributionErrorKind, MountCandidate,
    RawManifest, RegistryContent, Repository, RoleKind, Selector, limits,
};
use ferry_oci::manifest::{Descriptor, Index, Manifest, media_type};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use serde_json::Value as Json;

use self::kept::{Kept, Member};
use crate::command_line::Matches;
use crate::console;
use crate::program::Cli;
use crate::registries::{self, Access};
use crate::report::Failure;

/// The systems and processors that Docker lets a list name.
const KNOWN: [(&str, &str); 11] = [
    ("darwin", "386 amd64 arm arm64"),
    ("dragonfly", "amd64"),
    ("freebsd", "386 amd64 arm"),
    ("linux", "386 amd64 arm arm64 mips mipsle mips64 mips64le ppc64le riscv64 s390x loong64"),
    ("netbsd", "386 amd64 arm"),
    ("openbsd", "386 amd64 arm"),
    ("plan9", "386 amd64"),
    ("solaris", "amd64"),
    ("windows", "386 amd64 arm arm64"),
    ("wasi", "wasm"),
    ("js", "wasm"),
];

/// `manifest create`
pub(super) async fn create(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [list, images @ ..] = matches.args.as_slice() else { return Ok(()) };
    let name = parse(list).map_err(|failure| {
        let why = failure.message;
        Failure::plain(format!("error parsing name for manifest list {list}: {why}"))
    })?;
    let kept = Kept::of(&cli.config);
    if kept.list(&name)?.is_some() && !matches.flag("amend") {
        return Err(Failure::plain(
            "refusing to amend an existing manifest list with no --amend flag",
        ));
    }
    for image in images {
        let image = parse(image)?;
        if kept.get(&name, &image)?.is_none() {
            let member = one(cli, matches, &image).await?;
            kept.save(&name, &image, &member)?;
        }
    }
    console::line(&format!("Created manifest list {name}"))
}

/// `manifest annotate`
pub(super) fn annotate(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [list, image] = matches.args.as_slice() else { return Ok(()) };
    let (list, image) = (parse(list)?, parse(image)?);
    let kept = Kept::of(&cli.config);
    let Some(mut member) = kept.get(&list, &image)? else {
        return Err(Failure::plain(format!("manifest for image {image} does not exist in {list}")));
    };
    let mut platform = member.descriptor.platform.take().unwrap_or_default();
    let (os, architecture) = (matches.text("os"), matches.text("arch"));
    for (field, text) in [
        (&mut platform.os, os),
        (&mut platform.architecture, architecture),
        (&mut platform.variant, matches.text("variant")),
        (&mut platform.os_version, matches.text("os-version")),
    ] {
        if !text.is_empty() {
            text.clone_into(field);
        }
    }
    for feature in matches.list("os-features") {
        if !platform.os_features.contains(&feature) {
            platform.os_features.push(feature);
        }
    }
    let is_known = KNOWN.iter().any(|(known, architectures)| {
        *known == platform.os && architectures.split(' ').any(|it| it == platform.architecture)
    });
    if !is_known {
        return Err(Failure::plain(format!(
            "manifest entry for image has unsupported os/arch combination: {os}/{architecture}"
        )));
    }
    member.descriptor.platform = Some(platform);
    kept.save(&list, &image, &member)
}

/// `manifest inspect`
pub(super) async fn inspect(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let verbose = matches.flag("verbose");
    let kept = Kept::of(&cli.config);
    if let [list, image] = matches.args.as_slice() {
        let (list, image) = (parse(list)?, parse(image)?);
        let member = kept.get(&list, &image)?;
        let member = member.ok_or_else(|| Failure::plain(format!("No such manifest: {image}")))?;
        return show(&member, verbose);
    }
    let name = parse(matches.args.first().map_or("", String::as_str))?;
    if let Some(members) = kept.list(&name)? {
        return show_list(&members, verbose);
    }
    let (repository, raw) = fetch(cli, matches, &name).await?;
    let Ok(index) = Index::parse(&raw.bytes) else {
        return show(&member(&repository, &name, raw).await?, verbose);
    };
    let mut members: Vec<Member> = Vec::new();
    let mut left = limits::MAX_LIST;
    for listed in index.manifests {
        let found = repository.manifest(&Selector::Digest(listed.digest.clone())).await;
        let raw = found.map_err(registries::failure)?.raw;
        left = left.checked_sub(raw.size()).ok_or_else(|| {
            let limit = limits::MAX_LIST;
            Failure::plain(format!("{name}: its manifests have more than {limit} bytes"))
        })?;
        let mut descriptor = raw.descriptor();
        descriptor.platform = listed.platform;
        let reference = match name.tag() {
            Some(tag) => format!("{}:{tag}@{}", name.name(), listed.digest),
            None => format!("{}@{}", name.name(), listed.digest),
        };
        members.push(Member { reference, descriptor, bytes: raw.bytes.to_vec() });
    }
    show_list(&members, verbose)
}

/// `manifest rm`
pub(super) fn remove(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let kept = Kept::of(&cli.config);
    let mut complaints = Vec::new();
    for name in &matches.args {
        let removed = parse(name).and_then(|name| match kept.list(&name)? {
            Some(_) => kept.remove(&name),
            None => Err(Failure::plain(format!("No such manifest: {name}"))),
        });
        complaints.extend(removed.err().map(|failure| failure.message));
    }
    super::all_or_failure(&complaints)
}

/// `manifest push`
pub(super) async fn push(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let name = parse(matches.args.first().map_or("", String::as_str))?;
    let kept = Kept::of(&cli.config);
    let members = kept.list(&name)?;
    let members = members.ok_or_else(|| Failure::plain(format!("No such manifest: {name}")))?;
    let list = assemble(&members)?;
    let target = registries::open(&cli.config, &name, RoleKind::Push, &access(matches))?;
    let work = send(cli, matches, &name, &members, &list, &target);
    registries::interruptible(work, target.settled()).await?;
    if matches.flag("purge") { kept.remove(&name) } else { Ok(()) }
}

/// Brings the members of a list into a repository, and then the list itself.
async fn send(
    cli: &Cli,
    matches: &Matches,
    name: &Reference,
    members: &[Member],
    list: &RawManifest,
    target: &Repository,
) -> Result<(), Failure> {
    for member in members {
        let source = parse(&member.reference)?;
        if source.domain() != name.domain() {
            return Err(Failure::plain(format!(
                "cannot use source images from a different registry than the target image: {} != {}",
                source.domain(),
                name.domain()
            )));
        }
        if source.path() == name.path() {
            continue;
        }
        let from = registries::open(&cli.config, &source, RoleKind::Pull, &access(matches))?;
        bring(member, &source, from, target).await.map_err(registries::failure)?;
        let digest = &member.descriptor.digest;
        console::line(&format!("Pushed ref {}@{digest} with digest: {digest}", name.name()))?;
    }
    let pushed = target.push_manifest(name.tag(), list).await.map_err(registries::failure)?;
    console::line(pushed.as_str())
}

/// Brings a member and its blobs out of a neighbouring repository.
async fn bring(
    member: &Member,
    source: &Reference,
    from: Repository,
    target: &Repository,
) -> Result<(), DistributionError> {
    let neighbours = vec![MountCandidate { repository: source.path().to_owned() }];
    let digest = member.descriptor.digest.clone();
    let place = |repository, neighbours| {
        let which = Selector::Digest(digest.clone());
        RegistryContent::new(repository, which, neighbours, std::env::temp_dir())
    };
    let (from, to) = (place(from, Vec::new()), place(target.clone(), neighbours));
    let manifest = Manifest::parse(&member.bytes).map_err(|error| {
        let what = format!("the manifest {digest}");
        DistributionError::Malformed { what, why: error.to_string() }
    })?;
    let mut seen = HashSet::new();
    let blobs = std::iter::once(&manifest.config).chain(&manifest.layers);
    for blob in blobs.filter(|blob| !blob.is_foreign() && seen.insert(&blob.digest)) {
        if !to.has_blob(blob).await? {
            to.put_blob(blob, from.blob(blob).await?).await?;
        }
    }
    let raw = RawManifest::new(member.descriptor.media_type.clone(), member.bytes.clone());
    to.put_manifest(&raw, false).await
}

fn parse(text: &str) -> Result<Reference, Failure> {
    let name = Reference::parse(text).map_err(|error| Failure::plain(error.to_string()))?;
    Ok(name.with_default_tag())
}

fn access(matches: &Matches) -> Access {
    Access { is_insecure: matches.flag("insecure"), ..Access::default() }
}

async fn fetch(
    cli: &Cli,
    matches: &Matches,
    name: &Reference,
) -> Result<(Repository, RawManifest), Failure> {
    let repository = registries::open(&cli.config, name, RoleKind::Pull, &access(matches))?;
    match repository.manifest(&registries::selector(name)).await {
        Ok(fetched) => Ok((repository, fetched.raw)),
        Err(error) if error.kind() == DistributionErrorKind::NotFound => {
            Err(Failure::plain(format!("no such manifest: {name}")))
        }
        Err(error) => Err(registries::failure(error)),
    }
}

/// An image of a registry as the member of a list.
async fn one(cli: &Cli, matches: &Matches, name: &Reference) -> Result<Member, Failure> {
    let (repository, raw) = fetch(cli, matches, name).await?;
    if Index::parse(&raw.bytes).is_ok() {
        return Err(Failure::plain(format!("{name} is a manifest list")));
    }
    member(&repository, name, raw).await
}

async fn member(
    repository: &Repository,
    name: &Reference,
    raw: RawManifest,
) -> Result<Member, Failure> {
    let manifest = Manifest::parse(&raw.bytes)
        .map_err(|error| Failure::plain(format!("the manifest of {name}: {error}")))?;
    let config = repository.small_blob(&manifest.config, limits::MAX_CONFIG).await;
    let config = config.map_err(registries::failure)?;
    // What is no image has no platform.
    let platform: Option<Platform> = serde_json::from_slice(&config).ok();
    let mut descriptor = raw.descriptor();
    descriptor.platform = platform;
    Ok(Member { reference: name.to_string(), descriptor, bytes: raw.bytes.to_vec() })
}

fn show(member: &Member, verbose: bool) -> Result<(), Failure> {
    let json = if verbose { member.to_json()? } else { member.document()? };
    console::line(&tabbed(&json)?)
}

fn show_list(members: &[Member], verbose: bool) -> Result<(), Failure> {
    if verbose {
        let members: Result<Vec<Json>, Failure> = members.iter().map(Member::to_json).collect();
        return console::line(&tabbed(&Json::Array(members?))?);
    }
    console::line(&String::from_utf8_lossy(&assemble(members)?.bytes))
}

fn tabbed(json: &Json) -> Result<String, Failure> {
    indented(json, b"\t").map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn indented(json: &Json, indent: &[u8]) -> Result<Vec<u8>, Failure> {
    use serde::Serialize as _;
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut out = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    json.serialize(&mut out).map_err(|error| Failure::plain(error.to_string()))?;
    Ok(bytes)
}

/// The list of the members, to the byte as Docker's client writes it: a list has the same digest
/// whoever made it.
fn assemble(members: &[Member]) -> Result<RawManifest, Failure> {
    let mut list = Vec::new();
    for member in members {
        let descriptor = &member.descriptor;
        let platform = descriptor.platform.as_ref();
        let Some(platform) = platform.filter(|it| !it.os.is_empty() && !it.architecture.is_empty())
        else {
            return Err(Failure::plain(format!(
                "manifest {} must have an OS and Architecture to be pushed to a registry",
                member.reference
            )));
        };
        list.push(serde_json::json!({
            "mediaType": descriptor.media_type,
            "size": descriptor.size,
            "digest": descriptor.digest,
            "platform": platform,
        }));
    }
    let is_oci = |descriptor: &Descriptor| descriptor.media_type == media_type::OCI_MANIFEST;
    let first = members.first().map(|member| &member.descriptor);
    let media =
        if first.is_some_and(is_oci) { media_type::OCI_INDEX } else { media_type::DOCKER_LIST };
    let list = serde_json::json!({"schemaVersion": 2, "mediaType": media, "manifests": list});
    Ok(RawManifest::new(media, indented(&list, b"   ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_that_of_docker_to_the_byte() {
        let member = |digest: &str, platform: Json| Member {
            reference: "h/a:1".into(),
            descriptor: Descriptor {
                platform: serde_json::from_value(platform).unwrap(),
                ..Descriptor::new(media_type::DOCKER_MANIFEST, digest.parse().unwrap(), 527)
            },
            bytes: Vec::new(),
        };
        let amd64 = serde_json::json!({"architecture": "amd64", "os": "linux"});
        let arm = serde_json::json!({
            "architecture": "arm", "os": "linux", "os.version": "3", "os.features": ["a", "b"],
            "variant": "v7",
        });
        let first = "sha256:8f8ab50e787288f4a392e80dc7275cbdb0bdb3eee60004764da7bb16c0fe24dd";
        let second = "sha256:7fdd2c5357c2b3889684bfa97beb8ba3ef08f482406f1d3cabdc91e7c562cbaa";
        let members = [member(first, amd64.clone()), member(first, amd64), member(second, arm)];
        // The digest that Docker's client 28.2 gave this list.
        assert_eq!(
            assemble(&members).unwrap().digest.as_str(),
            "sha256:c5e24f60857dc54739e5653490036c94d9e578fe36f43dafe844b18c9ef2e40a"
        );
        let nothing = member(first, serde_json::json!({}));
        assert_eq!(
            assemble(&[nothing]).unwrap_err().message,
            "manifest h/a:1 must have an OS and Architecture to be pushed to a registry"
        );
    }
}
