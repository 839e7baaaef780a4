//! Which containers a query means.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{EngineError, Result};
use crate::id::ContainerId;
use crate::request::ListQuery;
use crate::snapshot::ContainerSnapshot;

/// What the filters need to know beside the containers.
pub(crate) trait Surroundings {
    /// The container that `before` or `since` means.
    fn container(&self, reference: &str) -> Result<Arc<ContainerSnapshot>>;
    /// The ids of the image that `ancestor` means, and of those made from it.
    fn image(&self, reference: &str) -> Vec<String>;
}

const KNOWN: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "isolation",
    "is-task",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

const STATUSES: [&str; 7] =
    ["created", "dead", "exited", "paused", "removing", "restarting", "running"];

/// A query, its values read.
#[derive(Debug, Default)]
struct Filters {
    plain: BTreeMap<String, Vec<String>>,
    names: Vec<regex_lite::Regex>,
    exit_codes: Vec<i32>,
    ancestors: Option<Vec<String>>,
    /// Older than this one.
    before: Option<Arc<ContainerSnapshot>>,
    /// Newer than this one.
    since: Option<Arc<ContainerSnapshot>>,
    /// A status or an exit code says which: those that do not run are listed, too.
    implies_all: bool,
}

/// Those that the query means, the newest first.
///
/// # Errors
/// `Invalid` for an unknown filter or value; `NotFound` for `before` and `since`.
pub(crate) fn select(
    mut containers: Vec<Arc<ContainerSnapshot>>,
    query: &ListQuery,
    around: &dyn Surroundings,
) -> Result<Vec<Arc<ContainerSnapshot>>> {
    let filters = Filters::read(query, around)?;
    containers.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    let everyone = query.all || query.limit.is_some() || filters.implies_all;
    let fitting = containers
        .into_iter()
        .filter(|container| everyone || container.is_running())
        .filter(|container| filters.fit(container));
    Ok(fitting.take(query.limit.unwrap_or(usize::MAX)).collect())
}

impl Filters {
    fn read(query: &ListQuery, around: &dyn Surroundings) -> Result<Self> {
        let mut filters = Self::default();
        for (name, values) in query.filters.iter().filter(|(_, values)| !values.is_empty()) {
            if !KNOWN.contains(&name.as_str()) {
                return Err(EngineError::Invalid(format!("invalid filter '{name}'")));
            }
            filters.read_one(name, values, around)?;
            filters.plain.insert(name.clone(), values.clone());
        }
        Ok(filters)
    }

    fn read_one(&mut self, name: &str, values: &[String], around: &dyn Surroundings) -> Result<()> {
        match name {
            "status" => {
                self.implies_all = true;
                if let Some(bad) = values.iter().find(|value| !STATUSES.contains(&value.as_str())) {
                    return Err(EngineError::Invalid(format!(
                        "invalid filter 'status={bad}': invalid value for state ({bad}): must be \
                         one of created, running, paused, restarting, removing, exited, dead"
                    )));
                }
            }
            "health" => {
                let known = ["starting", "healthy", "unhealthy", "none"];
                if let Some(bad) = values.iter().find(|value| !known.contains(&value.as_str())) {
                    return Err(EngineError::Invalid(format!(
                        "unrecognised filter value for health: {bad}"
                    )));
                }
            }
            "exited" => {
                self.implies_all = true;
                for value in values {
                    let code = value.parse().map_err(|_not_a_number| {
                        EngineError::Invalid(format!(
                            "invalid filter 'exited={value}': strconv.Atoi: parsing \"{value}\": \
                             invalid syntax"
                        ))
                    })?;
                    self.exit_codes.push(code);
                }
            }
            "is-task" => {
                if let Some(bad) = values
                    .iter()
                    .find(|value| !matches!(value.as_str(), "0" | "1" | "true" | "false"))
                {
                    return Err(EngineError::Invalid(format!("invalid filter 'is-task={bad}'")));
                }
            }
            "name" => {
                for value in values {
                    let expression = regex_lite::Regex::new(value).map_err(|error| {
                        EngineError::Invalid(format!("invalid filter 'name={value}': {error}"))
                    })?;
                    self.names.push(expression);
                }
            }
            "ancestor" => {
                let ids = values.iter().flat_map(|value| around.image(value));
                self.ancestors = Some(ids.collect());
            }
            // Compat: of several, the last counts.
            "before" => self.before = last(values, around)?,
            "since" => self.since = last(values, around)?,
            _ => {}
        }
        Ok(())
    }

    fn fit(&self, container: &ContainerSnapshot) -> bool {
        self.plain.iter().all(|(name, values)| self.fits_one(name, values, container))
    }

    fn fits_one(&self, name: &str, values: &[String], container: &ContainerSnapshot) -> bool {
        let any = |fits: &dyn Fn(&str) -> bool| values.iter().any(|value| fits(value));
        match name {
            "id" => any(&|value| container.id.as_str().starts_with(value)),
            "name" => self.names.iter().any(|name| {
                // Compat: a name is found with and without its slash.
                name.is_match(&container.name) || name.is_match(&format!("/{}", container.name))
            }),
            "label" => values.iter().all(|value| match value.split_once('=') {
                Some((name, wanted)) => {
                    container.spec.labels.get(name).is_some_and(|value| value == wanted)
                }
                None => container.spec.labels.contains_key(value),
            }),
            "status" => any(&|value| container.status() == value),
            "exited" => container.exit().is_some_and(|exit| self.exit_codes.contains(&exit.code)),
            "ancestor" => self.ancestors.iter().flatten().any(|id| *id == container.image_id),
            "before" => self.before.as_ref().is_some_and(|other| is_older(container, other)),
            "since" => self.since.as_ref().is_some_and(|other| is_older(other, container)),
            "volume" => any(&|value| {
                container.mounts.iter().any(|mount| {
                    mount.name == value || mount.source == value || mount.destination == value
                })
            }),
            "network" => any(&|value| {
                let mode = container.spec.host.network.to_string();
                mode == value || (value == "bridge" && container.spec.host.network.is_bridge())
            }),
            "expose" => any(&|value| {
                let port =
                    if value.contains('/') { value.to_owned() } else { format!("{value}/tcp") };
                container.spec.exposed_ports.contains(&port)
            }),
            // There are no health checks, and nobody is a task, yet.
            "health" => any(&|value| value == "none"),
            "is-task" => any(&|value| matches!(value, "0" | "false")),
            // No port is published yet.
            "publish" => false,
            // A setting of another system.
            _ => true,
        }
    }
}

fn last(values: &[String], around: &dyn Surroundings) -> Result<Option<Arc<ContainerSnapshot>>> {
    values.last().map(|value| around.container(value)).transpose()
}

fn is_older(container: &ContainerSnapshot, than: &ContainerSnapshot) -> bool {
    let key = |snapshot: &ContainerSnapshot| (snapshot.created, snapshot.id.clone());
    let (a, b): ((_, ContainerId), (_, ContainerId)) = (key(container), key(than));
    a.0 < b.0 || (a.0 == b.0 && a.1 > b.1)
}

#[cfg(test)]
mod tests;
