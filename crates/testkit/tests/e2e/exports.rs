//! The root of a container: what every one of them has, and how it is had while the container ends.

use std::collections::BTreeMap;
use std::time::Duration;

use ferry_testkit::tar::{Entry, Tar};
use ferry_testkit::{Env, Image, observe, wait_until};
use rustix::process::{Pid, Signal, kill_process};

/// What an archive says of each of its members: kind, permissions, owner, size, target.
fn members(archive: &[u8]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut at = 0;
    while let Some(header) = archive.get(at..at + 512).filter(|header| header[0] != 0) {
        let text = |from: usize, to: usize| {
            let field = header[from..to].split(|byte| *byte == 0).next().unwrap();
            String::from_utf8_lossy(field).trim().to_owned()
        };
        let number = |from, to| usize::from_str_radix(&text(from, to), 8).unwrap();
        let size = number(124, 136);
        let kind = char::from(header[156]);
        let said =
            format!("{kind} {:o} {} {size} {}", number(100, 108), number(108, 116), text(157, 257));
        found.insert(text(0, 100).trim_end_matches('/').to_owned(), said.trim_end().to_owned());
        at += 512 + size.next_multiple_of(512);
    }
    found
}

#[track_caller]
fn export(env: &Env, name: &str) -> BTreeMap<String, String> {
    members(&env.docker(&["export", name]).exits(0).stdout)
}

/// The places of what is mounted in every container.
const PLACES: [(&str, &str); 11] = [
    (".dockerenv", "0 755 0 0"),
    ("dev", "5 755 0 0"),
    ("dev/console", "0 755 0 0"),
    ("dev/pts", "5 755 0 0"),
    ("dev/shm", "5 755 0 0"),
    ("etc/hostname", "0 755 0 0"),
    ("etc/hosts", "0 755 0 0"),
    ("etc/mtab", "2 777 0 0 /proc/mounts"),
    ("etc/resolv.conf", "0 755 0 0"),
    ("proc", "5 755 0 0"),
    ("sys", "5 755 0 0"),
];

#[track_caller]
fn has_places(env: &Env, name: &str) {
    let found = export(env, name);
    for (place, expect) in PLACES {
        assert_eq!(found.get(place).map(String::as_str), Some(expect), "{name} {place}");
    }
}

#[test]
fn every_container_has_the_places_of_what_is_mounted_in_it() {
    let env = Env::start();
    env.docker(&["create", "--name", "placed", "busybox", "true"]).exits(0);
    has_places(&env, "placed");
    env.docker(&["start", "-a", "placed"]).exits(0);
    has_places(&env, "placed");
    // They are no change of the container's.
    env.docker(&["commit", "placed", "placed:1"]).exits(0);
    assert_eq!(env.inspect("placed:1", "{{len .RootFS.Layers}}"), "1");
    for options in [&[][..], &["--read-only"], &["--network", "none"], &["--user", "1000"]] {
        let said = env.shell(options, "stat -c '%a %u %s %F' /.dockerenv; readlink /etc/mtab").ok();
        assert_eq!(said, "755 0 0 regular empty file\n/proc/mounts", "{options:?}");
    }
    env.docker(&["rm", "placed"]).exits(0);
    env.docker(&["rmi", "placed:1"]).exits(0);
}

#[test]
fn the_images_own_directories_stay_as_they_are() {
    let env = Env::start();
    let mut layer = Tar::new();
    layer.entry(&Entry { uid: 7, ..Entry::new(b'5', "etc/", 0o711) });
    layer.file("etc/hosts", 0o600, "the image's own").file("etc/mine", 0o640, "mine");
    env.load(&Image::busybox().layer(&layer), "own-etc:1");
    env.docker(&["run", "--name", "own-etc", "own-etc:1", "touch", "/etc/new"]).exits(0);
    let found = export(&env, "own-etc");
    assert_eq!(found["etc"], "5 711 7 0");
    assert_eq!(found["etc/hosts"], "0 755 0 0", "an empty file takes its place");
    assert_eq!(found["etc/mine"], "0 640 0 4");
    // The container's change brings the directory along as it was.
    env.docker(&["commit", "own-etc", "own-etc:2"]).exits(0);
    let said = ["run", "--rm", "own-etc:2", "stat", "-c", "%a %u", "/etc", "/etc/new"];
    assert_eq!(env.docker(&said).ok(), "711 7\n644 0");
    env.docker(&["rm", "own-etc"]).exits(0);
    env.docker(&["rmi", "own-etc:1", "own-etc:2"]).exits(0);
}

#[track_caller]
fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A container that has written `/written` and waits.
#[track_caller]
fn written(env: &Env) -> String {
    let script = "echo x >/written; echo up; exec sleep 100000";
    let id = env.run_detached(&["busybox", "sh", "-c", script]);
    crate::lifecycle::wait_for_log(env, &id, "up");
    id
}

#[test]
fn a_container_that_has_ended_unseen_is_exported() {
    let env = Env::builder().own().start();
    let id = written(&env);
    let init = env.pid(&id);
    let supervisor = observe::stat(init).unwrap().parent;
    // Nobody tells the engine of the end.
    send(supervisor, Signal::STOP);
    send(init, Signal::KILL);
    wait_until("the init has ended", Duration::from_secs(10), || {
        observe::stat(init).is_some_and(|stat| stat.state == 'Z').then_some(())
    });
    assert_eq!(env.inspect(&id, "{{.State.Status}}"), "running");
    let found = export(&env, &id);
    send(supervisor, Signal::CONT);
    assert_eq!(found["written"], "0 644 0 2");
    assert!(found.contains_key("bin/busybox"), "{found:?}");
    env.wait_inspect(&id, "{{.State.Status}}", "exited");
}

#[test]
fn a_container_can_be_exported_and_committed_while_it_is_killed() {
    let env = Env::builder().own().start();
    for round in 0..10 {
        let id = written(&env);
        let name = format!("killed:{round}");
        let kill = env.invoke(&["kill", &id]).spawn();
        let export = env.invoke(&["export", &id]).spawn();
        let commit = env.invoke(&["commit", &id, &name]).spawn();
        kill.finish().exits(0);
        assert!(members(&export.finish().exits(0).stdout).contains_key("written"), "{round}");
        commit.finish().exits(0);
        assert_eq!(env.docker(&["run", "--rm", &name, "cat", "/written"]).ok(), "x");
        env.wait_inspect(&id, "{{.State.Status}}", "exited");
        env.docker(&["rm", &id]).exits(0);
    }
    let log = env.log_tail(usize::MAX);
    let warned: Vec<&str> = log.lines().filter(|line| line.contains(" WARN ")).collect();
    assert!(!warned.iter().any(|line| line.contains("resume")), "{warned:#?}");
}
