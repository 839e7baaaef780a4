//! Further processes in a running container.

use std::fs;

use serde_json::json;

use crate::support::{Bundle, check_raised};

fn running() -> Bundle {
    let bundle = Bundle::new("exec sleep 60");
    fs::write(bundle.root("plain"), "hello").unwrap();
    bundle.start();
    bundle
}

fn exec(bundle: &Bundle, arguments: &[&str]) -> crate::support::Said {
    let mut line = vec!["exec"];
    line.extend_from_slice(arguments);
    bundle.runtime(&line)
}

#[test]
fn it_is_in_the_containers_world() {
    let bundle = running();
    let id = bundle.id.as_str();
    let pid = bundle.state("pid");
    let script = "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done; \
                  cut -d: -f3 /proc/self/cgroup | sort -u; hostname; cat /proc/1/comm; \
                  grep -E 'Cap(Prm|Bnd)|SigIgn|SigBlk' /proc/self/status; echo /proc/self/fd/*";
    let said = exec(&bundle, &[id, "sh", "-c", script]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let mut expected: Vec<String> = ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
        .map(|name| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string())
        .to_vec();
    expected.extend([
        format!("/{id}"),
        "box".into(),
        "sleep".into(),
        "SigBlk:\t0000000000000000".into(),
        "SigIgn:\t0000000000000000".into(),
        "CapPrm:\t00000000a80425fb".into(),
        "CapBnd:\t00000000a80425fb".into(),
        "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3".into(),
    ]);
    assert_eq!(said.out.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn its_exit_code_environment_user_and_directory_are_its_own() {
    let bundle = running();
    let id = bundle.id.as_str();
    let line = [
        "--env",
        "A=b",
        "--user",
        "1000:7",
        "--cwd",
        "/tmp",
        id,
        "sh",
        "-c",
        "echo $A $HOME; id -u; id -g; pwd; exit 9",
    ];
    let said = exec(&bundle, &line);
    assert_eq!((said.out.as_str(), said.code), ("b /home/user\n1000\n7\n/tmp\n", 9), "{said:?}");
    // The line after the program is the program's.
    let said = exec(&bundle, &[id, "echo", "--env", "-x"]);
    assert_eq!(said.out, "--env -x\n");
}

#[test]
fn what_can_not_be_is_told_in_dockers_words() {
    let bundle = running();
    let id = bundle.id.as_str();
    for (line, expected) in [
        (&[id, "nope"][..], "exec: \"nope\": executable file not found in $PATH"),
        (&[id, "/nope"], "exec: \"/nope\": stat /nope: no such file or directory"),
        (&[id, "/etc"], "exec: \"/etc\": is a directory: permission denied"),
        (&[id, "/plain"], "exec: \"/plain\": permission denied"),
        (
            &["--cwd", "/none", id, "true"],
            "chdir to cwd (\"/none\") set in config.json failed: no such file or directory",
        ),
        (
            &["--cwd", "/plain", id, "true"],
            "chdir to cwd (\"/plain\") set in config.json failed: not a directory",
        ),
    ] {
        let said = exec(&bundle, line);
        let expected = format!("exec failed: unable to start container process: {expected}\n");
        assert_eq!((said.err, said.code), (expected, 1), "{line:?}");
    }
    assert!(exec(&bundle, &[id]).err.contains("process args cannot be empty"));
}

#[test]
fn it_runs_in_the_background_and_writes_its_pid() {
    let bundle = running();
    let pid_file = bundle.directory.join("exec-pid");
    let line = ["--detach", "--pid-file", pid_file.to_str().unwrap(), &bundle.id, "sleep", "50"];
    let mut arguments = vec!["exec"];
    arguments.extend(line);
    let mut command = bundle.command(&arguments);
    let null = std::process::Stdio::null;
    let status = command.stdout(null()).stderr(null()).status().unwrap();
    assert!(status.success());
    let pid = fs::read_to_string(&pid_file).unwrap();
    let command = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert_eq!(command, "sleep\x0050\0");
}

#[test]
fn a_process_file_says_all_of_it() {
    let bundle = running();
    let process = json!({
        "user": { "uid": 5, "gid": 6 }, "args": ["sh", "-c", "id -u; pwd; echo $X"], "cwd": "/etc",
        "env": ["PATH=/bin", "X=y"], "noNewPrivileges": true,
    });
    let path = bundle.directory.join("process.json");
    fs::write(&path, process.to_string()).unwrap();
    let said = exec(&bundle, &["--process", path.to_str().unwrap(), &bundle.id]);
    assert_eq!((said.out.as_str(), said.code), ("5\n/etc\ny\n", 0), "{said:?}");
}

#[test]
fn the_containers_filter_holds_for_it_too() {
    let mut bundle = Bundle::new("exec sleep 60");
    bundle.set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 },
        ] }),
    );
    bundle.start();
    let said = exec(&bundle, &[&bundle.id, "mkdir", "/x"]);
    assert!(said.err.contains("No space left on device"), "{said:?}");
}

