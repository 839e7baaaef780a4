//! Containers from create to rm, and how they end.

use std::time::{Duration, Instant};

use ferry_testkit::Env;
use ferry_testkit::wait::nap;

#[test]
fn a_container_is_created_started_and_waited_for() {
    let env = Env::start();
    let id = env.docker(&["create", "--name", "one", "busybox", "sh", "-c", "exit 3"]).ok();
    assert!(id.len() == 64 && id.chars().all(|c| c.is_ascii_hexdigit()), "{id}");
    assert_eq!(env.inspect("one", "{{.State.Status}} {{.State.Pid}}"), "created 0");
    assert_eq!(env.docker(&["start", "one"]).ok(), "one");
    assert_eq!(env.docker(&["wait", "one"]).ok(), "3");
    assert_eq!(
        env.inspect("one", "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}"),
        "exited 3 false"
    );
    assert_eq!(
        env.inspect("one", "{{.Id}} {{.Name}} {{.Path}} {{.Args}}"),
        format!("{id} /one sh [-c exit 3]")
    );
    assert_eq!(env.docker(&["start", &id[..12]]).ok(), id[..12]);
    assert_eq!(env.docker(&["wait", "one"]).ok(), "3");
    assert_eq!(env.docker(&["rm", "one"]).ok(), "one");
    env.docker(&["inspect", "one"]).exits(1).prints("[]").says("one");
}

#[test]
fn exit_codes_are_the_programs_own() {
    let env = Env::start();
    for (script, code) in [("exit 0", 0), ("exit 44", 44), ("exit 300", 44)] {
        env.shell(&[], script).exits(code);
    }
    // The first process of a container is spared by signals it does not handle, SIGKILL among them.
    env.shell(&[], "kill -9 $$; exit 3").exits(3);
    env.shell(&["--init"], "kill -9 $$").exits(137);
    env.shell(&["--init"], "sh -c 'kill -TERM $$'; exit $?").exits(143);
}

#[test]
fn a_command_that_cannot_be_run_has_codes_of_its_own() {
    let env = Env::start();
    let run = |command: &str| env.docker(&["run", "--rm", "busybox", command]);
    run("nope").exits(127).says("exec: \"nope\": executable file not found in $PATH");
    run("/no/such").exits(127).says("exec: \"/no/such\": stat /no/such: no such file or directory");
    run("/etc").exits(126).says("exec: \"/etc\": is a directory");
    run("/etc/passwd").exits(126).says("exec: \"/etc/passwd\": permission denied");
    assert_eq!(env.docker(&["ps", "-aq"]).ok(), "", "--rm removes what never started");
}

#[test]
fn a_failed_start_is_recorded() {
    let env = Env::start();
    env.docker(&["create", "--name", "one", "busybox", "nope"]).exits(0);
    env.docker(&["start", "one"]).exits(1).says("executable file not found in $PATH");
    assert_eq!(env.inspect("one", "{{.State.Status}} {{.State.ExitCode}}"), "created 127");
    assert!(env.inspect("one", "{{.State.Error}}").contains("executable file not found in $PATH"));
    env.docker(&["run", "--name", "two", "busybox", "/etc"]).exits(126);
    assert_eq!(env.inspect("two", "{{.State.Status}} {{.State.ExitCode}}"), "created 126");
}

#[test]
fn faults_of_the_command_line_are_125() {
    let env = Env::start();
    env.docker(&["run", "--nope", "busybox"]).exits(125).says("unknown flag: --nope");
    env.docker(&["run", "--name", "-bad", "busybox", "true"])
        .exits(125)
        .says("Invalid container name (-bad)");
    env.docker(&["run", "--rm", "-v", "relative/path:/x:bogus", "busybox"]).exits(125);
}

