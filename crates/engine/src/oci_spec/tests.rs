//! Compared with what dockerd 28.5 gave runc on a host with cgroup version 1.
//!
//! The files were written by that daemon and trimmed: ids are `CONTAINER` and `SHORT`, the seccomp
//! profile is only whether there is one, the default device rules stand once and not twice.

use std::num::NonZeroU64;

use serde_json::{Value, json};

use super::*;
use crate::spec::{
    DeviceMapping, MountRequest, MountSource, PidMode, Propagation, Recursion, Ulimit,
};

const CONTAINERS: &str = "/var/lib/docker/containers";

struct World {
    spec: ContainerSpec,
    user: ResolvedUser,
    hostname: String,
    mounts: Vec<ResolvedMount>,
    devices: Vec<HostDevice>,
    joins: Joins,
    files_of: &'static str,
    init: Option<PathBuf>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            spec: ContainerSpec {
                command: Some(vec!["sleep".to_owned(), "60".to_owned()]),
                ..ContainerSpec::default()
            },
            user: ResolvedUser {
                uid: 0,
                gid: 0,
                additional_gids: vec![0],
                home: "/root".to_owned(),
            },
            hostname: "SHORT".to_owned(),
            mounts: Vec::new(),
            devices: Vec::new(),
            joins: Joins::default(),
            files_of: "CONTAINER",
            init: None,
        }
    }
}

fn facts() -> HostFacts {
    HostFacts {
        cgroup_version: CgroupVersion::V1,
        capabilities: ferry_sys::capabilities::names().collect(),
        ..HostFacts::default()
    }
}

fn built(world: &World) -> Spec {
    let files = ["resolv.conf", "hostname", "hosts"]
        .map(|name| PathBuf::from(format!("{CONTAINERS}/{}/{name}", world.files_of)));
    let [resolv_conf, hostname, hosts] = files;
    build(&SpecInput {
        spec: &world.spec,
        facts: &facts(),
        user: &world.user,
        hostname: &world.hostname,
        mounts: &world.mounts,
        files: &[
            (resolv_conf, "/etc/resolv.conf"),
            (hostname, "/etc/hostname"),
            (hosts, "/etc/hosts"),
        ],
        devices: &world.devices,
        block_devices: &BlockDevices::new(),
        joins: &world.joins,
        init: world.init.clone(),
        cgroup: "/docker/CONTAINER".to_owned(),
    })
    .unwrap()
}

/// What differs, path by path.
fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let at = |map: &serde_json::Map<String, Value>| {
                    map.get(name).cloned().unwrap_or(Value::Null)
                };
                differences(&format!("{path}/{name}"), &at(a), &at(b), found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push(format!("{path}:\n  docker {theirs}\n  ferry  {ours}")),
    }
}