#[test]
fn nothing_is_executed_in_a_container_that_does_not_run() {
    let bundle = running();
    let id = bundle.id.as_str();
    assert_eq!(bundle.runtime(&["pause", id]).code, 0);
    assert!(exec(&bundle, &[id, "true"]).err.contains("cannot exec in a paused container"));
    assert_eq!(bundle.runtime(&["resume", id]).code, 0);
    assert_eq!(bundle.runtime(&["kill", id, "9"]).code, 0);
    bundle.await_status("stopped");
    assert!(exec(&bundle, &[id, "true"]).err.contains("cannot exec in a stopped container"));
}

#[test]
fn it_joins_a_user_namespace() {
    let mut bundle = Bundle::new("exec sleep 60");
    bundle.in_user_namespace();
    bundle.start();
    let said = exec(&bundle, &[&bundle.id, "sh", "-c", "id -u; touch /tmp/x && echo ok"]);
    assert_eq!((said.out.as_str(), said.code), ("0\nok\n", 0), "{said:?}");
}

/// In a user namespace no limit can be raised, so that must have been done before.
#[test]
fn its_limits_are_raised_before_it_joins_a_user_namespace() {
    let mut bundle = Bundle::new("exec sleep 60");
    bundle
        .in_user_namespace()
        .set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 600, "hard": 700 }]));
    bundle.start();
    let line = ["exec", &bundle.id, "sh", "-c", "ulimit -n; ulimit -Hn"];
    check_raised(&bundle.after("ulimit -n 512", &line), "600\n700\n");
}

fn exec_file(bundle: &Bundle, process: &serde_json::Value) -> crate::support::Said {
    let path = bundle.directory.join("process.json");
    fs::write(&path, process.to_string()).unwrap();
    exec(bundle, &["--process", path.to_str().unwrap(), &bundle.id])
}

#[test]
fn it_has_the_capabilities_it_is_given_or_the_containers() {
    let process = |capabilities: serde_json::Value| {
        let args = ["grep", "-E", "Cap(Prm|Eff|Bnd)", "/proc/self/status"];
        json!({ "user": { "uid": 0, "gid": 0 }, "args": args, "cwd": "/", "env": ["PATH=/bin"],
                "capabilities": capabilities })
    };
    let sets = |set: &str| format!("CapPrm: {set}\nCapEff: {set}\nCapBnd: {set}\n");
    let bundle = running();
    let some = ["CAP_CHOWN", "CAP_KILL"];
    let own = json!({ "bounding": some, "effective": some, "permitted": some });
    for (capabilities, expected) in [
        (json!(null), "00000000a80425fb"),
        (own, "0000000000000021"),
        (json!({}), "0000000000000000"),
    ] {
        let said = exec_file(&bundle, &process(capabilities));
        assert_eq!(said.out.replace('\t', " "), sets(expected), "{said:?}");
    }
    let mut without = Bundle::new("exec sleep 60");
    without.set("/process/capabilities", json!(null));
    without.start();
    let said = exec_file(&without, &process(json!(null)));
    assert_eq!(said.out.replace('\t', " "), sets("0000000000000000"), "{said:?}");
}

/// As systemd and Docker do in a container: the processes are moved into a group beneath, and its
/// parent, which gives it controllers, can hold none any more.
#[test]
fn it_is_born_beside_the_init_when_the_container_has_groups_of_its_own() {
    let bundle = running();
    let layout = ferry_sys::cgroup::Layout::detect().unwrap();
    let unified = layout.unified().expect("this test needs the unified hierarchy");
    let group = unified.mountpoint.join(&bundle.id);
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap();
    assert_ne!(controllers.trim(), "", "this test needs a controller in the unified hierarchy");
    let init = bundle.state("pid").to_string();
    fs::create_dir_all(group.join("own/init")).unwrap();
    fs::write(group.join("own/init/cgroup.procs"), &init).unwrap();
    let given: String = controllers.split_whitespace().map(|name| format!("+{name} ")).collect();
    fs::write(group.join("cgroup.subtree_control"), given).unwrap();
    let refused = fs::write(group.join("cgroup.procs"), &init).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::BUSY.raw_os_error()));

    let said = exec(&bundle, &[&bundle.id, "grep", "^0::", "/proc/self/cgroup"]);
    assert_eq!((said.out, said.code), (format!("0::/{}/own/init\n", bundle.id), 0), "{}", said.err);
}
