//! What a container may see and do, by default and when asked for more.

use std::fs;

use ferry_testkit::{Env, observe};

fn cap(env: &Env, options: &[&str]) -> String {
    env.shell(options, "grep CapEff /proc/self/status").ok().replace("CapEff:\t", "")
}

#[test]
fn namespaces_are_the_containers_own() {
    let env = Env::start();
    let id = env.run_detached(&["busybox", "sleep", "1000"]);
    let pid = env.pid(&id);
    for kind in ["pid", "mnt", "uts", "ipc", "net"] {
        assert_ne!(
            observe::namespace(pid, kind),
            observe::namespace(std::process::id(), kind),
            "{kind}"
        );
    }
    // The user namespace is the host's, as Docker's default is.
    assert_eq!(observe::namespace(pid, "user"), observe::namespace(std::process::id(), "user"));
    let inside = env.docker(&["exec", &id, "sh", "-c", "ps -o pid,args; hostname"]).ok();
    assert!(inside.contains("1 sleep 1000") && inside.ends_with(&id[..12]), "{inside}");
    let other = env.run_detached(&["busybox", "sleep", "1000"]);
    for kind in ["pid", "mnt", "uts", "ipc", "net"] {
        assert_ne!(
            observe::namespace(pid, kind),
            observe::namespace(env.pid(&other), kind),
            "{kind}"
        );
    }
}

#[test]
fn host_and_shared_namespaces() {
    let env = Env::start();
    let id = env.run_detached(&[
        "--pid",
        "host",
        "--uts",
        "host",
        "--ipc",
        "host",
        "--network",
        "host",
        "busybox",
        "sleep",
        "1000",
    ]);
    let pid = env.pid(&id);
    for kind in ["pid", "uts", "ipc"] {
        assert_eq!(
            observe::namespace(pid, kind),
            observe::namespace(std::process::id(), kind),
            "{kind}"
        );
    }
    if !env.is_foreign() {
        assert_eq!(observe::namespace(pid, "net"), observe::namespace(std::process::id(), "net"));
    }
    assert_ne!(observe::namespace(pid, "mnt"), observe::namespace(std::process::id(), "mnt"));
    let first = env.run_detached(&[
        "--ipc",
        "shareable",
        "--hostname",
        "first",
        "busybox",
        "sleep",
        "1000",
    ]);
    let first_pid = env.pid(&first);
    let join = format!("container:{first}");
    let second = env.run_detached(&[
        "--pid",
        &join,
        "--ipc",
        &join,
        "--network",
        &join,
        "busybox",
        "sleep",
        "2000",
    ]);
    let second_pid = env.pid(&second);
    for kind in ["pid", "ipc", "net"] {
        assert_eq!(
            observe::namespace(second_pid, kind),
            observe::namespace(first_pid, kind),
            "{kind}"
        );
    }
    let seen = env.docker(&["exec", &second, "ps", "-o", "args"]).ok();
    assert!(seen.contains("sleep 1000") && seen.contains("sleep 2000"), "{seen}");
    assert_eq!(env.docker(&["exec", &second, "hostname"]).ok(), "first");
    env.docker(&["run", "--rm", "--network", "container:nobody", "busybox", "true"])
        .exits(125)
        .says("No such container: nobody");
    env.docker(&["run", "--rm", "--pid", "container:nobody", "busybox", "true"])
        .exits(125)
        .says("No such container: nobody");
}

#[test]
fn private_ipc_is_not_shared() {
    let env = Env::start();
    let first = env.run_detached(&["--ipc", "private", "busybox", "sleep", "1000"]);
    let out = env
        .docker(&["run", "--rm", "--ipc", &format!("container:{first}"), "busybox", "true"])
        .exits(125);
    assert!(out.err().contains("non-shareable IPC"), "{out:?}");
}

