//! The system call filter, call by call, against what Docker's lets through.

use std::collections::BTreeMap;

use ferry_testkit::tar::Tar;
use ferry_testkit::{Env, Image, elf};

/// Above this, kernels differ more than filters do.
const END: u16 = 463;

/// What each call said with invalid arguments.
type Results = BTreeMap<u16, i32>;

fn probe(env: &Env, options: &[&str]) -> Results {
    let numbers = elf::harmless_calls(END);
    let mut words = vec!["run", "--rm"];
    words.extend(options);
    words.extend(["probe:1", "/probe"]);
    let output = env.docker(&words).exits(0);
    assert_eq!(output.stdout.len(), numbers.len() * 4, "every call came back");
    let results = output.stdout.chunks(4).map(|four| i32::from_le_bytes(four.try_into().unwrap()));
    numbers.into_iter().zip(results).collect()
}

/// Recorded from the reference engine: `options` to `number result` pairs.
fn recorded() -> serde_json::Value {
    serde_json::from_str(include_str!("golden/seccomp.json")).unwrap()
}

const CASES: &[(&str, &[&str])] = &[
    ("default", &[]),
    ("sys_admin", &["--cap-add", "SYS_ADMIN"]),
    ("sys_ptrace", &["--cap-add", "SYS_PTRACE"]),
    ("none", &["--cap-drop", "ALL"]),
    ("unconfined", &["--security-opt", "seccomp=unconfined"]),
];

#[cfg(target_arch = "x86_64")]
#[test]
fn the_filter_is_equal_in_effect_to_dockers() {
    let env = Env::start();
    let mut tar = Tar::new();
    tar.file("probe", 0o755, elf::system_calls(&elf::harmless_calls(END)));
    env.load(&Image::new(vec![]).layer(&tar), "probe:1");
    let results: Vec<(&str, Results)> =
        CASES.iter().map(|(name, options)| (*name, probe(&env, options))).collect();
    env.docker(&["rmi", "probe:1"]).exits(0);
    if let Ok(path) = std::env::var("FERRY_E2E_RECORD") {
        let text = serde_json::to_string(&results.into_iter().collect::<BTreeMap<_, _>>()).unwrap();
        std::fs::write(format!("{path}/seccomp.json"), text).unwrap();
        return;
    }
    let recorded = recorded();
    let expected = |case: &str, number: u16| recorded[case][number.to_string()].as_i64();
    let (_, bare) = results.last().unwrap();
    let mut faults = Vec::new();
    let mut compared = 0;
    for (case, results) in &results {
        for (number, result) in results {
            // Where the kernel itself answers otherwise than the recording one, nothing can be said.
            if expected("unconfined", *number) != bare.get(number).map(|bare| i64::from(*bare)) {
                continue;
            }
            compared += 1;
            if !alike(expected(case, *number), i64::from(*result)) {
                faults.push(format!(
                    "{case}: call {number} gives {result}, Docker {:?}",
                    expected(case, *number)
                ));
            }
        }
    }
    assert!(compared > 1000, "only {compared} results could be compared");
    assert!(faults.is_empty(), "{} of {compared} differ:\n{}", faults.len(), faults.join("\n"));
}

/// Calls that succeed give numbers of their own: ids, times, descriptors.
fn alike(expected: Option<i64>, result: i64) -> bool {
    expected.is_some_and(|expected| expected == result || (expected >= 0 && result >= 0))
}

#[cfg(target_arch = "x86_64")]
#[test]
fn well_known_calls_are_denied() {
    let env = Env::start();
    let calls: &[(&str, u32, [u32; 3], i32)] = &[
        // keyctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING)
        ("keyctl", 250, [0, u32::MAX - 2, 0], 1),
        // unshare(CLONE_NEWUSER), unshare(CLONE_NEWNS)
        ("unshare-user", 272, [0x1000_0000, 0, 0], 1),
        ("unshare-mount", 272, [0x0002_0000, 0, 0], 1),
        // bpf, perf_event_open, userfaultfd, io_uring_setup, clone3
        ("bpf", 321, [0, 0, 0], 1),
        ("perf", 298, [0, 0, 0], 1),
        ("userfaultfd", 323, [0, 0, 0], 1),
        ("io-uring", 425, [1, 0, 0], 1),
        ("clone3", 435, [0, 0, 0], 38),
        // socket(AF_VSOCK, SOCK_STREAM), personality(READ_IMPLIES_EXEC)
        ("vsock", 41, [40, 1, 0], 1),
        ("personality", 135, [0x0040_0000, 0, 0], 1),
        ("getpid", 39, [0, 0, 0], 0),
        ("socket", 41, [2, 1, 0], 0),
    ];
    let mut tar = Tar::new();
    for (name, number, arguments, _) in calls {
        tar.file(name, 0o755, elf::one_call(*number, *arguments));
    }
    env.load(&Image::new(vec![]).layer(&tar), "calls:1");
    for (name, _, _, code) in calls {
        env.docker(&["run", "--rm", "calls:1", &format!("/{name}")]).exits(*code);
    }
    env.docker(&["rmi", "calls:1"]).exits(0);
    env.shell(&[], "unshare -U true").fails().says("Operation not permitted");
}

#[test]
fn a_profile_of_ones_own() {
    let env = Env::start();
    let file = env.host_folder().join("profile.json");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
        {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28},
        {"names":["chmod","fchmodat","fchmod","fchmodat2"],"action":"SCMP_ACT_ERRNO"}]}"#;
    std::fs::write(&file, profile).unwrap();
    let option = format!("seccomp={}", file.display());
    env.shell(&["--security-opt", &option], "mkdir /x").exits(1).says("No space left on device");
    env.shell(&["--security-opt", &option], "chmod 700 /tmp")
        .exits(1)
        .says("Operation not permitted");
    env.shell(&["--security-opt", &option], "touch /x").exits(0);
    std::fs::write(&file, "{ not json").unwrap();
    env.shell(&["--security-opt", &option], "true").exits(125);
}
