//! What each command does.
//!
//! A command reads its [`Matches`], asks the engine through the client and prints. What it prints
//! on which stream, and how it ends, is Docker's.

mod artifact;
mod attach;
mod commit;
mod containers;
mod copy;
mod create;
mod events;
mod exec;
mod history;
mod images;
mod imagetools;
mod info;
mod inspect;
mod list_containers;
mod list_images;
mod login;
mod logs;
mod manifest;
mod networks;
mod progress;
mod prune;
mod pull;
mod referrers;
mod run;
mod save;
mod scrub;
mod start;
mod transfer;
mod tree;
mod usage;
pub(crate) mod version;
mod volumes;

use ferry_api::Filters;

use crate::command_line::Matches;
use crate::console;
use crate::program::Cli;
use crate::report::Failure;

/// How many requests of one command run at once.
const AT_ONCE: usize = 50;

/// Runs the command `name`, which was called as `path`.
pub(crate) async fn run(
    cli: &Cli,
    path: &str,
    name: &str,
    matches: &Matches,
) -> Result<(), Failure> {
    match name {
        "artifact inspect" => Box::pin(artifact::inspect(cli, matches)).await,
        "artifact ls" => Box::pin(artifact::list(cli, matches)).await,
        "artifact pull" => Box::pin(artifact::pull(cli, matches)).await,
        "artifact push" => Box::pin(artifact::push(cli, matches)).await,
        "buildx imagetools create" => Box::pin(imagetools::create(cli, matches)).await,
        "buildx imagetools inspect" => Box::pin(imagetools::inspect(cli, matches)).await,
        "container run" => Box::pin(run::run(cli, path, matches)).await,
        "container create" => Box::pin(create::run(cli, path, matches)).await,
        "container start" => Box::pin(start::run(cli, matches)).await,
        "container commit" => Box::pin(commit::run(cli, matches)).await,
        "container export" => Box::pin(save::export(cli, matches)).await,
        "container attach" => Box::pin(attach::run(cli, matches)).await,
        "container exec" => Box::pin(exec::run(cli, matches)).await,
        "container ls" => Box::pin(list_containers::run(cli, matches)).await,
        "container inspect" => Box::pin(inspect::containers(cli, matches)).await,
        "container kill" => Box::pin(containers::kill(cli, matches)).await,
        "container logs" => Box::pin(logs::run(cli, matches)).await,
        "container pause" => Box::pin(containers::pause(cli, matches)).await,
        "container port" => Box::pin(containers::port(cli, matches)).await,
        "container rename" => Box::pin(containers::rename(cli, matches)).await,
        "container restart" => Box::pin(containers::restart(cli, matches)).await,
        "container rm" => Box::pin(containers::remove(cli, matches)).await,
        "container stop" => Box::pin(containers::stop(cli, matches)).await,
        "container top" => Box::pin(containers::top(cli, matches)).await,
        "container unpause" => Box::pin(containers::unpause(cli, matches)).await,
        "container wait" => Box::pin(containers::wait(cli, matches)).await,
        "image copy" => Box::pin(copy::run(cli, matches)).await,
        "image history" => Box::pin(history::run(cli, matches)).await,
        "image import" => Box::pin(images::import(cli, matches)).await,
        "image inspect" => Box::pin(inspect::images(cli, matches)).await,
        "image load" => Box::pin(images::load(cli, matches)).await,
        "image ls" => Box::pin(list_images::run(cli, matches)).await,
        "image prune" => Box::pin(prune::images(cli, matches)).await,
        "image pull" => Box::pin(pull::pull(cli, matches)).await,
        "image push" => Box::pin(pull::push(cli, matches)).await,
        "image referrers" => Box::pin(referrers::run(cli, matches)).await,
        "image rm" => Box::pin(images::remove(cli, matches)).await,
        "image save" => Box::pin(save::save(cli, matches)).await,
        "image tag" => Box::pin(images::tag(cli, matches)).await,
        "inspect" => Box::pin(inspect::any(cli, matches)).await,
        "login" => Box::pin(login::login(cli, matches)).await,
        "logout" => login::logout(cli, matches),
        "manifest annotate" => manifest::annotate(cli, matches),
        "manifest create" => Box::pin(manifest::create(cli, matches)).await,
        "manifest inspect" => Box::pin(manifest::inspect(cli, matches)).await,
        "manifest push" => Box::pin(manifest::push(cli, matches)).await,
        "manifest rm" => manifest::remove(cli, matches),
        "network inspect" => Box::pin(inspect::networks(cli, matches)).await,
        "network ls" => Box::pin(networks::list(cli, matches)).await,
        "system convert-layers" => Box::pin(scrub::convert(cli, matches)).await,
        "system df" => Box::pin(usage::run(cli, matches)).await,
        "system events" => Box::pin(events::run(cli, matches)).await,
        "system info" => Box::pin(info::run(cli, matches)).await,
        "system scrub" => Box::pin(scrub::scrub(cli, matches)).await,
        "version" => Box::pin(version::run(cli, matches)).await,
        "volume create" => Box::pin(volumes::create(cli, matches)).await,
        "volume inspect" => Box::pin(inspect::volumes(cli, matches)).await,
        "volume ls" => Box::pin(volumes::list(cli, matches)).await,
        "volume rm" => Box::pin(volumes::remove(cli, matches)).await,
        _ => Err(Failure::plain(format!("{0}: '{0} {path}' is not supported yet", cli.program))),
    }
}

/// The filters of `--filter`.
fn filters(matches: &Matches) -> Filters {
    let mut filters = Filters::default();
    for value in matches.list("filter") {
        let (name, value) = value.split_once('=').unwrap_or((&value, ""));
        filters.add(name, value);
    }
    filters
}

/// Ends with all the complaints, if there are any.
fn all_or_failure(errors: &[String]) -> Result<(), Failure> {
    if errors.is_empty() { Ok(()) } else { Err(Failure::plain(errors.join("\n"))) }
}

/// Does the same to each argument, some at once, and prints what each gives in their order.
async fn each<'a, F, R>(args: &'a [String], act: impl Fn(&'a str) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<R, Failure>>,
    R: AsRef<str>,
{
    use futures_util::StreamExt as _;
    let mut results = std::pin::pin!(
        futures_util::stream::iter(args.iter().map(|arg| act(arg))).buffered(AT_ONCE)
    );
    let mut errors = Vec::new();
    while let Some(result) = results.next().await {
        match result {
            Ok(text) if text.as_ref().is_empty() => {}
            Ok(text) => console::line(text.as_ref())?,
            Err(failure) => errors.push(failure.message),
        }
    }
    all_or_failure(&errors)
}