#[test]
fn a_taken_name_is_refused() {
    let env = Env::start();
    let id = env.docker(&["create", "--name", "web", "busybox"]).ok();
    let message = format!(
        "The container name \"/web\" is already in use by container \"{id}\". You have to remove (or rename) that container to be able to reuse that name."
    );
    env.docker(&["run", "--name", "web", "busybox", "true"]).exits(125).says(&message);
    env.docker(&["create", "--name", "web", "busybox"]).exits(1).says(&message);
    assert_eq!(env.docker(&["ps", "-aq", "--no-trunc"]).ok(), id);
}

#[test]
fn kill_sends_any_signal() {
    let env = Env::start();
    let trap = "trap 'echo got usr1; exit 9' USR1; echo ready; while :; do sleep 0.1; done";
    for signal in ["USR1", "SIGUSR1", "10"] {
        let id = env.run_detached(&["busybox", "sh", "-c", trap]);
        wait_for_log(&env, &id, "ready");
        assert_eq!(env.docker(&["kill", "-s", signal, &id]).ok(), id);
        assert_eq!(env.docker(&["wait", &id]).ok(), "9");
        assert_eq!(env.docker(&["logs", &id]).ok(), "ready\ngot usr1");
    }
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    env.docker(&["kill", &id]).exits(0);
    assert_eq!(env.docker(&["wait", &id]).ok(), "137");
    let again = env.docker(&["kill", &id]).exits(1);
    assert!(again.err().contains(&format!("container {id} is not running")), "{again:?}");
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    env.docker(&["kill", "-s", "NOPE", &id]).exits(1).says("nvalid signal: NOPE");
}

#[track_caller]
pub(crate) fn wait_for_log(env: &Env, id: &str, text: &str) {
    ferry_testkit::wait_until(&format!("{text:?} in the log"), Duration::from_secs(30), || {
        env.docker(&["logs", id]).out().contains(text).then_some(())
    });
}

