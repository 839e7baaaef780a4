//! Standard input, output and error, to the last byte.

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::Duration;

use ferry_testkit::{Env, wait_until};

use crate::lifecycle::wait_for_log;

/// A number from the environment, for the long runs that CI shortens.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Bytes that repeat nowhere near, from a seed.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let bytes = (self.0 ^ (self.0 >> 29)).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

#[test]
fn a_great_stream_arrives_intact() {
    let env = Env::start();
    let total = setting("FERRY_E2E_BYTES", 256 << 20);
    let mut child = env
        .invoke(&["run", "-i", "--rm", "busybox", "cat"])
        .to_command()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let (mut noise, mut buffer, mut left) = (Noise(7), vec![0; 1 << 16], total);
        while left > 0 {
            let count = usize::try_from(left.min(1 << 16)).unwrap();
            noise.fill(&mut buffer);
            input.write_all(&buffer[..count]).unwrap();
            left -= count as u64;
        }
    });
    let mut output = child.stdout.take().unwrap();
    let (mut noise, mut expected, mut got) = (Noise(7), vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut seen = 0;
    while seen < total {
        let count = usize::try_from((total - seen).min(1 << 16)).unwrap();
        noise.fill(&mut expected);
        output
            .read_exact(&mut got[..count])
            .unwrap_or_else(|error| panic!("after {seen} bytes: {error}"));
        assert!(got[..count] == expected[..count], "bytes differ after {seen}");
        seen += count as u64;
    }
    assert_eq!(output.read(&mut got).unwrap(), 0, "nothing follows");
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn output_and_error_are_not_mixed() {
    let env = Env::start();
    let script = "i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let output = env.shell(&[], script).exits(0);
    let numbers = |text: &str, word: &str| {
        text.lines()
            .map(|line| line.strip_prefix(word).unwrap().parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    assert!(numbers(&output.out(), "out ").into_iter().eq(0..3000));
    assert!(numbers(&output.err(), "err ").into_iter().eq(0..3000));
}

#[test]
fn input_ends_when_the_client_ends_it() {
    let env = Env::start();
    assert_eq!(
        env.invoke(&["run", "-i", "--rm", "busybox", "cat"]).stdin("a\nb").run().ok(),
        "a\nb"
    );
    let counted = env
        .invoke(&["run", "-i", "--rm", "busybox", "wc", "-c"])
        .stdin(vec![b'x'; 300_000])
        .run()
        .ok();
    assert_eq!(counted, "300000");
    // Without -i there is no input at all.
    assert_eq!(env.invoke(&["run", "--rm", "busybox", "wc", "-c"]).stdin("unread").run().ok(), "0");
    // The output goes on after the input has ended.
    let script = "cat >/dev/null; echo after";
    assert_eq!(
        env.invoke(&["run", "-i", "--rm", "busybox", "sh", "-c", script]).stdin("x").run().ok(),
        "after"
    );
}

#[test]
fn input_that_nobody_reads_does_no_harm() {
    let env = Env::start();
    let output =
        env.invoke(&["run", "-i", "--rm", "busybox", "true"]).stdin(vec![0; 1 << 20]).run();
    output.exits(0);
}

#[test]
fn the_last_words_are_not_lost() {
    let env = Env::start();
    for _ in 0..20 {
        let output =
            env.shell(&[], "echo one; echo two >&2; head -c 70000 /dev/zero; printf end").exits(0);
        assert!(
            output.stdout.len() == 4 + 70_000 + 3 && output.stdout.ends_with(b"end"),
            "{}",
            output.stdout.len()
        );
        assert_eq!(output.err(), "two");
    }
}

/// Once, an attach was answered before it was registered, and under load one run in 300 started,
/// spoke and ended in between: its output was in the log alone.
#[test]
fn the_shortest_lives_are_heard() {
    let env = Env::start();
    let rounds = if env.is_foreign() { 5 } else { 60 };
    std::thread::scope(|scope| {
        for lane in 0..6 {
            let env = &env;
            scope.spawn(move || {
                for round in 0..rounds {
                    let word = format!("{lane}-{round}");
                    assert_eq!(env.docker(&["run", "--rm", "busybox", "echo", &word]).ok(), word);
                }
            });
        }
    });
}

#[test]
fn attach_follows_what_runs() {
    let env = Env::start();
    let id = env.run_detached(&[
        "-i",
        "busybox",
        "sh",
        "-c",
        "while read line; do echo got $line; [ $line = last ] && exit 6; done",
    ]);
    let mut first = env.invoke(&["attach", &id]).open_stdin().spawn();
    let second = env.invoke(&["attach", "--no-stdin", &id]).spawn();
    // Attaching has no sign of its own; a line is repeated until both have seen one.
    wait_until("both are attached", Duration::from_secs(20), || {
        first.write("hello\n");
        let seen = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains("got hello");
        (seen(first.stdout()) && seen(second.stdout())).then_some(())
    });
    first.write("last\n");
    second.wait_for("got last");
    first.wait_for("got last");
    first.finish().exits(6);
    second.finish().exits(6);
    env.docker(&["attach", &id])
        .exits(1)
        .says("cannot attach to a stopped container, start it first");
}

#[test]
fn one_stream_alone_can_be_attached() {
    let env = Env::start();
    let run = |streams: &[&str]| {
        let mut words = vec!["run", "--rm"];
        words.extend(streams);
        words.extend(["busybox", "sh", "-c", "echo out; echo err >&2"]);
        let output = env.docker(&words).exits(0);
        (output.out(), output.err())
    };
    assert_eq!(run(&["-a", "stdout"]), ("out".into(), String::new()));
    assert_eq!(run(&["-a", "stderr"]), (String::new(), "err".into()));
    assert_eq!(run(&["-a", "stdout", "-a", "stderr"]), ("out".into(), "err".into()));
}

#[test]
fn signals_reach_the_container_through_the_client() {
    let env = Env::start();
    let script = "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    let running = env.invoke(&["run", "--rm", "busybox", "sh", "-c", script]).spawn();
    running.wait_for("ready");
    running.signal(rustix::process::Signal::TERM);
    let output = running.finish().exits(3);
    assert_eq!(output.out(), "ready\ncaught");
}

#[test]
fn a_client_that_dies_does_not_take_its_container_along() {
    let env = Env::start();
    let running = env
        .invoke(&[
            "run",
            "--name",
            "one",
            "busybox",
            "sh",
            "-c",
            "echo ready; sleep 0.5; echo after; sleep 1000",
        ])
        .spawn();
    running.wait_for("ready");
    running.signal(rustix::process::Signal::KILL);
    drop(running.finish());
    wait_for_log(&env, "one", "after");
    assert_eq!(env.inspect("one", "{{.State.Status}}"), "running");
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_others() {
    // Docker does not pass this: its `kill` waits for the attached client.
    let env = Env::builder().own().start();
    let id = env.run_detached(&[
        "busybox",
        "sh",
        "-c",
        "while :; do echo 0123456789012345678901234567890123456789; done",
    ]);
    let lazy = env
        .invoke(&["attach", "--no-stdin", "--sig-proxy=false", &id])
        .to_command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It reads nothing, while the engine answers for the same container.
    assert_eq!(env.inspect(&id, "{{.State.Status}}"), "running");
    env.docker(&["exec", &id, "true"]).exits(0);
    env.invoke(&["kill", &id]).deadline(Duration::from_secs(20)).run().exits(0);
    env.invoke(&["wait", &id]).deadline(Duration::from_secs(20)).run().exits(0);
    let mut lazy = lazy;
    lazy.kill().unwrap();
    lazy.wait().unwrap();
}

/// Attaches by raw HTTP, sends `hello` with the head or after the answer, and reads to the end.
fn hijack(env: &Env, early: bool) -> (String, Vec<u8>) {
    let script = "read line; echo got $line; echo err >&2";
    let id = env.run_detached(&["-i", "busybox", "sh", "-c", script]);
    let mut stream = std::os::unix::net::UnixStream::connect(env.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!(
        "POST /containers/{id}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\n\
         Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    );
    if early {
        head.push_str("hello\n");
    }
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    if !early {
        stream.write_all(b"hello\n").unwrap();
    }
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    (String::from_utf8_lossy(&answer).into_owned(), rest)
}

#[track_caller]
fn check_frames(mut bytes: &[u8]) {
    let mut frames = std::collections::BTreeMap::<u8, Vec<u8>>::new();
    while bytes.len() >= 8 {
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        frames.entry(bytes[0]).or_default().extend(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    assert!(bytes.is_empty());
    assert_eq!(frames[&1], b"got hello\n");
    assert_eq!(frames[&2], b"err\n");
}

#[test]
fn the_raw_hijack_is_dockers() {
    let env = Env::start();
    let (head, rest) = hijack(&env, false);
    assert!(head.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{head}");
    for line in [
        "Connection: Upgrade",
        "Upgrade: tcp",
        "Content-Type: application/vnd.docker.multiplexed-stream",
    ] {
        assert!(head.to_lowercase().contains(&line.to_lowercase()), "{head}");
    }
    check_frames(&rest);
}

#[test]
fn input_right_behind_the_head_is_not_lost() {
    // Docker loses it; a client that does not wait for the answer is right all the same.
    let env = Env::builder().own().start();
    check_frames(&hijack(&env, true).1);
}
