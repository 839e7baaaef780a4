//! Clients and the container's streams.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ferry_supervisor::protocol::{Attachment, Call, Event, Target};

use crate::kit::{Box, eventually, framed, raw};

#[test]
fn streams_are_framed() {
    let mut container = Box::new("echo out; sleep 0.1; echo err >&2");
    let mut client = container.start_with(&framed());
    container.exited();
    container.done(Call::Release);
    let mut bytes = Vec::new();
    client.stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n");
    container.ends();
}

#[test]
fn a_client_gets_only_what_it_wants() {
    let mut container = Box::new("echo out; echo err >&2");
    let attachment = Attachment { stdout: false, ..framed() };
    let mut client = container.start_with(&attachment);
    container.exited();
    container.done(Call::Release);
    assert_eq!(client.rest(), "\x02\0\0\0\0\0\0\x04err\n");
    container.ends();
}

#[test]
fn the_end_of_a_client_s_input_is_the_end_of_the_container_s() {
    let mut container = Box::of(&["cat"]).stdin(true).logged();
    let mut client = container.start_with(&raw());
    client.write(b"one\ntwo");
    client.end();
    assert_eq!(container.exited().code, 0);
    container.done(Call::Release);
    assert_eq!(client.rest(), "one\ntwo");
    let texts: Vec<String> = container.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["one\n", "two"]);
    container.ends();
}

#[test]
fn input_that_stays_open_outlives_its_clients() {
    let mut container = Box::of(&["cat"]).stdin(false);
    let mut first = container.start_with(&raw());
    first.write(b"first\n");
    assert_eq!(first.until("\n"), "first\n");
    first.end();
    // As with Docker its attachment ends with its input.
    assert_eq!(first.rest(), "");
    let mut second = container.attach(&raw());
    second.write(b"second\n");
    assert_eq!(second.until("\n"), "second\n");
    container.kill(Target::Init, 9);
    container.exited();
    container.release();
}

#[test]
fn without_open_input_there_is_an_end_at_once() {
    let mut container = Box::of(&["cat"]);
    container.start(&[]);
    assert_eq!(container.exited().code, 0);
    container.release();
}

