use std::num::NonZeroU64;

use super::*;
use crate::host::LimitSupport;
use crate::spec::{DeviceMapping, MountRequest, Rotation, Ulimit};

fn facts() -> HostFacts {
    HostFacts {
        limits: LimitSupport {
            memory: true,
            swap: true,
            memory_reservation: true,
            swappiness: true,
            oom_kill_disable: true,
            cpu_shares: true,
            cpu_quota: true,
            cpu_realtime: false,
            cpuset: true,
            pids: true,
            blkio_weight: true,
            blkio_throttle: true,
        },
        cpus: 2,
        cpuset_cpus: "0-1".to_owned(),
        cpuset_mems: "0".to_owned(),
        ..HostFacts::default()
    }
}

fn valid() -> ContainerSpec {
    ContainerSpec { command: Some(vec!["true".to_owned()]), ..ContainerSpec::default() }
}

#[track_caller]
fn check(change: impl FnOnce(&mut ContainerSpec), expect: &str) {
    let mut spec = valid();
    change(&mut spec);
    let said = match spec.validate(&facts()) {
        Ok(warnings) => warnings.join("\n"),
        Err(error) => error.to_string(),
    };
    assert_eq!(said, expect);
}

#[test]
fn a_plain_container_is_valid() {
    check(|_| {}, "");
}

#[test]
fn faults_are_told_in_dockers_words() {
    let megabytes = |n: u64| NonZeroU64::new(n << 20);
    check(|spec| spec.command = None, "no command specified");
    check(|spec| spec.host.resources.memory = megabytes(3), "Minimum memory limit allowed is 6MB");
    check(
        |spec| spec.host.resources.memory_swap = MemorySwap::Bytes(NonZeroU64::MAX),
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    );
    check(
        |spec| {
            spec.host.resources.memory = megabytes(20);
            spec.host.resources.memory_swap = MemorySwap::Bytes(NonZeroU64::MIN);
        },
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    );
    check(
        |spec| spec.host.resources.nano_cpus = NonZeroU64::new(100_000_000_000),
        "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available",
    );
    check(
        |spec| spec.host.resources.cpuset_cpus = "77".to_owned(),
        "Requested CPUs are not available - requested 77, available: 0-1",
    );
    check(
        |spec| spec.host.resources.cpuset_cpus = "x".to_owned(),
        "Invalid value x for cpuset cpus: invalid format: x",
    );
    check(
        |spec| spec.host.cap_add = vec!["XXX".to_owned()],
        "invalid CapAdd: unknown capability: \"CAP_XXX\"",
    );
    check(
        |spec| spec.working_dir = "etc".to_owned(),
        "the working directory 'etc' is invalid, it needs to be an absolute path",
    );
    check(|spec| spec.stop_signal = Some("FOO".to_owned()), "invalid signal: FOO");
    check(
        |spec| spec.host.oom_score_adj = 2000,
        "Invalid value 2000, range for oom score adj is [-1000, 1000]",
    );
    check(|spec| spec.host.runtime = "foo".to_owned(), "unknown or invalid runtime name: foo");
    check(
        |spec| {
            for text in ["/a:/x", "/b:/x"] {
                spec.host.mounts.push(MountRequest::parse_bind(text).unwrap());
            }
        },
        "Duplicate mount point: /x",
    );
    check(
        |spec| {
            spec.host.mounts.push(MountRequest::parse_bind("rel/a:/x").unwrap());
        },
        "create rel/a: \"rel/a\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path",
    );
    check(
        |spec| {
            spec.host.log.options.insert("foo".to_owned(), "bar".to_owned());
        },
        "unknown log opt 'foo' for json-file log driver",
    );
}

#[test]
fn all_faults_are_told_at_once() {
    check(
        |spec| {
            spec.command = None;
            spec.host.devices.push(DeviceMapping {
                host_path: "/dev/null".to_owned(),
                permissions: "rwx".to_owned(),
                ..DeviceMapping::default()
            });
            spec.host.ulimits.push(Ulimit { name: "foo".to_owned(), soft: 1, hard: 1 });
            spec.host.device_cgroup_rules.push("x".to_owned());
        },
        "no command specified\ninvalid ulimit type: foo\ninvalid device cgroup rule format: 'x'\n\
         invalid device mode: rwx",
    );
}

#[test]
fn what_the_host_can_not_do_is_dropped_with_a_warning() {
    let mut spec = valid();
    spec.host.resources.memory = NonZeroU64::new(64 << 20);
    spec.host.resources.pids_limit = Some(10);
    let mut facts = facts();
    facts.limits.swap = false;
    facts.limits.pids = false;
    let warnings = spec.validate(&facts).unwrap();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(spec.host.resources.memory_swap, MemorySwap::Unlimited);
    assert_eq!(spec.host.resources.pids_limit, None);
}

#[test]
fn what_is_not_supported_yet_is_refused_by_name() {
    let mut spec = valid();
    spec.host.restart = RestartPolicy::Always;
    let error = spec.validate(&facts()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::NotImplemented);
    assert!(error.to_string().contains("always"), "{error}");
}

#[test]
fn logs_are_bounded_unless_said_otherwise() {
    let log = |options: &[(&str, &str)]| {
        let options =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogConfig { driver: LogDriver::JsonFile, options }.rotation()
    };
    assert_eq!(log(&[]), Rotation { max_size: Some(20 << 20), max_files: 5 });
    assert_eq!(log(&[("max-size", "10m")]), Rotation { max_size: Some(10 << 20), max_files: 1 });
    assert_eq!(
        log(&[("max-size", "1kb"), ("max-file", "3")]),
        Rotation { max_size: Some(1024), max_files: 3 }
    );
    assert_eq!(log(&[("max-size", "-1")]), Rotation { max_size: None, max_files: 1 });
}
