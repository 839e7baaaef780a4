use super::{Pull, RunPlan, Surroundings, plan};
use crate::command_line::{grammar, parse};

fn make(line: &[&str]) -> Result<RunPlan, String> {
    let command = grammar::find("run").unwrap();
    let words: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
    let matches = parse("docker", "run", &command, &words).map_err(|failure| failure.message)?;
    let around = Surroundings {
        variable: &|_name| None,
        proxies: vec![("HTTP_PROXY".into(), "http://p".into())],
    };
    plan(&matches, &around)
}

/// The fields of the request that differ from those of `run image`.
fn difference(line: &[&str]) -> serde_json::Value {
    let json = |line: &[&str]| serde_json::to_value(make(line).unwrap().request).unwrap();
    let (plain, mut full) = (json(&["image"]), json(line));
    for part in ["HostConfig", ""] {
        let (plain, full) =
            if part.is_empty() { (&plain, &mut full) } else { (&plain[part], &mut full[part]) };
        let full = full.as_object_mut().unwrap();
        full.retain(|key, value| plain.get(key) != Some(value));
    }
    full
}

#[test]
fn a_plain_run_asks_for_little() {
    let plan = make(&["image", "sh", "-c", "x"]).unwrap();
    assert_eq!(plan.pull, Pull::Missing);
    let config = &plan.request.config;
    assert_eq!((config.image.as_str(), config.cmd.as_ref().unwrap().0.len()), ("image", 3));
    assert!(config.attach_stdout && config.attach_stderr && !config.attach_stdin);
    assert_eq!(config.env.as_deref().unwrap(), ["HTTP_PROXY=http://p"]);
    let host = plan.request.host_config.as_ref().unwrap();
    assert_eq!((host.network_mode.as_str(), host.restart_policy.name.as_str()), ("default", "no"));
    assert_eq!(host.memory_swappiness, Some(-1));
}

#[test]
fn flags_change_what_is_asked_for() {
    let difference = difference(&[
        "-it",
        "--rm",
        "--name",
        "n",
        "-h",
        "host",
        "-u",
        "1:2",
        "-w",
        "/w",
        "-e",
        "A=1",
        "-l",
        "a=b",
        "-p",
        "127.0.0.1:80:80",
        "-v",
        "/a:/b:ro",
        "-v",
        "/anon",
        "--tmpfs",
        "/t:size=1m",
        "--memory",
        "64m",
        "--cpus",
        "1.5",
        "--ulimit",
        "nofile=3",
        "--cap-add",
        "net_admin",
        "--device",
        "/dev/null",
        "--restart",
        "no",
        "--stop-timeout",
        "0",
        "--entrypoint",
        "",
        "--security-opt",
        "systempaths=unconfined",
        "--init",
        "--dns",
        "1.1.1.1",
        "image",
    ]);
    insta::assert_snapshot!(serde_json::to_string_pretty(&difference).unwrap());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let check =
        |line: &[&str], expect: &str| assert_eq!(make(line).unwrap_err(), expect, "{line:?}");
    check(
        &["--restart", "always", "--rm", "i"],
        "conflicting options: cannot specify both --restart and --rm",
    );
    check(
        &["--restart", "on-failure:x", "i"],
        "invalid restart policy format: maximum retry count must be an integer",
    );
    check(
        &["--memory-swappiness", "200", "i"],
        "invalid value: 200. Valid memory swappiness range is 0-100",
    );
    check(
        &["--no-healthcheck", "--health-cmd", "x", "i"],
        "--no-healthcheck conflicts with --health-* options",
    );
    check(&["--health-interval", "-1s", "i"], "--health-interval cannot be negative");
    check(
        &["--log-driver", "none", "--log-opt", "a=b", "i"],
        "invalid logging opts for driver none",
    );
    check(&["--pid", "container:", "i"], "--pid: invalid PID mode");
    check(&["--storage-opt", "x", "i"], "invalid storage option");
    check(
        &["--pull", "x", "i"],
        "invalid pull option: 'x': must be one of \"always\", \"missing\" or \"never\"",
    );
    check(&["--network", "a", "--network", "a", "i"], "network \"a\" is specified multiple times");
    check(
        &["--network", "host", "--network", "a", "i"],
        "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
    );
    check(&["--use-api-socket", "i"], "--use-api-socket is not supported yet");
}

#[test]
fn a_detached_run_attaches_nothing() {
    let plan = make(&["-dit", "image"]).unwrap();
    let config = &plan.request.config;
    assert!(plan.detach && config.open_stdin && config.tty && !config.stdin_once);
    assert!(!config.attach_stdin && !config.attach_stdout && !config.attach_stderr);
}
