//! Finding and executing the program: whom it runs as, where, and the words when it can not.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::json;

use crate::support::{Bundle, check_raised};

const INIT: &str = "run failed: unable to start container process: error during container init: ";

#[track_caller]
fn check(arguments: &[&str], expected: &str) {
    let mut bundle = Bundle::new("");
    fs::write(bundle.root("plain"), "hello").unwrap();
    symlink("loop", bundle.root("loop")).unwrap();
    bundle.set("/process/args", json!(arguments));
    let said = bundle.run();
    assert_eq!((said.err.as_str(), said.code), (&*format!("{INIT}{expected}\n"), 1), "{said:?}");
    assert_eq!(said.out, "");
}

#[test]
fn a_program_that_can_not_be_is_told_in_dockers_words() {
    check(&["nope"], "exec: \"nope\": executable file not found in $PATH");
    check(&["etc"], "exec: \"etc\": executable file not found in $PATH");
    check(&["plain"], "exec: \"plain\": executable file not found in $PATH");
    check(&[""], "exec: \"\": executable file not found in $PATH");
    check(&["/nope"], "exec: \"/nope\": stat /nope: no such file or directory");
    check(&["./nope"], "exec: \"./nope\": stat ./nope: no such file or directory");
    check(&["/etc"], "exec: \"/etc\": is a directory: permission denied");
    check(&["/plain"], "exec: \"/plain\": permission denied");
    check(&["/plain/x"], "exec: \"/plain/x\": stat /plain/x: not a directory");
    check(&["/loop"], "exec: \"/loop\": stat /loop: too many levels of symbolic links");
}

/// The container has started by then, so it is the one that says it, and it ends with 255.
#[track_caller]
fn check_execution(file: &str, content: &str, expected: &str) {
    let mut bundle = Bundle::new("");
    fs::write(bundle.root(file), content).unwrap();
    fs::set_permissions(bundle.root(file), fs::Permissions::from_mode(0o755)).unwrap();
    bundle.set("/process/args", json!([format!("/{file}")]));
    let said = bundle.run();
    assert_eq!((said.err.as_str(), said.code), (expected, 255), "{said:?}");
}

#[test]
fn a_program_the_kernel_refuses_ends_the_container_with_255() {
    check_execution("text", "hello\n", "exec /text: exec format error\n");
    check_execution("empty", "", "exec /empty: exec format error\n");
    check_execution("script", "#!/nope\n", "exec /script: no such file or directory\n");
}

#[test]
fn the_exit_code_is_the_programs() {
    assert_eq!(Bundle::new("exit 0").run().code, 0);
    assert_eq!(Bundle::new("exit 42").run().code, 42);
    // The init of a process id namespace has no default dispositions, but a child has.
    assert_eq!(Bundle::new("sh -c 'kill -9 $$'; exit $?").run().code, 137);
}

#[test]
fn an_empty_path_finds_nothing() {
    let mut bundle = Bundle::new("true");
    bundle.set("/process/env", json!(["PATH="]));
    let said = bundle.run();
    assert_eq!(said.err, format!("{INIT}exec: \"sh\": executable file not found in $PATH\n"));
}

#[test]
fn a_program_beside_the_working_directory_is_not_taken_from_path() {
    let mut bundle = Bundle::new("true");
    bundle.set("/process/env", json!(["PATH=:/bin"])).set("/process/cwd", json!("/bin"));
    let said = bundle.run();
    let expected = "exec: \"sh\": cannot run executable found relative to current directory";
    assert_eq!(said.err, format!("{INIT}{expected}\n"));
}

#[test]
fn it_runs_as_the_user_with_its_groups_and_home() {
    let mut bundle = Bundle::new(
        "grep -E '^(Uid|Gid|Groups):' /proc/self/status; echo $HOME; umask; echo again >/dev/stdout; \
         grep Cap[PE] /proc/self/status",
    );
    let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o027 });
    bundle.set("/process/user", user);
    assert_eq!(
        bundle.output().replace('\t', " ").replace(" \n", "\n"),
        "Uid: 1000 1000 1000 1000\nGid: 1001 1001 1001 1001\nGroups: 5 6\n/home/user\n0027\nagain\n\
         CapPrm: 0000000000000000\nCapEff: 0000000000000000\n"
    );
}

#[test]
fn home_is_the_root_for_a_user_without_an_entry() {
    let mut bundle = Bundle::new("echo $HOME");
    bundle.set("/process/user", json!({ "uid": 4242, "gid": 0 }));
    assert_eq!(bundle.output(), "/\n");
}

#[test]
fn of_a_variable_given_twice_the_last_value_counts() {
    let mut bundle = Bundle::new("env | grep -v -E '^(PWD|SHLVL|PATH)' | sort");
    bundle.set("/process/env", json!(["PATH=/bin", "A=1", "HOME=/h", "A=2"]));
    assert_eq!(bundle.output(), "A=2\nHOME=/h\n");
}

#[test]
fn a_missing_working_directory_is_made() {
    let mut bundle = Bundle::new("pwd; stat -c %a .");
    bundle.set("/process/cwd", json!("/a/b"));
    assert_eq!(bundle.output(), "/a/b\n755\n");
}

