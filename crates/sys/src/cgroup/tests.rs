#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::Pid;

use super::*;

/// A group of this test alone, removed with all that is in it however the test ends.
struct Scratch {
    group: Cgroup,
    parent: String,
}

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let parent = format!("/ferry-test-{}-{count}", std::process::id());
        let group = Cgroup::create(&layout(), &format!("{parent}/group")).unwrap();
        Self { group, parent }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.group.kill().unwrap();
        self.group.remove(Duration::from_secs(2)).unwrap();
        let parent = Cgroup::open(&layout(), &self.parent).unwrap().unwrap();
        parent.remove(Duration::from_secs(2)).unwrap();
    }
}

fn layout() -> Layout {
    Layout::detect().unwrap()
}

/// A shell that waits until its standard input is closed, then runs a script.
fn shell(script: &str) -> Child {
    crate::process::command(Path::new("/bin/sh"))
        .args(["-c", &format!("read -r _; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn enter(group: &Cgroup, child: &Child) -> Pid {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    group.enter(pid).unwrap();
    pid
}

#[test]
fn hierarchies_are_found_in_mountinfo() {
    let text = "\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
34 30 0:29 / /mnt/with\\040blank rw - cgroup cgroup rw,cpu,cpuacct
35 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
";
    let layout = Layout::parse(text);
    let shown: Vec<String> = layout
        .mounted
        .iter()
        .map(|m| format!("{} {} {}", m.mountpoint.display(), m.controllers.join("+"), m.unified))
        .collect();
    assert_eq!(
        shown,
        [
            "/sys/fs/cgroup/unified  true",
            "/sys/fs/cgroup/systemd systemd false",
            "/sys/fs/cgroup/cpu,cpuacct cpu+cpuacct false",
            "/sys/fs/cgroup/memory memory false",
        ]
    );
    assert!(!layout.is_unified());
    assert!(layout.version1("cpuacct").is_some());
    assert!(Layout::parse("1 1 0:1 / /sys/fs/cgroup rw - cgroup2 none rw").is_unified());
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in ["", "/", "relative", "/a/../b", "/.."] {
        let error = Cgroup::create(&layout(), path).unwrap_err();
        assert_eq!(error.errno, Errno::INVAL, "{path}");
    }
}

#[test]
fn a_group_is_made_everywhere_and_removed_everywhere() {
    let scratch = Scratch::new();
    let group = &scratch.group;
    assert_eq!(group.hierarchies().len(), layout().mounted.len());
    assert_eq!(
        group.procs().len() + usize::from(group.unified().is_some()),
        group.hierarchies().len()
    );
    std::fs::create_dir(group.hierarchies()[0].directory.join("below")).unwrap();
    let again = Cgroup::open(&layout(), group.path()).unwrap().unwrap();
    assert_eq!(again.hierarchies(), group.hierarchies());
    group.remove(Duration::from_secs(1)).unwrap();
    group.remove(Duration::ZERO).unwrap();
    assert!(Cgroup::open(&layout(), group.path()).unwrap().is_none());
    assert_eq!(group.pids().unwrap(), []);
}

#[test]
fn a_limit_is_read_back() {
    let scratch = Scratch::new();
    let group = &scratch.group;
    group.write("pids", "pids.max", "17").unwrap();
    assert_eq!(group.read("pids", "pids.max").unwrap(), "17\n");
    assert_eq!(group.usage().unwrap().pids_limit, Some(17));
    let error = group.write("pids", "pids.nothing", "1").unwrap_err();
    assert_eq!(error.errno, Errno::NOENT);
    let error = group.write("nothing", "x", "1").unwrap_err();
    assert_eq!(error.errno, Errno::NOENT);
    assert!(group.has("pids", "pids.max") && !group.has("pids", "pids.nothing"));
}

#[test]
fn what_is_frozen_does_not_run_until_thawed() {
    let scratch = Scratch::new();
    let mut child = shell("echo ran");
    let pid = enter(&scratch.group, &child);
    assert_eq!(scratch.group.pids().unwrap(), [pid]);
    scratch.group.freeze(Duration::from_secs(2)).unwrap();
    assert_eq!(scratch.group.freeze_state().unwrap(), FreezeState::Frozen);
    drop(child.stdin.take());
    let mut fds =
        [rustix::event::PollFd::new(child.stdout.as_ref().unwrap(), rustix::event::PollFlags::IN)];
    let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&wait)).unwrap(), 0, "it ran while frozen");
    scratch.group.thaw().unwrap();
    assert_eq!(scratch.group.freeze_state().unwrap(), FreezeState::Thawed);
    assert_eq!(child.wait_with_output().unwrap().stdout, b"ran\n");
    assert!(scratch.group.wait_empty(Duration::from_secs(2)).unwrap());
}

