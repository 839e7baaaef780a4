//! create, start, state, kill, delete, and what is refused between them.

use std::fs;
use std::io::Read as _;

use crate::support::Bundle;

#[test]
fn a_container_goes_through_its_life() {
    let bundle = Bundle::new("echo started >/started; exec sleep 60");
    bundle.write_config();
    let pid_file = bundle.directory.join("pid");
    let create = || bundle.create(&["--pid-file", pid_file.to_str().unwrap()]);
    let id = bundle.id.as_str();
    assert_eq!(create().code, 0);
    assert_eq!(bundle.state("status"), "created");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), bundle.state("pid").to_string());
    assert!(!bundle.root("started").exists(), "nothing runs before it is started");
    assert!(create().err.contains("container with given ID already exists"));

    assert_eq!(bundle.runtime(&["start", id]).code, 0);
    assert_eq!(bundle.state("status"), "running");
    let refused = bundle.runtime(&["start", id]).err;
    assert!(refused.contains("cannot start an already running container"), "{refused}");
    let refused = bundle.runtime(&["delete", id]).err;
    assert!(refused.contains("that is not stopped: running"), "{refused}");

    assert_eq!(bundle.runtime(&["kill", id, "KILL"]).code, 0);
    bundle.await_status("stopped");
    assert!(bundle.root("started").exists());
    assert_eq!(bundle.state("pid"), 0);
    let refused = bundle.runtime(&["start", id]).err;
    assert!(refused.contains("cannot start a container that has stopped"), "{refused}");
    let refused = bundle.runtime(&["kill", id, "TERM"]).err;
    assert!(refused.contains("container not running"), "{refused}");
    assert_eq!(bundle.runtime(&["delete", id]).code, 0);
    assert!(bundle.runtime(&["state", id]).err.contains("container does not exist"));
}