#[track_caller]
fn check(golden: &str, world: &World) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    let mut ours = serde_json::to_value(built(world)).unwrap();
    ours.as_object_mut().unwrap().remove("ociVersion");
    let linux = ours["linux"].as_object_mut().unwrap();
    let has_filter = linux.contains_key("seccomp");
    linux.insert("seccomp".to_owned(), json!(has_filter));
    // dockerd leaves the home directory to runc.
    let env = ours["process"]["env"].as_array_mut().unwrap();
    assert_eq!(env.pop(), Some(json!(format!("HOME={}", world.user.home))));
    if golden["process"]["capabilities"] == json!("ALL") {
        let all: Vec<String> = facts().capabilities;
        for set in ["bounding", "effective", "permitted"] {
            assert_eq!(ours["process"]["capabilities"][set], json!(all));
        }
        ours["process"]["capabilities"] = json!("ALL");
    }
    for mount in ours["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == json!(INIT_PATH) {
            // Docker's is where programs are; ours is under `/run`, from where nothing may be executed.
            let options = mount["options"].as_array_mut().unwrap();
            assert_eq!(options.pop(), Some(json!("exec")));
        }
    }
    let mut found = Vec::new();
    differences("", &golden, &ours, &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn bind(text: &str) -> ResolvedMount {
    let request = MountRequest::parse_bind(text).unwrap();
    let MountSource::Bind { path, propagation, recursion, .. } = request.source else {
        return ResolvedMount {
            destination: request.target,
            kind: ResolvedKind::Bind {
                source: "/var/lib/docker/volumes/h7vol/_data".into(),
                propagation: None,
                recursion: Recursion::Recursive,
            },
            read_only: request.read_only,
        };
    };
    ResolvedMount {
        destination: request.target,
        kind: ResolvedKind::Bind {
            source: path.into(),
            propagation: Some(propagation.unwrap_or(Propagation::RecursivePrivate)),
            recursion,
        },
        read_only: request.read_only,
    }
}

fn long(
    destination: &str,
    propagation: Propagation,
    recursion: Recursion,
    ro: bool,
) -> ResolvedMount {
    ResolvedMount {
        destination: destination.to_owned(),
        kind: ResolvedKind::Bind {
            source: "/tmp".into(),
            propagation: Some(propagation),
            recursion,
        },
        read_only: ro,
    }
}

#[test]
fn a_plain_container_is_as_dockers() {
    check(include_str!("tests/default.json"), &World::default());
}

#[test]
fn a_privileged_container_is_as_dockers() {
    let mut world = World::default();
    world.spec.host.privileged = true;
    check(include_str!("tests/privileged.json"), &world);
}

#[test]
fn a_container_with_many_options_is_as_dockers() {
    let mut world = World {
        user: ResolvedUser {
            uid: 1000,
            gid: 50,
            additional_gids: vec![50, 20],
            home: "/".to_owned(),
        },
        hostname: "host".to_owned(),
        mounts: vec![
            ResolvedMount {
                destination: "/t".to_owned(),
                kind: ResolvedKind::Tmpfs(vec!["size=1m".to_owned(), "uid=3".to_owned()]),
                read_only: false,
            },
            bind("/tmp/bx:/x:ro"),
            bind("h7vol:/v"),
            bind("/tmp/bx:/y:private"),
        ],
        devices: vec![HostDevice {
            path: "/dev/x".to_owned(),
            kind: ferry_oci::runtime::DeviceType::Character,
            major: 10,
            minor: 237,
            mode: 0o600,
            uid: 0,
            gid: 0,
            access: "r".to_owned(),
        }],
        init: Some("/usr/bin/docker-init".into()),
        ..World::default()
    };
    let spec = &mut world.spec;
    spec.streams.tty = true;
    spec.working_dir = "/w".to_owned();
    spec.env = vec!["A=b".to_owned(), "TERM=foo".to_owned()];
    let host = &mut spec.host;
    host.cap_add = vec!["SYS_ADMIN".to_owned()];
    host.cap_drop = vec!["CHOWN".to_owned()];
    host.read_only = true;
    host.shm_size = Some(1 << 20);
    host.ulimits = vec![Ulimit { name: "nofile".to_owned(), soft: 1024, hard: 2048 }];
    host.sysctls.insert("net.ipv4.ip_forward".to_owned(), "1".to_owned());
    host.resources.memory = NonZeroU64::new(64 << 20);
    host.resources.memory_reservation = NonZeroU64::new(32 << 20);
    host.resources.nano_cpus = NonZeroU64::new(500_000_000);
    host.resources.cpu_shares = NonZeroU64::new(512);
    host.resources.cpuset_cpus = "0".to_owned();
    host.resources.pids_limit = Some(100);
    host.device_cgroup_rules = vec!["c 42:* rw".to_owned()];
    host.oom_score_adj = 5;
    host.security.no_new_privileges = true;
    host.annotations.insert("a.b".to_owned(), "c".to_owned());
    host.devices = vec![DeviceMapping::default()];
    check(include_str!("tests/many.json"), &world);
}

#[test]
fn a_container_in_the_hosts_namespaces_is_as_dockers() {
    let mut world = World {
        hostname: "vm".to_owned(),
        mounts: vec![
            ResolvedMount {
                destination: "/m".to_owned(),
                kind: ResolvedKind::Tmpfs(vec!["mode=700".to_owned(), "size=5m".to_owned()]),
                read_only: false,
            },
            long("/n", Propagation::RecursivePrivate, Recursion::Recursive, true),
            long("/n2", Propagation::Private, Recursion::Recursive, false),
            long("/n3", Propagation::RecursivePrivate, Recursion::ReadOnlyNonRecursive, true),
            long("/n4", Propagation::RecursivePrivate, Recursion::NonRecursive, false),
        ],
        ..World::default()
    };
    let host = &mut world.spec.host;
    host.network = NetworkMode::Host;
    host.pid = PidMode::Host;
    host.ipc = IpcMode::Host;
    host.uts = UtsMode::Host;
    host.cgroupns = Some(CgroupnsMode::Private);
    host.security.seccomp = SeccompChoice::Unconfined;
    check(include_str!("tests/host.json"), &world);
}

#[test]
fn a_container_in_anothers_namespaces_is_as_dockers() {
    let namespace = |name: &str| Some(PathBuf::from(format!("/proc/42/ns/{name}")));
    let mut world = World {
        user: ResolvedUser { uid: 65, gid: 0, additional_gids: vec![0], home: "/".to_owned() },
        hostname: "peerhost".to_owned(),
        joins: Joins {
            network: namespace("net"),
            pid: namespace("pid"),
            ipc: namespace("ipc"),
            shm: Some(format!("{CONTAINERS}/PEER/mounts/shm").into()),
        },
        files_of: "PEER",
        ..World::default()
    };
    let host = &mut world.spec.host;
    host.network = NetworkMode::Container("peer".to_owned());
    host.pid = PidMode::Container("peer".to_owned());
    host.ipc = IpcMode::Container("peer".to_owned());
    host.security.system_paths_unconfined = true;
    host.resources.cpu_period = NonZeroU64::new(50_000);
    host.resources.cpu_quota = Some(20_000);
    host.resources.memory = NonZeroU64::new(64 << 20);
    host.resources.memory_swap = crate::spec::MemorySwap::Unlimited;
    check(include_str!("tests/joined.json"), &world);
}

#[test]
fn on_cgroup_version_two_the_cgroup_namespace_is_private_unless_privileged() {
    let facts = HostFacts { cgroup_version: CgroupVersion::V2, ..facts() };
    let mut spec = ContainerSpec::default();
    assert!(has_own_cgroupns(&spec, &facts));
    spec.host.privileged = true;
    assert!(!has_own_cgroupns(&spec, &facts));
    spec.host.cgroupns = Some(CgroupnsMode::Private);
    assert!(has_own_cgroupns(&spec, &facts));
}

#[test]
fn mounts_of_the_user_take_the_place_of_dockers() {
    let world = World {
        mounts: vec![
            bind("/a:/dev/shm"),
            bind("/b:/etc/hosts"),
            bind("/c:/deep/er/in"),
            bind("/d:/deep"),
        ],
        ..World::default()
    };
    let spec = built(&world);
    let places: Vec<String> = spec
        .mounts
        .iter()
        .map(|it| format!("{} {}", it.source, it.destination.display()))
        .collect();
    let theirs: Vec<&str> =
        places.iter().map(String::as_str).skip_while(|it| !it.starts_with('/')).collect();
    assert_eq!(
        theirs,
        [
            "/d /deep",
            "/a /dev/shm",
            "/b /etc/hosts",
            "/var/lib/docker/containers/CONTAINER/resolv.conf /etc/resolv.conf",
            "/var/lib/docker/containers/CONTAINER/hostname /etc/hostname",
            "/c /deep/er/in",
        ]
    );
    assert_eq!(places.iter().filter(|place| place.ends_with("/dev/shm")).count(), 1);
}

#[test]
fn a_mount_over_dev_hides_what_docker_mounts_there() {
    let world = World { mounts: vec![bind("/dev:/dev")], ..World::default() };
    let spec = built(&world);
    let devs = spec.mounts.iter().filter(|mount| mount.destination.starts_with("/dev")).count();
    assert_eq!(devs, 1);
}

#[test]
fn variables_of_an_exec_win_and_a_name_alone_removes() {
    let spec = ContainerSpec {
        env: vec!["A=1".to_owned(), "B=1".to_owned(), "HOSTNAME".to_owned()],
        ..ContainerSpec::default()
    };
    let exec = crate::spec::ExecSpec {
        command: vec!["true".to_owned()],
        env: vec!["B=2".to_owned(), "HOME=/h".to_owned()],
        ..crate::spec::ExecSpec::default()
    };
    let user = World::default().user;
    let process = exec_process(&spec, &exec, "name", &user, Vec::new());
    assert_eq!(
        process.env,
        [
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "A=1",
            "B=2",
            "HOME=/h"
        ]
    );
    assert_eq!(process.cwd, PathBuf::from("/"));
}

#[test]
fn propagation_needs_a_source_that_allows_it() {
    let mountinfo = "20 1 0:1 / / rw shared:1 - ext4 /dev/sda rw\n\
                     21 20 0:2 / /tmp rw - tmpfs tmpfs rw\n\
                     22 20 0:3 / /srv rw master:1 - tmpfs tmpfs rw\n";
    let fault = |path: &str, propagation| propagation_fault(path.as_ref(), propagation, mountinfo);
    assert_eq!(fault("/etc", Propagation::RecursiveShared), None);
    assert_eq!(fault("/tmp/x", Propagation::RecursivePrivate), None);
    assert_eq!(
        fault("/tmp/x", Propagation::RecursiveSlave).unwrap(),
        "path /tmp/x is mounted on /tmp but it is not a shared or slave mount"
    );
    assert_eq!(
        fault("/tmp", Propagation::Shared).unwrap(),
        "path /tmp is mounted on /tmp but it is not a shared mount"
    );
    assert_eq!(fault("/srv", Propagation::Slave), None);
    assert!(fault("/srv", Propagation::Shared).is_some());
}

#[test]
fn masked_paths_can_be_chosen() {
    let mut world = World::default();
    world.spec.host.security.masked_paths = Some(vec!["/proc/kcore".to_owned()]);
    world.spec.host.security.readonly_paths = Some(Vec::new());
    let linux = built(&world).linux.unwrap();
    assert_eq!(linux.masked_paths, [PathBuf::from("/proc/kcore")]);
    assert!(linux.readonly_paths.is_empty());
}

#[test]
fn device_rules_are_read() {
    assert!(parse_device_rule("c 42:* rw").is_some());
    assert!(parse_device_rule("a *:* rwm").is_some());
    for bad in ["x", "c 42 rw", "c 42:* x", "c 42:*", "d 1:1 r", "c -1:1 r", "c 1:1 r r"] {
        assert!(parse_device_rule(bad).is_none(), "{bad}");
    }
}
