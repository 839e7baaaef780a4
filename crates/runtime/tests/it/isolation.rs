//! What the container sees and can not see: namespaces, devices, masks, cgroups.

use std::fs;

use serde_json::json;

use crate::support::Bundle;

#[test]
fn it_is_the_first_process_of_its_own_world() {
    let bundle =
        Bundle::new("echo $$; hostname; ip -o link | cut -d' ' -f2-3; ls /proc | grep -c '^[0-9]'");
    assert_eq!(bundle.output(), "1\nbox\nlo: <LOOPBACK,UP,LOWER_UP>\n3\n");
}

#[test]
fn devices_and_links_are_the_standard_ones() {
    let bundle = Bundle::new(
        "cd /dev; stat -c '%n %F %t:%T %a' full null random tty urandom zero; \
         for l in fd stdin stdout stderr ptmx; do echo $l $(readlink $l); done; \
         echo x >null && head -c 2 zero | wc -c",
    );
    assert_eq!(
        bundle.output(),
        "full character special file 1:7 666\nnull character special file 1:3 666\n\
         random character special file 1:8 666\ntty character special file 5:0 666\n\
         urandom character special file 1:9 666\nzero character special file 1:5 666\n\
         fd /proc/self/fd\nstdin /proc/self/fd/0\nstdout /proc/self/fd/1\nstderr /proc/self/fd/2\n\
         ptmx pts/ptmx\n2\n"
    );
}

