//! The program as a container's small init.

use ferry_supervisor::protocol::Target;

use crate::kit::{Box, raw};

#[test]
fn it_ends_as_its_child_does() {
    for (script, code) in [("exit 42", 42), ("kill -9 $$", 137), ("true", 0)] {
        let mut container =
            Box::of(&["/bin/docker-init", "--", "sh", "-c", script]).with_libraries();
        container.start(&[]);
        assert_eq!(container.exited().code, code, "{script}");
        container.release();
    }
}

#[test]
fn it_says_what_is_not_there() {
    let mut container = Box::of(&["/bin/docker-init", "--", "nope"]).with_libraries();
    let mut client = container.start_with(&raw());
    assert_eq!(container.exited().code, 127);
    container.release();
    assert_eq!(
        client.rest(),
        "docker-init: exec nope failed: No such file or directory (os error 2)\n"
    );
}

#[test]
fn it_passes_signals_on() {
    let script = "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut container = Box::of(&["/bin/docker-init", "--", "sh", "-c", script]).with_libraries();
    let mut client = container.start_with(&raw());
    client.until("ready\n");
    container.kill(Target::Init, 15);
    assert_eq!(container.exited().code, 3);
    container.release();
    assert_eq!(client.rest(), "term\n");
}

#[test]
fn it_needs_nothing_that_filters_older_than_it_refuse() {
    let script = "trap 'echo term; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    let mut container = Box::of(&["/bin/docker-init", "--", "sh", "-c", script]).with_libraries();
    let newer = ["clone3", "pidfd_open", "pidfd_send_signal", "close_range", "openat2"];
    container.config["linux"]["seccomp"] = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": newer, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
    });
    container.config["process"]["noNewPrivileges"] = serde_json::json!(true);
    let mut client = container.start_with(&raw());
    client.until("ready\n");
    container.kill(Target::Init, 15);
    assert_eq!(container.exited().code, 3);
    container.release();
    assert_eq!(client.rest(), "term\n");
}

#[test]
fn it_waits_for_orphans() {
    // The orphan's parent ends first; its end must be taken by init.
    let script = "(sleep 0.1 & ) ; sleep 0.4; for p in /proc/[0-9]*; do cat $p/stat; done";
    let mut container = Box::of(&["/bin/docker-init", "--", "sh", "-c", script]).with_libraries();
    let mut client = container.start_with(&raw());
    assert_eq!(container.exited().code, 0);
    container.release();
    let text = client.rest();
    assert!(text.contains("(docker-init)") && !text.contains(" Z "), "{text}");
}

#[test]
fn a_terminal_s_foreground_is_the_child() {
    let script = "trap 'echo int; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut container =
        Box::of(&["/bin/docker-init", "--", "sh", "-c", script]).with_libraries().tty().stdin(true);
    let mut client = container.start_with(&raw());
    client.until("ready\r\n");
    client.write(b"\x03");
    assert_eq!(container.exited().code, 5);
    container.release();
    assert!(client.rest().contains("int"));
}
