//! Containers on terminals: sizes, keys, job control, detaching; once by hand and once in tmux.

use std::time::Duration;

use ferry_testkit::command::find_program;
use ferry_testkit::wait::nap;
use ferry_testkit::{Env, Invocation, Terminal, wait_until};

const DETACH: &str = "\x10\x11";

#[test]
fn a_terminal_has_the_windows_size() {
    let env = Env::start();
    let words = ["run", "-it", "--rm", "busybox", "sh"];
    let mut terminal = Terminal::start(&env.invoke(&words), 31, 117);
    terminal.type_keys(
        "until [ \"$(stty size)\" = '31 117' ]; do sleep 0.1; done; echo size-is-$((31+1))\n",
    );
    terminal.wait_for("size-is-32");
    terminal.type_keys(
        "until [ \"$(stty size)\" = '40 90' ]; do sleep 0.1; done; echo now-it-is-$((40+1))\n",
    );
    // A client tells the size before it listens for changes; one in between is lost to it.
    wait_until("the terminal is as large as the window", Duration::from_secs(30), || {
        terminal.resize(39, 89);
        terminal.resize(40, 90);
        nap(Duration::from_millis(200));
        terminal.shown().contains("now-it-is-41").then_some(())
    });
    terminal.type_keys("exit 5\n");
    terminal.finish().exits(5);
}

#[test]
fn keys_make_signals() {
    let env = Env::start();
    let mut terminal =
        Terminal::start(&env.invoke(&["run", "-it", "--rm", "busybox", "sh"]), 24, 80);
    terminal.type_keys("sleep 1000\n");
    wait_until("the sleep runs", Duration::from_secs(10), || {
        let id = env.docker(&["ps", "-q"]).out();
        env.docker(&["exec", &id, "ps"]).out().contains("sleep 1000").then_some(())
    });
    terminal.type_keys("\x03");
    terminal.type_keys("echo woken-$?\n");
    terminal.wait_for("woken-130");
    // Job control: stop, list, continue.
    terminal.type_keys("sleep 2000\n");
    wait_until("the sleep runs", Duration::from_secs(10), || {
        let id = env.docker(&["ps", "-q"]).out();
        env.docker(&["exec", &id, "ps"]).out().contains("sleep 2000").then_some(())
    });
    terminal.type_keys("\x1a");
    terminal.wait_for("Stopped");
    terminal.type_keys("kill %1; jobs; echo jobs-$((1+1))\n");
    terminal.wait_for("jobs-2");
    terminal.type_keys("\x04");
    drop(terminal.finish());
}

#[test]
fn detach_and_attach_again() {
    let env = Env::start();
    let words = ["run", "-it", "--name", "one", "busybox", "sh"];
    let mut terminal = Terminal::start(&env.invoke(&words), 24, 80);
    terminal.type_keys("x=kept; echo first-$((1+1))\n");
    terminal.wait_for("first-2");
    terminal.type_keys(DETACH);
    terminal.finish().exits(0);
    assert_eq!(env.inspect("one", "{{.State.Status}}"), "running");
    let mut again = Terminal::start(&env.invoke(&["attach", "one"]), 24, 80);
    again.type_keys("echo $x-$((2+2))\n");
    again.wait_for("kept-4");
    again.type_keys("exit 3\n");
    again.finish().exits(3);
}

#[test]
fn detach_keys_can_be_chosen() {
    let env = Env::start();
    let words = ["run", "-it", "--name", "one", "--detach-keys", "ctrl-a,x", "busybox", "sh"];
    let mut terminal = Terminal::start(&env.invoke(&words), 24, 80);
    terminal.type_keys("echo up-$((1+1))\n");
    terminal.wait_for("up-2");
    terminal.type_keys("\x01x");
    terminal.finish().exits(0);
    assert_eq!(env.inspect("one", "{{.State.Status}}"), "running");
    let words =
        ["exec", "-it", "--detach-keys", "q", "one", "sh", "-c", "echo in-$((1+1)); sleep 1000"];
    let mut exec = Terminal::start(&env.invoke(&words), 24, 80);
    exec.wait_for("in-2");
    exec.type_keys("q");
    drop(exec.finish());
    env.docker(&["attach", "--detach-keys", "nonsense-key", "one"]).exits(1);
}

#[test]
fn an_exec_has_a_terminal_of_its_own() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sleep", "100000"]);
    let mut terminal = Terminal::start(&env.invoke(&["exec", "-it", &id, "sh"]), 33, 99);
    terminal.type_keys(
        "until [ \"$(stty size)\" = '33 99' ]; do sleep 0.1; done; tty; echo size-$((33+1))\n",
    );
    terminal.wait_for("size-34");
    assert!(terminal.shown().contains("/dev/pts/"), "{}", terminal.shown());
    terminal.type_keys("exit 8\n");
    terminal.finish().exits(8);
}

