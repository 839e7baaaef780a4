//! `create`, and the creating half of `run`.

use std::io::Write as _;

use ferry_api::query::{ContainerCreateQuery, ImageCreateQuery};

use super::progress;
use super::run::plan::{Pull, RunPlan, Surroundings, only_on_windows, plan};
use crate::command_line::Matches;
use crate::console;
use crate::options::files::reason;
use crate::program::Cli;
use crate::report::Failure;

/// `create`
pub(super) async fn run(cli: &Cli, path: &str, matches: &Matches) -> Result<(), Failure> {
    let plan = make_plan(cli, path, matches)?;
    let id = create(cli, &plan).await?;
    console::line(&id)
}

/// Makes the plan, or fails as a mistake of the user.
pub(super) fn make_plan(cli: &Cli, path: &str, matches: &Matches) -> Result<RunPlan, Failure> {
    if let Some(refusal) = only_on_windows(matches) {
        return Err(Failure::plain(refusal));
    }
    let around = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        proxies: cli.config.proxies(&cli.client.address().to_string()),
    };
    plan(matches, &around).map_err(|message| Failure::new(125, with_help(cli, path, &message)))
}

/// A message with the advice to look into the help.
pub(super) fn with_help(cli: &Cli, path: &str, message: &str) -> String {
    let program = &cli.program;
    let command = path.rsplit(' ').next().unwrap_or(path);
    format!("{program}: {message}\n\nRun '{program} {command} --help' for more information")
}

/// Creates the container, fetching its image if there is none; returns its id.
pub(super) async fn create(cli: &Cli, plan: &RunPlan) -> Result<String, Failure> {
    let mut cidfile = plan.cidfile.as_deref().map(CidFile::create).transpose()?;
    let query = ContainerCreateQuery { name: plan.name.clone(), platform: plan.platform.clone() };
    let image = &plan.request.config.image;
    if plan.pull == Pull::Always {
        pull(cli, plan, image).await?;
    }
    let mut response = cli.client.container_create(&query, &plan.request).await;
    if let Err(error) = &response
        && error.is_not_found()
        && plan.pull == Pull::Missing
        && let Some(name) = tagged(image)
    {
        if !plan.quiet {
            console::complain(&format!("Unable to find image '{name}' locally"));
        }
        pull(cli, plan, image).await?;
        response = cli.client.container_create(&query, &plan.request).await;
    }
    let response = response?;
    for warning in &response.warnings {
        console::complain(&format!("WARNING: {warning}"));
    }
    if let Some(file) = &mut cidfile {
        file.write(&response.id)?;
    }
    Ok(response.id)
}

async fn pull(cli: &Cli, plan: &RunPlan, image: &str) -> Result<(), Failure> {
    let query = ImageCreateQuery {
        from_image: Some(repository(image).to_owned()),
        tag: Some(tag(image).to_owned()),
        platform: plan.platform.clone(),
        ..ImageCreateQuery::default()
    };
    let messages = cli.client.image_create(&query, None).await?;
    let sink = if plan.quiet { progress::Sink::None } else { progress::Sink::Stderr };
    progress::show(messages, sink).await
}

/// The name with its tag, in the short form; `None` for what is an id.
fn tagged(image: &str) -> Option<String> {
    let is_id = image.len() == 64 && image.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id {
        return None;
    }
    let short = image.strip_prefix("docker.io/").unwrap_or(image);
    let short = short.strip_prefix("library/").unwrap_or(short);
    if short.contains('@') || repository(short).len() < short.len() {
        return Some(short.to_owned());
    }
    Some(format!("{short}:latest"))
}

/// The name without its tag; a digest stays.
fn repository(image: &str) -> &str {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') && !image.contains('@') => name,
        _ => image,
    }
}

fn tag(image: &str) -> &str {
    if let Some((_, digest)) = image.split_once('@') {
        return digest;
    }
    let name = repository(image);
    image.get(name.len() + 1..).unwrap_or("latest")
}

/// The file for the container's id; removed again if there is none to write.
struct CidFile {
    path: String,
    file: std::fs::File,
    is_written: bool,
}

impl CidFile {
    fn create(path: &str) -> Result<Self, Failure> {
        if std::fs::exists(path).unwrap_or(false) {
            return Err(Failure::plain(format!(
                "container ID file found, make sure the other container isn't running or delete \
                 {path}"
            )));
        }
        let file = std::fs::File::create_new(path).map_err(|error| {
            let why = reason(&error);
            Failure::plain(format!("failed to create the container ID file: open {path}: {why}"))
        })?;
        Ok(Self { path: path.into(), file, is_written: false })
    }

    fn write(&mut self, id: &str) -> Result<(), Failure> {
        self.file.write_all(id.as_bytes()).map_err(|error| {
            Failure::plain(format!("failed to write the container ID to the file: {error}"))
        })?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.is_written {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_the_tag_that_is_pulled() {
        let check = |image: &str, shown: Option<&str>, name: &str, tag_of: &str| {
            assert_eq!(tagged(image).as_deref(), shown, "{image}");
            assert_eq!((repository(image), tag(image)), (name, tag_of), "{image}");
        };
        check("busybox", Some("busybox:latest"), "busybox", "latest");
        check("docker.io/library/a:1", Some("a:1"), "docker.io/library/a", "1");
        check("host:5000/a/b", Some("host:5000/a/b:latest"), "host:5000/a/b", "latest");
        check("a@sha256:00", Some("a@sha256:00"), "a@sha256:00", "sha256:00");
        check(&"0a".repeat(32), None, &"0a".repeat(32), "latest");
    }
}