#[test]
fn devices_that_are_asked_for_are_made() {
    let mut bundle = Bundle::new("stat -c '%n %F %t:%T %a %u:%g' /dev/x/fuse /dev/null /dev/pipe");
    bundle.set(
        "/linux/devices",
        json!([
            { "path": "/dev/x/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 7, "gid": 8 },
            { "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600 },
            { "path": "/dev/pipe", "type": "p" },
        ]),
    );
    assert_eq!(
        bundle.output(),
        "/dev/x/fuse character special file a:e5 640 7:8\n/dev/null character special file 1:3 600 0:0\n\
         /dev/pipe fifo 0:0 666 0:0\n"
    );
}

#[test]
fn masked_paths_are_empty_and_readonly_paths_are_not_written() {
    let mut bundle = Bundle::new(
        "wc -c </proc/interrupts; wc -c </proc/keys; ls -A /sys/firmware | wc -l; touch /sys/firmware/x; \
         echo 1 >/proc/sys/kernel/pid_max; echo 1 >/proc/sys/kernel/shmmni",
    );
    // With every capability, so that it is the mounts that refuse.
    bundle.all_capabilities();
    let said = bundle.run();
    assert_eq!(said.out, "0\n0\n0\n");
    assert_eq!(said.err.matches("Read-only file system").count(), 3, "{}", said.err);
}

/// A masked path must not follow what the image has in its place to somewhere else.
#[test]
fn a_mask_covers_the_target_of_a_link_in_the_root() {
    let mut bundle = Bundle::new("cat /secret; wc -c </real");
    fs::write(bundle.root("real"), "hidden").unwrap();
    std::os::unix::fs::symlink("/real", bundle.root("secret")).unwrap();
    bundle.add("/linux/maskedPaths", json!("/secret"));
    assert_eq!(bundle.output(), "0\n");
}

#[test]
fn kernel_parameters_of_its_namespaces_are_set_though_proc_is_readonly() {
    let mut bundle = Bundle::new(
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmni; echo 1 >/proc/sys/kernel/shmmni",
    );
    bundle.set(
        "/linux/sysctl",
        json!({ "net.ipv4.ip_unprivileged_port_start": "7", "kernel/shmmni": "123" }),
    );
    let said = bundle.run();
    assert_eq!(said.out, "7\n123\n");
    assert!(said.err.contains("Read-only file system"), "{}", said.err);
}

#[test]
fn kernel_parameters_of_the_host_are_refused() {
    let mut bundle = Bundle::new("true");
    bundle.set("/linux/sysctl", json!({ "kernel.pid_max": "1" }));
    let said = bundle.run();
    assert!(
        said.err.contains("sysctl \"kernel.pid_max\" is not in a separate kernel namespace"),
        "{said:?}"
    );
    bundle.set("/linux/sysctl", json!({ "net.nope": "1" }));
    let said = bundle.run();
    assert!(said.err.contains("open sysctl net.nope file: no such file or directory"), "{said:?}");
}

#[test]
fn it_is_in_its_cgroup_and_sees_only_that() {
    let mut bundle = Bundle::new(
        "cut -d: -f3 /proc/self/cgroup | sort -u; grep -c cgroup /proc/self/mountinfo; \
         for f in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do \
         test -e $f && head -n1 $f; done | sort -u; touch /sys/fs/cgroup/x 2>/dev/null || echo readonly",
    );
    let id = bundle.id.clone();
    let said = bundle.output();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.first(), Some(&&*format!("/{id}")));
    assert_eq!(lines.get(2..), Some(&["1", "readonly"][..]), "{said}");
    bundle.add("/linux/namespaces", json!({ "type": "cgroup" }));
    let said = bundle.output();
    assert_eq!(said.lines().next(), Some("/"), "{said}");
    assert!(!said.contains(&id));
}

#[test]
fn limits_are_those_of_the_cgroup() {
    let mut bundle = Bundle::new(
        "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; \
         cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true",
    );
    bundle.set(
        "/linux/resources",
        json!({ "pids": { "limit": 33 }, "memory": { "limit": 33_554_432 } }),
    );
    assert_eq!(bundle.output(), "33\n33554432\n");
}

#[test]
fn devices_that_are_not_allowed_can_not_be_opened() {
    let mut bundle =
        Bundle::new("mknod /tmp/fuse c 10 229 && head -c 0 /tmp/fuse; head -c 1 /dev/zero | wc -c");
    bundle.set(
        "/linux/resources",
        json!({ "devices": [
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" },
        ] }),
    );
    let said = bundle.run();
    assert_eq!((said.out.as_str(), said.code), ("1\n", 0), "{said:?}");
    assert!(said.err.contains("Operation not permitted"), "{said:?}");
}

/// A new group has what its parent has, which here is every device of the host.
#[test]
fn devices_are_confined_though_no_rule_is_given() {
    // A device that needs no capability to be opened.
    let script = "mknod /tmp/fuse c 10 229 && echo made; head -c 0 /tmp/fuse && echo opened; \
                  head -c 1 /dev/zero | wc -c";
    for resources in [json!({}), json!(null), json!({ "pids": { "limit": 50 } })] {
        let mut bundle = Bundle::new(script);
        bundle.set("/linux/resources", resources.clone());
        let said = bundle.run();
        assert_eq!(said.out, "made\n1\n", "{resources}: {said:?}");
        assert!(said.err.contains("Operation not permitted"), "{resources}: {said:?}");
    }
}

/// As `--network container:a` when `a` has the host's network: what is joined is the host's.
#[test]
fn kernel_parameters_of_a_joined_namespace_that_is_the_hosts_are_refused() {
    let own = |kind: &str| format!("/proc/{}/ns/{kind}", std::process::id());
    for (kind, name, expected) in [
        ("net", "net.ipv4.ip_unprivileged_port_start", "not allowed in host network namespace"),
        ("ipc", "kernel.shmmni", "is not allowed in the hosts ipc namespace"),
    ] {
        // What would be written is what is there.
        let file = format!("/proc/sys/{}", name.replace('.', "/"));
        let value = fs::read_to_string(file).unwrap().trim().to_owned();
        let of_type = if kind == "net" { "network" } else { kind };
        let mut bundle = Bundle::new("echo ran");
        bundle.set("/hostname", json!("")).set("/linux/sysctl", json!({ name: value })).set(
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": of_type, "path": own(kind) }]),
        );
        let said = bundle.run();
        assert_eq!(said.out, "", "{said:?}");
        assert!(said.err.contains(&format!("sysctl \"{name}\" {expected}")), "{said:?}");
    }
    let mut bundle = Bundle::new("echo ran");
    let namespaces = json!([{ "type": "mount" }, { "type": "uts", "path": own("uts") }]);
    bundle.set("/hostname", json!("mine")).set("/linux/namespaces", namespaces);
    assert!(bundle.run().err.contains("unable to set hostname without a private UTS namespace"));
}

#[test]
fn kernel_parameters_of_another_containers_namespace_are_set() {
    let first = Bundle::new("exec sleep 60");
    first.start();
    let mut second = Bundle::new("cat /proc/sys/net/ipv4/ip_unprivileged_port_start");
    let path = format!("/proc/{}/ns/net", first.state("pid"));
    second
        .set("/hostname", json!(""))
        .set("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "9" }))
        .set(
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "network", "path": path }]),
        );
    assert_eq!(second.output(), "9\n");
}

