//! `buildx imagetools create`

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use ferry_distribution::{
    CombinePlan, Combined, CopyPlan, MountCandidate, RegistryContent, RoleKind, Selector, combine,
    copy,
};
use ferry_oci::manifest::Descriptor;
use ferry_oci::platform::Platform;
use ferry_oci::reference::Reference;
use ferry_sys::durable::{self, Survive};

use super::log::Log;
use super::sources::{self, Source};
use super::{Repositories, annotations, refuse_builder};
use crate::command_line::Matches;
use crate::console;
use crate::options::{files, platforms};
use crate::program::Cli;
use crate::registries;
use crate::report::Failure;

pub(super) async fn run(
    cli: &Cli,
    matches: &Matches,
    targets: &Repositories<'_>,
) -> Result<(), Failure> {
    let typed = typed(matches)?;
    refuse_builder(matches)?;
    let annotations = annotations::parse(&matches.list("annotation")).map_err(Failure::plain)?;
    let keeps_single = !matches.flag_or_true("prefer-index");
    let plan = CombinePlan { annotations, keeps_single, platforms: wanted(matches)? };
    let mut log = Log::new(matches.text("progress"))?;
    let tags = tags(matches)?;
    let named = named(&typed, &tags)?;
    let repositories = Repositories::new(cli, RoleKind::Pull);
    let mut found = Vec::new();
    for (name, source) in &named {
        let repository = repositories.get(name)?;
        let given = match source {
            Source::Given(given) => Some(given.as_ref()),
            Source::Name(_) => None,
        };
        let source = sources::fetch(&repository, name, given).await?;
        if matches.flag("debug") {
            let digest = &source.descriptor.digest;
            console::complain(&format!("resolved {name} as {digest}"));
        }
        found.push(source);
    }
    let combined = combine(&found, &plan).map_err(|error| Failure::plain(error.to_string()))?;
    if combined.lost_annotations {
        console::complain(
            "WARNING: a manifest list of Docker's kind has no annotations; they are left out",
        );
    }
    if matches.flag("dry-run") {
        return console::line(&String::from_utf8_lossy(&combined.raw.bytes));
    }
    let names: Vec<Reference> = named.into_iter().map(|(name, _)| name).collect();
    let push = Push { names: &names, combined: &combined };
    for tag in &tags {
        log.begin(&format!("pushing {tag}"));
        let pushed = push.to(tag, &repositories, targets, &mut log).await;
        log.end(pushed.as_ref().err().map(|failure| failure.message.as_str()));
        pushed?;
    }
    match matches.value("metadata-file") {
        Some(path) => write_metadata(path, &combined, &tags),
        None => Ok(()),
    }
}

/// What was typed as sources: the first tag, if the rest is appended to it, files, arguments.
fn typed(matches: &Matches) -> Result<Vec<String>, Failure> {
    let (files, tags) = (matches.list("file"), matches.list("tag"));
    if matches.args.is_empty() && files.is_empty() {
        return Err(Failure::plain("no sources specified"));
    }
    if tags.is_empty() && !matches.flag("dry-run") {
        return Err(Failure::plain(
            "can't push with no tags specified, please set --tag or --dry-run",
        ));
    }
    let mut typed = Vec::new();
    if let (true, Some(first)) = (matches.flag("append"), tags.first()) {
        typed.push(first.clone());
    }
    for path in &files {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::plain(format!("open {path}: {}", files::reason(&error))))?;
        typed.push(text);
    }
    typed.extend(matches.args.iter().cloned());
    Ok(typed)
}

fn tags(matches: &Matches) -> Result<Vec<Reference>, Failure> {
    let parse = |text: &String| {
        let name = Reference::parse(text).map_err(|error| Failure::plain(error.to_string()))?;
        match name.digest() {
            Some(_) => Err(Failure::plain(format!("cannot push to {text}: it names a digest"))),
            None => Ok(name.with_default_tag()),
        }
    };
    matches.list("tag").iter().map(parse).collect()
}

fn wanted(matches: &Matches) -> Result<Vec<Platform>, Failure> {
    let values = matches.list("platform");
    let texts = values.iter().flat_map(|text| text.split(','));
    texts
        .map(|text| match text {
            "local" => Ok(Platform::host()),
            text => platforms::parse(text)
                .map_err(|why| Failure::plain(format!("invalid platform {text:?}: {why}"))),
        })
        .collect()
}

