//! `ps`, its filters and its forms; `info`, `version` and `_ping`.

use ferry_testkit::Env;

fn names(env: &Env, words: &[&str]) -> Vec<String> {
    let mut all = vec!["ps", "--format", "{{.Names}}"];
    all.extend(words);
    env.docker(&all).ok().lines().map(ToOwned::to_owned).collect()
}

#[test]
fn ps_has_dockers_columns() {
    let env = Env::start();
    let id = env.run_detached(&["--name", "web", "busybox", "sh", "-c", "exec sleep 1000"]);
    let text = env.docker(&["ps"]).ok();
    let (head, row) = text.split_once('\n').unwrap();
    assert_eq!(
        head.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>(),
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    );
    assert!(row.starts_with(&id[..12]), "{row}");
    assert!(row.contains("\"sh -c 'exec sleep 1…\""), "{row}");
    assert!(row.contains("Up ") && row.contains(" ago") && row.ends_with("web"), "{row}");
    assert_eq!(env.docker(&["ps", "-q", "--no-trunc"]).ok(), id);
    let whole =
        env.docker(&["ps", "--no-trunc", "--format", "{{.ID}} {{.Command}} {{.Image}}"]).ok();
    assert_eq!(whole, format!("{id} \"sh -c 'exec sleep 1000'\" busybox"));
    let shown = env.docker(&["ps", "--format", "{{.State}} {{.Networks}} {{.Label \"x\"}}"]).ok();
    assert_eq!(shown.trim_end(), "running bridge");
}

#[test]
fn ps_filters() {
    let env = Env::start();
    let first = env.docker(&["create", "--name", "first", "--label", "color=blue", "busybox"]).ok();
    env.docker(&[
        "run",
        "--name",
        "second",
        "--label",
        "color=red",
        "busybox",
        "sh",
        "-c",
        "exit 3",
    ])
    .exits(3);
    drop(env.run_detached(&["--name", "third", "--label", "color", "busybox", "sleep", "1000"]));
    let all = |filters: &[&str]| {
        let mut words = vec!["-a"];
        for filter in filters {
            words.extend(["--filter", filter]);
        }
        names(&env, &words)
    };
    assert_eq!(names(&env, &[]), ["third"]);
    assert_eq!(names(&env, &["-a"]), ["third", "second", "first"]);
    assert_eq!(names(&env, &["-l"]), ["third"]);
    assert_eq!(names(&env, &["-n", "2"]), ["third", "second"]);
    assert_eq!(all(&["name=ir"]), ["third", "first"]);
    assert_eq!(all(&["name=^first$"]), ["first"]);
    assert_eq!(all(&[&format!("id={}", &first[..10])]), ["first"]);
    assert_eq!(all(&["status=exited"]), ["second"]);
    assert_eq!(all(&["status=created", "status=running"]), ["third", "first"]);
    assert_eq!(all(&["exited=3"]), ["second"]);
    assert_eq!(all(&["exited=0"]), Vec::<String>::new());
    assert_eq!(all(&["label=color"]), ["third", "second", "first"]);
    assert_eq!(all(&["label=color=red"]), ["second"]);
    assert_eq!(all(&["label=color", "status=running"]), ["third"]);
    assert_eq!(all(&["before=third"]), ["second", "first"]);
    assert_eq!(all(&["since=first"]), ["third", "second"]);
    assert_eq!(all(&["ancestor=busybox"]), ["third", "second", "first"]);
    assert_eq!(all(&["ancestor=nope"]), Vec::<String>::new());
    assert_eq!(all(&["network=bridge"]), ["third", "second", "first"]);
    env.docker(&["ps", "--filter", "bogus=1"]).exits(1).says("invalid filter 'bogus'");
    env.docker(&["ps", "--filter", "status=bogus"]).exits(1).says("bogus");
}

