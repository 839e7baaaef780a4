//! What a container, or another user of the machine, may try against the engine and its files.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use ferry_testkit::command::command;
use ferry_testkit::{Env, wait_until};
use rustix::fs::{Mode, OFlags};

/// Deeper than a path can say.
const DEEP: usize = 3000;

/// Makes directories `d/d/d/…`, as any program in a container can with mkdir and chdir.
fn dig(top: &Path) {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(top, flags, Mode::empty()).unwrap();
    for _ in 0..DEEP {
        rustix::fs::mkdirat(&here, "d", Mode::from_raw_mode(0o755)).unwrap();
        here = rustix::fs::openat(&here, "d", flags, Mode::empty()).unwrap();
    }
}

#[test]
fn deep_directories_are_measured_and_deleted() {
    let mut env = Env::builder().own().start();
    let id = env.run_detached(&["--name", "deep", "-v", "hole:/v", "busybox", "sleep", "600"]);
    dig(&env.data_root().join("containers").join(&id).join("upper"));
    dig(&env.data_root().join("volumes/hole/_data"));
    env.docker(&["ps", "-s"]).exits(0);
    env.docker(&["system", "df", "-v"]).exits(0);
    env.docker(&["export", "deep"]).fails();
    env.docker(&["rm", "-f", "deep"]).exits(0);
    env.docker(&["volume", "rm", "hole"]).exits(0);
    // An engine that is killed while it deletes goes on at its next start.
    env.kill_engine();
    let left = env.data_root().join("tmp/left");
    fs::create_dir(&left).unwrap();
    dig(&left);
    env.start_engine();
    wait_until("it is deleted", Duration::from_secs(60), || (!left.exists()).then_some(()));
    env.docker(&["run", "--rm", "busybox", "true"]).exits(0);
}

#[test]
fn nobody_else_reaches_what_containers_have() {
    let env = Env::builder().own().start();
    let script = "cp /bin/busybox /tool && chmod 4755 /tool && cp /tool /v/tool; sleep 600";
    let run = ["--name", "tool", "-e", "SECRET=1", "-v", "vol:/v", "busybox", "sh", "-c", script];
    let id = env.run_detached(&run);
    let root = env.data_root();
    let tool = root.join("containers").join(&id).join("upper/tool");
    let volume = root.join("volumes/vol/_data/tool");
    wait_until("the tools are there", Duration::from_secs(20), || {
        let is_set = |path: &Path| {
            fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o4000 != 0)
        };
        (is_set(&tool) && volume.exists()).then_some(())
    });
    let nobody = |program: &str, argument: &Path| {
        command(program).arg(argument).uid(65534).gid(65534).output().unwrap()
    };
    for path in [tool, volume, root.join("ferry.db"), root.join("ferry.db-wal")] {
        assert!(path.exists());
        let read = nobody("cat", &path);
        let said = String::from_utf8_lossy(&read.stderr).into_owned();
        assert!(!read.status.success() && said.contains("Permission denied"), "{said}");
    }
    // Programs in a container that are not root's reach what is theirs: names, and volumes.
    let user = ["run", "--rm", "-u", "65534", "-v", "vol:/v", "busybox", "sh", "-c"];
    let script = "cat /etc/hosts /etc/resolv.conf >/dev/null && ls -l /v/tool";
    env.docker(&[&user[..], &[script]].concat()).exits(0);
}