/// The sources with their names. What is named by its digest alone is in the only repository that
/// the others are in.
fn named(typed: &[String], tags: &[Reference]) -> Result<Vec<(Reference, Source)>, Failure> {
    let sources: Result<Vec<Source>, String> =
        typed.iter().map(|text| Source::parse(text)).collect();
    let sources = sources.map_err(Failure::plain)?;
    let mut repositories: BTreeSet<String> = tags.iter().map(Reference::name).collect();
    for source in &sources {
        if let Source::Name(name) = source {
            repositories.insert(name.name());
        }
    }
    let only = match repositories.len() {
        0 => {
            return Err(Failure::plain(
                "no repositories specified, please set a reference in tag or source",
            ));
        }
        1 => repositories.first().and_then(|name| Reference::parse(name).ok()),
        _ => None,
    };
    let name = |(source, text): (Source, &String)| {
        let name = match (&source, &only) {
            (Source::Name(name), _) => name.clone(),
            (Source::Given(given), Some(only)) => only.with_digest(given.digest.clone()),
            (Source::Given(_), None) => {
                return Err(Failure::plain(format!(
                    "multiple repositories specified, cannot infer repository for {text:?}"
                )));
            }
        };
        Ok((name, source))
    };
    sources.into_iter().zip(typed).map(name).collect()
}

/// What is pushed.
struct Push<'a> {
    /// The names of the sources.
    names: &'a [Reference],
    combined: &'a Combined,
}

impl Push<'_> {
    /// Pushes to one tag: first what the index lists, out of the repositories where it is.
    async fn to(
        &self,
        tag: &Reference,
        repositories: &Repositories<'_>,
        targets: &Repositories<'_>,
        log: &mut Log,
    ) -> Result<(), Failure> {
        let target = targets.get(tag)?;
        for (digest, source) in &self.combined.unknown {
            let Some(from) = self.names.get(*source).filter(|from| from.name() != tag.name())
            else {
                continue;
            };
            return Err(Failure::plain(format!(
                "cannot copy {digest} from {from} to {tag}: the algorithm of its digest is not \
                 supported"
            )));
        }
        let mut seen = HashSet::new();
        for (part, source) in &self.combined.parts {
            let Some(from) = self.names.get(*source) else { continue };
            if from.name() == tag.name() || !seen.insert(&part.digest) {
                continue;
            }
            log.line(&format!("copying {} from {from} to {tag}", part.digest));
            self.bring(part, from, tag, repositories, targets, log).await?;
        }
        let raw = &self.combined.raw;
        log.line(&format!("pushing {} to {tag}", raw.digest));
        target.push_manifest(tag.tag(), raw).await.map(drop).map_err(registries::failure)
    }

    /// Copies a part with all that belongs to it.
    async fn bring(
        &self,
        part: &Descriptor,
        from: &Reference,
        tag: &Reference,
        repositories: &Repositories<'_>,
        targets: &Repositories<'_>,
        log: &mut Log,
    ) -> Result<(), Failure> {
        let neighbours = match from.domain() == tag.domain() {
            true => vec![MountCandidate { repository: from.path().to_owned() }],
            false => Vec::new(),
        };
        let place = |repository, neighbours| {
            let which = Selector::Digest(part.digest.clone());
            RegistryContent::new(repository, which, neighbours, std::env::temp_dir())
        };
        let source = place(repositories.get(from)?, Vec::new());
        let target = place(targets.get(tag)?, neighbours);
        let all = CopyPlan::All { referrers: false };
        let mut tell = |event| log.tell(&event);
        copy(&source, &target, &all, &mut tell).await.map_err(registries::failure)?;
        Ok(())
    }
}

/// What was pushed, for programs.
fn write_metadata(path: &str, combined: &Combined, tags: &[Reference]) -> Result<(), Failure> {
    let names: Vec<String> = tags.iter().map(ToString::to_string).collect();
    let metadata = serde_json::json!({
        "containerimage.descriptor": combined.raw.descriptor(),
        "containerimage.digest": combined.raw.digest,
        "image.name": names.join(","),
    });
    let text = serde_json::to_string_pretty(&metadata)
        .map_err(|error| Failure::plain(error.to_string()))?;
    durable::write(Path::new(path), text.as_bytes(), 0o644, Survive::Processes)
        .map_err(|error| Failure::plain(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_in_the_only_repository() {
        let digest = ferry_oci::digest::Digest::sha256_of(b"x").to_string();
        let tag = |text: &str| vec![Reference::parse(text).unwrap()];
        let names = |typed: &[&str], tags: &[Reference]| {
            let typed: Vec<String> = typed.iter().map(|text| (*text).to_owned()).collect();
            named(&typed, tags)
                .map(|named| named.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>())
                .map_err(|failure| failure.message)
        };
        assert_eq!(names(&[&digest], &tag("h:1/a:x")).unwrap(), [format!("h:1/a@{digest}")]);
        let several = names(&[&digest, "h:1/b"], &tag("h:1/a:x")).unwrap_err();
        assert!(several.starts_with("multiple repositories specified"), "{several}");
        let none = names(&[&digest], &[]).unwrap_err();
        assert!(none.starts_with("no repositories specified"), "{none}");
    }
}
