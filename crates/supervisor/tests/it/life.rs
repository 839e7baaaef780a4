//! Starting, ending, pausing, reconnecting.

use ferry_supervisor::files::{self, State};
use ferry_supervisor::protocol::{Call, Event, Exit, FailureKind, Target};
use serde_json::json;

use crate::kit::{Box, eventually, framed, raw};

#[test]
fn a_container_runs_and_its_end_is_known_everywhere() {
    let mut container = Box::new("echo out; echo err >&2; exit 3").logged();
    let pid = container.start(&[]);
    let state = std::fs::read(container.directory().join(files::STATE)).unwrap();
    let state: State = serde_json::from_slice(&state).unwrap();
    assert_eq!((state.pid, &state.id), (pid, &container.id));
    let exit = container.exited();
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (3, None, false));
    let file = std::fs::read(container.directory().join(files::EXIT)).unwrap();
    assert_eq!(serde_json::from_slice::<Exit>(&file).unwrap(), exit);
    assert!(container.cgroup().is_none());
    let mut log = container.log();
    log.sort();
    let entry = |stream: &str, text: &str| (stream.to_owned(), text.to_owned());
    assert_eq!(log, [entry("stderr", "err\n"), entry("stdout", "out\n")]);
    container.release();
}

#[test]
fn a_signal_is_an_exit_code() {
    let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done";
    let mut container = Box::new(script);
    container.start_with(&raw()).until("ready\n");
    container.kill(Target::Init, 15);
    assert_eq!(container.exited().code, 7);
    container.release();
    let mut container = Box::of(&["sleep", "1000"]);
    container.start(&[]);
    container.kill(Target::All, 9);
    let exit = container.exited();
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    let failure = container.ask(Call::Kill { target: Target::Init, signal: 9 }, &[]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotRunning);
    container.release();
}

#[test]
fn a_program_that_is_not_there_is_told_in_runc_s_words() {
    for (arguments, kind, message) in [
        (["nope"], FailureKind::NotFound, "exec: \"nope\": executable file not found in $PATH"),
        (["/etc"], FailureKind::IsDirectory, "exec: \"/etc\": is a directory"),
    ] {
        let mut container = Box::of(&arguments);
        let failure = container.try_start(&[]).unwrap_err();
        assert_eq!(failure.kind, kind);
        assert!(failure.message.contains(message), "{}", failure.message);
        container.ends();
    }
}