#[test]
fn capabilities_are_dockers_fourteen() {
    let env = Env::start();
    let all = env
        .shell(&[], "grep Cap /proc/self/status; grep NoNewPrivs /proc/self/status")
        .ok()
        .replace('\t', "");
    assert_eq!(
        all,
        "CapInh:0000000000000000\nCapPrm:00000000a80425fb\nCapEff:00000000a80425fb\nCapBnd:00000000a80425fb\nCapAmb:0000000000000000\nNoNewPrivs:0"
    );
    assert_eq!(cap(&env, &["--cap-drop", "ALL"]), "0000000000000000");
    assert_eq!(cap(&env, &["--cap-drop", "ALL", "--cap-add", "NET_ADMIN"]), "0000000000001000");
    assert_eq!(cap(&env, &["--cap-add", "sys_admin"]), "00000000a82425fb");
    assert_eq!(
        cap(&env, &["--cap-add", "CAP_SYS_PTRACE", "--cap-drop", "mknod"]),
        "00000000a00c25fb"
    );
    let all = crate::exec::all_capabilities();
    let without_sys_admin = u64::from_str_radix(&all, 16).unwrap() & !(1 << 21);
    let dropped = cap(&env, &["--cap-add", "ALL", "--cap-drop", "SYS_ADMIN"]);
    assert_eq!(dropped, format!("{without_sys_admin:016x}"));
    assert_eq!(cap(&env, &["--privileged"]), all);
    assert_eq!(cap(&env, &["--user", "app"]), "0000000000000000");
    env.shell(&["--cap-add", "BOGUS"], "true")
        .exits(125)
        .says("invalid CapAdd: unknown capability: \"CAP_BOGUS\"");
    let bounds = env
        .shell(
            &["--user", "app", "--cap-add", "net_admin"],
            "grep -E 'CapBnd|CapPrm' /proc/self/status",
        )
        .ok();
    assert_eq!(bounds.replace('\t', ""), "CapPrm:0000000000000000\nCapBnd:00000000a80435fb");
}

#[test]
fn no_new_privileges_on_request() {
    let env = Env::start();
    let read = |options: &[&str]| {
        env.shell(options, "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status").ok().replace('\t', "")
    };
    assert_eq!(read(&[]), "NoNewPrivs:0\nSeccomp:2");
    assert_eq!(read(&["--security-opt", "no-new-privileges"]), "NoNewPrivs:1\nSeccomp:2");
    assert_eq!(
        read(&["--security-opt", "no-new-privileges:true", "--user", "app"]),
        "NoNewPrivs:1\nSeccomp:2"
    );
    assert_eq!(read(&["--security-opt", "seccomp=unconfined"]), "NoNewPrivs:0\nSeccomp:0");
    assert_eq!(read(&["--privileged"]), "NoNewPrivs:0\nSeccomp:0");
    env.shell(&["--security-opt", "bogus=1"], "true").exits(125);
}

#[test]
fn masked_and_read_only_paths() {
    let env = Env::start();
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list"] {
        assert_eq!(env.shell(&[], &format!("head -c 1 {path} | wc -c")).ok(), "0", "{path}");
    }
    for path in ["/proc/acpi", "/proc/scsi", "/sys/firmware"] {
        assert_eq!(env.shell(&[], &format!("[ ! -e {path} ] || ls -A {path}")).ok(), "", "{path}");
    }
    // Not every kernel has all of them.
    for path in
        ["/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/bus/x", "/proc/fs/x"]
    {
        if std::path::Path::new(path).exists() {
            env.shell(&[], &format!("echo 1 >{path}")).exits(1).says("Read-only file system");
        }
    }
    env.shell(&[], "echo 1 >/proc/sys/kernel/domainname").exits(1).says("Read-only file system");
    env.shell(&[], "cd /sys/fs/cgroup/memory 2>/dev/null || cd /sys/fs/cgroup; mkdir x")
        .exits(1)
        .says("Read-only file system");
    let free = env
        .shell(
            &["--privileged"],
            "echo x >/proc/sys/kernel/domainname && cat /proc/sys/kernel/domainname",
        )
        .ok();
    assert_eq!(free, "x");
    let over_proc = "grep -c ' /proc/' /proc/mounts";
    let confined: u32 = env.shell(&[], over_proc).ok().parse().unwrap();
    assert!(confined >= 4, "{confined}");
    let open = ["--security-opt", "systempaths=unconfined"];
    assert_eq!(env.shell(&open, over_proc).exits(1).out(), "0");
}

