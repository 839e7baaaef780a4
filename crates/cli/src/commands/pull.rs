//! `pull` and `push`.

use ferry_api::query::{ImageCreateQuery, ImagePushQuery};
use ferry_api::registry::ManifestPushedInsteadOfIndex;
use ferry_oci::reference::Reference;
use serde_json::Value as Json;

use super::progress::{self, Sink};
use crate::command_line::Matches;
use crate::note::{is_colored, note};
use crate::options::platforms;
use crate::program::Cli;
use crate::report::Failure;
use crate::{console, credentials};

/// `pull`
pub(super) async fn pull(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let quiet = matches.flag("quiet");
    let name = name(matches, quiet)?;
    if name.digest().is_none() {
        refuse_trust(matches)?;
    }
    let query = ImageCreateQuery {
        from_image: Some(name.familiar_name()),
        tag: version(&name),
        platform: matches.value("platform").map(str::to_owned),
        ..ImageCreateQuery::default()
    };
    let auth = credentials::for_image(&cli.config, &name).to_header();
    let messages = cli.client.image_create(&query, None, Some(&auth)).await?;
    progress::show(messages, if quiet { Sink::None } else { Sink::Stdout }).await?;
    console::line(&name.to_string())
}

/// `push`
pub(super) async fn push(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let quiet = matches.flag("quiet");
    let platform = match matches.value("platform") {
        None | Some("") => None,
        Some(text) => {
            let platform = platforms::parse(text)
                .map_err(|why| Failure::plain(format!("Invalid platform {text}{why}")))?;
            let advice = "Using --platform pushes only the specified platform manifest of a multi-platform image index.\n\
                          Other components, like attestations, will not be included.\n\
                          To push the complete multi-platform image, remove the --platform flag.\n";
            console::print(&note(advice, is_colored(std::io::stdout())))?;
            Some(platforms::json(&platform))
        }
    };
    let name = name(matches, quiet)?;
    if name.digest().is_some() {
        return Err(Failure::plain("cannot push a digest reference"));
    }
    refuse_trust(matches)?;
    let query = ImagePushQuery { tag: version(&name), platform };
    let auth = credentials::for_image(&cli.config, &name).to_header();
    let messages = cli.client.image_push(&name.familiar_name(), &query, &auth).await?;
    let mut notes = Vec::new();
    let sink = if quiet { Sink::None } else { Sink::Stdout };
    let result = progress::show_with(messages, sink, &mut |aux| notes.extend(remark(aux))).await;
    if quiet && result.is_ok() {
        console::line(&name.to_string())?;
    }
    for text in notes {
        console::print(&note(&text, is_colored(std::io::stdout())))?;
    }
    result
}

/// The name that was typed, with a tag unless all are meant.
fn name(matches: &Matches, quiet: bool) -> Result<Reference, Failure> {
    let typed = matches.args.first().map_or("", String::as_str);
    let name = Reference::parse(typed).map_err(|error| Failure::plain(error.to_string()))?;
    let is_bare = name.tag().is_none() && name.digest().is_none();
    if matches.flag("all-tags") {
        if !is_bare {
            return Err(Failure::plain("tag can't be used with --all-tags/-a"));
        }
        return Ok(name);
    }
    let name = name.with_default_tag();
    if let Some(tag) = name.tag().filter(|_| is_bare && !quiet) {
        console::line(&format!("Using default tag: {tag}"))?;
    }
    Ok(name)
}

/// What of a repository is meant: the digest, else the tag, else everything.
fn version(name: &Reference) -> Option<String> {
    name.digest().map(ToString::to_string).or_else(|| name.tag().map(str::to_owned))
}

/// Refuses what wants signatures verified or made: there is no notary that we could ask.
fn refuse_trust(matches: &Matches) -> Result<(), Failure> {
    let given = matches.is_given("disable-content-trust");
    if given && !matches.flag_or_true("disable-content-trust") {
        return Err(Failure::plain("--disable-content-trust=false is not supported"));
    }
    let wanted = std::env::var("DOCKER_CONTENT_TRUST").unwrap_or_default();
    let is_off = matches!(wanted.as_str(), "" | "0" | "f" | "F" | "false" | "FALSE" | "False");
    if !given && !is_off {
        return Err(Failure::plain("DOCKER_CONTENT_TRUST is not supported"));
    }
    Ok(())
}

/// What is to be said of a push, once it has ended.
fn remark(aux: &Json) -> Option<String> {
    if aux.get("contentMissing").and_then(Json::as_bool) == Some(true) {
        // Compat: the blanks are Docker's.
        return Some(
            "You're trying to push a manifest list/index which \n\
             \t\t\t\treferences multiple platform specific manifests, but not all of them are available locally\n\
             \t\t\t\tor available to the remote repository.\n\
             \n\
             \t\t\t\tMake sure you have all the referenced content and try again.\n\
             \n\
             \t\t\t\tYou can also push only a single platform specific manifest directly by specifying the platform you want to push with the --platform flag."
                .into(),
        );
    }
    let pushed: ManifestPushedInsteadOfIndex = serde_json::from_value(aux.clone()).ok()?;
    pushed.manifest_pushed_instead_of_index.then(|| {
        format!(
            "Not all multiplatform-content is present and only the available single-platform image was pushed\n\
             \x1b[31m{}\x1b[0m -> \x1b[32m{}\x1b[0m",
            pushed.original_index.digest, pushed.selected_manifest.digest
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_remarked_only_when_it_is_less() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let descriptor = serde_json::json!({"mediaType": "t", "digest": digest, "size": 1});
        let aux = serde_json::json!({
            "manifestPushedInsteadOfIndex": true,
            "originalIndex": descriptor,
            "selectedManifest": descriptor,
        });
        let expect = format!(
            "Not all multiplatform-content is present and only the available single-platform image was pushed\n\x1b[31m{digest}\x1b[0m -> \x1b[32m{digest}\x1b[0m"
        );
        assert_eq!(remark(&aux), Some(expect));
        assert_eq!(remark(&serde_json::json!({"Tag": "1", "Digest": digest, "Size": 1})), None);
    }
}