#[test]
fn what_was_read_early_comes_first() {
    let mut container = Box::of(&["cat"]).stdin(true);
    container.start(&[]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let early = ferry_sys::launch::seal("early", b"early ").unwrap();
    let attachment = Attachment { early: true, ..raw() };
    let descriptors = [std::os::fd::AsFd::as_fd(&theirs), std::os::fd::AsFd::as_fd(&early)];
    container.ask(Call::Attach(attachment), &descriptors).unwrap();
    drop(theirs);
    (&ours).write_all(b"late").unwrap();
    ours.shutdown(std::net::Shutdown::Write).unwrap();
    container.exited();
    container.done(Call::Release);
    let mut text = String::new();
    (&ours).read_to_string(&mut text).unwrap();
    assert_eq!(text, "early late");
    container.ends();
}

/// Copies much through a container's `cat`, and gives the speed in MiB per second.
fn copy_much(mebibytes: u64) -> f64 {
    let mut container = Box::of(&["cat"]).stdin(true);
    let client = container.start_with(&raw());
    let mut writer = client.stream.try_clone().unwrap();
    let mut block = vec![0_u8; 1 << 20];
    for (index, word) in block.chunks_exact_mut(8).enumerate() {
        let value = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word.copy_from_slice(&value.to_le_bytes());
    }
    let mut expect = block.clone();
    let begin = Instant::now();
    let sender = std::thread::spawn(move || {
        for number in 0..mebibytes {
            block[..8].copy_from_slice(&number.to_le_bytes());
            writer.write_all(&block).unwrap();
        }
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut reader = client.stream;
    let mut got = vec![0_u8; 1 << 20];
    for number in 0..mebibytes {
        reader.read_exact(&mut got).unwrap();
        expect[..8].copy_from_slice(&number.to_le_bytes());
        assert!(got == expect, "block {number} differs");
    }
    let speed = mebibytes as f64 / begin.elapsed().as_secs_f64();
    sender.join().unwrap();
    assert_eq!(container.exited().code, 0);
    container.release();
    speed
}

#[test]
fn much_data_goes_through_intact() {
    let mebibytes = match std::env::var_os("FERRY_TEST_SUPERVISOR") {
        Some(_) => 1024,
        None => 128,
    };
    eprintln!("{:.0} MiB/s", copy_much(mebibytes));
}

#[test]
fn a_client_that_sends_and_never_reads_blocks_itself_and_not_the_supervisor() {
    let mut container = Box::of(&["cat"]).stdin(true);
    let mut client = container.start_with(&raw());
    client.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let block = vec![b'x'; 1 << 20];
    let mut sent = 0;
    while let Ok(count) = client.stream.write(&block) {
        sent += count;
        assert!(sent < 64 << 20, "it takes everything");
    }
    container.kill(Target::Init, 0);
    client.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let reader = client.stream.try_clone().unwrap();
    client.end();
    let mut all = Vec::new();
    let mut reader = reader;
    container.kill(Target::Init, 0);
    let mut chunk = vec![0; 1 << 20];
    while all.len() < sent {
        let count = reader.read(&mut chunk).unwrap();
        assert!(count > 0);
        all.extend_from_slice(&chunk[..count]);
    }
    assert_eq!(container.exited().code, 0);
    container.release();
}

#[test]
fn a_slow_client_holds_up_the_container_and_loses_nothing() {
    let mut container = Box::new("seq 1 600000; echo done").logged();
    let (slow, theirs) = UnixStream::pair().unwrap();
    container.start(&[(&raw(), &theirs)]);
    drop(theirs);
    let mut quick = container.attach(&raw());
    quick.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let mut seen = 0;
    let mut chunk = vec![0; 1 << 16];
    while let Ok(count) = quick.stream.read(&mut chunk) {
        seen += count;
    }
    let whole: usize = (1..=600_000).map(|number| format!("{number}\n").len()).sum::<usize>() + 5;
    assert!(seen < whole, "nothing was held up");
    let mut all = String::new();
    let reader = std::thread::spawn(move || {
        let mut slow = slow;
        slow.read_to_string(&mut all).unwrap();
        all.len()
    });
    quick.stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let drain = std::thread::spawn(move || {
        let mut rest = Vec::new();
        quick.stream.read_to_end(&mut rest).unwrap();
    });
    assert_eq!(container.exited().code, 0);
    container.done(Call::Release);
    assert_eq!(reader.join().unwrap(), whole);
    drain.join().unwrap();
    let logged: usize = container.log().iter().map(|(_, text)| text.len()).sum();
    assert_eq!(logged, whole);
    container.ends();
}

#[test]
fn the_end_is_told_even_if_a_client_does_not_read() {
    let mut container = Box::new("seq 1 400000").logged();
    let (slow, theirs) = UnixStream::pair().unwrap();
    container.start(&[(&raw(), &theirs)]);
    drop(theirs);
    // It can not print all of it while nobody reads; it is killed in the middle.
    eventually(|| std::fs::metadata(container.log_path()).unwrap().len() > 1 << 20);
    container.kill(Target::All, 9);
    assert_eq!(container.exited().code, 137);
    container.done(Call::Release);
    let mut all = String::new();
    (&slow).read_to_string(&mut all).unwrap();
    assert!(all.starts_with("1\n2\n3\n") && all.len() > 1 << 16);
    container.ends();
}

#[test]
fn a_client_that_goes_away_disturbs_nobody() {
    let mut container = Box::new("while :; do echo x; done");
    let gone = container.start_with(&raw());
    let mut stays = container.attach(&raw());
    drop(gone);
    for _ in 0..1000 {
        stays.until("x\n");
    }
    container.kill(Target::All, 9);
    container.exited();
    // What it has not read would keep the supervisor.
    drop(stays);
    container.release();
}

#[test]
fn many_clients_see_the_same() {
    let mut container = Box::new("read x; seq 1 1000").stdin(true);
    let mut first = container.start_with(&raw());
    let mut others: Vec<_> =
        (0..20).map(|_| container.attach(&Attachment { stdin: false, ..raw() })).collect();
    first.write(b"go\n");
    container.exited();
    container.done(Call::Release);
    let text = first.rest();
    assert!(text.ends_with("\n1000\n"));
    for other in &mut others {
        assert_eq!(other.rest(), text);
    }
    container.ends();
}

#[test]
fn a_terminal_is_raw_and_has_a_size() {
    let mut container = Box::new("stty size; read x; stty size; echo got $x").tty().stdin(true);
    container.config["process"]["consoleSize"] = serde_json::json!({"height": 24, "width": 80});
    let mut client = container.start_with(&raw());
    assert_eq!(client.until("\n"), "24 80\r\n");
    container.done(Call::Resize { target: Target::Init, rows: 50, columns: 132 });
    client.write(b"hello\n");
    assert_eq!(client.until("got hello\r\n"), "hello\r\n50 132\r\ngot hello\r\n");
    assert_eq!(container.exited().code, 0);
    container.done(Call::Release);
    assert_eq!(client.rest(), "");
    container.ends();
}

#[test]
fn keys_detach_from_a_terminal_and_the_container_goes_on() {
    let mut container = Box::new("while read x; do echo got $x; done").tty().stdin(true);
    let keys = Attachment { detach_keys: vec![16, 17], ..raw() };
    let mut client = container.start_with(&keys);
    client.write(b"a\n");
    client.until("got a\r\n");
    client.write(b"\x10b\n\x10");
    client.until("got \x10b\r\n");
    client.write(b"\x11");
    client.rest();
    assert_eq!(container.event(), Event::Detached { exec_id: None });
    let mut again = container.attach(&keys);
    again.write(b"c\n");
    again.until("got c");
    container.kill(Target::All, 9);
    container.exited();
    container.release();
}

#[test]
fn much_output_of_a_terminal_arrives_before_the_end() {
    let mut container = Box::new("seq 1 100000").tty().logged();
    let mut client = container.start_with(&raw());
    let reader = std::thread::spawn(move || client.rest());
    assert_eq!(container.exited().code, 0);
    container.done(Call::Release);
    assert!(reader.join().unwrap().ends_with("\n100000\r\n"));
    assert_eq!(container.log().last().unwrap().1, "100000\r\n");
    container.ends();
}

#[test]
fn a_terminal_may_be_opened_again_when_nobody_has_had_it_open() {
    let script = "exec </dev/null >/dev/null 2>&1; : >/tmp/closed; \
                  while [ ! -e /tmp/go ]; do sleep 0.05; done; \
                  echo first >/dev/console; sleep 0.2; \
                  read x </dev/console; echo got $x >/dev/console; exit 4";
    let mut container = Box::new(script).tty().stdin(true).logged();
    let mut client = container.start_with(&raw());
    let file = |name: &str| container.dir.path().join("root/tmp").join(name);
    let (closed, go) = (file("closed"), file("go"));
    eventually(|| closed.exists());
    // Typed ahead.
    client.write(b"word\n");
    let begin = Instant::now();
    eventually(|| begin.elapsed() > Duration::from_secs(1));
    std::fs::write(go, "").unwrap();
    client.until("first\r\n");
    client.until("got word\r\n");
    assert_eq!(container.exited().code, 4);
    // It was closed for most of the time, and would tell of that all the time.
    let stat = container.proc("stat");
    let ticks = stat.rsplit(')').next().unwrap().split(' ').skip(12).take(2);
    let ticks: u32 = ticks.map(|number| number.parse::<u32>().unwrap()).sum();
    assert!(ticks < 30, "{ticks} hundredths of a second");
    container.release();
    let texts: Vec<String> = container.log().into_iter().map(|(_, text)| text).collect();
    assert!(texts.contains(&"first\r\n".to_owned()), "{texts:?}");
    assert!(texts.contains(&"got word\r\n".to_owned()), "{texts:?}");
}
