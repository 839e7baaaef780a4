//! What is told of what happens.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferry_testkit::Env;

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The actions of one container in the past, without those that concern networks.
fn actions(env: &Env, since: f64, id: &str) -> Vec<String> {
    let (since, until) = (format!("{since:.9}"), format!("{:.9}", now()));
    let filter = format!("container={id}");
    let words = [
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        &filter,
        "--filter",
        "type=container",
        "--format",
        "{{.Action}}",
    ];
    env.docker(&words).ok().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn a_life_is_told_in_order() {
    let env = Env::start();
    let since = now();
    let id = env.docker(&["create", "--name", "one", "busybox", "sh", "-c", "sleep 1000"]).ok();
    for words in [
        vec!["start", "one"],
        vec!["pause", "one"],
        vec!["unpause", "one"],
        vec!["rename", "one", "two"],
    ] {
        env.docker(&words).exits(0);
    }
    env.docker(&["exec", "two", "true"]).exits(0);
    env.docker(&["kill", "two"]).exits(0);
    env.docker(&["wait", "two"]).exits(0);
    env.docker(&["rm", "two"]).exits(0);
    assert_eq!(
        actions(&env, since, &id),
        [
            "create",
            "start",
            "pause",
            "unpause",
            "rename",
            "exec_create: true ",
            "exec_start: true ",
            "exec_die",
            "kill",
            "die",
            "destroy"
        ]
    );
}

#[test]
fn stop_and_restart_are_told() {
    let env = Env::start();
    let since = now();
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    env.docker(&["restart", "-t", "0", &id]).exits(0);
    env.docker(&["stop", "-t", "0", &id]).exits(0);
    let told = actions(&env, since, &id);
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for action in &told {
        *counts.entry(action.as_str()).or_default() += 1;
    }
    // Docker tells `stop` and `die` in either order, and one or two `kill`s.
    for (action, count) in [("create", 1), ("start", 2), ("die", 2), ("stop", 2), ("restart", 1)] {
        assert_eq!(counts.get(action), Some(&count), "{told:?}");
    }
    assert_eq!(told.first().map(String::as_str), Some("create"));
}

/// Docker tells of the network only what ends, and of a volume both.
#[test]
fn a_failed_start_tells_of_its_volume_and_network() {
    let env = Env::start();
    let id = env.docker(&["create", "-v", "/data", "busybox", "nope"]).ok();
    let since = format!("{:.9}", now());
    env.docker(&["start", &id]).exits(1);
    let until = format!("{:.9}", now());
    let words = ["events", "--since", &since, "--until", &until, "--format"];
    let told = env.invoke(&words).arg("{{.Type}} {{.Action}} {{.Actor.Attributes.container}}");
    let told = told.run().ok();
    let told: Vec<&str> =
        told.lines().filter_map(|line| line.strip_suffix(&format!(" {id}"))).collect();
    assert_eq!(told, ["volume mount", "network disconnect", "volume unmount"]);
}

#[test]
fn a_run_tells_of_its_attachment_and_its_code() {
    let env = Env::start();
    let since = now();
    env.docker(&["run", "--name", "one", "-l", "k=v", "busybox", "sh", "-c", "exit 4"]).exits(4);
    let id = env.inspect("one", "{{.Id}}");
    assert_eq!(actions(&env, since, &id), ["create", "attach", "start", "die"]);
    let (since, until) = (format!("{since:.9}"), format!("{:.9}", now()));
    let words = [
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "event=die",
        "--format",
        "{{json .}}",
    ];
    let told: serde_json::Value = serde_json::from_str(&env.docker(&words).ok()).unwrap();
    assert_eq!((&told["Type"], &told["Action"]), (&"container".into(), &"die".into()));
    let attributes = &told["Actor"]["Attributes"];
    assert_eq!(told["Actor"]["ID"], id.as_str());
    for (key, value) in [("exitCode", "4"), ("image", "busybox"), ("name", "one"), ("k", "v")] {
        assert_eq!(attributes[key], value, "{told}");
    }
    assert!(attributes["execDuration"].is_string(), "{told}");
    assert!(
        told["timeNano"].as_u64().unwrap() / 1_000_000_000 == told["time"].as_u64().unwrap(),
        "{told}"
    );
}

#[test]
fn events_come_as_they_happen() {
    let env = Env::start();
    let listener = env
        .invoke(&[
            "events",
            "--filter",
            "event=start",
            "--filter",
            "event=die",
            "--format",
            "{{.Action}} {{.Actor.Attributes.name}}",
        ])
        .spawn();
    // The listener is known to listen once it has heard of something.
    ferry_testkit::wait_until("it listens", Duration::from_secs(20), || {
        env.docker(&["run", "--rm", "--name", "first", "busybox", "true"]).exits(0);
        String::from_utf8_lossy(&listener.stdout()).contains("die first").then_some(())
    });
    env.docker(&["run", "--rm", "--name", "second", "busybox", "true"]).exits(0);
    listener.wait_for("start second\ndie second");
    listener.signal(rustix::process::Signal::INT);
    drop(listener.finish());
}

#[test]
fn an_events_line_reads_as_dockers() {
    let env = Env::start();
    let since = format!("{:.9}", now());
    env.docker(&["create", "--name", "one", "busybox"]).exits(0);
    let until = format!("{:.9}", now());
    let line = env.docker(&["events", "--since", &since, "--until", &until]).ok();
    let id = env.inspect("one", "{{.Id}}");
    assert!(line.ends_with(&format!(" container create {id} (image=busybox, name=one)")), "{line}");
    env.docker(&["events", "--since", "nonsense"]).exits(1);
}

#[test]
fn image_events_are_told() {
    let env = Env::start();
    let since = format!("{:.9}", now());
    env.docker(&["tag", "busybox", "other:1"]).exits(0);
    env.docker(&["rmi", "other:1"]).exits(0);
    let until = format!("{:.9}", now());
    let words = [
        "events",
        "--since",
        &since,
        "--until",
        &until,
        "--filter",
        "type=image",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    ];
    let told = env.docker(&words).ok();
    assert!(told.starts_with("tag other:1\nuntag "), "{told}");
}