#[test]
fn stop_asks_and_then_kills() {
    let env = Env::start();
    let polite = env.run_detached(&[
        "busybox",
        "sh",
        "-c",
        "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    wait_for_log(&env, &polite, "ready");
    assert_eq!(env.docker(&["stop", &polite]).ok(), polite);
    assert_eq!(env.inspect(&polite, "{{.State.ExitCode}}"), "5");
    env.docker(&["stop", &polite]).exits(0);

    let deaf = env.run_detached(&[
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    wait_for_log(&env, &deaf, "ready");
    let began = Instant::now();
    env.docker(&["stop", "-t", "1", &deaf]).exits(0);
    let taken = began.elapsed();
    assert!(taken >= Duration::from_secs(1) && taken < Duration::from_secs(6), "{taken:?}");
    assert_eq!(env.inspect(&deaf, "{{.State.ExitCode}}"), "137");

    let own = [
        "--stop-signal",
        "USR2",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 6' USR2; echo ready; while :; do sleep 0.1; done",
    ];
    let own = env.run_detached(&own);
    wait_for_log(&env, &own, "ready");
    env.docker(&["stop", &own]).exits(0);
    assert_eq!(env.inspect(&own, "{{.State.ExitCode}}"), "6");
    assert_eq!(env.inspect(&own, "{{.Config.StopSignal}}"), "USR2");

    let impatient = [
        "--stop-timeout",
        "1",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; echo ready; while :; do sleep 0.1; done",
    ];
    let impatient = env.run_detached(&impatient);
    wait_for_log(&env, &impatient, "ready");
    let began = Instant::now();
    env.docker(&["stop", &impatient]).exits(0);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[test]
fn restart_keeps_the_files_and_changes_the_process() {
    let env = Env::start();
    let id = env.run_detached(&[
        "busybox",
        "sh",
        "-c",
        "echo started >>/count; cat /count; exec sleep 1000",
    ]);
    wait_for_log(&env, &id, "started");
    let (before, began) = (env.pid(&id), env.inspect(&id, "{{.State.StartedAt}}"));
    assert_eq!(env.docker(&["restart", "-t", "0", &id]).ok(), id);
    assert_ne!(env.pid(&id), before);
    assert_ne!(env.inspect(&id, "{{.State.StartedAt}}"), began);
    wait_for_log(&env, &id, "started\nstarted\nstarted");
    env.docker(&["stop", "-t", "0", &id]).exits(0);
    env.docker(&["restart", &id]).exits(0);
    assert_eq!(env.inspect(&id, "{{.State.Status}}"), "running");
}

#[test]
fn restart_keeps_a_container_that_is_removed_when_it_ends() {
    let env = Env::start();
    let id = env.run_detached(&["--rm", "busybox", "sleep", "1000"]);
    env.docker(&["exec", &id, "touch", "/mine"]).exits(0);
    let pid = env.pid(&id);
    for _ in 0..2 {
        assert_eq!(env.docker(&["restart", "-t", "0", &id]).ok(), id);
    }
    assert_ne!(env.pid(&id), pid);
    env.docker(&["exec", &id, "ls", "/mine"]).exits(0);
    env.docker(&["stop", "-t", "0", &id]).exits(0);
    ferry_testkit::wait_until("it is removed after all", Duration::from_secs(10), || {
        (env.docker(&["inspect", &id]).code == 1).then_some(())
    });
}

#[test]
fn a_container_that_is_removed_when_it_ends_may_start_after_a_power_failure() {
    let env = Env::builder().own().start();
    let id = env.docker(&["create", "--rm", "-w", "/w", "-v", "/data", "busybox", "pwd"]).ok();
    // The mount that made the directory skipped the disk; in another boot it would not be trusted.
    let note = env.data_root().join("containers").join(&id).join("volatile-since");
    std::fs::write(note, "another boot").unwrap();
    assert_eq!(env.docker(&["start", "-a", &id]).ok(), "/w");
}

#[test]
fn a_paused_container_does_nothing() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sh", "-c", "while :; do echo tick; sleep 0.05; done"]);
    wait_for_log(&env, &id, "tick");
    assert_eq!(env.docker(&["pause", &id]).ok(), id);
    assert_eq!(
        env.inspect(&id, "{{.State.Status}} {{.State.Paused}} {{.State.Running}}"),
        "paused true true"
    );
    assert!(env.docker(&["ps", "--format", "{{.Status}}"]).ok().ends_with("(Paused)"));
    let lines = || env.docker(&["logs", &id]).ok().lines().count();
    nap(Duration::from_millis(100));
    let before = lines();
    nap(Duration::from_millis(400));
    assert_eq!(lines(), before);
    env.docker(&["pause", &id]).exits(1).says("is already paused");
    env.docker(&["exec", &id, "true"])
        .exits(1)
        .says("is paused, unpause the container before exec");
    assert_eq!(env.docker(&["unpause", &id]).ok(), id);
    assert_eq!(env.inspect(&id, "{{.State.Status}}"), "running");
    ferry_testkit::wait_until("it goes on", Duration::from_secs(10), || {
        (lines() > before).then_some(())
    });
    env.docker(&["unpause", &id]).exits(1).says("is not paused");
    env.docker(&["pause", &id]).exits(0);
    env.docker(&["rm", "-f", &id]).exits(0);
}

#[test]
fn a_paused_container_can_be_stopped() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    env.docker(&["pause", &id]).exits(0);
    env.docker(&["stop", "-t", "1", &id]).exits(0);
    assert_eq!(
        env.inspect(&id, "{{.State.Status}} {{.State.Paused}} {{.State.ExitCode}}"),
        "exited false 137"
    );
}

#[test]
fn rename_changes_the_name_alone() {
    let env = Env::start();
    let id = env.run_detached(&["--name", "old", "busybox", "sleep", "1000"]);
    env.docker(&["create", "--name", "other", "busybox"]).exits(0);
    assert_eq!(env.docker(&["rename", "old", "new"]).ok(), "");
    assert_eq!(env.inspect("new", "{{.Id}} {{.Name}}"), format!("{id} /new"));
    env.docker(&["inspect", "old"]).exits(1);
    env.docker(&["rename", "new", "other"]).exits(1).says("is already in use by container");
    env.docker(&["rename", "new", "a b"]).exits(1).says("Invalid container name (");
    env.docker(&["rename", "new", "new"])
        .exits(1)
        .says("Renaming a container with the same name as its current name");
    env.docker(&["run", "--rm", "--name", "old", "busybox", "true"]).exits(0);
}

#[test]
fn rm_refuses_what_runs() {
    let env = Env::start();
    let id = env.run_detached(&["--name", "one", "busybox", "sleep", "1000"]);
    let refused = env.docker(&["rm", "one"]).exits(1);
    assert!(refused.err().contains("cannot remove container"), "{refused:?}");
    assert!(refused.err().contains("container is running"), "{refused:?}");
    assert_eq!(env.docker(&["rm", "-f", "one"]).ok(), "one");
    env.docker(&["rm", "one"]).exits(1).says("No such container: one");
    env.docker(&["rm", &id]).exits(1).says("No such container");
    env.docker(&["rm", "-f", "one"]).exits(0).says("No such container: one");
}

#[test]
fn anonymous_volumes_go_with_rm_v_and_rm_flag() {
    let env = Env::start();
    env.docker(&["run", "--name", "one", "-v", "/data", "busybox", "touch", "/data/x"]).exits(0);
    let name = env.inspect("one", "{{range .Mounts}}{{.Type}} {{.Destination}} {{.Name}}{{end}}");
    let volume = name.strip_prefix("volume /data ").unwrap().to_owned();
    assert_eq!(volume.len(), 64);
    let source = env.inspect("one", "{{range .Mounts}}{{.Source}}{{end}}");
    if !env.is_foreign() {
        assert!(std::path::Path::new(&source).join("x").exists(), "{source}");
    }
    env.docker(&["rm", "-v", "one"]).exits(0);
    assert!(!std::path::Path::new(&source).exists());
    env.docker(&["run", "--rm", "-v", "/data", "busybox", "true"]).exits(0);
    if !env.is_foreign() {
        let volumes = std::fs::read_dir(env.data_root().join("volumes")).into_iter().flatten();
        assert_eq!(volumes.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 0);
    }
}

#[test]
fn named_volumes_keep_their_content() {
    let env = Env::start();
    env.docker(&["run", "--rm", "-v", "keep:/data", "busybox", "sh", "-c", "echo kept >/data/x"])
        .exits(0);
    assert_eq!(
        env.docker(&["run", "--rm", "-v", "keep:/data:ro", "busybox", "cat", "/data/x"]).ok(),
        "kept"
    );
    env.docker(&["run", "--rm", "-v", "keep:/data:ro", "busybox", "touch", "/data/y"])
        .exits(1)
        .says("Read-only file system");
    // A new volume is filled with what the image has at its place.
    let listing = env.docker(&["run", "--rm", "-v", "filled:/etc", "busybox", "ls", "/etc"]).ok();
    assert!(listing.contains("passwd"), "{listing}");
    for name in ["keep", "filled"] {
        env.docker(&["volume", "rm", name]).exits(0);
    }
}

#[test]
fn wait_answers_for_each() {
    let env = Env::start();
    let one = env.run_detached(&["busybox", "sh", "-c", "sleep 0.3; exit 1"]);
    let two = env.run_detached(&["busybox", "sh", "-c", "exit 2"]);
    assert_eq!(env.docker(&["wait", &one, &two]).ok(), "1\n2");
    env.docker(&["wait", "nobody"]).exits(1).says("No such container: nobody");
}

#[test]
fn start_attached_gives_output_and_code() {
    let env = Env::start();
    env.docker(&[
        "create",
        "--name",
        "one",
        "busybox",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ])
    .exits(0);
    let output = env.docker(&["start", "-a", "one"]).exits(7);
    assert_eq!((output.out().as_str(), output.err().as_str()), ("out", "err"));
    env.docker(&["create", "--name", "two", "-i", "busybox", "cat"]).exits(0);
    assert_eq!(env.invoke(&["start", "-ai", "two"]).stdin("through").run().ok(), "through");
    let running = env.run_detached(&["busybox", "sleep", "1000"]);
    env.docker(&["start", &running]).exits(0);
    env.docker(&["start", "nobody"]).exits(1).says("No such container: nobody");
}

#[test]
fn rm_flag_removes_in_the_background_too() {
    let env = Env::start();
    let id = env.run_detached(&["--rm", "busybox", "sh", "-c", "sleep 0.2"]);
    ferry_testkit::wait_until("it is removed", Duration::from_secs(20), || {
        (env.docker(&["inspect", &id]).code == 1).then_some(())
    });
}

#[test]
fn top_shows_the_processes() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sh", "-c", "sleep 1000 & exec sleep 2000"]);
    // Docker asks the host's `ps`, which a reference engine's root may lack.
    if env.is_foreign()
        && env.docker(&["top", &id]).err().contains("\"ps\": executable file not found")
    {
        return;
    }
    ferry_testkit::wait_until("both run", Duration::from_secs(10), || {
        let shown = env.docker(&["top", &id]).ok();
        (shown.contains("sleep 1000") && shown.contains("sleep 2000")).then_some(())
    });
    let shown = env.docker(&["top", &id]).ok();
    let head: Vec<&str> = shown.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert_eq!(shown.lines().count(), 3);
    assert!(shown.contains(&env.pid(&id).to_string()), "{shown}");
    let chosen = env.docker(&["top", &id, "-o", "pid,args"]).ok();
    let head: Vec<&str> = chosen.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["PID", "COMMAND"]);
    env.docker(&["stop", "-t", "0", &id]).exits(0);
    env.docker(&["top", &id]).exits(1).says("is not running");
}

#[test]
fn ids_and_names_are_found_by_their_beginning() {
    let env = Env::start();
    let id = env.docker(&["create", "--name", "abcdef", "busybox"]).ok();
    for name in [&id[..4], &id[..12], &id, "abcdef", "/abcdef"] {
        assert_eq!(env.inspect(name, "{{.Id}}"), id, "{name}");
    }
    env.docker(&["inspect", "abc"]).exits(1);
}

#[test]
fn the_create_flags_arrive_in_inspect() {
    let env = Env::start();
    env.docker(&[
        "create",
        "--name",
        "one",
        "-e",
        "ONE=1",
        "-e",
        "TWO=2",
        "-w",
        "/tmp",
        "--hostname",
        "host1",
        "--domainname",
        "example.org",
        "-l",
        "key=value",
        "--entrypoint",
        "/bin/echo",
        "-u",
        "app:wheel",
        "-t",
        "-i",
        "--stop-timeout",
        "7",
        "busybox",
        "hello",
    ])
    .exits(0);
    let template = "{{.Config.WorkingDir}} {{.Config.Hostname}} {{.Config.Domainname}} \
        {{.Config.Labels.key}} {{.Config.Entrypoint}} {{.Config.Cmd}} {{.Config.User}} {{.Config.Tty}} \
        {{.Config.OpenStdin}} {{.Config.StdinOnce}} {{.Config.Image}}";
    assert_eq!(
        env.inspect("one", template),
        "/tmp host1 example.org \
         value [/bin/echo] [hello] app:wheel true true true busybox"
    );
    let variables = env.inspect("one", "{{range .Config.Env}}{{println .}}{{end}}");
    // Old clients shuffle what was given.
    let mut variables: Vec<&str> = variables.lines().filter(|line| !line.is_empty()).collect();
    variables.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(variables, ["ONE=1", path, "TWO=2"]);
}
