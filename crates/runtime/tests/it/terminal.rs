//! Terminals: of the container's own devpts, controlling, of the right size.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

use serde_json::json;

use crate::support::{Bundle, ConsoleSocket};

/// All that a terminal says until its last user is gone.
pub(crate) fn read_to_end(terminal: OwnedFd) -> String {
    let mut text = Vec::new();
    let mut file = File::from(terminal);
    let mut buffer = [0; 4096];
    // The end is EIO.
    while let Ok(length) = file.read(&mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8(text).unwrap()
}

fn with_terminal(script: &str) -> (Bundle, OwnedFd) {
    let mut bundle = Bundle::new(script);
    bundle
        .set("/process/terminal", json!(true))
        .set("/process/consoleSize", json!({ "height": 31, "width": 77 }));
    bundle.write_config();
    let path = bundle.directory.join("console");
    let socket = ConsoleSocket::listen(&path);
    let path = path.to_str().unwrap();
    let said = bundle.runtime(&[
        "create",
        "--bundle",
        bundle.path(),
        "--console-socket",
        path,
        &bundle.id,
    ]);
    assert_eq!(said.code, 0, "{said:?}");
    let terminal = socket.receive();
    assert_eq!(bundle.runtime(&["start", &bundle.id]).code, 0);
    (bundle, terminal)
}

#[test]
fn a_container_has_its_own_controlling_terminal() {
    let (_bundle, terminal) = with_terminal(
        "tty; stty size; stat -c '%F %t:%T %u:%g' /dev/console; echo owner >/dev/tty; test -t 2 && ls /dev/pts",
    );
    let said = read_to_end(terminal);
    assert_eq!(
        said.replace("\r\n", "\n"),
        "/dev/pts/0\n31 77\ncharacter special file 88:0 0:5\nowner\n0     ptmx\n"
    );
}

#[test]
fn the_terminal_is_the_users() {
    let mut bundle = Bundle::new("stat -L -c %u /proc/self/fd/0; echo x >/dev/stdout");
    bundle
        .set("/process/terminal", json!(true))
        .set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    bundle.write_config();
    // Without a console socket the runtime itself relays.
    let said = bundle.runtime(&["run", "--bundle", bundle.path(), &bundle.id]);
    assert_eq!((said.out.replace("\r\n", "\n").as_str(), said.code), ("1000\nx\n", 0), "{said:?}");
}

#[test]
fn an_exec_has_another_terminal_of_the_same_container() {
    let (bundle, first) = with_terminal("exec sleep 60");
    let path = bundle.directory.join("exec-console");
    let socket = ConsoleSocket::listen(&path);
    let arguments = [
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        path.to_str().unwrap(),
        &bundle.id,
        "sh",
        "-c",
        "tty; echo tty >/dev/tty",
    ];
    let said = bundle.runtime(&arguments);
    assert_eq!(said.code, 0, "{said:?}");
    let second = socket.receive();
    assert_eq!(read_to_end(second).replace("\r\n", "\n"), "/dev/pts/1\ntty\n");
    rustix::io::write(first.as_fd(), b"x").unwrap();
}

#[test]
fn a_terminal_that_nobody_would_hold_is_refused_before_anything_is_made() {
    let mut bundle = Bundle::new("echo ran >/ran");
    bundle.set("/process/terminal", json!(true)).write_config();
    let refused = |line: &[&str], expected: &str| {
        let mut line = line.to_vec();
        line.extend(["--bundle", bundle.path(), &bundle.id]);
        let said = bundle.runtime(&line);
        assert!(said.err.contains(expected) && said.code == 1, "{line:?}: {said:?}");
        assert!(!bundle.directory.join("state").exists(), "{line:?}");
        assert_eq!(bundle.cgroups(), Vec::<std::path::PathBuf>::new());
    };
    let nobody = "cannot allocate tty if runc will detach without setting console socket";
    refused(&["create"], nobody);
    refused(&["run", "--detach"], nobody);
    let no_use = "cannot use console socket if runc will not detach or allocate tty";
    refused(&["run", "--console-socket", "/nowhere"], no_use);
    let running = Bundle::new("exec sleep 60");
    running.start();
    let exec = |line: &[&str]| {
        let said =
            running.runtime(&[&["exec"], line, &[&running.id, "touch", "/touched"]].concat());
        assert!(!running.root("touched").exists());
        said.err
    };
    assert!(exec(&["--tty", "--detach"]).contains(nobody));
    assert!(exec(&["--detach", "--console-socket", "/nowhere"]).contains(no_use));
}

/// Processor time of a process, in hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// While no process has the terminal open the master hangs up, which is no end: it may be opened again.
#[test]
fn a_terminal_that_nobody_has_open_is_waited_for_in_peace() {
    let mut bundle = Bundle::new(
        "exec </dev/null >/dev/null 2>&1; touch /closed; while ! test -e /open; do sleep 0.1; done; \
         echo again >/dev/console; sleep 0.3; echo and again >/dev/console",
    );
    bundle.set("/process/terminal", json!(true)).write_config();
    let run = bundle.spawn(&["run", "--bundle", bundle.path(), &bundle.id]);
    while !bundle.root("closed").exists() {
        crate::support::nap();
    }
    let before = processor_time(run.id());
    for _hundredth in 0..100 {
        crate::support::nap();
    }
    let spent = processor_time(run.id()) - before;
    std::fs::write(bundle.root("open"), "").unwrap();
    let output = run.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "again\r\nand again\r\n");
    assert!(spent < 20, "{spent} hundredths of a second of processor time in one second");
}