#[test]
fn mounts_are_dockers() {
    let env = Env::start();
    let mounts = env.shell(&[], "cut -d' ' -f2,3 /proc/mounts | sort").ok();
    for mount in [
        "/ overlay",
        "/dev tmpfs",
        "/dev/mqueue mqueue",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
        "/etc/hostname ",
        "/etc/hosts ",
        "/etc/resolv.conf ",
        "/proc proc",
        "/sys sysfs",
    ] {
        assert!(mounts.lines().any(|line| line.starts_with(mount)), "{mount:?} in\n{mounts}");
    }
    let options = |path: &str| {
        env.shell(&[], &format!("awk '$2==\"{path}\" {{print $4}}' /proc/mounts | tail -n 1")).ok()
    };
    assert_eq!(options("/proc"), "rw,nosuid,nodev,noexec,relatime");
    assert_eq!(options("/sys"), "ro,nosuid,nodev,noexec,relatime");
    assert!(options("/dev").starts_with("rw,nosuid,size=65536k,mode=755"), "{}", options("/dev"));
    assert!(
        options("/dev/shm").starts_with("rw,nosuid,nodev,noexec,relatime,size=65536k"),
        "{}",
        options("/dev/shm")
    );
    assert!(
        options("/dev/pts").starts_with("rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666"),
        "{}",
        options("/dev/pts")
    );
    // The host's mounts are not to be seen.
    assert!(!mounts.contains("/run/fy") && !mounts.contains("/var/tmp"), "{mounts}");
}

#[test]
fn devices_are_the_standard_ones() {
    let env = Env::start();
    let listing = env
        .shell(&[], "cd /dev; rm -f core; for d in *; do stat -c '%n %F %t,%T %a' $d; done")
        .ok();
    let expected = "fd symbolic link 0,0 777\nfull character special file 1,7 666\n\
        mqueue directory 0,0 1777\nnull character special file 1,3 666\nptmx symbolic link 0,0 777\n\
        pts directory 0,0 755\nrandom character special file 1,8 666\nshm directory 0,0 1777\n\
        stderr symbolic link 0,0 777\nstdin symbolic link 0,0 777\nstdout symbolic link 0,0 777\n\
        tty character special file 5,0 666\nurandom character special file 1,9 666\nzero character special file 1,5 666";
    assert_eq!(listing, expected);
    let links =
        env.shell(&[], "cd /dev; for l in fd ptmx stderr stdin stdout; do readlink $l; done").ok();
    assert_eq!(links, "/proc/self/fd\npts/ptmx\n/proc/self/fd/2\n/proc/self/fd/0\n/proc/self/fd/1");
    assert_eq!(
        env.shell(
            &[],
            "head -c 5 /dev/zero | wc -c; echo x >/dev/null; head -c 3 /dev/urandom | wc -c"
        )
        .ok(),
        "5\n3"
    );
    // A node may be made (mknod is allowed), but the device is not to be opened.
    env.shell(&[], "mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda")
        .exits(1)
        .says("Operation not permitted");
    env.shell(&[], "mknod /tmp/kmsg c 1 11 && echo ferry-test >/tmp/kmsg")
        .exits(1)
        .says("Operation not permitted");
}

