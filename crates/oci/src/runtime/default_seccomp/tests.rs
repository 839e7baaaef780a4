use std::collections::BTreeSet;

use super::default_profile;
use crate::runtime::Seccomp;

/// What the reference made of its default profile: first for its default capabilities, then what is
/// added and what is left out when a capability is added or dropped. Taken from Docker 28.5.2, x86-64.
const REFERENCE: &str = include_str!("reference.tsv");

const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Each call with what happens to it, as a line of the reference.
fn lines(seccomp: &Seccomp) -> BTreeSet<String> {
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let mut lines = BTreeSet::new();
    for rule in &seccomp.syscalls {
        let action = word(serde_json::to_value(rule.action).unwrap());
        let errno = rule.errno_ret.map(|errno| errno.to_string()).unwrap_or_default();
        let args: Vec<String> = rule
            .args
            .iter()
            .map(|arg| {
                let op = word(serde_json::to_value(arg.op).unwrap());
                format!("{}:{op}:{}:{}", arg.index, arg.value, arg.value_two)
            })
            .collect();
        for name in &rule.names {
            let line = format!("{name}\t{action}\t{errno}\t{}", args.join(" "));
            lines.insert(line.trim_end_matches('\t').to_owned());
        }
    }
    lines
}

#[test]
#[cfg(target_arch = "x86_64")]
fn the_profile_is_the_references_for_every_capability() {
    let mut sections =
        REFERENCE.split("= ").skip(1).map(|section| section.split_once('\n').unwrap());
    let (name, default) = sections.next().unwrap();
    assert_eq!(name, "default");
    let default: BTreeSet<String> = default.lines().map(str::to_owned).collect();
    let names: Vec<String> = DEFAULT_CAPABILITIES.iter().map(|c| format!("CAP_{c}")).collect();
    assert_eq!(lines(&default_profile(&names)), default);
    let mut count = 0;
    for (capability, changes) in sections.filter(|(name, _)| !name.ends_with("ALL")) {
        let mut expected = default.clone();
        for change in changes.lines() {
            match change.split_at(1) {
                ("+", line) => assert!(expected.insert(line.to_owned())),
                ("-", line) => assert!(expected.remove(line)),
                other => panic!("{other:?}"),
            }
        }
        let mut names = names.clone();
        match capability.strip_prefix("drop_") {
            Some(dropped) => names.retain(|name| *name != format!("CAP_{dropped}")),
            None => names.push(format!("CAP_{capability}")),
        }
        assert_eq!(lines(&default_profile(&names)), expected, "{capability}");
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn a_profile_survives_json() {
    let profile = default_profile(&["CAP_SYS_ADMIN"]);
    let text = serde_json::to_string(&profile).unwrap();
    assert_eq!(serde_json::from_str::<Seccomp>(&text).unwrap(), profile);
}
