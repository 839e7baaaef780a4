#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use ferry_oci::runtime::{
    BlockIo, Cpu, DeviceRule as Asked, Memory, Pids, Resources, ThrottleDevice,
};
use ferry_sys::cgroup::Version;

use super::{Facts, LimitError, Step, plan};

/// A host that has some controllers and all their files but those named.
#[derive(Default)]
struct Host {
    version1: &'static [&'static str],
    version2: &'static [&'static str],
    without: &'static [&'static str],
    memory: u64,
}

impl Facts for Host {
    fn version_of(&self, controller: &str) -> Option<Version> {
        let one = self.version1.contains(&controller).then_some(Version::One);
        one.or(self.version2.contains(&controller).then_some(Version::Two))
    }

    fn has(&self, _controller: &str, file: &str) -> bool {
        !self.without.contains(&file)
    }

    fn number(&self, _controller: &str, _file: &str) -> Option<u64> {
        Some(self.memory)
    }

    fn unified(&self) -> bool {
        !self.version2.is_empty()
    }
}

const ONE: Host = Host {
    version1: &["memory", "cpu", "cpuset", "blkio", "pids", "devices", "freezer"],
    version2: &[],
    without: &["blkio.weight"],
    memory: u64::MAX,
};
const BARE: Host = Host { version1: &["devices"], version2: &[], without: &[], memory: u64::MAX };
const TWO: Host = Host {
    version1: &[],
    version2: &["memory", "cpu", "cpuset", "io", "pids"],
    without: &["io.bfq.weight"],
    memory: u64::MAX,
};

fn show(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match step {
            Step::Write { file, value, .. } => format!("{file}={value}"),
            Step::Devices(rules) => format!("{} rules", rules.len()),
        })
        .collect()
}

/// Checks what is written, but for the rules for devices that are there though none were asked for.
#[track_caller]
fn check(host: &Host, resources: &Resources, expect: &[&str]) {
    let always = match resources.devices.is_empty() {
        true => plan(host, &Resources::default()).unwrap().len(),
        false => 0,
    };
    assert_eq!(show(&plan(host, resources).unwrap())[always..], *expect);
}

#[track_caller]
fn refused(host: &Host, resources: &Resources, expect: &str) {
    assert_eq!(plan(host, resources).unwrap_err().to_string(), expect);
}

fn memory(memory: Memory) -> Resources {
    Resources { memory: Some(memory), ..Resources::default() }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources { cpu: Some(cpu), ..Resources::default() }
}

#[test]
fn nothing_asked_is_nothing_written() {
    check(&ONE, &cpu(Cpu::default()), &[]);
    check(&TWO, &memory(Memory::default()), &[]);
    check(&BARE, &cpu(Cpu::default()), &[]);
}

/// A new group has what its parent has, which may be every device of the host.
#[test]
fn devices_are_confined_though_nothing_is_asked() {
    let steps = show(&plan(&ONE, &Resources::default()).unwrap());
    assert_eq!(steps.first().map(String::as_str), Some("devices.deny=a"));
    assert_eq!(steps.len(), 11);
    assert!(steps.iter().skip(1).all(|step| step.starts_with("devices.allow=")), "{steps:?}");
    assert_eq!(show(&plan(&TWO, &Resources::default()).unwrap()), ["10 rules"]);
    refused(
        &Host::default(),
        &Resources::default(),
        "cgroup: devices can not be limited: the devices controller is not available on this host",
    );
}

#[test]
fn memory_is_limited_in_both_versions() {
    let asked = memory(Memory {
        limit: Some(64 << 20),
        swap: Some(128 << 20),
        reservation: Some(32 << 20),
        ..Memory::default()
    });
    check(
        &ONE,
        &asked,
        &[
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=134217728",
            "memory.soft_limit_in_bytes=33554432",
        ],
    );
    check(
        &TWO,
        &asked,
        &["memory.swap.max=67108864", "memory.max=67108864", "memory.low=33554432"],
    );
}

#[test]
fn a_higher_swap_limit_goes_before_a_higher_memory_limit() {
    let host = Host { memory: 1 << 20, ..ONE };
    let asked =
        memory(Memory { limit: Some(64 << 20), swap: Some(128 << 20), ..Memory::default() });
    check(
        &host,
        &asked,
        &["memory.memsw.limit_in_bytes=134217728", "memory.limit_in_bytes=67108864"],
    );
}

#[test]
fn unlimited_memory_is_unlimited_swap() {
    let asked = memory(Memory { limit: Some(-1), ..Memory::default() });
    check(&ONE, &asked, &["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"]);
    check(&TWO, &asked, &["memory.swap.max=max", "memory.max=max"]);
}

#[test]
fn swap_needs_memory_in_version_2() {
    let asked = memory(Memory { swap: Some(1 << 20), ..Memory::default() });
    refused(&TWO, &asked, "cgroup: unable to set swap limit without memory limit");
    let asked = memory(Memory { limit: Some(2), swap: Some(1), ..Memory::default() });
    refused(&TWO, &asked, "cgroup: memory+swap limit should be >= memory limit");
}

#[test]
fn what_version_2_has_not_got_is_refused_and_not_passed_over() {
    let asked = memory(Memory { swappiness: Some(10), ..Memory::default() });
    check(&ONE, &asked, &["memory.swappiness=10"]);
    refused(&TWO, &asked, "cgroup: cannot set memory swappiness with cgroup version 2");
    let asked = memory(Memory { disable_oom_killer: Some(true), ..Memory::default() });
    check(&ONE, &asked, &["memory.oom_control=1"]);
    refused(&TWO, &asked, "cgroup: cannot set disableOOMKiller with cgroup version 2");
    let asked = cpu(Cpu { realtime_runtime: Some(1000), ..Cpu::default() });
    refused(&TWO, &asked, "cgroup: cannot set CPU real-time limits with cgroup version 2");
}