#[test]
fn ps_tells_how_it_ended() {
    let env = Env::start();
    env.docker(&["run", "--name", "one", "busybox", "sh", "-c", "exit 3"]).exits(3);
    let status =
        ferry_testkit::wait_until("it has ended", std::time::Duration::from_secs(5), || {
            // Docker's list may lag behind the end by a moment.
            let status = env.docker(&["ps", "-a", "--format", "{{.Status}}"]).ok();
            (!status.starts_with("Up")).then_some(status)
        });
    assert!(status.starts_with("Exited (3) ") && status.ends_with(" ago"), "{status}");
    env.docker(&["create", "--name", "two", "busybox"]).exits(0);
    assert_eq!(
        env.docker(&["ps", "-a", "--filter", "name=two", "--format", "{{.Status}}"]).ok(),
        "Created"
    );
    let size = env.docker(&["ps", "-as", "--filter", "name=one", "--format", "{{.Size}}"]).ok();
    assert!(size.contains("B (virtual "), "{size}");
}

#[test]
fn ping_says_what_clients_ask() {
    let env = Env::start();
    let answer = env.api("GET", "/_ping", None).is(200);
    assert_eq!(answer.text(), "OK");
    assert_eq!(answer.header("docker-experimental"), Some("false"));
    assert_eq!(answer.header("ostype"), Some("linux"));
    assert_eq!(answer.header("cache-control"), Some("no-cache, no-store, must-revalidate"));
    assert!(answer.header("api-version").is_some_and(|version| version.starts_with("1.")));
    assert_eq!(env.api("HEAD", "/_ping", None).is(200).text(), "");
    let version = env.api("GET", "/version", None).is(200).json();
    assert_eq!(version["ApiVersion"].as_str(), answer.header("api-version"));
    assert_eq!(version["Os"], "linux");
    let newest = answer.header("api-version").unwrap().to_owned();
    assert_eq!(env.api("GET", &format!("/v{newest}/_ping"), None).is(200).text(), "OK");
}

#[test]
fn every_version_from_124_is_served() {
    let env = Env::start();
    drop(env.run_detached(&["--name", "one", "busybox", "sleep", "1000"]));
    for minor in 24..=51 {
        let answer = env.api("GET", &format!("/v1.{minor}/containers/json"), None).is(200).json();
        assert_eq!(answer[0]["Names"][0], "/one", "1.{minor}");
        let one = env.api("GET", &format!("/v1.{minor}/containers/one/json"), None).is(200).json();
        assert_eq!(one["State"]["Running"], true, "1.{minor}");
    }
    let old = env.api("GET", "/v1.23/info", None).is(400).text();
    assert!(
        old.contains("client version 1.23 is too old. Minimum supported API version is 1.24"),
        "{old}"
    );
    let new = env.api("GET", "/v1.99/info", None).is(400).message();
    assert!(
        new.contains("client version 1.99 is too new. Maximum supported API version is"),
        "{new}"
    );
}

#[test]
fn info_counts() {
    let env = Env::start();
    drop(env.run_detached(&["busybox", "sleep", "1000"]));
    let paused = env.run_detached(&["busybox", "sleep", "1000"]);
    env.docker(&["pause", &paused]).exits(0);
    env.docker(&["create", "busybox"]).exits(0);
    let template = "{{.Containers}} {{.ContainersRunning}} {{.ContainersPaused}} {{.ContainersStopped}} {{.OSType}}";
    assert_eq!(env.docker(&["info", "--format", template]).ok(), "3 1 1 1 linux");
    let info = env.docker(&["info"]).ok();
    for line in [
        "Server:",
        " Containers: 3",
        "  Running: 1",
        " Cgroup Driver: cgroupfs",
        " Kernel Version: ",
    ] {
        assert!(info.contains(line), "{line:?} in:\n{info}");
    }
    let version = env.docker(&["version"]).ok();
    assert!(version.contains("Client:") && version.contains("Server:"), "{version}");
}
