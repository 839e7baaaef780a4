//! Kernel parameters: only those of a namespace the container has to itself.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ferry_sys::process::CloneNamespaces;

use super::Plan;
use crate::error::RuntimeError;

/// Parameters of System V IPC.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The files under `/proc/sys` and what to write to them.
pub(super) fn plan<'a>(
    sysctls: &'a BTreeMap<String, String>,
    plan: &Plan<'_>,
) -> Result<Vec<(PathBuf, &'a str)>, RuntimeError> {
    let one = |(name, value): (&'a String, &'a String)| {
        let name = dotted(name);
        check(&name, plan)?;
        // In the dotted form a slash stands for a dot within a name.
        let file = name.split('.').map(|part| part.replace('/', ".")).collect();
        Ok((file, value.as_str()))
    };
    sysctls.iter().map(one).collect()
}

/// A name in the form whose separator is the dot; as sysctl(8), the first separator says which it is.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(first) if name.as_bytes().get(first) == Some(&b'/') => {
            let swap = |c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    }
}

fn check(name: &str, plan: &Plan<'_>) -> Result<(), RuntimeError> {
    if name.split('.').any(|part| part.is_empty() || part == "/" || part == "//") {
        return Err(RuntimeError::invalid(format!("sysctl {name:?} is not a name")));
    }
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        if plan.has(CloneNamespaces::IPC) {
            return Ok(());
        }
        let message = format!("sysctl {name:?} is not allowed in the hosts ipc namespace");
        return Err(RuntimeError::invalid(message));
    }
    if name.starts_with("net.") {
        if plan.has(CloneNamespaces::NETWORK) {
            return Ok(());
        }
        let message = format!("sysctl {name:?} not allowed in host network namespace");
        return Err(RuntimeError::invalid(message));
    }
    if name == "kernel.domainname" && plan.has(CloneNamespaces::UTS) {
        return Ok(());
    }
    if name.starts_with("user.") && plan.in_user_namespace {
        return Ok(());
    }
    Err(RuntimeError::invalid(format!("sysctl {name:?} is not in a separate kernel namespace")))
}
