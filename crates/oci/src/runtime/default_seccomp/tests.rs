//! The profile against what Docker 28.5 wrote into the configuration of containers on x86-64, with no
//! capability, the default ones, and all.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Seccomp, default_profile};

#[derive(Deserialize)]
struct Recorded {
    capabilities: Vec<String>,
    seccomp: Seccomp,
}

/// What the rules say about each call, whatever their order and grouping.
fn effect(profile: &Seccomp) -> BTreeSet<String> {
    profile
        .syscalls
        .iter()
        .flat_map(|rule| {
            rule.names.iter().map(move |name| {
                format!("{name} {:?} {:?} {:?}", rule.action, rule.errno_ret, rule.args)
            })
        })
        .collect()
}

#[track_caller]
fn check(recorded: &str) {
    let recorded: Recorded = serde_json::from_str(recorded).expect("the recording is whole");
    let ours = default_profile(&recorded.capabilities);
    assert_eq!(ours.default_action, recorded.seccomp.default_action);
    assert_eq!(ours.default_errno_ret, recorded.seccomp.default_errno_ret);
    assert_eq!(ours.architectures, recorded.seccomp.architectures);
    let (ours, theirs) = (effect(&ours), effect(&recorded.seccomp));
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let surplus: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing {missing:?}, surplus {surplus:?}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn no_capability_gives_dockers_profile() {
    check(include_str!("none.json"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn default_capabilities_give_dockers_profile() {
    check(include_str!("default.json"));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn all_capabilities_give_dockers_profile() {
    check(include_str!("all.json"));
}
