//! Clients that hang up, and what they leave behind: nothing that keeps others out.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ferry_testkit::{Env, wait_until};
use serde_json::json;

/// Sends a request without a body.
fn ask(env: &Env, path: &str, headers: &str) -> UnixStream {
    let mut stream = UnixStream::connect(env.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nHost: d\r\n{headers}Content-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// What the engine does for clients at the moment.
fn tasks(env: &Env) -> i64 {
    env.api("GET", "/info", None).json()["NGoroutines"].as_i64().unwrap()
}

#[test]
fn a_wait_ends_with_its_client() {
    let env = Env::builder().own().start();
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    let before = tasks(&env);
    for version in ["1.24", "1.51"] {
        let path = format!("/v{version}/containers/{id}/wait");
        let waiting: Vec<_> = (0..20).map(|_| ask(&env, &path, "")).collect();
        wait_until("all wait", Duration::from_secs(10), || {
            (tasks(&env) >= before + 20).then_some(())
        });
        drop(waiting);
        wait_until("none waits any more", Duration::from_secs(10), || {
            (tasks(&env) < before + 10).then_some(())
        });
    }
    let mut waits = ask(&env, &format!("/v1.24/containers/{id}/wait"), "Connection: close\r\n");
    env.docker(&["kill", &id]).exits(0);
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\"StatusCode\":137}\n"), "{answer}");
}

#[test]
fn who_attached_before_the_start_and_left_keeps_nobody_out() {
    let env = Env::start();
    let id = env.docker(&["create", "busybox", "echo", "heard"]).ok();
    let path = format!("/v1.51/containers/{id}/attach?stream=1&stdout=1&stderr=1");
    let upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n";
    for _ in 0..100 {
        let mut stream = ask(&env, &path, upgrade);
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
    }
    let mut stays = ask(&env, &path, upgrade);
    let mut status = [0; 12];
    stays.read_exact(&mut status).unwrap();
    env.docker(&["start", &id]).exits(0);
    let mut heard = Vec::new();
    stays.read_to_end(&mut heard).unwrap();
    assert!(heard.ends_with(b"heard\n"), "{}", String::from_utf8_lossy(&heard));
}

#[test]
fn execs_that_nobody_started_end_with_the_run_of_their_container() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    let create = || {
        let path = format!("/containers/{id}/exec");
        let made = env.api("POST", &path, Some(&json!({ "Cmd": ["true"] }))).is(201).json();
        made["Id"].as_str().unwrap().to_owned()
    };
    let never = create();
    env.api("GET", &format!("/exec/{never}/json"), None).is(200);
    env.docker(&["restart", "-t", "0", &id]).exits(0);
    env.api("GET", &format!("/exec/{never}/json"), None).is(404);
    let start = json!({ "Detach": true });
    env.api("POST", &format!("/exec/{never}/start"), Some(&start)).is(404);
    assert_eq!(env.inspect(&id, "{{.ExecIDs}}"), "[]");
    // The new run has its own.
    env.api("POST", &format!("/exec/{}/start", create()), Some(&start)).is(200);
}