#[test]
fn namespaces_of_another_container_are_joined() {
    let mut first = Bundle::new("hostname first; exec sleep 60");
    first.set("/hostname", json!("one"));
    first.start();
    let pid = first.state("pid");
    let mut second =
        Bundle::new("hostname; ps -o args | grep -c '[s]leep 60'; readlink /proc/self/ns/ipc");
    second.set("/hostname", json!("")).set(
        "/linux/namespaces",
        json!([
            { "type": "mount" },
            { "type": "network", "path": format!("/proc/{pid}/ns/net") },
            { "type": "uts", "path": format!("/proc/{pid}/ns/uts") },
            { "type": "pid", "path": format!("/proc/{pid}/ns/pid") },
            { "type": "ipc", "path": format!("/proc/{pid}/ns/ipc") },
        ]),
    );
    let ipc = fs::read_link(format!("/proc/{pid}/ns/ipc")).unwrap();
    assert_eq!(second.output(), format!("one\n1\n{}\n", ipc.display()));
}

#[test]
fn without_namespaces_of_its_own_it_sees_the_hosts() {
    let mut bundle = Bundle::new(
        "readlink /proc/self/ns/net; readlink /proc/self/ns/uts; readlink /proc/self/ns/pid",
    );
    bundle.set("/hostname", json!("")).set("/linux/namespaces", json!([{ "type": "mount" }]));
    let own =
        |kind: &str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    assert_eq!(bundle.output(), format!("{}\n{}\n{}\n", own("net"), own("uts"), own("pid")));
    bundle.set("/hostname", json!("mine"));
    assert!(bundle.run().err.contains("unable to set hostname without a private UTS namespace"));
}

#[test]
fn in_a_user_namespace_root_is_somebody_else() {
    let mut bundle = Bundle::new(
        "id -u; cat /proc/self/uid_map | tr -s ' '; echo x >/dev/null && echo null; touch /tmp/mine; \
         mknod /tmp/node c 1 3 2>/dev/null || echo refused",
    );
    bundle.in_user_namespace();
    assert_eq!(bundle.output(), "0\n 0 100000 65536\nnull\nrefused\n");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(fs::metadata(bundle.root("tmp/mine")).unwrap().uid(), 100_000);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    for (place, value, name) in [
        ("/hooks", json!({ "poststop": [{ "path": "/bin/true" }] }), "hooks is not supported"),
        ("/process/selinuxLabel", json!("x"), "process.selinuxLabel is not supported"),
        ("/linux/intelRdt", json!({}), "linux.intelRdt is not supported"),
        ("/process/args", json!([]), "args must not be empty"),
        ("/process/cwd", json!("relative"), "Cwd must be an absolute path"),
        (
            "/linux/namespaces",
            json!([{ "type": "pid" }]),
            "a container needs a mount namespace of its own",
        ),
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "mount" }]),
            "duplicated ns Mount",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] }),
            "SCMP_ACT_NOTIFY is not supported",
        ),
    ] {
        let mut bundle = Bundle::new("echo ran");
        bundle.set("/hostname", json!("")).set(place, value);
        let said = bundle.run();
        assert_eq!((said.out.as_str(), said.code), ("", 1), "{place}");
        assert!(said.err.contains(name), "{place}: {}", said.err);
    }
}
