//! From a snapshot to a line of a list.

use ferry_api::{
    ContainerSummary,
    container::{SummaryHostConfig, SummaryNetworkSettings},
};
use ferry_engine::{ContainerSizes, ContainerSnapshot, Phase, Resting, spec::NetworkMode};
use jiff::Timestamp;

use crate::{
    convert::{inspect, shown::signed, times},
    facts::Facts,
};

/// Shows a container in a list. `image` is how its image is to be named.
pub(crate) fn container(
    snapshot: &ContainerSnapshot,
    image: String,
    sizes: Option<ContainerSizes>,
    now: Timestamp,
    facts: &Facts,
) -> ContainerSummary {
    ContainerSummary {
        id: snapshot.id.to_string(),
        names: vec![format!("/{}", snapshot.name)],
        image,
        image_id: snapshot.image_id.clone(),
        command: command(&snapshot.path, &snapshot.args),
        created: snapshot.created.as_second(),
        ports: Vec::new(),
        size_rw: sizes.map_or(0, |sizes| signed(sizes.written)),
        size_root_fs: sizes.map_or(0, |sizes| signed(sizes.total)),
        labels: snapshot.spec.labels.clone(),
        state: snapshot.status().to_owned(),
        status: status(snapshot, now),
        host_config: SummaryHostConfig {
            network_mode: match &snapshot.spec.host.network {
                NetworkMode::Default => "bridge".to_owned(),
                mode => mode.to_string(),
            },
            annotations: snapshot.spec.host.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings { networks: inspect::endpoints(snapshot, facts) },
        mounts: snapshot.mounts.iter().map(inspect::mount_point).collect(),
    }
}

/// Compat: arguments with spaces are quoted, though not so that a shell would understand them.
fn command(path: &str, args: &[String]) -> String {
    let mut line = path.to_owned();
    for arg in args {
        let quote = if arg.contains(' ') { "'" } else { "" };
        line.push_str(&format!(" {quote}{arg}{quote}"));
    }
    line
}

/// What `docker ps` shows under STATUS.
fn status(snapshot: &ContainerSnapshot, now: Timestamp) -> String {
    let ago = |time: Option<Timestamp>| {
        times::rough(time.map_or(0, |time| now.as_second() - time.as_second()))
    };
    match &snapshot.phase {
        Phase::Created { .. } | Phase::Starting { before: Resting::Created { .. } } => {
            "Created".to_owned()
        }
        Phase::Running(run) => format!("Up {}", ago(Some(run.started_at))),
        Phase::Paused(run) => format!("Up {} (Paused)", ago(Some(run.started_at))),
        Phase::Exited(exit) | Phase::Starting { before: Resting::Exited(exit) } => {
            format!("Exited ({}) {} ago", exit.code, ago(exit.finished_at))
        }
        Phase::Removing { .. } => "Removal In Progress".to_owned(),
        Phase::Dead { .. } => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_one_line() {
        assert_eq!(command("sh", &["-c".into(), "echo a".into()]), "sh -c 'echo a'");
        assert_eq!(command("true", &[]), "true");
    }
}
