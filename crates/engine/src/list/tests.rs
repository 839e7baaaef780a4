use jiff::Timestamp;

use super::*;
use crate::container::tests::snapshot;
use crate::phase::{Exit, Phase, Run};
use crate::spec::{ContainerSpec, NetworkMode};

struct World(Vec<Arc<ContainerSnapshot>>);

impl Surroundings for World {
    fn container(&self, reference: &str) -> Result<Arc<ContainerSnapshot>> {
        let found = self.0.iter().find(|container| container.name == reference);
        found.cloned().ok_or_else(|| EngineError::NoSuchContainer(reference.to_owned()))
    }

    fn image(&self, reference: &str) -> Vec<String> {
        if reference == "busybox" { vec!["sha256:00".to_owned()] } else { Vec::new() }
    }
}

fn world() -> World {
    let mut containers = Vec::new();
    for (age, name) in ["old", "web", "db"].into_iter().enumerate() {
        let id = format!("{age}{}", "0".repeat(63));
        let mut container = snapshot(&id, name);
        container.created = Timestamp::from_second(i64::try_from(age).unwrap()).unwrap();
        let mut spec = ContainerSpec::default();
        spec.labels.insert("tier".to_owned(), name.to_owned());
        container.phase = match name {
            "old" => Phase::Exited(Exit {
                code: 3,
                oom_killed: false,
                error: String::new(),
                started_at: None,
                finished_at: None,
            }),
            "web" => Phase::Running(Run { pid: 1, started_at: Timestamp::UNIX_EPOCH }),
            _ => {
                spec.host.network = NetworkMode::Host;
                Phase::Paused(Run { pid: 2, started_at: Timestamp::UNIX_EPOCH })
            }
        };
        container.spec = Arc::new(spec);
        containers.push(Arc::new(container));
    }
    World(containers)
}

#[track_caller]
fn check(all: bool, filters: &[(&str, &str)], expect: &str) {
    let mut query = ListQuery { all, ..ListQuery::default() };
    for (name, value) in filters {
        query.filters.entry((*name).to_owned()).or_default().push((*value).to_owned());
    }
    let world = world();
    let said = match select(world.0.clone(), &query, &world) {
        Ok(found) => found.iter().map(|it| it.name.as_str()).collect::<Vec<_>>().join(" "),
        Err(error) => error.to_string(),
    };
    assert_eq!(said, expect, "{filters:?}");
}

#[test]
fn those_that_run_are_listed_newest_first() {
    check(false, &[], "db web");
    check(true, &[], "db web old");
}

#[test]
fn a_limit_counts_those_that_do_not_run_too() {
    let world = world();
    let query = ListQuery { limit: Some(3), ..ListQuery::default() };
    assert_eq!(select(world.0.clone(), &query, &world).unwrap().len(), 3);
    let query = ListQuery { limit: Some(1), ..ListQuery::default() };
    assert_eq!(select(world.0.clone(), &query, &world).unwrap()[0].name, "db");
}

#[test]
fn filters_choose() {
    check(false, &[("status", "exited")], "old");
    check(false, &[("status", "exited"), ("status", "paused")], "db old");
    check(false, &[("exited", "3")], "old");
    check(false, &[("exited", "0")], "");
    check(true, &[("name", "eb")], "web");
    check(true, &[("name", "^/web$")], "web");
    check(true, &[("name", "^eb")], "");
    check(true, &[("label", "tier=db")], "db");
    check(true, &[("label", "tier"), ("label", "tier=db")], "db");
    check(true, &[("before", "web")], "old");
    check(true, &[("since", "web")], "db");
    check(true, &[("id", "1")], "web");
    check(true, &[("ancestor", "busybox")], "db web old");
    check(true, &[("ancestor", "other")], "");
    check(true, &[("network", "bridge")], "web old");
    check(true, &[("network", "host"), ("label", "tier=web")], "");
}

#[test]
fn what_means_nothing_is_refused() {
    check(true, &[("colour", "red")], "invalid filter 'colour'");
    check(
        true,
        &[("status", "happy")],
        "invalid filter 'status=happy': invalid value for state (happy): must be one of created, running, paused, restarting, removing, exited, dead",
    );
    check(
        true,
        &[("exited", "x")],
        "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
    );
    check(true, &[("since", "gone")], "No such container: gone");
}
