//! The engine is killed, a supervisor is killed: what goes on, what is known afterwards.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use ferry_testkit::command::find_program;
use ferry_testkit::{Env, Invocation, observe, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::lifecycle::wait_for_log;

fn kill(pid: u32) {
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

/// Writes a numbered line every 20 ms, for ever.
const TICKER: &str = "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.02; done";

/// Checks that no line of a ticker's log is missing or twice.
#[track_caller]
fn check_ticks(log: &str) -> usize {
    let numbers: Vec<usize> =
        log.lines().map(|line| line.strip_prefix("tick ").unwrap().parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..numbers.len()), "a line is missing or twice:\n{log}");
    numbers.len()
}

#[test]
fn containers_do_not_notice_the_engines_death() {
    let mut env = Env::builder().own().start();
    let id = env.run_detached(&["--name", "ticker", "busybox", "sh", "-c", TICKER]);
    wait_for_log(&env, &id, "tick 5");
    let (pid, started) = (env.pid(&id), env.inspect(&id, "{{.State.StartedAt}}"));
    for _ in 0..3 {
        let before = check_ticks(&env.docker(&["logs", &id]).ok());
        env.kill_engine();
        ferry_testkit::wait::nap(Duration::from_millis(300));
        assert!(observe::stat(pid).is_some(), "the container lives without its engine");
        env.start_engine();
        assert_eq!(
            env.inspect(&id, "{{.State.Status}} {{.State.StartedAt}}"),
            format!("running {started}")
        );
        assert_eq!(env.pid(&id), pid);
        let after = check_ticks(&env.docker(&["logs", &id]).ok());
        assert!(after > before + 5, "{before} lines before, {after} after");
    }
    // Everything still works on it.
    assert_eq!(env.docker(&["exec", &id, "echo", "in"]).ok(), "in");
    env.docker(&["pause", &id]).exits(0);
    env.kill_engine();
    env.start_engine();
    assert_eq!(env.inspect(&id, "{{.State.Status}}"), "paused");
    env.docker(&["unpause", &id]).exits(0);
    env.docker(&["rename", &id, "renamed"]).exits(0);
    env.docker(&["stop", "-t", "1", "renamed"]).exits(0);
    assert_eq!(env.inspect("renamed", "{{.State.ExitCode}}"), "137");
}

#[test]
fn an_attached_client_survives_the_engine() {
    let mut env = Env::builder().own().start();
    let mut client =
        env.invoke(&["run", "-i", "--name", "one", "busybox", "cat"]).open_stdin().spawn();
    client.write("before\n");
    client.wait_for("before");
    env.kill_engine();
    client.write("while dead\n");
    client.wait_for("while dead");
    env.start_engine();
    client.write("after\n");
    client.wait_for("after");
    client.close_stdin();
    drop(client.finish());
    env.wait_inspect("one", "{{.State.Status}} {{.State.ExitCode}}", "exited 0");
}

#[test]
fn what_ended_meanwhile_has_its_code_and_time() {
    let mut env = Env::builder().own().start();
    let gate = env.host_folder();
    let bind = format!("{}:/gate", gate.display());
    let script = "while [ ! -e /gate/open ]; do sleep 0.02; done; echo last words; exit 42";
    let ends = env.run_detached(&["-v", &bind, "busybox", "sh", "-c", script]);
    let killed = env.run_detached(&["busybox", "sleep", "1000"]);
    let removed = env.run_detached(&["--rm", "-v", &bind, "busybox", "sh", "-c", script]);
    let killed_pid = env.pid(&killed);
    let pids = [env.pid(&ends), killed_pid, env.pid(&removed)];
    env.kill_engine();
    std::fs::write(gate.join("open"), "").unwrap();
    kill(killed_pid);
    wait_until("all have ended", Duration::from_secs(10), || {
        pids.iter()
            .all(|pid| observe::stat(*pid).is_none_or(|stat| stat.state == 'Z'))
            .then_some(())
    });
    ferry_testkit::wait::nap(Duration::from_millis(700));
    env.start_engine();
    assert_eq!(
        env.inspect(&ends, "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"),
        "exited 42 "
    );
    assert_eq!(env.inspect(&killed, "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    assert!(env.docker(&["logs", &ends]).ok().ends_with("last words"));
    let finished = env.inspect(&ends, "{{.State.FinishedAt}}");
    let age = env
        .docker(&["ps", "-a", "--filter", &format!("id={ends}"), "--format", "{{.Status}}"])
        .ok();
    assert!(age.starts_with("Exited (42)") && finished.starts_with("20"), "{age} {finished}");
    wait_until("--rm is kept", Duration::from_secs(10), || {
        (env.docker(&["inspect", &removed]).code == 1).then_some(())
    });
}

#[test]
fn a_polite_stop_of_the_engine_leaves_containers_too() {
    let mut env = Env::builder().own().start();
    let id = env.run_detached(&["busybox", "sh", "-c", TICKER]);
    let pid = env.pid(&id);
    env.stop_engine();
    assert!(observe::stat(pid).is_some());
    env.start_engine();
    assert_eq!(env.pid(&id), pid);
}

#[test]
fn a_dead_supervisor_is_noticed_and_cleaned_after() {
    let env = Env::builder().own().start();
    let id = env.run_detached(&["--name", "one", "busybox", "sleep", "1000"]);
    let pid = env.pid(&id);
    let supervisor = observe::stat(pid).unwrap().parent;
    assert_ne!(supervisor, env.engine_pid());
    kill(supervisor);
    env.wait_inspect("one", "{{.State.Running}} {{.State.ExitCode}}", "false 137");
    assert_ne!(env.inspect("one", "{{.State.Error}}"), "");
    wait_until("its process is gone", Duration::from_secs(5), || {
        observe::stat(pid).is_none().then_some(())
    });
    let cgroups = observe::cgroups(&env.slot().cgroup_parent());
    assert!(!cgroups.iter().any(|path| path.ends_with(&id)), "{cgroups:?}");
    env.docker(&["start", "one"]).exits(0);
    assert_eq!(env.docker(&["exec", "one", "echo", "again"]).ok(), "again");
    env.docker(&["rm", "-f", "one"]).exits(0);
    env.assert_nothing_left();
}

#[test]
fn a_supervisor_and_the_engine_dead_together() {
    let mut env = Env::builder().own().start();
    let id = env.run_detached(&["--name", "one", "busybox", "sleep", "1000"]);
    let pid = env.pid(&id);
    let supervisor = observe::stat(pid).unwrap().parent;
    env.kill_engine();
    kill(supervisor);
    env.start_engine();
    env.wait_inspect("one", "{{.State.Running}} {{.State.ExitCode}}", "false 137");
    wait_until("its process is gone", Duration::from_secs(5), || {
        observe::stat(pid).is_none().then_some(())
    });
    env.docker(&["rm", "one"]).exits(0);
    env.assert_nothing_left();
}

#[test]
fn a_second_engine_on_the_same_root_is_refused() {
    let env = Env::builder().own().start();
    let mut second = env.spawn_engine(&[], &[]);
    let ended =
        wait_until("the second ends", Duration::from_secs(20), || second.try_wait().unwrap());
    assert!(!ended.success());
    env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
}

/// Every step of containers' lives at which the engine can be made to kill itself; those of images
/// are in `crash_images`.
fn failpoints() -> Vec<String> {
    let mut points = crate::crash_images::all_failpoints();
    points.retain(|point| !crate::crash_images::is_of_images(point));
    points
}

/// One life with everything in it; whatever fails, fails because the engine died on the way.
fn live(env: &Env) {
    let victim = |words: &[&str]| drop(env.invoke(words).deadline(Duration::from_secs(30)).run());
    victim(&[
        "create",
        "--name",
        "victim",
        "-v",
        "/data",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; echo up; while :; do sleep 0.1; done",
    ]);
    victim(&["start", "victim"]);
    victim(&["exec", "victim", "true"]);
    victim(&["pause", "victim"]);
    victim(&["unpause", "victim"]);
    victim(&["rename", "victim", "other"]);
    victim(&["rename", "other", "victim"]);
    victim(&["kill", "-s", "USR1", "victim"]);
    victim(&["stop", "-t", "1", "victim"]);
    victim(&["start", "victim"]);
    victim(&["kill", "victim"]);
    victim(&["wait", "victim"]);
    victim(&["rm", "-v", "victim"]);
    victim(&["run", "--name", "broken", "busybox", "nope"]);
    victim(&["run", "--name", "fleeting", "--rm", "busybox", "true"]);
    victim(&["rm", "-f", "broken"]);
}

#[test]
fn the_engine_can_die_between_any_two_steps() {
    let mut env = Env::builder().own().start();
    let bystander = env.run_detached(&["--name", "bystander", "busybox", "sh", "-c", TICKER]);
    wait_for_log(&env, &bystander, "tick 0");
    let pid = env.pid(&bystander);
    let points = failpoints();
    assert!(points.len() >= 10, "{points:?}");
    for point in &points {
        env.kill_engine();
        let child = env.spawn_engine(&["--failpoint", point], &[]);
        env.adopt_engine(child);
        let answers = ferry_testkit::wait::poll(Duration::from_secs(20), || {
            let ping = ferry_testkit::api::request(env.socket(), "GET", "/_ping", &[], None);
            (ping.is_ok() || !env.engine_runs()).then_some(ping.is_ok())
        });
        if answers == Some(true) {
            live(&env);
        }
        let log = env.log_tail(10);
        let ended = env.wait_engine_end(Duration::from_secs(1));
        let ended = ended.unwrap_or_else(|| panic!("{point}: a whole life did not pass it\n{log}"));
        assert_eq!(ended.signal(), Some(9), "{point}: ended by itself\n{log}");
        env.start_engine();
        check_after(&env, point, &bystander, pid);
    }
    env.docker(&["rm", "-f", "bystander"]).exits(0);
    env.assert_nothing_left();
}

#[track_caller]
fn check_after(env: &Env, point: &str, bystander: &str, pid: u32) {
    assert_eq!(env.pid(bystander), pid, "{point}: the bystander lives");
    check_ticks(&env.docker(&["logs", bystander]).ok());
    for id in env.containers() {
        if id == bystander {
            continue;
        }
        let told =
            env.inspect(&id, "{{.Name}} {{.State.Status}} {{.State.Running}} {{.State.Pid}}");
        let words: Vec<&str> = told.split(' ').collect();
        let runs = words[2] == "true";
        assert_eq!(runs, words[3] != "0", "{point}: {told}");
        if runs {
            let pid = words[3].parse().unwrap();
            assert!(
                observe::stat(pid).is_some_and(|stat| stat.state != 'Z'),
                "{point}: {told}, but there is no such process"
            );
            check_network(env, point, &id, pid);
        }
        env.docker(&["rm", "-fv", &id]).exits(0);
    }
    // The name is free and a whole life can be lived.
    env.docker(&["run", "--rm", "--name", "victim", "busybox", "true"]).exits(0);
    let left = wait_for_bystander_alone(env, bystander);
    assert!(left.is_empty(), "{point}: left behind: {left:#?}");
}

/// A container on the bridge has its interface and the address that is told of it.
#[track_caller]
fn check_network(env: &Env, point: &str, id: &str, pid: u32) {
    let address = env.inspect(id, "{{.NetworkSettings.Networks.bridge.IPAddress}}");
    assert!(!address.is_empty(), "{point}: no address is told of");
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap();
    assert!(read("dev").contains("eth0:"), "{point}: its interface is gone");
    let addresses = read("fib_trie");
    let has = addresses.split_whitespace().any(|word| word == address);
    assert!(has, "{point}: {address} is told of, but it has\n{addresses}");
}

/// Whatever is left besides the one container that shall be there.
fn wait_for_bystander_alone(env: &Env, bystander: &str) -> Vec<String> {
    let mut left = Vec::new();
    ferry_testkit::wait::poll(Duration::from_secs(8), || {
        left = ferry_testkit::leaks::of_all_but(env.slot(), ferry_testkit::leaks::READY_LINKS + 1);
        left.retain(|line| !line.contains(bystander));
        let volumes = std::fs::read_dir(env.data_root().join("volumes")).into_iter().flatten();
        let volumes = volumes.filter_map(Result::ok).filter(|entry| entry.path().is_dir());
        left.extend(volumes.map(|entry| format!("volume {}", entry.path().display())));
        left.is_empty().then_some(())
    });
    left
}

#[test]
fn the_engine_can_die_at_any_time() {
    let mut env = Env::builder().own().start();
    let bystander = env.run_detached(&["--name", "bystander", "busybox", "sh", "-c", TICKER]);
    wait_for_log(&env, &bystander, "tick 0");
    let pid = env.pid(&bystander);
    for round in 0..crate::streams::setting("FERRY_E2E_KILLS", 10) {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let name = format!("c{number}");
                env.invoke(&["run", "--rm", "--name", &name, "busybox", "sh", "-c", "echo x"])
                    .spawn()
            })
            .collect();
        ferry_testkit::wait::nap(Duration::from_millis(15 * round));
        env.kill_engine();
        for client in clients {
            drop(client.wait(Duration::from_secs(30)));
        }
        env.start_engine();
        // What was being removed goes on to be removed.
        let mut others = env.containers();
        others.remove(&bystander);
        for id in others {
            drop(env.docker(&["rm", "-f", &id]));
        }
        let left = wait_for_bystander_alone(&env, &bystander);
        assert!(left.is_empty(), "round {round}: left behind: {left:#?}");
    }
    assert_eq!(env.pid(&bystander), pid);
    check_ticks(&env.docker(&["logs", &bystander]).ok());
}

#[test]
fn the_log_is_whole_when_the_engine_dies_in_a_flood() {
    let mut env = Env::builder().own().start();
    let script = "i=0; while [ $i -lt 30000 ]; do echo tick $i; i=$((i+1)); done";
    let id = env.run_detached(&["busybox", "sh", "-c", script]);
    env.kill_engine();
    env.start_engine();
    env.docker(&["wait", &id]).exits(0);
    assert_eq!(check_ticks(&env.docker(&["logs", &id]).ok()), 30_000);
}

/// A file system in a container's directory of this boot, so that it can not be removed.
struct Obstacle(std::path::PathBuf);

impl Obstacle {
    fn new(env: &Env, id: &str) -> Self {
        let path = env.slot().exec_root().join("containers").join(id).join("obstacle");
        std::fs::create_dir_all(&path).unwrap();
        Invocation::new("mount").args(["-t", "tmpfs", "none"]).arg(&path).run().exits(0);
        Self(path)
    }
}

impl Drop for Obstacle {
    fn drop(&mut self) {
        drop(Invocation::new("umount").arg("-l").arg(&self.0).run());
    }
}

#[test]
fn what_recovery_can_not_clear_away_is_known_and_can_be_removed() {
    let mut env = Env::builder().own().start();
    let kept = env.run_detached(&["--name", "kept", "busybox", "sleep", "1000"]);
    let doomed = env.run_detached(&["--rm", "--name", "doomed", "busybox", "sleep", "1000"]);
    let pids = [env.pid(&kept), env.pid(&doomed)];
    env.kill_engine();
    pids.into_iter().for_each(kill);
    wait_until("both have ended", Duration::from_secs(10), || {
        pids.iter().all(|pid| observe::stat(*pid).is_none()).then_some(())
    });
    let obstacles = [&kept, &doomed].map(|id| Obstacle::new(&env, id));
    env.start_engine();
    assert_eq!(env.inspect("kept", "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    let told = "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}";
    assert_eq!(env.inspect("doomed", told), "dead 137 false");
    assert_ne!(env.inspect("doomed", "{{.State.Error}}"), "");
    // What stands in the way is said, each time.
    env.docker(&["rm", "-f", "doomed"]).exits(1).says("resource busy");
    drop(obstacles);
    env.docker(&["rm", "-f", "doomed"]).exits(0);
    env.docker(&["start", "kept"]).exits(0);
    env.docker(&["rm", "-f", "kept"]).exits(0);
    env.assert_nothing_left();
}

#[test]
fn recovery_repairs_what_was_cleaned_away() {
    let mut env = Env::builder().own().start();
    let id = env.run_detached(&["--name", "one", "busybox", "sleep", "1000"]);
    env.kill_engine();
    if let Some(nft) = find_program("nft") {
        let tables = ferry_testkit::leaks::tables(&env.slot().bridge());
        assert!(!tables.is_empty());
        for table in tables {
            let words = table.split(' ').map(ToOwned::to_owned);
            Invocation::new(&nft).args(["delete", "table"]).args(words).run().exits(0);
        }
    }
    env.start_engine();
    assert!(!ferry_testkit::leaks::tables(&env.slot().bridge()).is_empty(), "the rules are back");
    assert_eq!(env.inspect("one", "{{.State.Running}} {{.Id}}"), format!("true {id}"));
    env.shell(&[], "ping -c 1 -W 2 $(ip route | awk '/default/ {print $3}')").exits(0);
}
