//! `image copy`: from place to place, without an engine.

use std::path::{Path, PathBuf};

use ferry_distribution::{
    ContentRead, ContentWrite, CopyEvent, CopyPlan, DirectoryContent, DistributionError,
    DockerArchive, LayoutContent, LayoutWriter, MountCandidate, RegistryContent, RoleKind, copy,
};
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use crate::command_line::Matches;
use crate::console;
use crate::format::units::human_size;
use crate::options::platforms;
use crate::program::Cli;
use crate::registries::{self, Access};
use crate::report::Failure;

/// Where an image is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Registry(Reference),
    Layout(PathBuf, Option<String>),
    Archive(PathBuf, Option<String>),
    DockerArchive(PathBuf, Option<String>),
    Directory(PathBuf),
}

impl Place {
    /// Reads `docker://NAME`, `oci:DIRECTORY[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:NAME]`, `dir:DIRECTORY`; anything else is the name of an image.
    fn parse(text: &str) -> Result<Self, String> {
        let path = |rest: &str| match rest.split_once(':') {
            Some((path, tag)) if !tag.is_empty() => (PathBuf::from(path), Some(tag.to_owned())),
            Some((path, _)) => (PathBuf::from(path), None),
            None => (PathBuf::from(rest), None),
        };
        let place = match text.split_once(':') {
            Some(("oci", rest)) if !rest.is_empty() => {
                let (path, tag) = path(rest);
                Self::Layout(path, tag)
            }
            Some(("oci-archive", rest)) if !rest.is_empty() => {
                let (path, tag) = path(rest);
                Self::Archive(path, tag)
            }
            Some(("docker-archive", rest)) if !rest.is_empty() => {
                let (path, name) = path(rest);
                Self::DockerArchive(path, name)
            }
            Some(("dir", rest)) if !rest.is_empty() => Self::Directory(rest.into()),
            _ => {
                let name = text.strip_prefix("docker://").unwrap_or(text);
                let name = Reference::parse(name).map_err(|error| format!("{text}: {error}"))?;
                Self::Registry(name.with_default_tag())
            }
        };
        Ok(place)
    }
}

/// `image copy`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [source, destination] = matches.args.as_slice() else { return Ok(()) };
    let source = Place::parse(source).map_err(Failure::plain)?;
    let destination = Place::parse(destination).map_err(Failure::plain)?;
    let referrers = matches.flag("referrers");
    let plan = if matches.flag("all") {
        if matches.is_given("platform") {
            return Err(Failure::plain(
                "conflicting options: cannot specify both --all and --platform",
            ));
        }
        CopyPlan::All { referrers }
    } else {
        let platform = match matches.text("platform") {
            "" => Platform::host(),
            text => platforms::parse(text).map_err(Failure::plain)?,
        };
        CopyPlan::One { platform, referrers }
    };
    let access = |prefix: &str| Access {
        is_insecure: !matches.flag_or_true(&format!("{prefix}-tls-verify")),
        credentials: matches.value(&format!("{prefix}-creds")).map(str::to_owned),
    };
    let from = read(cli, &source, &access("src"))?;
    let to = write(cli, &destination, &source, &access("dest"))?;
    let quiet = matches.flag("quiet");
    let mut tell = |event: CopyEvent| {
        if !quiet {
            console::complain(&line(&event));
        }
    };
    let copying = copy(from.as_ref(), to.as_ref(), &plan, &mut tell);
    // What is half-made is removed when the copy is dropped.
    let digest = tokio::select! {
        digest = copying => digest.map_err(registries::failure)?,
        _interrupt = tokio::signal::ctrl_c() => return Err(Failure::silent(130)),
    };
    console::line(digest.as_str())
}

fn line(event: &CopyEvent) -> String {
    let (blob, state) = match event {
        CopyEvent::Exists(blob) => (blob, "Already exists"),
        CopyEvent::Copied(blob) => (blob, "Copied"),
        CopyEvent::LeftOut(blob) => (blob, "Not distributable, left out"),
        CopyEvent::Manifest(manifest) => (manifest, "Manifest written"),
    };
    let size = human_size(i64::try_from(blob.size).unwrap_or(i64::MAX), 4);
    format!("{}: {state} ({size})", blob.digest.short())
}

fn read(cli: &Cli, place: &Place, access: &Access) -> Result<Box<dyn ContentRead>, Failure> {
    let failed = |error: DistributionError| registries::failure(error);
    Ok(match place {
        Place::Registry(name) => {
            let repository = registries::open(&cli.config, name, RoleKind::Pull, access)?;
            let which = registries::selector(name);
            Box::new(RegistryContent::new(repository, which, Vec::new(), spool()))
        }
        Place::Layout(path, tag) => {
            Box::new(LayoutContent::directory(path, tag.as_deref()).map_err(failed)?)
        }
        Place::Archive(path, tag) => {
            Box::new(LayoutContent::archive(path, tag.as_deref()).map_err(failed)?)
        }
        Place::DockerArchive(path, name) => {
            Box::new(DockerArchive::open(path, name.as_deref()).map_err(failed)?)
        }
        Place::Directory(path) => Box::new(DirectoryContent::new(path)),
    })
}

fn write(
    cli: &Cli,
    place: &Place,
    source: &Place,
    access: &Access,
) -> Result<Box<dyn ContentWrite>, Failure> {
    let failed = |error: DistributionError| registries::failure(error);
    Ok(match place {
        Place::Registry(name) => {
            let repository = registries::open(&cli.config, name, RoleKind::Push, access)?;
            // What both have need not be sent: the registry takes it from its own repository.
            let neighbours = match source {
                Place::Registry(from)
                    if from.domain() == name.domain() && from.path() != name.path() =>
                {
                    vec![MountCandidate { repository: from.path().to_owned() }]
                }
                _ => Vec::new(),
            };
            let which = registries::selector(name);
            Box::new(RegistryContent::new(repository, which, neighbours, spool()))
        }
        Place::Layout(path, tag) => Box::new(LayoutWriter::directory(path, tag.as_deref())),
        Place::Archive(path, tag) => {
            Box::new(LayoutWriter::archive(path, tag.as_deref()).map_err(failed)?)
        }
        Place::DockerArchive(path, _) => return Err(docker_archive(path)),
        Place::Directory(path) => Box::new(DirectoryContent::new(path)),
    })
}

fn docker_archive(path: &Path) -> Failure {
    Failure::plain(format!(
        "docker-archive:{}: such archives are read only here; write oci-archive, or let the engine save",
        path.display()
    ))
}

/// Where blobs wait to be sent.
fn spool() -> PathBuf {
    std::env::temp_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &Place) {
        assert_eq!(Place::parse(text).as_ref(), Ok(expect), "{text}");
    }

    #[test]
    fn places_are_told_by_their_prefix() {
        let name = |text: &str| Place::Registry(Reference::parse(text).unwrap().with_default_tag());
        check("docker://host:5000/a", &name("host:5000/a:latest"));
        check("host:5000/a:1", &name("host:5000/a:1"));
        check("oci:/d:v1", &Place::Layout("/d".into(), Some("v1".into())));
        check("oci:/d", &Place::Layout("/d".into(), None));
        check("oci-archive:a.tar:", &Place::Archive("a.tar".into(), None));
        let docker = Place::DockerArchive("a.tar".into(), Some("host:5000/a:1".into()));
        check("docker-archive:a.tar:host:5000/a:1", &docker);
        check("dir:d", &Place::Directory("d".into()));
        assert!(Place::parse("docker://UPPER").is_err());
    }
}