#[test]
fn devices_on_request() {
    let env = Env::start();
    // Writing a line to the kernel's log asks for the device and for no capability.
    let device = ["--device", "/dev/kmsg:/dev/log-of-kernel:w"];
    let write = "stat -c '%F %t,%T' /dev/log-of-kernel; echo ferry-test >/dev/log-of-kernel";
    assert_eq!(env.shell(&device, write).ok(), "character special file 1,b");
    let reads = ["--device", "/dev/kmsg:/dev/log-of-kernel:r"];
    env.shell(&reads, write).exits(1).says("Operation not permitted");
    env.shell(&["--device", "/dev/kmsg"], "echo ferry-test >/dev/kmsg").exits(0);
    // The client takes the message for a missing command.
    env.shell(&["--device", "/dev/nope"], "true").exits(127).says("error gathering device information while adding custom device \"/dev/nope\": no such file or directory");
    let rule = ["--device-cgroup-rule", "c 1:11 w"];
    env.shell(&rule, "mknod /tmp/k c 1 11 && echo ferry-test >/tmp/k").exits(0);
    env.shell(&["--privileged"], "echo ferry-test >/dev/kmsg").exits(0);
}

#[test]
fn users_by_name_and_number() {
    let env = Env::start();
    let who = |user: &str| env.shell(&["-u", user], "id; echo $HOME").ok();
    assert_eq!(
        who("app"),
        "uid=1000(app) gid=1001(appgroup) groups=10(wheel),1001(appgroup),1002(extra)\n/home/app"
    );
    assert_eq!(who("app:daemon"), "uid=1000(app) gid=1(daemon) groups=1(daemon)\n/home/app");
    assert_eq!(
        who("1000"),
        "uid=1000(app) gid=1001(appgroup) groups=10(wheel),1001(appgroup),1002(extra)\n/home/app"
    );
    assert_eq!(who("5000"), "uid=5000 gid=0(root) groups=0(root)\n/");
    assert_eq!(who("5000:6000"), "uid=5000 gid=6000 groups=6000\n/");
    let added =
        env.shell(&["-u", "5000:6000", "--group-add", "wheel", "--group-add", "777"], "id -G").ok();
    assert_eq!(added, "6000 10 777");
    env.shell(&["-u", "nobody-such"], "true")
        .exits(125)
        .says("unable to find user nobody-such: no matching entries in passwd file");
    env.shell(&["-u", "app:nogroup-such"], "true")
        .exits(125)
        .says("unable to find group nogroup-such: no matching entries in group file");
    env.shell(&["-u", "app"], "touch /etc/x").exits(1).says("Permission denied");
}

#[test]
fn a_read_only_root() {
    let env = Env::start();
    env.shell(&["--read-only"], "touch /x").exits(1).says("Read-only file system");
    env.shell(&["--read-only"], "touch /dev/shm/x").exits(0);
    assert_eq!(
        env.shell(&["--read-only", "--tmpfs", "/tmp"], "echo y >/tmp/x; cat /tmp/x").ok(),
        "y"
    );
    assert_eq!(
        env.shell(&["--read-only", "-v", "/data"], "echo z >/data/x; cat /data/x").ok(),
        "z"
    );
}

#[test]
fn temporary_file_systems() {
    let env = Env::start();
    let options = |spec: &str| {
        env.shell(&["--tmpfs", spec], "awk '$2==\"/scratch\" {print $3, $4}' /proc/mounts").ok()
    };
    assert!(
        options("/scratch").starts_with("tmpfs rw,nosuid,nodev,noexec,relatime"),
        "{}",
        options("/scratch")
    );
    let chosen = options("/scratch:size=64k,mode=1777,exec");
    assert!(chosen.contains("size=64k") && !chosen.contains("noexec"), "{chosen}");
    env.shell(&["--tmpfs", "/scratch:size=64k"], "dd if=/dev/zero of=/scratch/x bs=1000 count=100")
        .exits(1)
        .says("No space left on device");
    let mount = ["--mount", "type=tmpfs,destination=/scratch,tmpfs-size=65536,tmpfs-mode=0700"];
    assert_eq!(
        env.shell(&mount, "stat -c %a /scratch; df -k /scratch | awk 'NR==2 {print $2}'").ok(),
        "700\n64"
    );
}

