//! What containers wrote, kept and given again.

use std::time::Duration;

use ferry_testkit::{Env, wait_until};

#[test]
fn streams_are_kept_apart() {
    let env = Env::start();
    env.docker(&[
        "run",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; printf tail",
    ])
    .exits(0);
    let logs = env.docker(&["logs", "one"]).exits(0);
    assert_eq!(
        (logs.stdout.as_slice(), logs.stderr.as_slice()),
        (&b"out\ntail"[..], &b"err\n"[..])
    );
    env.docker(&["logs", "nobody"]).exits(1).says("No such container: nobody");
}

#[test]
fn tail_and_times() {
    let env = Env::start();
    let script = "for i in 1 2 3 4 5; do echo line $i; done; sleep 1.2; echo late";
    env.docker(&["run", "--name", "one", "busybox", "sh", "-c", script]).exits(0);
    let logs = |words: &[&str]| {
        let mut all = vec!["logs"];
        all.extend(words);
        all.push("one");
        env.docker(&all).ok()
    };
    assert_eq!(logs(&["--tail", "2"]), "line 5\nlate");
    assert_eq!(logs(&["-n", "0"]), "");
    assert_eq!(logs(&["--tail", "all"]).lines().count(), 6);
    assert_eq!(logs(&["--tail", "100"]).lines().count(), 6);
    let timed = logs(&["-t"]);
    let stamps: Vec<&str> = timed.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(
        stamps
            .iter()
            .all(|stamp| stamp.len() == 30 && stamp.ends_with('Z') && &stamp[10..11] == "T"),
        "{timed}"
    );
    assert!(stamps.is_sorted(), "{timed}");
    assert_eq!(logs(&["--since", stamps[5]]), "late");
    assert_eq!(logs(&["--until", stamps[4]]).lines().count(), 5);
    assert_eq!(logs(&["--since", stamps[1], "--until", stamps[2]]), "line 2\nline 3");
    assert_eq!(logs(&["--since", "1h"]).lines().count(), 6);
    assert_eq!(logs(&["--since", "2000-01-01"]).lines().count(), 6);
    assert_eq!(logs(&["--until", "2000-01-01T00:00:00Z"]), "");
}

#[test]
fn follow_goes_to_the_end() {
    let env = Env::start();
    let id = env.run_detached(&[
        "busybox",
        "sh",
        "-c",
        "for i in 1 2 3; do echo line $i; sleep 0.2; done",
    ]);
    assert_eq!(env.docker(&["logs", "-f", &id]).ok(), "line 1\nline 2\nline 3");
    // Following what has ended gives it and returns.
    assert_eq!(env.docker(&["logs", "-f", "--tail", "1", &id]).ok(), "line 3");
}

#[test]
fn follow_sees_lines_as_they_come() {
    let env = Env::start();
    let id = env.run_detached(&["-i", "busybox", "cat"]);
    let follower = env.invoke(&["logs", "-f", &id]).spawn();
    let mut writer = env.invoke(&["attach", &id]).open_stdin().spawn();
    writer.write("hello\n");
    follower.wait_for("hello");
    writer.write("again\n");
    follower.wait_for("again");
    // Input that was not opened for one client alone stays open when that client goes.
    env.docker(&["kill", &id]).exits(0);
    writer.finish().exits(137);
    assert_eq!(
        follower.finish().ok(),
        "hello
again"
    );
}

#[test]
fn follow_goes_on_over_a_restart_of_nothing() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sh", "-c", "echo once; sleep 1000"]);
    let follower = env.invoke(&["logs", "-f", &id]).spawn();
    follower.wait_for("once");
    env.docker(&["rm", "-f", &id]).exits(0);
    assert_eq!(follower.finish().out(), "once");
}

#[test]
fn long_lines_arrive_whole() {
    let env = Env::start();
    let script = "head -c 100000 /dev/zero | tr '\\0' x; echo; head -c 16384 /dev/zero | tr '\\0' y; echo; echo end";
    env.docker(&["run", "--name", "one", "busybox", "sh", "-c", script]).exits(0);
    let lines: Vec<usize> = env.docker(&["logs", "one"]).ok().lines().map(str::len).collect();
    assert_eq!(lines, [100_000, 16_384, 3]);
}

#[test]
fn the_file_has_dockers_form() {
    let env = Env::start();
    env.docker(&[
        "run",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "echo 'a \"b\" \\ é <&>'; echo e >&2",
    ])
    .exits(0);
    let path = env.inspect("one", "{{.LogPath}}");
    if env.is_foreign() {
        return;
    }
    let text = std::fs::read_to_string(path).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(first["log"], "a \"b\" \\ é <&>\n");
    assert_eq!(first["stream"], "stdout");
    assert!(text.lines().next().unwrap().starts_with("{\"log\":\"a \\\"b\\\" \\\\ é \\u003c\\u0026\\u003e\\n\",\"stream\":\"stdout\",\"time\":\""), "{text}");
    assert!(first["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn a_terminals_log_is_one_stream() {
    let env = Env::start();
    env.docker(&["run", "-t", "--name", "one", "busybox", "sh", "-c", "echo out; echo err >&2"])
        .exits(0);
    let logs = env.docker(&["logs", "one"]).exits(0);
    assert_eq!(logs.stdout, b"out\r\nerr\r\n");
}

#[test]
fn logs_rotate() {
    let env = Env::start();
    let script = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done";
    env.docker(&[
        "run",
        "--name",
        "one",
        "--log-opt",
        "max-size=20k",
        "--log-opt",
        "max-file=3",
        "busybox",
        "sh",
        "-c",
        script,
    ])
    .exits(0);
    let lines = env.docker(&["logs", "one"]).ok();
    assert!(lines.ends_with("line 1999"), "the newest are kept");
    let first: usize = lines.lines().next().unwrap()[5..].parse().unwrap();
    assert!(first > 0, "the oldest are gone");
    let numbers: Vec<usize> = lines.lines().map(|line| line[5..].parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line between is missing");
    assert_eq!(
        env.docker(&["logs", "--tail", "300", "one"]).ok().lines().count(),
        300,
        "tail reaches into older files"
    );
    if !env.is_foreign() {
        let folder = std::path::PathBuf::from(env.inspect("one", "{{.LogPath}}"));
        let files = std::fs::read_dir(folder.parent().unwrap()).unwrap();
        let sizes: Vec<u64> = files
            .map(Result::unwrap)
            .filter(|file| file.file_name().to_string_lossy().contains("-json.log"))
            .map(|file| file.metadata().unwrap().len())
            .collect();
        assert!(sizes.len() == 3 && sizes.iter().all(|size| *size <= 21_000), "{sizes:?}");
    }
}

#[test]
fn without_a_log_nothing_is_read() {
    let env = Env::start();
    env.docker(&["run", "--name", "one", "--log-driver", "none", "busybox", "echo", "x"])
        .exits(0)
        .prints("x");
    env.docker(&["logs", "one"])
        .exits(1)
        .says("configured logging driver does not support reading");
    env.docker(&["run", "--rm", "--log-driver", "nope", "busybox", "true"]).exits(125).says("nope");
}

#[test]
fn a_fast_writer_loses_nothing() {
    let env = Env::start();
    let script = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done";
    let id = env.run_detached(&["busybox", "sh", "-c", script]);
    env.docker(&["wait", &id]).exits(0);
    let lines = env.docker(&["logs", &id]).ok();
    assert!(lines.lines().map(|line| line.parse::<u32>().unwrap()).eq(0..20_000));
    wait_until("the process is gone", Duration::from_secs(5), || (env.pid(&id) == 0).then_some(()));
}