#[test]
fn real_time_limits_are_refused_where_the_kernel_has_none() {
    let host = Host { without: &["cpu.rt_runtime_us"], ..ONE };
    let asked = cpu(Cpu { realtime_runtime: Some(1000), ..Cpu::default() });
    refused(
        &host,
        &asked,
        "cgroup: CPU real-time runtime can not be limited: cpu.rt_runtime_us is not available on \
         this host",
    );
}

#[test]
fn processors_are_limited_in_both_versions() {
    let asked = cpu(Cpu {
        shares: Some(512),
        quota: Some(50_000),
        period: Some(100_000),
        cpus: "0-1".into(),
        mems: "0".into(),
        ..Cpu::default()
    });
    check(
        &ONE,
        &asked,
        &[
            "cpu.shares=512",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=50000",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
        ],
    );
    check(
        &TWO,
        &asked,
        &["cpu.weight=59", "cpu.max=50000 100000", "cpuset.cpus=0-1", "cpuset.mems=0"],
    );
    check(&TWO, &cpu(Cpu { quota: Some(-1), ..Cpu::default() }), &["cpu.max=max 100000"]);
}

#[test]
fn shares_become_weights_as_with_runc() {
    for (shares, weight) in
        [(1, 1), (2, 1), (512, 59), (1024, 100), (262_144, 10_000), (500_000, 10_000)]
    {
        assert_eq!(super::convert::cpu_weight(shares), Some(weight), "{shares}");
    }
    assert_eq!(super::convert::cpu_weight(0), None);
    for (weight, expect) in [(10, 1), (500, 4950), (1000, 10_000)] {
        assert_eq!(super::convert::io_weight(weight), expect, "{weight}");
    }
}

#[test]
fn a_missing_controller_is_named() {
    let asked = Resources { pids: Some(Pids { limit: Some(10) }), ..Resources::default() };
    check(&ONE, &asked, &["pids.max=10"]);
    refused(
        &BARE,
        &asked,
        "cgroup: processes can not be limited: the pids controller is not available on this host",
    );
    // No limit needs no controller.
    let asked = Resources { pids: Some(Pids { limit: Some(-1) }), ..Resources::default() };
    check(&BARE, &asked, &[]);
    check(&TWO, &asked, &["pids.max=max"]);
}

#[test]
fn block_devices_are_limited_in_both_versions() {
    let throttle = |rate| vec![ThrottleDevice { major: 8, minor: 0, rate }];
    let asked = Resources {
        block_io: Some(BlockIo {
            weight: Some(300),
            throttle_read_bps_device: throttle(1 << 20),
            throttle_write_iops_device: throttle(100),
            ..BlockIo::default()
        }),
        ..Resources::default()
    };
    check(
        &ONE,
        &asked,
        &[
            "blkio.bfq.weight=300",
            "blkio.throttle.read_bps_device=8:0 1048576",
            "blkio.throttle.write_iops_device=8:0 100",
        ],
    );
    check(
        &TWO,
        &asked,
        &["io.weight=default 2930", "io.max=8:0 rbps=1048576", "io.max=8:0 wiops=100"],
    );
}

fn device(allow: bool, kind: &str, major: i64, minor: i64, access: &str) -> Asked {
    Asked {
        allow,
        kind: Some(kind.into()),
        major: Some(major),
        minor: Some(minor),
        access: Some(access.into()),
    }
}

#[test]
fn devices_begin_with_nothing() {
    let asked = Resources {
        devices: vec![
            device(false, "a", -1, -1, "rwm"),
            device(true, "c", 10, 200, "rw"),
            device(false, "b", 8, -1, "w"),
        ],
        ..Resources::default()
    };
    let steps = show(&plan(&ONE, &asked).unwrap());
    let first: Vec<&str> = steps.iter().take(4).map(String::as_str).collect();
    assert_eq!(
        first,
        [
            "devices.deny=a",
            "devices.allow=c 10:200 rw",
            "devices.deny=b 8:* w",
            "devices.allow=c *:* m"
        ]
    );
    assert_eq!(show(&plan(&TWO, &asked).unwrap()), ["12 rules"]);
}

#[test]
fn a_privileged_container_has_all_devices_in_one_write() {
    let asked = Resources {
        devices: vec![device(false, "a", -1, -1, "rwm"), device(true, "a", -1, -1, "rwm")],
        ..Resources::default()
    };
    check(&ONE, &asked, &["devices.deny=a", "devices.allow=a"]);
    check(&TWO, &asked, &["1 rules"]);
}

#[test]
fn bad_devices_are_refused() {
    for (bad, expect) in [
        (device(true, "x", 1, 1, "r"), "cgroup: invalid device rule: type \"x\""),
        (device(true, "c", 1, 1, "rx"), "cgroup: invalid device rule: access \"rx\""),
        (device(true, "c", -2, 1, "r"), "cgroup: invalid device number: -2"),
    ] {
        refused(&ONE, &Resources { devices: vec![bad], ..Resources::default() }, expect);
    }
}

#[test]
fn files_of_version_2_can_be_named() {
    let asked = |file: &str| Resources {
        unified: BTreeMap::from([(file.to_owned(), "7".to_owned())]),
        ..Resources::default()
    };
    check(&TWO, &asked("memory.high"), &["memory.high=7"]);
    for (host, file) in [(&ONE, "memory.high"), (&TWO, "../memory.high"), (&TWO, "nothing.x")] {
        assert!(matches!(plan(host, &asked(file)), Err(LimitError::Invalid(_))), "{file}");
    }
}