#[test]
fn bind_mounts() {
    let env = Env::start();
    let folder = env.host_folder();
    let host = folder.to_string_lossy().into_owned();
    fs::write(folder.join("file"), "from the host").unwrap();
    let with =
        |option: &str, script: &str| env.shell(&["-v", &format!("{host}:/mnt{option}")], script);
    assert_eq!(with("", "cat /mnt/file; echo back >/mnt/new").ok(), "from the host");
    assert_eq!(fs::read_to_string(folder.join("new")).unwrap(), "back\n");
    with(":ro", "touch /mnt/x").exits(1).says("Read-only file system");
    let one = format!("{host}/file:/etc/one");
    assert_eq!(env.shell(&["-v", &one], "cat /etc/one").ok(), "from the host");
    // A source that is not there is made, with -v; refused, with --mount.
    let missing = folder.join("made");
    env.shell(&["-v", &format!("{}:/mnt", missing.display())], "touch /mnt/x").exits(0);
    assert!(missing.join("x").exists());
    let absent = format!("type=bind,source={host}/absent,target=/mnt");
    env.shell(&["--mount", &absent], "true").exits(125).says("bind source path does not exist");
    let readonly = format!("type=bind,source={host},target=/mnt,readonly");
    env.shell(&["--mount", &readonly], "touch /mnt/x").exits(1).says("Read-only file system");
    env.shell(&["-v", &format!("{host}:relative")], "true")
        .exits(125)
        .says("invalid mount path: 'relative' mount path must be absolute");
    env.shell(&["-v", &format!("{host}:/a"), "-v", &format!("{host}/file:/a")], "true")
        .exits(125)
        .says("Duplicate mount point: /a");
    // Through a link in the image the mount stays inside the root.
    let linked = format!("{host}:/bin/../home/app/in");
    assert_eq!(env.shell(&["-v", &linked], "cat /home/app/in/file").ok(), "from the host");
    let propagation = env
        .shell(&["-v", &format!("{host}:/mnt:rprivate")], "grep ' /mnt ' /proc/self/mountinfo")
        .ok();
    assert!(propagation.contains(" /mnt "), "{propagation}");
}

#[test]
fn a_container_cannot_climb_out_of_its_root_by_a_mount_target() {
    let env = Env::start();
    let folder = env.host_folder();
    fs::write(folder.join("secret"), "s").unwrap();
    let mut evil = ferry_testkit::tar::Tar::new();
    evil.symlink("out", "/../../../../../../../../../../tmp");
    let image = ferry_testkit::Image::busybox().layer(&evil);
    env.load(&image, "evil:1");
    let bind = format!("{}:/out/ferry-escape", folder.display());
    let shown = env
        .docker(&["run", "--rm", "-v", &bind, "evil:1", "cat", "/tmp/ferry-escape/secret"])
        .exits(0);
    assert_eq!(shown.out(), "s");
    assert!(!std::path::Path::new("/tmp/ferry-escape").exists());
    env.docker(&["rmi", "evil:1"]).exits(0);
}

#[test]
fn sizes_limits_and_settings() {
    let env = Env::start();
    assert_eq!(
        env.shell(&["--shm-size", "1m"], "df -k /dev/shm | awk 'NR==2 {print $2}'").ok(),
        "1024"
    );
    let ulimits = ["--ulimit", "nofile=77:88", "--ulimit", "core=0"];
    assert_eq!(env.shell(&ulimits, "ulimit -Sn; ulimit -Hn; ulimit -c").ok(), "77\n88\n0");
    env.shell(&["--ulimit", "nope=1"], "true").exits(125).says("invalid ulimit type: nope");
    assert_eq!(
        env.shell(
            &["--sysctl", "net.ipv4.ip_unprivileged_port_start=99"],
            "cat /proc/sys/net/ipv4/ip_unprivileged_port_start"
        )
        .ok(),
        "99"
    );
    assert_eq!(
        env.shell(&["--sysctl", "kernel.msgmax=4242"], "cat /proc/sys/kernel/msgmax").ok(),
        "4242"
    );
    env.shell(&["--sysctl", "kernel.panic=1"], "true").fails().says("kernel.panic");
    assert_eq!(env.shell(&["--oom-score-adj", "123"], "cat /proc/self/oom_score_adj").ok(), "123");
    assert_eq!(
        env.shell(
            &["--hostname", "h1", "--domainname", "d1"],
            "hostname; cat /proc/sys/kernel/domainname"
        )
        .ok(),
        "h1\nd1"
    );
    assert_eq!(env.shell(&["-w", "/made/for/it"], "pwd").ok(), "/made/for/it");
    assert_eq!(
        env.shell(&["-e", "A=1", "-e", "PATH=/bin"], "echo $A $PATH $HOME $HOSTNAME")
            .ok()
            .split(' ')
            .count(),
        4
    );
    assert_eq!(
        env.invoke(&["run", "--rm", "-e", "FROM_ME", "busybox", "sh", "-c", "echo $FROM_ME"])
            .env("FROM_ME", "passed")
            .run()
            .ok(),
        "passed"
    );
}