#[test]
fn all_are_killed_even_those_that_fork_and_those_that_are_frozen() {
    for frozen in [false, true] {
        let scratch = Scratch::new();
        let mut child = shell("while :; do (sleep 100 & sleep 100 &) ; done");
        enter(&scratch.group, &child);
        scratch.group.write("pids", "pids.max", "200").unwrap();
        drop(child.stdin.take());
        while scratch.group.pids().unwrap().len() < 20 {}
        if frozen {
            scratch.group.freeze(Duration::from_secs(2)).unwrap();
        }
        assert!(!scratch.group.wait_empty(Duration::ZERO).unwrap());
        scratch.group.kill().unwrap();
        assert!(scratch.group.wait_empty(Duration::from_secs(2)).unwrap());
        assert!(!child.wait().unwrap().success());
    }
}

#[test]
fn want_of_memory_is_seen_and_counted() {
    let scratch = Scratch::new();
    let group = &scratch.group;
    let version = group.version_of("memory").expect("this test needs the memory controller");
    let watch = group.watch_oom().unwrap().unwrap();
    match version {
        Version::One => {
            group.write("memory", "memory.limit_in_bytes", "8388608").unwrap();
            group.write("memory", "memory.memsw.limit_in_bytes", "8388608").unwrap();
        }
        Version::Two => {
            group.write("memory", "memory.max", "8388608").unwrap();
            group.write("memory", "memory.swap.max", "0").unwrap();
        }
    }
    assert_eq!(group.usage().unwrap().memory_limit_bytes, Some(8_388_608));
    assert_eq!(group.oom_kills().unwrap(), 0);
    let mut child = shell("head -c 100000000 /dev/zero | tail -c 100000000");
    enter(group, &child);
    drop(child.stdin.take());
    let flags = match watch.is_priority() {
        true => rustix::event::PollFlags::PRI,
        false => rustix::event::PollFlags::IN,
    };
    let mut fds = [rustix::event::PollFd::new(&watch, flags)];
    let wait = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&wait)).unwrap(), 1);
    watch.clear().unwrap();
    drop(child.stdout.take());
    child.wait().unwrap();
    assert!(group.oom_kills().unwrap() >= 1);
}

fn rule(allow: bool, major: u32, minor: Option<u32>, access: DeviceAccess) -> DeviceRule {
    DeviceRule { allow, kind: DeviceKind::Character, major: Some(major), minor, access }
}

#[test]
fn the_kernel_takes_our_device_program_and_it_answers_as_the_rules_say() {
    let scratch = Scratch::new();
    let group = &scratch.group;
    let directory = group.unified().expect("this test needs the unified hierarchy");
    let opens = |script: &str| {
        let mut child = shell(&format!("{script} && echo yes"));
        enter(group, &child);
        drop(child.stdin.take());
        child.wait_with_output().unwrap().stdout == b"yes\n"
    };
    let read_zero = "head -c 1 /dev/zero >&-; : < /dev/zero";
    let write_zero = ": > /dev/zero";
    let read_null = ": < /dev/null";
    let apply = |rules: &[DeviceRule]| {
        let program = load_device_program(&assemble(rules)).unwrap();
        attach_device_program(directory, program.as_fd()).unwrap();
    };
    assert!(opens(read_zero) && opens(write_zero) && opens(read_null));
    apply(&[
        rule(true, 1, None, DeviceAccess::all()),
        rule(false, 1, Some(5), DeviceAccess::WRITE),
    ]);
    assert!(opens(read_zero) && opens(read_null));
    assert!(!opens(write_zero));
    // The new program replaces the old one, so that what was denied may be allowed again.
    apply(&[rule(true, 1, Some(5), DeviceAccess::READ | DeviceAccess::WRITE)]);
    assert!(opens(read_zero) && opens(write_zero));
    assert!(!opens(read_null), "what no rule fits is denied");
    apply(&[
        DeviceRule {
            allow: true,
            kind: DeviceKind::All,
            major: None,
            minor: None,
            access: DeviceAccess::all(),
        },
        DeviceRule {
            allow: false,
            kind: DeviceKind::Block,
            major: Some(1),
            minor: None,
            access: DeviceAccess::all(),
        },
    ]);
    assert!(opens(read_zero) && opens(write_zero) && opens(read_null));
}
