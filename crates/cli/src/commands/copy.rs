//! `image copy`: from place to place, without an engine.

mod place;

use ferry_distribution::{
    ContentRead, ContentWrite, CopyPlan, DirectoryContent, DockerArchive, LayoutContent,
    LayoutWriter, MountCandidate, RegistryContent, Repository, RoleKind, Selector, copy,
};
use ferry_oci::digest::Digest;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;

use self::place::Place;
use super::transfer::Transfer;
use crate::command_line::Matches;
use crate::console;
use crate::options::platforms;
use crate::program::Cli;
use crate::registries::{self, Access};
use crate::report::Failure;

/// `image copy`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [from, to] = matches.args.as_slice() else { return Ok(()) };
    let job = Job {
        from: Side::open(cli, from, "src", RoleKind::Pull, matches)?,
        to: Side::open(cli, to, "dest", RoleKind::Push, matches)?,
        plan: plan(matches)?,
    };
    registries::interruptible(copy_all(&job, matches), async {
        if let Some(repository) = &job.to.repository {
            repository.settled().await;
        }
    })
    .await
}

async fn copy_all(job: &Job, matches: &Matches) -> Result<(), Failure> {
    let mut transfer = Transfer::new(matches.flag("quiet"));
    if matches.flag("all-tags") {
        return job.tags(matches, &mut transfer).await;
    }
    if matches.is_given("keep-going") {
        return Err(Failure::plain("--keep-going can only be used with --all-tags"));
    }
    job.check(matches)?;
    let digest = job.one(None, &mut transfer).await?;
    if let Some(path) = matches.value("digestfile") {
        std::fs::write(path, digest.as_str())
            .map_err(|error| Failure::plain(format!("writing {path}: {error}")))?;
    }
    console::line(digest.as_str())
}

fn plan(matches: &Matches) -> Result<CopyPlan, Failure> {
    let referrers = matches.flag("referrers");
    if matches.flag("all") {
        if matches.is_given("platform") {
            return Err(Failure::plain(
                "conflicting options: cannot specify both --all and --platform",
            ));
        }
        return Ok(CopyPlan::All { referrers });
    }
    let platform = match matches.text("platform") {
        "" => Platform::host(),
        text => platforms::parse(text).map_err(Failure::plain)?,
    };
    Ok(CopyPlan::One { platform, referrers })
}

/// What is copied from where to where.
struct Job {
    from: Side,
    to: Side,
    plan: CopyPlan,
}

/// A place, and its repository if it is in a registry.
struct Side {
    place: Place,
    repository: Option<Repository>,
}

impl Side {
    fn open(
        cli: &Cli,
        text: &str,
        side: &str,
        role: RoleKind,
        matches: &Matches,
    ) -> Result<Self, Failure> {
        let place = Place::parse(text).map_err(Failure::plain)?;
        let repository = match &place {
            Place::Registry(name) => {
                Some(registries::open(&cli.config, name, role, &access(side, matches)?)?)
            }
            _ => None,
        };
        Ok(Self { place, repository })
    }
}

fn access(side: &str, matches: &Matches) -> Result<Access, Failure> {
    let flag = |name: &str| format!("{side}-{name}");
    let given = |name: &str| matches.value(&flag(name)).map(str::to_owned);
    let access = Access {
        is_insecure: !matches.flag_or_true(&flag("tls-verify")),
        credentials: given("creds"),
        token: given("registry-token"),
        is_anonymous: matches.flag(&flag("no-creds")),
        retries: match matches.is_given("retry-times") {
            true => Some(
                u32::try_from(matches.int("retry-times"))
                    .map_err(|_error| Failure::plain("--retry-times must not be negative"))?,
            ),
            false => None,
        },
    };
    let ways = [access.credentials.is_some(), access.token.is_some(), access.is_anonymous];
    if ways.into_iter().filter(|it| *it).count() > 1 {
        return Err(Failure::plain(format!(
            "conflicting options: only one of --{side}-creds, --{side}-registry-token and \
             --{side}-no-creds can be specified"
        )));
    }
    Ok(access)
}

impl Job {
    /// Refuses what cannot be, before anything is copied.
    fn check(&self, matches: &Matches) -> Result<(), Failure> {
        if matches.flag("preserve-digests") && matches!(self.from.place, Place::DockerArchive(..)) {
            return Err(Failure::plain(
                "--preserve-digests: an archive of Docker's has no manifest whose digest could be \
                 preserved; copy from an oci-archive instead",
            ));
        }
        if matches!(self.to.place, Place::DockerArchive(..)) {
            if matches!(self.plan, CopyPlan::All { .. }) {
                return Err(Failure::plain(
                    "an archive of Docker's holds one image; choose it with --platform, or copy \
                     all of them to an oci-archive",
                ));
            }
            let (CopyPlan::All { referrers } | CopyPlan::One { referrers, .. }) = &self.plan;
            if *referrers {
                return Err(Failure::plain(
                    "an archive of Docker's has no place for what refers to an image; copy to an \
                     oci-archive instead",
                ));
            }
        }
        Ok(())
    }

