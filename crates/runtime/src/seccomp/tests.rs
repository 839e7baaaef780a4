use ferry_oci::runtime::{Seccomp, default_profile};
use ferry_sys::seccomp::{Comparison, LoadFlags, Verdict};
use serde_json::{Value, json};

use super::{filter, flags, prepare};

fn parse(value: Value) -> Seccomp {
    serde_json::from_value(value).unwrap()
}

#[test]
fn two_conditions_on_one_argument_are_alternatives() {
    let argument =
        |index: u32, value: u64| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    let rules = |args: Value| {
        let seccomp = parse(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [{ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args }],
        }));
        filter(&seccomp).unwrap().rules.iter().map(|rule| rule.conditions.len()).collect::<Vec<_>>()
    };
    assert_eq!(rules(json!([argument(0, 1), argument(0, 2)])), [1, 1]);
    assert_eq!(rules(json!([argument(0, 1), argument(1, 2)])), [2]);
    assert_eq!(rules(json!([])), [0]);
}

#[test]
fn actions_become_the_kernels_verdicts() {
    for (action, errno, verdict) in [
        ("SCMP_ACT_KILL", None, Verdict::KILL_THREAD),
        ("SCMP_ACT_KILL_PROCESS", None, Verdict::KILL_PROCESS),
        ("SCMP_ACT_TRAP", None, Verdict::TRAP),
        ("SCMP_ACT_ERRNO", None, Verdict::errno(1)),
        ("SCMP_ACT_ERRNO", Some(38), Verdict::errno(38)),
        ("SCMP_ACT_TRACE", Some(7), Verdict::trace(7)),
        ("SCMP_ACT_LOG", None, Verdict::LOG),
    ] {
        let seccomp = parse(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir"], "action": action, "errnoRet": errno }],
        }));
        assert_eq!(filter(&seccomp).unwrap().rules[0].verdict, verdict, "{action}");
    }
}

#[test]
fn a_masked_comparison_has_its_mask_first() {
    let seccomp = parse(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                       "args": [{ "index": 0, "value": 0xff, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ" }] }],
    }));
    let condition = filter(&seccomp).unwrap().rules[0].conditions[0];
    assert_eq!(
        (condition.comparison, condition.value),
        (Comparison::MaskedEqual { mask: 0xff }, 1)
    );
}

#[test]
fn newer_calls_do_not_exist_where_the_default_denies() {
    let unknown = |default: &str, errno: Option<u32>| {
        let seccomp = parse(json!({ "defaultAction": default, "defaultErrnoRet": errno }));
        filter(&seccomp).unwrap().unknown
    };
    assert_eq!(unknown("SCMP_ACT_ERRNO", None), Some(Verdict::errno(38)));
    assert_eq!(unknown("SCMP_ACT_KILL", None), Some(Verdict::errno(38)));
    assert_eq!(unknown("SCMP_ACT_ERRNO", Some(38)), None);
    assert_eq!(unknown("SCMP_ACT_ALLOW", None), None);
    assert_eq!(unknown("SCMP_ACT_LOG", None), None);
}

#[test]
fn what_can_not_be_is_refused() {
    for (value, expected) in [
        (json!({ "defaultAction": "SCMP_ACT_NOTIFY" }), "SCMP_ACT_NOTIFY is not supported"),
        (
            json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70_000 }),
            "errnoRet 70000 is too great",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NOPE"] }),
            "flag SECCOMP_FILTER_FLAG_NOPE is not supported",
        ),
        (
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_LOG",
                    "args": [{ "index": 6, "value": 0, "op": "SCMP_CMP_EQ" }] }] }),
            "there is no argument 6",
        ),
    ] {
        let error = prepare(&parse(value)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn flags_are_the_kernels() {
    let with = |names: Value| {
        flags(&parse(json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": names }))).unwrap()
    };
    assert_eq!(with(json!([])), LoadFlags::SPECULATION_ALLOW);
    assert_eq!(with(json!(["SECCOMP_FILTER_FLAG_LOG"])), LoadFlags::LOG);
    assert_eq!(with(json!(["SECCOMP_FILTER_FLAG_TSYNC"])), LoadFlags::empty());
}

#[test]
fn the_default_profile_fits_into_the_kernel() {
    let program = prepare(&default_profile::<&str>(&[])).unwrap().program;
    let length = program.instructions().len();
    assert!((100..1000).contains(&length), "{length}");
}
