//! `create`, and the creating half of `run`.

use std::io::Write as _;

use ferry_api::query::{ContainerCreateQuery, ImageCreateQuery};

use super::progress;
use super::run::plan::{Pull, RunPlan, Surroundings, only_on_windows, plan};
use crate::command_line::Matches;
use crate::options::files::reason;
use crate::options::references::{self, Reference};
use crate::program::Cli;
use crate::report::Failure;
use crate::{console, credentials};

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
    let image = plan.request.config.image.as_str();
    let reference = if references::is_id(image) {
        None
    } else {
        Some(references::parse(image).map_err(Failure::plain)?)
    };
    if let (Pull::Always, Some(reference)) = (plan.pull, &reference) {
        pull(cli, plan, reference).await?;
    }
    let mut response = cli.client.container_create(&query, &plan.request).await;
    if let Err(error) = &response
        && error.is_not_found()
        && plan.pull == Pull::Missing
        && let Some(reference) = &reference
    {
        if !plan.quiet {
            console::complain(&format!("Unable to find image '{}' locally", reference.familiar()));
        }
        pull(cli, plan, reference).await?;
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

async fn pull(cli: &Cli, plan: &RunPlan, image: &Reference<'_>) -> Result<(), Failure> {
    let name = ferry_oci::reference::Reference::parse(&image.full());
    let name = name.map_err(|error| Failure::plain(error.to_string()))?;
    let auth = credentials::for_image(&cli.config, &name).to_header();
    let query = ImageCreateQuery {
        from_image: Some(image.full()),
        tag: Some(image.version().to_owned()),
        platform: plan.platform.clone(),
        ..ImageCreateQuery::default()
    };
    let messages = cli.client.image_create(&query, None, Some(&auth)).await?;
    let sink = if plan.quiet { progress::Sink::None } else { progress::Sink::Stderr };
    progress::show(messages, sink).await
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