    /// Copies the image that was named, or the one of a tag.
    async fn one(&self, tag: Option<&str>, transfer: &mut Transfer) -> Result<Digest, Failure> {
        let from = read(&self.from, tag)?;
        let to = write(&self.to, &self.from, tag)?;
        let mut tell = |event| transfer.tell(&event);
        copy(from.as_ref(), to.as_ref(), &self.plan, &mut tell).await.map_err(registries::failure)
    }

    /// Copies every tag of a repository.
    async fn tags(&self, matches: &Matches, transfer: &mut Transfer) -> Result<(), Failure> {
        let [from, to] = matches.args.as_slice() else { return Ok(()) };
        let (Place::Registry(name), Some(repository)) = (&self.from.place, &self.from.repository)
        else {
            return Err(Failure::plain(format!("--all-tags: {from} is no repository")));
        };
        if place::has_tag(from) || place::has_tag(to) {
            return Err(Failure::plain("tag can't be used with --all-tags"));
        }
        if !matches!(self.to.place, Place::Registry(_) | Place::Layout(..)) {
            return Err(Failure::plain(format!(
                "--all-tags: {to} holds one image; copy to a repository or to oci:DIRECTORY"
            )));
        }
        if matches.is_given("digestfile") {
            return Err(Failure::plain("--digestfile can't be used with --all-tags"));
        }
        let tags = repository.tags().await.map_err(registries::failure)?;
        let mut complaints = Vec::new();
        for tag in &tags {
            transfer.say(&format!("{}:{tag}", name.familiar_name()));
            match self.one(Some(tag), transfer).await {
                Ok(digest) => console::line(&format!("{tag} {digest}"))?,
                Err(failure) if matches.flag("keep-going") => {
                    complaints.push(format!("{tag}: {}", failure.message));
                }
                Err(failure) => {
                    let message = format!("{tag}: {}", failure.message);
                    return Err(Failure::new(failure.code, message));
                }
            }
        }
        super::all_or_failure(&complaints)
    }
}

/// What of a repository is meant: the tag that is asked for, or what the name says.
fn selector(name: &Reference, tag: Option<&str>) -> Selector {
    tag.map_or_else(|| registries::selector(name), |tag| Selector::Tag(tag.to_owned()))
}

fn read(side: &Side, tag: Option<&str>) -> Result<Box<dyn ContentRead>, Failure> {
    Ok(match (&side.place, &side.repository) {
        (Place::Registry(name), Some(repository)) => {
            let which = selector(name, tag);
            Box::new(RegistryContent::new(repository.clone(), which, Vec::new(), spool()))
        }
        (Place::Registry(name), None) => return Err(Failure::plain(format!("{name} is not open"))),
        (Place::Layout(path, tag), _) => {
            let layout = LayoutContent::directory(path, tag.as_deref());
            Box::new(layout.map_err(registries::failure)?)
        }
        (Place::Archive(path, tag), _) => {
            let archive = LayoutContent::archive(path, tag.as_deref());
            Box::new(archive.map_err(registries::failure)?)
        }
        (Place::DockerArchive(path, name), _) => {
            let archive = DockerArchive::open(path, name.as_deref());
            Box::new(archive.map_err(registries::failure)?)
        }
        (Place::Directory(path), _) => Box::new(DirectoryContent::new(path)),
    })
}

fn write(side: &Side, from: &Side, tag: Option<&str>) -> Result<Box<dyn ContentWrite>, Failure> {
    Ok(match (&side.place, &side.repository) {
        (Place::Registry(name), Some(repository)) => {
            // What both have need not be sent: the registry takes it from its own repository.
            let neighbours = match &from.place {
                Place::Registry(from)
                    if from.domain() == name.domain() && from.path() != name.path() =>
                {
                    vec![MountCandidate { repository: from.path().to_owned() }]
                }
                _ => Vec::new(),
            };
            let which = selector(name, tag);
            Box::new(RegistryContent::new(repository.clone(), which, neighbours, spool()))
        }
        (Place::Registry(name), None) => return Err(Failure::plain(format!("{name} is not open"))),
        (Place::Layout(path, own), _) => {
            Box::new(LayoutWriter::directory(path, tag.or(own.as_deref())))
        }
        (Place::Archive(path, tag), _) => {
            let archive = LayoutWriter::archive(path, tag.as_deref());
            Box::new(archive.map_err(registries::failure)?)
        }
        (Place::DockerArchive(path, name), _) => {
            let name = name.as_deref().map(place::complete).transpose().map_err(Failure::plain)?;
            let archive = LayoutWriter::docker_archive(path, name.as_deref());
            Box::new(archive.map_err(registries::failure)?)
        }
        (Place::Directory(path), _) => Box::new(DirectoryContent::new(path)),
    })
}

/// Where blobs wait to be sent.
pub(super) fn spool() -> std::path::PathBuf {
    std::env::temp_dir()
}