#[test]
fn no_descriptor_is_inherited_beyond_the_standard_ones() {
    // The shell lists its own descriptors by names it expands itself.
    let bundle = Bundle::new("echo /proc/self/fd/*");
    let directory = bundle.directory.clone();
    let said = bundle.leaking(&directory, &["run", "--bundle", bundle.path(), &bundle.id]);
    assert_eq!(
        said.out, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n",
        "{said:?}"
    );
}

#[test]
fn signals_are_as_at_the_beginning_of_the_world() {
    let mut bundle = Bundle::new("");
    bundle.set("/process/args", json!(["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]));
    assert_eq!(bundle.output(), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

#[test]
fn limits_and_the_out_of_memory_score_are_set() {
    let mut bundle = Bundle::new("ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj");
    bundle.set("/process/oomScoreAdj", json!(321)).set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 99, "hard": 100 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]),
    );
    assert_eq!(bundle.output(), "99\n100\n0\n321\n");
}

#[test]
fn a_limit_beyond_the_kernels_is_told() {
    let mut bundle = Bundle::new("true");
    let too_many = 1_u64 << 60;
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": too_many, "hard": too_many }]);
    bundle.set("/process/rlimits", limit);
    let expected = "error setting rlimits for ready process: error setting rlimit type 7: operation not permitted";
    assert_eq!(bundle.run().err, format!("{INIT}{expected}\n"));
}

#[test]
fn capabilities_are_those_of_the_five_sets() {
    let mut bundle = Bundle::new("grep Cap /proc/self/status");
    bundle.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_FOWNER"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        }),
    );
    // A user that is not root keeps what is ambient; root would get all of the bounding set.
    bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    assert_eq!(
        bundle.output().replace('\t', " "),
        "CapInh: 0000000000000020\nCapPrm: 0000000000000020\nCapEff: 0000000000000020\n\
         CapBnd: 0000000000000029\nCapAmb: 0000000000000020\n"
    );
}

/// Without capabilities in the configuration there are none, not all.
#[test]
fn without_capabilities_there_are_none() {
    let mut bundle = Bundle::new("grep Cap /proc/self/status");
    bundle.set("/process/capabilities", json!(null));
    let none = "0000000000000000";
    assert_eq!(
        bundle.output().replace('\t', " "),
        format!("CapInh: {none}\nCapPrm: {none}\nCapEff: {none}\nCapBnd: {none}\nCapAmb: {none}\n")
    );
}

/// Limits above those of the maker can not be set from within the user namespace.
#[test]
fn limits_are_raised_in_a_user_namespace_too() {
    let mut bundle = Bundle::new("ulimit -n; ulimit -Hn; ulimit -c");
    bundle.in_user_namespace().set(
        "/process/rlimits",
        json!([
            { "type": "RLIMIT_NOFILE", "soft": 600, "hard": 700 },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]),
    );
    bundle.write_config();
    let line = ["run", "--bundle", bundle.path(), &bundle.id];
    let said = bundle.after("ulimit -n 512", &line);
    check_raised(&said, "600\n700\n0\n");
}

/// A filter older than the calls that making a container takes, which the program itself may not need.
#[test]
fn a_filter_need_not_allow_what_only_the_runtime_needs() {
    let names = json!(["sendmsg", "sendto", "close_range", "faccessat2", "pidfd_open", "clone3"]);
    for (no_new_privileges, terminal) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let mut bundle = Bundle::new("echo done");
        bundle
            .set("/process/noNewPrivileges", json!(no_new_privileges))
            .set("/process/terminal", json!(terminal))
            .set(
                "/linux/seccomp",
                json!({ "defaultAction": "SCMP_ACT_ALLOW",
                        "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO" }] }),
            );
        let said = bundle.run();
        let out = said.out.replace("\r\n", "\n");
        assert_eq!(
            (out.as_str(), said.code),
            ("done\n", 0),
            "{no_new_privileges} {terminal}: {said:?}"
        );
    }
}

#[test]
fn a_filter_is_loaded_with_and_without_new_privileges() {
    for no_new_privileges in [false, true] {
        let mut bundle = Bundle::new(
            "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status; mkdir /x; ln /etc/passwd /y; echo done",
        );
        bundle.set("/process/noNewPrivileges", json!(no_new_privileges)).set(
            "/linux/seccomp",
            json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64"],
                "syscalls": [
                    { "names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 },
                    { "names": ["link", "linkat"], "action": "SCMP_ACT_ERRNO" },
                ],
            }),
        );
        let said = bundle.run();
        let number = u8::from(no_new_privileges);
        assert_eq!(said.out, format!("NoNewPrivs:\t{number}\nSeccomp:\t2\ndone\n"));
        assert_eq!(
            said.err,
            "mkdir: can't create directory '/x': No space left on device\nln: /y: Operation not permitted\n"
        );
    }
}

#[test]
fn the_runtimes_own_file_can_not_be_written_through_a_container() {
    let bundle = Bundle::new("true");
    let said = bundle.create(&[]);
    assert_eq!(said.code, 0, "{said:?}");
    // What waits for its start is a copy of the runtime.
    let exe = format!("/proc/{}/exe", bundle.state("pid"));
    let flags = rustix::fs::statvfs(exe).unwrap().f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY));
}
