//! `artifact`: files in registries, as the OCI's artifacts and with ORAS's names for files.
//! [OCI image, manifest.md § Guidelines for Artifact Usage]

mod pull;
mod push;
mod show;

use ferry_distribution::{RawManifest, Repository, RoleKind};
use ferry_oci::manifest::Manifest;
use ferry_oci::reference::Reference;

use crate::command_line::Matches;
use crate::program::Cli;
use crate::registries::{self, Access};
use crate::report::Failure;

pub(super) use self::show::{inspect, list};

/// Annotation: the name of a file.
const TITLE: &str = "org.opencontainers.image.title";
/// The kind of an artifact that does not say what it is.
const UNKNOWN_TYPE: &str = "application/vnd.unknown.artifact.v1";

/// `artifact pull`
pub(super) async fn pull(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    have_many_files_open();
    // What is half-made goes when it is dropped.
    tokio::select! {
        result = pull::run(cli, matches) => result,
        _interrupt = tokio::signal::ctrl_c() => Err(Failure::silent(130)),
    }
}

/// `artifact push`
pub(super) async fn push(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    have_many_files_open();
    let (name, repository) = open(cli, matches, RoleKind::Push)?;
    let work = push::run(matches, &name, &repository);
    registries::interruptible(work, repository.settled()).await
}

/// All files of an artifact are open at once.
fn have_many_files_open() {
    // Where the limit stays as it is, opening says what it lacks.
    drop(ferry_sys::open_files::OpenFiles::raise());
}

/// The name that was typed, and its repository.
fn open(cli: &Cli, matches: &Matches, role: RoleKind) -> Result<(Reference, Repository), Failure> {
    let typed = matches.args.first().map_or("", String::as_str);
    let name =
        Reference::parse(typed).map_err(|error| Failure::plain(format!("{typed}: {error}")))?;
    let access = Access {
        is_insecure: !matches.flag_or_true("tls-verify"),
        credentials: matches.value("creds").map(str::to_owned),
        ..Access::default()
    };
    let repository = registries::open(&cli.config, &name, role, &access)?;
    Ok((name, repository))
}

/// The artifact of a name.
async fn fetch(
    name: &Reference,
    repository: &Repository,
) -> Result<(RawManifest, Manifest), Failure> {
    let fetched = repository.manifest(&registries::selector(name)).await;
    let raw = fetched.map_err(registries::failure)?.raw;
    if raw.descriptor().is_index() {
        return Err(Failure::plain(format!(
            "{name} is an index of several manifests, not an artifact; name one of them by its \
             digest (see: buildx imagetools inspect {name})"
        )));
    }
    let manifest = Manifest::parse(&raw.bytes)
        .map_err(|error| Failure::plain(format!("the manifest of {name}: {error}")))?;
    Ok((raw, manifest))
}

/// What an artifact is: what it says, or the type of its configuration.
fn kind(manifest: &Manifest) -> &str {
    manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type)
}
