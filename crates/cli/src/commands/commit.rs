//! `commit`

use ferry_api::query::ImageCommitQuery;
use ferry_oci::reference::Reference;

use crate::command_line::Matches;
use crate::console;
use crate::program::Cli;
use crate::report::Failure;

/// `commit`
pub(super) async fn run(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let [container, rest @ ..] = matches.args.as_slice() else { return Ok(()) };
    let (repo, tag) = match rest.first().filter(|name| !name.is_empty()) {
        None => (None, None),
        Some(name) => {
            let name = Reference::parse(name).map_err(|error| Failure::plain(error.to_string()))?;
            if name.digest().is_some() {
                return Err(Failure::plain("refusing to create a tag with a digest reference"));
            }
            let name = name.with_default_tag();
            (Some(name.name()), name.tag().map(str::to_owned))
        }
    };
    let query = ImageCommitQuery {
        container: Some(container.clone()),
        repo,
        tag,
        comment: matches.value("message").map(str::to_owned),
        author: matches.value("author").map(str::to_owned),
        pause: (!matches.flag_or_true("pause")).then_some(false),
        changes: matches.list("change"),
    };
    let image = cli.client.image_commit(&query, None).await?;
    console::line(&image.id)
}