#[test]
fn a_created_container_is_deleted_without_having_run() {
    let bundle = Bundle::new("echo ran >/ran");
    assert_eq!(bundle.create(&[]).code, 0);
    assert_eq!(bundle.runtime(&["delete", &bundle.id]).code, 0);
    assert!(!bundle.root("ran").exists());
    assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_failed_create_leaves_nothing() {
    let mut bundle = Bundle::new("");
    bundle.set("/process/args", serde_json::json!(["/nope"]));
    let said = bundle.create(&[]);
    assert_eq!(said.code, 1);
    assert_eq!(fs::read_dir(bundle.directory.join("state")).unwrap().count(), 0);
    assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_record_that_can_not_be_read_is_told_and_nothing_is_removed() {
    let bundle = Bundle::new("exec sleep 60");
    bundle.start();
    let record = bundle.directory.join("state").join(&bundle.id).join("state.json");
    let whole = fs::read_to_string(&record).unwrap();
    let pid = bundle.state("pid");
    for broken in [whole.replacen("\"version\":1", "\"version\":2", 1), "{".to_owned()] {
        assert_ne!(broken, whole);
        fs::write(&record, &broken).unwrap();
        let said = bundle.runtime(&["delete", "--force", &bundle.id]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.contains("state.json"), "{said:?}");
        assert_eq!(fs::read_to_string(&record).unwrap(), broken);
    }
    fs::write(&record, whole).unwrap();
    assert_eq!((bundle.state("pid"), bundle.state("status")), (pid, "running".into()));
}

#[test]
fn what_a_create_left_that_did_not_finish_is_deleted_by_force() {
    let bundle = Bundle::new("");
    let home = bundle.directory.join("state").join(&bundle.id);
    fs::create_dir_all(&home).unwrap();
    let said = bundle.runtime(&["delete", &bundle.id]);
    assert!(said.err.contains("container does not exist"), "{said:?}");
    assert_eq!(bundle.runtime(&["delete", "--force", &bundle.id]).code, 0);
    assert!(!home.exists());
}

#[test]
fn errors_go_to_the_log_as_json() {
    let bundle = Bundle::new("");
    let log = bundle.directory.join("log");
    let arguments = ["--log", log.to_str().unwrap(), "--log-format", "json", "state", "nobody"];
    assert_eq!(bundle.runtime(&arguments).code, 1);
    let line: serde_json::Value = serde_json::from_str(&fs::read_to_string(log).unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(line["msg"], "state failed: container does not exist");
}

#[test]
fn bad_lines_are_refused_by_name() {
    let bundle = Bundle::new("");
    for (arguments, expected) in [
        (&["--systemd-cgroup", "list"][..], "--systemd-cgroup is not supported"),
        (&["--criu", "list"], "flag provided but not defined: -criu"),
        (&["checkpoint", "x"], "No help topic for 'checkpoint'"),
        (&["create", "--no-pivot", "x"], "flag provided but not defined: -no-pivot"),
        (&["state"], "requires exactly 1 argument"),
        (&["state", "../x"], "invalid container ID format: \"../x\""),
        (&["state", ".."], "invalid container ID format"),
        (&["kill", "x", "NOPE"], "unknown signal \"NOPE\""),
        (&["--log-format", "xml", "list"], "invalid log-format: \"xml\""),
        (&["create", "--bundle", "/nope", "x"], "bundle \"/nope\""),
    ] {
        let said = bundle.runtime(arguments);
        assert_eq!(said.code, 1, "{arguments:?}");
        assert!(said.err.contains(expected), "{arguments:?}: {}", said.err);
    }
}

#[test]
fn paused_processes_stand_still() {
    let bundle = Bundle::new("while true; do echo x >>/ticks; sleep 0.01; done");
    bundle.start();
    assert_eq!(bundle.runtime(&["pause", &bundle.id]).code, 0);
    assert_eq!(bundle.state("status"), "paused");
    let ticks = || fs::metadata(bundle.root("ticks")).map_or(0, |file| file.len());
    let before = ticks();
    for _attempt in 0..10 {
        crate::support::nap();
    }
    assert_eq!(ticks(), before);
    assert_eq!(bundle.runtime(&["resume", &bundle.id]).code, 0);
    assert_eq!(bundle.state("status"), "running");
    for _attempt in 0..500 {
        if ticks() > before {
            return;
        }
        crate::support::nap();
    }
    panic!("it did not go on");
}

#[test]
fn all_processes_are_killed_with_a_shared_process_namespace() {
    let mut bundle = Bundle::new("sleep 61 & sleep 62; true");
    let namespaces = serde_json::json!([{ "type": "mount" }, { "type": "uts" }]);
    bundle.set("/linux/namespaces", namespaces);
    bundle.start();
    let count = || {
        let said = bundle.runtime(&["ps", "--format", "json", &bundle.id]);
        serde_json::from_str::<Vec<i32>>(&said.out).unwrap().len()
    };
    while count() < 3 {
        crate::support::nap();
    }
    assert_eq!(bundle.runtime(&["kill", &bundle.id, "KILL"]).code, 0);
    bundle.await_status("stopped");
    assert_eq!(count(), 0);
}

#[test]
fn a_run_in_the_foreground_passes_signals_on() {
    let bundle =
        Bundle::new("trap 'echo got it; exit 3' TERM; echo ready; while true; do sleep 0.01; done");
    bundle.write_config();
    let mut run = bundle.spawn(&["run", "--bundle", bundle.path(), &bundle.id]);
    let mut out = run.stdout.take().unwrap();
    let mut ready = [0; 6];
    out.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    let pid = rustix::process::Pid::from_child(&run);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(3));
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "got it\n");
    // A run that has ended leaves nothing to delete.
    assert!(bundle.runtime(&["state", &bundle.id]).err.contains("container does not exist"));
}

#[test]
fn standard_input_reaches_the_program_to_its_end() {
    let bundle = Bundle::new("wc -c");
    bundle.write_config();
    let mut run = bundle.spawn(&["run", "--bundle", bundle.path(), &bundle.id]);
    let mut input = run.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, &vec![b'x'; 300_000]).unwrap();
    drop(input);
    let output = run.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "300000");
}

#[test]
fn the_template_runs() {
    let bundle = Bundle::new("");
    let said = bundle.runtime(&["spec", "--bundle", bundle.path()]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = bundle.runtime(&["spec", "--bundle", bundle.path()]);
    assert!(said.err.contains("exists. Remove it first"), "{said:?}");
    let path = bundle.directory.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] =
        serde_json::json!(["sh", "-c", "hostname; touch /x || echo readonly"]);
    config["linux"]["cgroupsPath"] = format!("/{}", bundle.id).into();
    fs::write(path, config.to_string()).unwrap();
    let said = bundle.runtime(&["run", "--bundle", bundle.path(), &bundle.id]);
    assert_eq!(said.out, "ferry\nreadonly\n", "{said:?}");
}

#[test]
fn features_name_what_there_is() {
    let bundle = Bundle::new("");
    let said = bundle.runtime(&["features"]);
    let features: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    let options = features["mountOptions"].as_array().unwrap();
    assert!(options.iter().any(|option| option == "rro"), "{options:?}");
}
