//! Control groups: what was asked is what the kernel holds.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ferry_testkit::{Env, wait_until};

/// A setting of a container's cgroup, under its name in version 1 or in version 2.
fn setting(env: &Env, id: &str, v1: (&str, &str), v2: &str) -> String {
    let pid = env.pid(id);
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let root = |controller: &str| {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        mounts.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let options = right.split(' ').nth(2)?;
            let matches = match controller {
                "" => right.starts_with("cgroup2 "),
                name => right.starts_with("cgroup ") && options.split(',').any(|word| word == name),
            };
            matches.then(|| PathBuf::from(left.split(' ').nth(4).unwrap()))
        })
    };
    for line in lines.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) =
            (parts.next().unwrap(), parts.next().unwrap().trim_start_matches('/'));
        if controllers.split(',').any(|controller| controller == v1.0) {
            let file = root(v1.0).unwrap().join(path).join(v1.1);
            return fs::read_to_string(&file)
                .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
                .trim()
                .into();
        }
    }
    let path = lines.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    let file = root("").unwrap().join(path).join(v2);
    fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
        .trim()
        .into()
}

fn keeper(env: &Env, options: &[&str]) -> String {
    let mut words = options.to_vec();
    words.extend(["busybox", "sleep", "1000"]);
    env.run_detached(&words)
}

#[test]
fn memory() {
    let env = Env::start();
    let id = keeper(&env, &["-m", "32m", "--memory-reservation", "16m"]);
    assert_eq!(
        setting(&env, &id, ("memory", "memory.limit_in_bytes"), "memory.max"),
        (32 << 20).to_string()
    );
    assert_eq!(
        setting(&env, &id, ("memory", "memory.soft_limit_in_bytes"), "memory.low"),
        (16 << 20).to_string()
    );
    assert_eq!(
        env.inspect(&id, "{{.HostConfig.Memory}} {{.HostConfig.MemoryReservation}}"),
        format!("{} {}", 32 << 20, 16 << 20)
    );
    env.docker(&["run", "--rm", "-m", "1m", "busybox", "true"])
        .exits(125)
        .says("Minimum memory limit allowed is 6MB");
    env.docker(&["run", "--rm", "-m", "32m", "--memory-swap", "16m", "busybox", "true"])
        .exits(125)
        .says("Minimum memoryswap limit should be larger than memory limit");
}

#[test]
fn memory_that_is_used_up() {
    let env = Env::start();
    let out = env.docker(&[
        "run",
        "--name",
        "one",
        "-m",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "sh",
        "-c",
        "tail /dev/zero",
    ]);
    out.exits(137);
    assert_eq!(env.inspect("one", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
}

#[test]
fn processor_time() {
    let env = Env::start();
    let id = keeper(&env, &["--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0"]);
    assert_eq!(
        env.inspect(
            &id,
            "{{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.CpusetCpus}}"
        ),
        "500000000 512 0"
    );
    let quota = setting(&env, &id, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert!(quota == "50000" || quota == "50000 100000", "{quota}");
    let shares = setting(&env, &id, ("cpu", "cpu.shares"), "cpu.weight");
    assert!(shares == "512" || shares.parse::<u32>().unwrap() < 100, "{shares}");
    assert_eq!(setting(&env, &id, ("cpuset", "cpuset.cpus"), "cpuset.cpus"), "0");
    let id = keeper(&env, &["--cpu-period", "50000", "--cpu-quota", "25000"]);
    let quota = setting(&env, &id, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert!(quota == "25000" || quota == "25000 50000", "{quota}");
    env.docker(&["run", "--rm", "--cpus", "1000", "busybox", "true"])
        .exits(125)
        .says("range of CPUs is from 0.01 to");
    env.docker(&["run", "--rm", "--cpuset-cpus", "999", "busybox", "true"]).exits(125).says("999");
}

#[test]
fn processes() {
    let env = Env::start();
    let id = keeper(&env, &["--pids-limit", "12"]);
    assert_eq!(setting(&env, &id, ("pids", "pids.max"), "pids.max"), "12");
    let script = "i=0; while [ $i -lt 30 ]; do sleep 5 & i=$((i+1)); done; wait";
    env.shell(&["--pids-limit", "12"], script).fails().says("can't fork");
    let free = keeper(&env, &[]);
    assert_eq!(setting(&env, &free, ("pids", "pids.max"), "pids.max"), "max");
}

#[test]
fn block_devices() {
    let env = Env::start();
    let id = keeper(&env, &["--blkio-weight", "0"]);
    assert_eq!(env.inspect(&id, "{{.HostConfig.BlkioWeight}}"), "0");
    // Any whole disk of this machine.
    let disk = fs::read_dir("/sys/block").unwrap().filter_map(Result::ok).find(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        fs::metadata(format!("/dev/{name}")).is_ok()
            && (name.starts_with("vd")
                || name.starts_with("sd")
                || name.starts_with("nvme")
                || name.starts_with("loop"))
    });
    let disk = disk.unwrap();
    let number = fs::read_to_string(disk.path().join("dev")).unwrap().trim().to_owned();
    let rate = format!("/dev/{}:1mb", disk.file_name().to_string_lossy());
    let id = keeper(&env, &["--device-read-bps", &rate]);
    let held = setting(&env, &id, ("blkio", "blkio.throttle.read_bps_device"), "io.max");
    assert!(
        held == format!("{number} 1048576") || held.starts_with(&format!("{number} rbps=1048576")),
        "{held}"
    );
}

#[test]
fn the_cgroup_is_beneath_its_parent_and_goes_with_the_container() {
    let env = Env::builder().own().start();
    let id = keeper(&env, &[]);
    let parent = env.slot().cgroup_parent();
    let lines = fs::read_to_string(format!("/proc/{}/cgroup", env.pid(&id))).unwrap();
    let path = format!("{parent}/{id}");
    assert!(lines.lines().any(|line| line.ends_with(&path)), "{lines}");
    let chosen = keeper(&env, &["--cgroup-parent", &format!("{parent}/deeper")]);
    let lines = fs::read_to_string(format!("/proc/{}/cgroup", env.pid(&chosen))).unwrap();
    assert!(lines.contains(&format!("{parent}/deeper/{chosen}")), "{lines}");
    // In its own namespace the container sees itself at the root.
    let private = env.shell(&["--cgroupns", "private"], "cat /proc/self/cgroup").ok();
    assert!(private.lines().all(|line| line.ends_with(":/")), "{private}");
    for id in [&id, &chosen] {
        env.docker(&["rm", "-f", id]).exits(0);
    }
    wait_until("both cgroups are gone", Duration::from_secs(5), || {
        let left = ferry_testkit::observe::cgroups(&parent);
        (!left.iter().any(|path| path.ends_with(&id) || path.ends_with(&chosen))).then_some(())
    });
    // An empty parent that was asked for by name stays, as Docker leaves it.
    for path in ferry_testkit::observe::cgroups(&format!("{parent}/deeper")) {
        drop(fs::remove_dir(path));
    }
}

#[test]
fn the_engine_has_many_descriptors_and_containers_what_it_was_started_with() {
    let env = Env::builder().own().start();
    let limits = |process: &str| {
        let text = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut words = line.split_whitespace().map(str::to_owned);
        (words.next().unwrap(), words.next().unwrap())
    };
    let (soft, hard) = limits("self");
    assert_eq!(limits(&env.engine_pid().to_string()), (hard.clone(), hard.clone()));
    let said = env.docker(&["run", "--rm", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn"]).ok();
    assert_eq!(said, format!("{soft}\n{hard}"));
}
