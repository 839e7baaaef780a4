//! Further processes in a running container.

use std::time::Duration;

use ferry_testkit::{Env, observe, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// Every capability this machine has to give.
pub(crate) fn all_capabilities() -> String {
    observe::status(std::process::id(), "CapBnd").unwrap()
}

fn keeper(env: &Env, options: &[&str]) -> String {
    let mut words = options.to_vec();
    words.extend(["busybox", "sleep", "100000"]);
    env.run_detached(&words)
}

#[test]
fn exec_gives_output_and_code() {
    let env = Env::start();
    let id = keeper(&env, &["-e", "INHERITED=yes"]);
    let output = env.docker(&["exec", &id, "sh", "-c", "echo out; echo err >&2; exit 9"]).exits(9);
    assert_eq!((output.out().as_str(), output.err().as_str()), ("out", "err"));
    assert_eq!(
        env.docker(&["exec", &id, "sh", "-c", "echo $INHERITED; pwd; hostname"]).ok(),
        format!("yes\n/\n{}", &id[..12])
    );
    let shown = env
        .docker(&[
            "exec",
            "-e",
            "A=1",
            "-e",
            "B=2",
            "-w",
            "/tmp",
            &id,
            "sh",
            "-c",
            "echo $A$B; pwd",
        ])
        .ok();
    assert_eq!(shown, "12\n/tmp");
    assert_eq!(env.invoke(&["exec", "-i", &id, "cat"]).stdin("fed").run().ok(), "fed");
    env.docker(&["exec", &id, "sh", "-c", "kill -9 $$"]).exits(137);
}

#[test]
fn exec_that_cannot_run() {
    let env = Env::start();
    let id = keeper(&env, &[]);
    env.docker(&["exec", &id, "nope"])
        .exits(127)
        .prints("exec: \"nope\": executable file not found in $PATH");
    env.docker(&["exec", &id, "/etc"]).exits(126).prints("exec: \"/etc\": is a directory");
    env.docker(&["exec", &id, "/etc/passwd"])
        .exits(126)
        .prints("exec: \"/etc/passwd\": permission denied");
    env.docker(&["exec", "-w", "/nope", &id, "true"]).exits(127);
    env.docker(&["exec", "-u", "nobody-such", &id, "true"])
        .exits(1)
        .says("unable to find user nobody-such");
    env.docker(&["exec", "nobody", "true"]).exits(1).says("No such container: nobody");
    env.docker(&["stop", "-t", "0", &id]).exits(0);
    let refused = env.docker(&["exec", &id, "true"]).exits(1);
    assert!(refused.err().contains(&format!("container {id} is not running")), "{refused:?}");
}

#[test]
fn exec_users() {
    let env = Env::start();
    let id = keeper(&env, &["--user", "app"]);
    let who = |user: &[&str]| {
        let mut words = vec!["exec"];
        words.extend(user);
        words.extend([id.as_str(), "sh", "-c", "id; echo $HOME"]);
        env.docker(&words).ok()
    };
    assert_eq!(
        who(&[]),
        "uid=1000(app) gid=1001(appgroup) groups=10(wheel),1001(appgroup),1002(extra)\n/home/app"
    );
    assert_eq!(who(&["-u", "root"]), "uid=0(root) gid=0(root) groups=0(root),10(wheel)\n/root");
    assert_eq!(who(&["-u", "daemon:extra"]), "uid=1(daemon) gid=1002(extra) groups=1002(extra)\n/");
    assert_eq!(who(&["-u", "4242:4343"]), "uid=4242 gid=4343 groups=4343\n/");
}

#[test]
fn exec_has_the_containers_rights_and_no_more() {
    let env = Env::start();
    let id = keeper(&env, &[]);
    let caps = |words: &[&str]| {
        let mut all = vec!["exec"];
        all.extend(words);
        all.extend([id.as_str(), "grep", "Cap", "/proc/self/status"]);
        env.docker(&all).ok().replace('\t', " ")
    };
    assert_eq!(
        caps(&[]),
        "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\nCapBnd: 00000000a80425fb\nCapAmb: 0000000000000000"
    );
    let privileged = caps(&["--privileged"]);
    assert!(privileged.contains(&format!("CapEff: {}", all_capabilities())), "{privileged}");
    let same = env
        .docker(&[
            "exec",
            &id,
            "sh",
            "-c",
            "for n in pid net mnt; do readlink /proc/self/ns/$n; done",
        ])
        .ok();
    let first = env
        .docker(&["exec", &id, "sh", "-c", "for n in pid net mnt; do readlink /proc/1/ns/$n; done"])
        .ok();
    assert_eq!(same, first);
    let cgroup = env.docker(&["exec", &id, "cat", "/proc/self/cgroup"]).ok();
    assert_eq!(cgroup, env.docker(&["exec", &id, "cat", "/proc/1/cgroup"]).ok());
}

#[test]
fn a_detached_exec_is_inspected() {
    let env = Env::start();
    let id = keeper(&env, &[]);
    env.docker(&["exec", "-d", &id, "sh", "-c", "echo done >/tmp/done"]).exits(0);
    wait_until("it was run", Duration::from_secs(10), || {
        (env.docker(&["exec", &id, "cat", "/tmp/done"]).out() == "done").then_some(())
    });
    let body = json!({ "Cmd": ["sh", "-c", "sleep 0.3; exit 5"], "AttachStdout": true });
    let exec = env.api("POST", &format!("/containers/{id}/exec"), Some(&body)).is(201).json();
    let exec = exec["Id"].as_str().unwrap().to_owned();
    let look = || env.api("GET", &format!("/exec/{exec}/json"), None).is(200).json();
    let before = look();
    assert_eq!(
        (&before["Running"], &before["ExitCode"], &before["Pid"]),
        (&json!(false), &json!(null), &json!(0))
    );
    assert_eq!(before["ContainerID"], json!(id));
    assert_eq!(before["ProcessConfig"]["entrypoint"], "sh");
    env.api("POST", &format!("/exec/{exec}/start"), Some(&json!({ "Detach": true }))).is(200);
    let during = look();
    if during["Running"] == true {
        let pid = u32::try_from(during["Pid"].as_u64().unwrap()).unwrap();
        assert!(observe::stat(pid).is_some(), "{during}");
    }
    wait_until("its code is known", Duration::from_secs(10), || {
        (look()["ExitCode"] == 5).then_some(())
    });
    assert_eq!(look()["Running"], false);
    let again = env.api("POST", &format!("/exec/{exec}/start"), Some(&json!({ "Detach": true })));
    assert!(matches!(again.status, 404 | 409), "{again:?}");
    env.api("GET", "/exec/nope/json", None).is(404);
}

#[test]
fn the_process_that_exec_left_is_reaped() {
    let env = Env::start();
    let id = keeper(&env, &["--init"]);
    env.docker(&["exec", &id, "sh", "-c", "sleep 0.1 & exit 0"]).exits(0);
    wait_until("no zombie is left", Duration::from_secs(10), || {
        let shown = env.docker(&["exec", &id, "ps", "-o", "stat,args"]).ok();
        (!shown.lines().any(|line| line.trim_start().starts_with('Z'))).then_some(())
    });
}

#[test]
fn exec_ends_with_its_container() {
    let env = Env::start();
    let id = keeper(&env, &[]);
    let running = env.invoke(&["exec", &id, "sh", "-c", "echo in; sleep 1000"]).spawn();
    running.wait_for("in");
    env.docker(&["kill", &id]).exits(0);
    running.finish().exits(137);
}

#[test]
fn many_execs_at_once() {
    let env = Env::start();
    let id = keeper(&env, &[]);
    let running: Vec<_> = (0..20)
        .map(|number| {
            (
                number,
                env.invoke(&["exec", &id, "sh", "-c", &format!("echo {number}; exit {number}")])
                    .spawn(),
            )
        })
        .collect();
    for (number, one) in running {
        let output = one.finish().exits(number);
        assert_eq!(output.out(), number.to_string());
    }
    let shown = env.docker(&["exec", &id, "ps", "-o", "pid"]).ok();
    assert_eq!(shown.lines().count(), 3, "the keeper, ps, and the head: {shown}");
}

#[test]
fn the_size_of_a_terminal_that_is_not_spoken_of_is_passed_over() {
    let env = Env::start();
    let id = keeper(&env, &[]);
    let create = |tty: bool, command: &[&str]| {
        let body = json!({ "Cmd": command, "Tty": tty, "AttachStdout": true });
        let made = env.api("POST", &format!("/containers/{id}/exec"), Some(&body)).is(201).json();
        made["Id"].as_str().unwrap().to_owned()
    };
    let start = |exec: &str, tty: bool| {
        let body = json!({ "Tty": tty, "ConsoleSize": [11, 22] });
        env.api("POST", &format!("/exec/{exec}/start"), Some(&body)).text()
    };
    assert!(start(&create(false, &["echo", "plain"]), false).ends_with("plain\n"));
    assert!(start(&create(false, &["echo", "plain"]), true).ends_with("plain\n"));
    assert_eq!(start(&create(true, &["stty", "size"]), true), "11 22\r\n");
    assert!(!start(&create(true, &["stty", "size"]), false).contains("11 22"));
}

/// The end of a supervisor's patience, for a test: it goes on when this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn supervisor_of(env: &Env, id: &str) -> Self {
        let supervisor = observe::stat(env.pid(id)).unwrap().parent;
        let pid = Pid::from_raw(i32::try_from(supervisor).unwrap()).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).ok();
    }
}

#[test]
fn an_exec_that_takes_long_to_start_holds_up_nothing_else() {
    let env = Env::builder().own().start();
    let id = keeper(&env, &["--name", "one"]);
    let stopped = Stopped::supervisor_of(&env, &id);
    let exec = env.invoke(&["exec", &id, "echo", "at last"]).spawn();
    wait_until("it is being started", Duration::from_secs(20), || {
        (env.inspect(&id, "{{len .ExecIDs}}") == "1").then_some(())
    });
    ferry_testkit::wait::nap(Duration::from_millis(300));
    let renamed = env.invoke(&["rename", "one", "two"]).deadline(Duration::from_secs(10)).run();
    renamed.exits(0);
    drop(stopped);
    assert_eq!(exec.wait(Duration::from_secs(20)).ok(), "at last");
}
