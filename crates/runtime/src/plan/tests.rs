use std::path::{Path, PathBuf};

use ferry_oci::runtime::{Mount, Process, Rlimit, Spec};
use ferry_sys::mount::{Attributes, Propagation};
use ferry_sys::process::CloneNamespaces;
use serde_json::json;

use super::{MountKind, MountPlan, NodeKind, Plan, check_process, limits};

fn spec(linux: serde_json::Value) -> Spec {
    serde_json::from_value(json!({ "ociVersion": "1.2.1", "linux": linux })).unwrap()
}

fn with_mount(namespaces: serde_json::Value) -> serde_json::Value {
    let mut all = vec![json!({ "type": "mount" })];
    all.extend(namespaces.as_array().unwrap().iter().cloned());
    json!({ "namespaces": all })
}

#[test]
fn namespaces_are_made_or_joined_and_users_come_first() {
    let spec = spec(with_mount(json!([
        { "type": "network", "path": "/net" },
        { "type": "pid" },
        { "type": "user", "path": "/user" },
        { "type": "cgroup" },
    ])));
    let plan = Plan::new(&spec, false).unwrap();
    assert_eq!(plan.make, CloneNamespaces::MOUNT | CloneNamespaces::PID);
    let joined: Vec<_> = plan.join.iter().map(|(kind, path)| (*kind, *path)).collect();
    assert_eq!(
        joined,
        [
            (CloneNamespaces::USER, Path::new("/user")),
            (CloneNamespaces::NETWORK, Path::new("/net"))
        ]
    );
    assert!(plan.make_cgroup_namespace && plan.in_user_namespace && !plan.loopback);
}

#[test]
fn a_given_network_namespace_replaces_that_of_the_configuration() {
    for namespaces in [json!([{ "type": "network" }]), json!([{ "type": "network", "path": "/x" }])]
    {
        let spec = spec(with_mount(namespaces));
        let plan = Plan::new(&spec, true).unwrap();
        assert!(plan.join.is_empty() && !plan.loopback);
        assert_eq!(plan.make, CloneNamespaces::MOUNT);
    }
}

#[test]
fn a_new_user_namespace_needs_mappings() {
    let linux = with_mount(json!([{ "type": "user" }]));
    Plan::new(&spec(linux.clone()), false).unwrap_err();
    let mut linux = linux;
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 1 }, { "containerID": 1, "hostID": 7, "size": 9 }]);
    linux["uidMappings"] = map.clone();
    linux["gidMappings"] = map;
    let spec = spec(linux);
    let maps = Plan::new(&spec, false).unwrap().id_maps.unwrap();
    assert_eq!(maps.users, "0 1000 1\n1 7 9\n");
}

fn mount(kind: &str, destination: &str, options: &[&str]) -> Result<MountPlan, String> {
    MountPlan::new(&Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: "/source".into(),
        options: options.iter().map(ToString::to_string).collect(),
        ..Mount::default()
    })
    .map_err(|error| error.to_string())
}

#[test]
fn options_become_attributes_propagation_and_file_system_options() {
    let plan =
        mount("tmpfs", "/run/../tmp/./x", &["nosuid", "noexec", "ro", "size=1k", "noswap", "rw"])
            .unwrap();
    assert_eq!(plan.target, PathBuf::from("tmp/x"));
    assert_eq!(plan.set, Attributes::NO_SUID | Attributes::NO_EXEC);
    assert_eq!(plan.clear, Attributes::READ_ONLY);
    let MountKind::New(filesystem) = plan.kind else { panic!() };
    assert_eq!(
        filesystem.options,
        [("size".to_owned(), Some("1k".to_owned())), ("noswap".to_owned(), None)]
    );

    let plan = mount("", "/x", &["rbind", "rro", "nodev", "rslave"]).unwrap();
    assert_eq!(plan.kind, MountKind::Bind { recursive: true });
    assert_eq!((plan.set, plan.set_below), (Attributes::NO_DEV, Attributes::READ_ONLY));
    assert_eq!(plan.propagation, [(Propagation::Slave, true)]);
    // The option wins over the type, as runc has it.
    assert_eq!(mount("none", "/x", &["bind"]).unwrap().kind, MountKind::Bind { recursive: false });
}

