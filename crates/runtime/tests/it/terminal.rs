//! Terminals: of the container's own devpts, controlling, of the right size.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};

use serde_json::json;

use crate::support::{Bundle, ConsoleSocket};

/// All that a terminal says until its last user is gone.
fn read_to_end(terminal: OwnedFd) -> String {
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

/// An image with something else where the multiplexer of terminals should be. (CVE-2025-52565)
#[test]
fn what_only_looks_like_a_terminal_is_refused() {
    let mut bundle = Bundle::new("echo ran");
    bundle.set("/process/terminal", json!(true));
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/dev/pts" && mount["destination"] != "/dev");
    std::fs::create_dir_all(bundle.root("dev/pts")).unwrap();
    std::fs::write(bundle.root("dev/pts/ptmx"), "").unwrap();
    let said = bundle.run();
    assert!(said.err.contains("/dev/pts/ptmx is not a multiplexer of terminals"), "{said:?}");
}
