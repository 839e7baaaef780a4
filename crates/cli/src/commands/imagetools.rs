//! `buildx imagetools`: indexes made of what registries have, and looked at, without a builder.

mod annotations;
mod attestations;
mod create;
mod inspect;
mod log;
mod sources;

use std::cell::RefCell;
use std::collections::HashMap;

use ferry_distribution::{DistributionError, DistributionErrorKind, Repository, RoleKind};
use ferry_oci::reference::Reference;
use futures_util::future::join_all;

use crate::command_line::Matches;
use crate::program::Cli;
use crate::registries::{self, Access};
use crate::report::Failure;

/// `buildx imagetools create`
pub(super) async fn create(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    let targets = Repositories::new(cli, RoleKind::Push);
    let work = create::run(cli, matches, &targets);
    told(registries::interruptible(work, targets.settled()).await)
}

/// `buildx imagetools inspect`
pub(super) async fn inspect(cli: &Cli, matches: &Matches) -> Result<(), Failure> {
    told(inspect::run(cli, matches).await)
}

/// Compat: Buildx begins what it complains about with this word.
fn told(result: Result<(), Failure>) -> Result<(), Failure> {
    result.map_err(|failure| match failure.message.as_str() {
        "" => failure,
        message => Failure::new(failure.code, format!("ERROR: {message}")),
    })
}

/// Refuses a builder, of which there are none.
fn refuse_builder(matches: &Matches) -> Result<(), Failure> {
    match matches.text("builder") {
        "" | "default" => Ok(()),
        other => Err(Failure::plain(format!("no builder {other:?} found"))),
    }
}

/// The repositories that a command speaks with, each opened once.
struct Repositories<'a> {
    cli: &'a Cli,
    role: RoleKind,
    open: RefCell<HashMap<String, Repository>>,
}

impl<'a> Repositories<'a> {
    fn new(cli: &'a Cli, role: RoleKind) -> Self {
        Self { cli, role, open: RefCell::default() }
    }

    fn get(&self, name: &Reference) -> Result<Repository, Failure> {
        if let Some(repository) = self.open.borrow().get(&name.name()) {
            return Ok(repository.clone());
        }
        let opened = registries::open(&self.cli.config, name, self.role, &Access::default())?;
        self.open.borrow_mut().insert(name.name(), opened.clone());
        Ok(opened)
    }

    /// Waits until the registries have been told of the uploads that were given up.
    async fn settled(&self) {
        let open: Vec<Repository> = self.open.borrow().values().cloned().collect();
        join_all(open.iter().map(Repository::settled)).await;
    }
}

/// A failure with the image of that name, in Buildx's words where it is not there.
fn failure(name: &Reference, error: DistributionError) -> Failure {
    match error.kind() {
        DistributionErrorKind::NotFound => Failure::plain(format!("{name}: not found")),
        _ => registries::failure(error),
    }
}