#[test]
fn a_terminal_without_input_still_shows() {
    let env = Env::start();
    let output = env
        .docker(&["run", "-t", "--rm", "busybox", "sh", "-c", "tty; echo both; echo err >&2"])
        .exits(0);
    assert_eq!(output.stdout, b"/dev/pts/0\r\nboth\r\nerr\r\n");
    env.invoke(&["run", "-it", "--rm", "busybox", "true"]).stdin("").run().fails().says("TTY");
    let term = env
        .docker(&[
            "run",
            "-t",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo $TERM; ls -l /dev/console | cut -c1",
        ])
        .ok();
    assert_eq!(term.replace('\r', ""), "xterm\nc");
}

#[test]
fn a_terminal_can_be_resized_by_request() {
    let env = Env::start();
    let id = env.run_detached(&[
        "-t",
        "busybox",
        "sh",
        "-c",
        "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done",
    ]);
    crate::lifecycle::wait_for_log(&env, &id, "ready");
    env.api("POST", &format!("/containers/{id}/resize?h=50&w=132"), None).is(200);
    crate::lifecycle::wait_for_log(&env, &id, "50 132");
    let bad = env.api("POST", &format!("/containers/{id}/resize?h=x&w=132"), None);
    assert_eq!(bad.status, 400, "{bad:?}");
}

/// A tmux server of its own with one session of one window.
struct Tmux {
    socket: std::path::PathBuf,
}

impl Tmux {
    fn start(env: &Env, words: &[&str]) -> Self {
        let tmux = Self { socket: env.host_folder().join("tmux") };
        let client = env.invoke(words);
        let line = client.line();
        let program = client.to_command();
        let script = format!(
            "DOCKER_HOST={} HOME=/tmp {} {}; echo ended-with-$?; exec sleep 1000",
            env.host(),
            program.get_program().to_string_lossy(),
            line.split_once(' ').unwrap().1
        );
        tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-s",
            "t",
            "-x",
            "100",
            "-y",
            "30",
            &script,
        ])
        .exits(0);
        tmux
    }

    fn run(&self, words: &[&str]) -> ferry_testkit::Output {
        let tmux = find_program("tmux").expect("tmux is installed by `cargo xtask e2e`");
        Invocation::new(tmux).env("LANG", "C.UTF-8").arg("-S").arg(&self.socket).args(words).run()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        let mut screen = String::new();
        let seen = ferry_testkit::wait::poll(Duration::from_secs(30), || {
            screen = self.run(&["capture-pane", "-p", "-t", "t"]).out();
            screen.contains(text).then_some(())
        });
        assert!(seen.is_some(), "{text:?} is not on the screen:\n{screen}");
    }

    fn keys(&self, keys: &[&str]) {
        let mut words = vec!["send-keys", "-t", "t"];
        words.extend(keys);
        self.run(&words).exits(0);
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        drop(self.run(&["kill-server"]));
    }
}

#[test]
fn it_behaves_in_tmux() {
    let env = Env::start();
    let tmux = Tmux::start(&env, &["run", "-it", "--name", "one", "busybox", "sh"]);
    tmux.wait_for("/ #");
    tmux.keys(&[
        "until [ \"$(stty size)\" = '30 100' ]; do sleep 0.1; done; echo ok-$((1+1))",
        "Enter",
    ]);
    tmux.wait_for("ok-2");
    tmux.run(&["resize-window", "-t", "t", "-x", "77", "-y", "22"]).exits(0);
    tmux.keys(&[
        "until [ \"$(stty size)\" = '22 77' ]; do sleep 0.1; done; echo ok-$((2+2))",
        "Enter",
    ]);
    tmux.wait_for("ok-4");
    tmux.keys(&["sleep 1000", "Enter"]);
    tmux.wait_for("sleep 1000");
    wait_until("the sleep runs", Duration::from_secs(10), || {
        env.docker(&["exec", "one", "ps"]).out().contains("sleep 1000").then_some(())
    });
    tmux.keys(&["C-c"]);
    tmux.keys(&["echo code-$?", "Enter"]);
    tmux.wait_for("code-130");
    tmux.keys(&["C-p", "C-q"]);
    tmux.wait_for("ended-with-0");
    drop(tmux);
    let again = Tmux::start(&env, &["attach", "one"]);
    again.keys(&["", "Enter"]);
    again.wait_for("/ #");
    again.keys(&["exit 4", "Enter"]);
    again.wait_for("ended-with-4");
}
