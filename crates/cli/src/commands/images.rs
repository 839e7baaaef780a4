//! `rmi`, `tag`, `load` and `import`.

use std::os::fd::AsFd as _;

use ferry_api::query::{ImageCreateQuery, ImageLoadQuery, ImageRemoveQuery, ImageTagQuery};
use ferry_client::upload;

use super::progress;
use crate::command_line::Matches;
use crate::console;
use crate::options::files::reason;
use crate::options::{platforms, references};
use crate::program::Cli;
use crate::report::{self, Failure};

/// `rmi`
pub(super) async fn remove(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let query = ImageRemoveQuery {
        force: matches.flag("force"),
        no_prune: matches.flag("no-prune"),
        platforms: chosen_platforms(&matches.list("platform"))?,
    };
    let mut errors = Vec::new();
    let mut is_fatal = false;
    for name in &matches.args {
        match cli.client.image_remove(name, &query).await {
            Ok(removed) => {
                for item in removed {
                    if item.deleted.is_empty() {
                        console::line(&format!("Untagged: {}", item.untagged))?;
                    } else {
                        console::line(&format!("Deleted: {}", item.deleted))?;
                    }
                }
            }
            Err(error) => {
                // Compat: with force it is no failure that there is none.
                is_fatal |= !(query.force && error.is_not_found());
                errors.push(report::words(&error));
            }
        }
    }
    if is_fatal {
        return super::all_or_failure(&errors);
    }
    console::complain(&errors.join("\n"));
    Ok(())
}

/// Platforms as the API has them.
fn chosen_platforms(texts: &[String]) -> Result<Vec<String>, Failure> {
    let platform = |text: &String| platforms::parse(text).map(|read| platforms::json(&read));
    texts.iter().map(platform).collect::<Result<_, _>>().map_err(Failure::plain)
}

/// `tag`
pub(super) async fn tag(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [source, target] = matches.args.as_slice() else { return Ok(()) };
    let reference = references::parse(target).map_err(|why| {
        Failure::plain(format!(
            "Error parsing reference: {target:?} is not a valid repository/tag: {why}"
        ))
    })?;
    if reference.digest.is_some() {
        return Err(Failure::plain("refusing to create a tag with a digest reference"));
    }
    let (repo, tag) = (reference.full(), reference.version());
    let query = ImageTagQuery { repo: Some(repo), tag: Some(tag.into()) };
    Ok(cli.client.image_tag(source, &query).await?)
}

/// Opens a file, or fails as Docker does.
async fn open(path: &str) -> Result<tokio::fs::File, Failure> {
    tokio::fs::File::open(path)
        .await
        .map_err(|error| Failure::plain(format!("open {path}: {}", reason(&error))))
}

/// Standard input as a file, so that it is read in large pieces.
fn stdin() -> Result<tokio::fs::File, Failure> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    Ok(tokio::fs::File::from_std(input.into()))
}

/// `load`
pub(super) async fn load(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let input = matches.text("input");
    let body = if input.is_empty() {
        if crate::terminal::is_input() {
            return Err(Failure::plain("requested load from stdin, but stdin is empty"));
        }
        upload(stdin()?)
    } else {
        upload(open(input).await?)
    };
    let quiet = matches.flag("quiet") || !crate::terminal::is_output();
    let platform = platforms::one(matches.text("platform"))?;
    let query = ImageLoadQuery { quiet: Some(quiet), platform: platform.into_iter().collect() };
    let messages = cli.client.image_load(&query, body).await?;
    progress::show(messages, progress::Sink::Stdout).await
}

/// `import`
pub(super) async fn import(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [source, rest @ ..] = matches.args.as_slice() else { return Ok(()) };
    let repository = match rest {
        [] => None,
        [name, ..] => Some(name.clone()),
    };
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let body = match source.as_str() {
        "-" => Some(upload(stdin()?)),
        _ if is_url => None,
        path => Some(upload(open(path).await?)),
    };
    let query = ImageCreateQuery {
        from_src: Some(if is_url { source.clone() } else { "-".into() }),
        repo: repository,
        message: matches.value("message").map(str::to_owned),
        changes: matches.list("change"),
        platform: matches.value("platform").map(str::to_owned),
        ..ImageCreateQuery::default()
    };
    let messages = cli.client.image_create(&query, body, None).await?;
    progress::show(messages, progress::Sink::Stdout).await
}