/// More goes in and out than a terminal holds: neither may wait for the other.
#[test]
fn much_goes_through_a_terminal_and_back() {
    const LENGTH: usize = 1 << 20;
    let script = format!("stty raw -echo; echo ready; exec head -c {LENGTH}");
    let mut bundle = Bundle::new(&script);
    bundle.set("/process/terminal", json!(true)).write_config();
    let mut run = bundle.spawn(&["run", "--bundle", bundle.path(), &bundle.id]);
    let mut input = run.stdin.take().unwrap();
    let mut output = run.stdout.take().unwrap();
    let mut ready = [0; 6];
    output.read_exact(&mut ready).unwrap();
    assert_eq!(&ready, b"ready\n");
    let bytes: Vec<u8> = (0..LENGTH).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let (sent, received) = std::sync::mpsc::channel();
    let expected = bytes.clone();
    std::thread::spawn(move || std::io::Write::write_all(&mut input, &bytes));
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let read = output.read_to_end(&mut all).map(|_length| all);
        sent.send(read)
    });
    let all = received.recv_timeout(std::time::Duration::from_secs(30));
    if all.is_err() {
        run.kill().unwrap();
    }
    let all = all.expect("it stands still").unwrap();
    assert!(all == expected, "{} bytes came back", all.len());
    assert_eq!(run.wait().unwrap().code(), Some(0));
}

#[test]
fn keys_make_signals() {
    let (bundle, terminal) = with_terminal(
        "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.01; done",
    );
    let mut file = File::from(terminal.try_clone().unwrap());
    let mut ready = [0; 7];
    file.read_exact(&mut ready).unwrap();
    rustix::io::write(terminal.as_fd(), b"\x03").unwrap();
    assert!(read_to_end(terminal).contains("interrupted"));
    bundle.await_status("stopped");
}

/// An image with something else where the multiplexer of terminals should be.
#[test]
fn what_only_looks_like_a_terminal_is_refused() {
    let mut bundle = Bundle::new("echo ran");
    bundle.set("/process/terminal", json!(true));
    bundle.without_mounts(&["/dev", "/dev/pts"]);
    std::fs::create_dir_all(bundle.root("dev/pts")).unwrap();
    std::fs::write(bundle.root("dev/pts/ptmx"), "").unwrap();
    let said = bundle.run();
    assert!(said.err.contains("/dev/pts/ptmx is not a multiplexer of terminals"), "{said:?}");
}