#[test]
fn the_environment_is_dockers() {
    let env = Env::start();
    let shown = env
        .docker(&["run", "--rm", "--hostname", "h", "-e", "A=b", "-e", "EMPTY=", "busybox", "env"])
        .ok();
    let mut lines: Vec<&str> = shown.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "A=b",
            "EMPTY=",
            "HOME=/root",
            "HOSTNAME=h",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ]
    );
}

#[test]
fn init_reaps_and_passes_signals() {
    let env = Env::start();
    let first = env
        .shell(
            &["--init"],
            "readlink /proc/1/exe; cat /proc/1/comm; ps -o pid,ppid,args | tail -n +2 | wc -l",
        )
        .ok();
    assert!(first.contains("init"), "{first}");
    let id = env.run_detached(&[
        "--init",
        "busybox",
        "sh",
        "-c",
        "(sleep 0.1 &) ; trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    crate::lifecycle::wait_for_log(&env, &id, "ready");
    env.docker(&["stop", &id]).exits(0);
    assert_eq!(env.inspect(&id, "{{.State.ExitCode}}"), "7");
    let orphan = env.run_detached(&[
        "--init",
        "busybox",
        "sh",
        "-c",
        "sh -c 'sleep 0.2 & exit 0'; sleep 1000",
    ]);
    ferry_testkit::wait_until("the orphan is reaped", std::time::Duration::from_secs(10), || {
        let shown = env.docker(&["exec", &orphan, "ps", "-o", "stat,args"]).ok();
        (!shown.lines().any(|line| line.ends_with(" sleep 0.2"))
            && !shown.lines().any(|line| line.trim_start().starts_with('Z')))
        .then_some(())
    });
}

#[test]
fn privileged_containers_may() {
    let env = Env::start();
    env.shell(&[], "mount -t tmpfs none /mnt 2>&1 || mount -t tmpfs none /tmp")
        .exits(1)
        .says("ermission denied");
    env.shell(&["--privileged"], "mkdir /mnt; mount -t tmpfs none /mnt && umount /mnt").exits(0);
    env.shell(&["--privileged"], "ip link add d0 type bridge && ip link set d0 up").exits(0);
    env.shell(&[], "ip link add d0 type bridge").fails();
    let writable = env.shell(&["--privileged"], "awk '$2==\"/sys\" {print $4}' /proc/mounts").ok();
    assert!(writable.starts_with("rw,"), "{writable}");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let env = Env::builder().own().start();
    for (options, word) in [
        (&["-p", "8080:80"][..], "port"),
        (&["--network", "mine"], "mine"),
        (&["--runtime", "nope"], "nope"),
        (&["--userns", "bogus"], "userns"),
        (&["--isolation", "hyperv"], "isolation"),
    ] {
        let out = env.shell(options, "true").exits(125);
        assert!(out.err().to_lowercase().contains(word), "{options:?}: {out:?}");
    }
    assert_eq!(env.docker(&["ps", "-aq"]).ok(), "");
}