#[test]
fn mounts_that_can_not_be_are_refused() {
    for (kind, destination, options, expected) in [
        ("bind", "/x", &["weird"][..], "option \"weird\" is not supported"),
        ("cgroup", "/x", &["size=1"], "option \"size=1\" is not supported"),
        ("tmpfs", "/x", &["tmpcopyup"], "option \"tmpcopyup\" is not supported"),
        ("tmpfs", "x", &[], "mount destination not absolute"),
        ("tmpfs", "/proc", &[], "it is not of type proc"),
        ("tmpfs", "/a/../proc/sys", &[], "it is inside /proc"),
        ("bind", "/proc/1", &[], "it is inside /proc"),
    ] {
        let refused = mount(kind, destination, options).unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    mount("bind", "/proc/cpuinfo", &["ro"]).unwrap();
    mount("bind", "/proc", &[]).unwrap();
    mount("tmpfs", "/process", &[]).unwrap();
}

fn sysctls(linux: serde_json::Value) -> Result<Vec<(PathBuf, String)>, String> {
    let spec = spec(linux);
    let plan = Plan::new(&spec, false).map_err(|error| error.to_string())?;
    Ok(plan.sysctls.into_iter().map(|(path, value)| (path, value.to_owned())).collect())
}

#[test]
fn kernel_parameters_need_their_namespace() {
    let with = |namespace: &str, name: &str| {
        let mut linux = with_mount(json!([{ "type": namespace }]));
        linux["sysctl"] = json!({ name: "1" });
        sysctls(linux)
    };
    let files =
        |names: &[&str]| names.iter().map(|name| (PathBuf::from(name), "1".to_owned())).collect();
    assert_eq!(with("ipc", "kernel.shmmax"), Ok(files(&["kernel/shmmax"])));
    assert_eq!(with("ipc", "fs/mqueue/msg_max"), Ok(files(&["fs/mqueue/msg_max"])));
    assert_eq!(with("network", "net.ipv4.tcp_syncookies"), Ok(files(&["net/ipv4/tcp_syncookies"])));
    // A name with dots in it, in both forms of sysctl(8).
    let dotted: Vec<_> = files(&["net/ipv4/conf/eth0.100/forwarding"]);
    assert_eq!(with("network", "net/ipv4/conf/eth0.100/forwarding"), Ok(dotted.clone()));
    assert_eq!(with("network", "net.ipv4.conf.eth0/100.forwarding"), Ok(dotted));
    for (namespace, name) in [
        ("pid", "kernel.shmmax"),
        ("pid", "net.ipv4.tcp_syncookies"),
        ("ipc", "kernel.pid_max"),
        ("uts", "kernel.hostname"),
        ("network", "net..x"),
        ("network", "net./.x"),
        ("network", "net.//.x"),
        ("network", "vm.swappiness"),
    ] {
        with(namespace, name).unwrap_err();
    }
}

#[test]
fn devices_that_are_asked_for_replace_the_default_ones() {
    let mut linux = with_mount(json!([]));
    linux["devices"] = json!([
        { "path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o100_600, "uid": 3 },
        { "path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2 },
    ]);
    let zero = linux.clone();
    let spec = spec(zero);
    let nodes = Plan::new(&spec, false).unwrap().devices.unwrap();
    assert_eq!(nodes.len(), 6);
    let zero = nodes.last().unwrap();
    assert_eq!((zero.kind, zero.mode, zero.uid), (NodeKind::Character(1, 5), 0o600, 3));
}

#[test]
fn a_bound_dev_is_left_alone() {
    let mut spec = spec(with_mount(json!([])));
    spec.mounts = vec![Mount {
        destination: "/dev/".into(),
        kind: "bind".into(),
        source: "/dev".into(),
        ..Mount::default()
    }];
    assert_eq!(Plan::new(&spec, false).unwrap().devices, None);
}

#[test]
fn limits_are_known_by_name() {
    let limit = |kind: &str| Process {
        rlimits: vec![Rlimit { kind: kind.into(), soft: 1, hard: 2 }],
        ..Process::default()
    };
    assert_eq!(limits(&limit("RLIMIT_NOFILE")).unwrap()[0].number, 7);
    assert_eq!(limits(&limit("RLIMIT_RTTIME")).unwrap()[0].number, 15);
    limits(&limit("NOFILE")).unwrap_err();
}

#[test]
fn a_process_needs_arguments_and_a_directory() {
    let process = |args: &[&str], cwd: &str| Process {
        args: args.iter().map(ToString::to_string).collect(),
        cwd: cwd.into(),
        ..Process::default()
    };
    check_process(&process(&["true"], "/")).unwrap();
    check_process(&process(&[], "/")).unwrap_err();
    check_process(&process(&["true"], "x")).unwrap_err();
    check_process(&process(&["true"], "")).unwrap_err();
}