#[test]
fn a_limit_that_can_not_be_set_fails_the_start_and_leaves_nothing() {
    let mut container = Box::new("true");
    container.config["linux"]["resources"]["memory"] = json!({"swappiness": 1000});
    let failure = container.try_start(&[]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    container.ends();
}

#[test]
fn a_cgroup_that_is_left_is_used_again_unless_something_lives_in_it() {
    let mut container = Box::new("exit 0");
    let path = format!("{}/{}", container.parent, container.id);
    let layout = ferry_sys::cgroup::Layout::detect().unwrap();
    let old = ferry_sys::cgroup::Cgroup::create(&layout, &path).unwrap();
    old.freeze(crate::kit::PATIENCE).unwrap();
    container.start(&[]);
    assert_eq!(container.exited().code, 0);
    container.release();

    let mut container = Box::new("exit 0");
    let path = format!("{}/{}", container.parent, container.id);
    let old = ferry_sys::cgroup::Cgroup::create(&layout, &path).unwrap();
    let mut other = ferry_sys::process::command(std::path::Path::new("/bin/sleep"))
        .arg("1000")
        .spawn()
        .unwrap();
    old.enter(rustix::process::Pid::from_child(&other)).unwrap();
    let failure = container.try_start(&[]).unwrap_err();
    assert_eq!(failure.message, "container's cgroup is not empty: 1 process(es) found");
    assert!(other.try_wait().unwrap().is_none(), "it was killed");
    old.kill().unwrap();
    other.wait().unwrap();
    old.remove(crate::kit::PATIENCE).unwrap();
    container.ends();
}

#[test]
fn limits_are_in_force() {
    let script = "read x; head -c 100000000 /dev/zero | tail -c 90000000 >/dev/null";
    let mut container = Box::new(script).stdin(true);
    container.config["linux"]["resources"]["memory"] =
        json!({"limit": 16_777_216, "swap": 16_777_216});
    container.config["linux"]["resources"]["pids"] = json!({"limit": 33});
    let mut client = container.start_with(&raw());
    let cgroup = container.cgroup().unwrap();
    assert_eq!(cgroup.read("pids", "pids.max").unwrap().trim(), "33");
    client.write(b"\n");
    assert_eq!(container.event(), Event::OutOfMemory);
    // The shell itself may have been chosen, so its exit code says nothing.
    assert!(container.exited().oom_killed);
    container.release();
}

#[test]
fn a_paused_container_stands_still() {
    let mut container = Box::new("while :; do echo x; sleep 0.01; done").logged();
    container.start(&[]);
    eventually(|| std::fs::metadata(container.log_path()).unwrap().len() > 0);
    container.done(Call::Pause);
    let failure = container.exec("e", &["true"], None, false).err().unwrap();
    assert_eq!(failure.kind, FailureKind::NotRunning);
    container.done(Call::Resume);
    let size = std::fs::metadata(container.log_path()).unwrap().len();
    eventually(|| std::fs::metadata(container.log_path()).unwrap().len() > size);
    container.done(Call::Pause);
    container.kill(Target::All, 9);
    assert_eq!(container.exited().code, 137);
    container.release();
}

#[test]
fn processes_outside_its_process_namespace_end_with_it() {
    let mut container = Box::new("sleep 1000 & echo started; exit 0").logged();
    let namespaces = container.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    container.start(&[]);
    let begin = std::time::Instant::now();
    assert_eq!(container.exited().code, 0);
    assert!(begin.elapsed().as_secs() < 2, "it waited for the process that held its output");
    assert_eq!(container.log().len(), 1);
    container.release();
}

#[test]
fn an_engine_that_comes_back_finds_everything() {
    let mut container = Box::new("sleep 1000");
    let pid = container.start(&[]);
    drop(container.exec("slow", &["sleep", "1000"], None, false).unwrap());
    drop(container.exec("quick", &["sh", "-c", "sleep 0.2; exit 4"], None, false).unwrap());
    container.hang_up();
    eventually(|| container.children() == 2);
    let state = container.reconnect();
    assert_eq!((state.pid, state.paused, &state.exit), (pid, false, &None));
    assert_eq!(state.execs.len(), 1);
    assert_eq!(state.execs[0].exec_id, "slow");
    assert_eq!(state.ended_execs.len(), 1);
    assert_eq!((state.ended_execs[0].exec_id.as_str(), state.ended_execs[0].code), ("quick", 4));
    container.kill(Target::Init, 9);
    container.exited();
    container.release();
}

#[test]
fn without_an_engine_the_end_is_on_disk_and_the_supervisor_goes() {
    let mut container = Box::new("sleep 0.2; exit 5").logged();
    container.start(&[]);
    container.hang_up();
    container.ends();
    let file = std::fs::read(container.directory().join(files::EXIT)).unwrap();
    assert_eq!(serde_json::from_slice::<Exit>(&file).unwrap().code, 5);
}

#[test]
fn an_idle_supervisor_ends_with_its_engine() {
    let mut container = Box::new("true");
    container.hang_up();
    container.ends();
}

#[test]
fn a_call_that_is_not_known_is_refused_and_not_passed_over() {
    let container = Box::new("true");
    let call = br#"{"id":99,"call":{"do":"fly"}}"#;
    ferry_sys::fdpass::send(&container.socket, call, &[]).unwrap();
    let text = format!("{:?}", container.hear());
    assert!(text.contains("id: 99") && text.contains("Unsupported"), "{text}");
}

#[test]
fn a_container_inherits_nothing_of_ours() {
    let output = |arguments: &[&str]| {
        let mut container = Box::of(arguments);
        let mut client = container.start_with(&raw());
        container.exited();
        container.release();
        client.rest()
    };
    let status = output(&["cat", "/proc/self/status"]);
    for line in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    // The last one is the directory being read.
    assert_eq!(output(&["ls", "/proc/self/fd"]), "0\n1\n2\n3\n");
    let before = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(output(&["cat", "/proc/self/oom_score_adj"]), before);
}

#[test]
fn the_supervisor_is_small() {
    let mut container = Box::new("sleep 1000");
    let client = container.start_with(&framed());
    assert_eq!(container.proc("comm"), "ferry-superviso\n");
    let status = container.proc("status");
    assert!(status.contains("Threads:\t1\n"), "{status}");
    // A program for tests is neither static nor small; and while it has something to do it may be
    // greater than when it waits.
    let limits = match std::env::var_os("FERRY_TEST_SUPERVISOR") {
        Some(_) => (1536, 512),
        None => (4096, 4096),
    };
    eventually(|| {
        let rollup = container.proc("smaps_rollup");
        let kib = |name: &str| -> u64 {
            let line = rollup.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        let (resident, own) = (kib("Rss:"), kib("Anonymous:"));
        resident <= limits.0 && own <= limits.1
    });
    drop(client);
    container.kill(Target::Init, 9);
    container.exited();
    container.release();
}
