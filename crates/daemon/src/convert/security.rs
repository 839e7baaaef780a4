//! `SecurityOpt`, masked and read-only paths.

use ferry_api::{HostConfig, StrSlice};
use ferry_engine::spec::{SeccompChoice, Security};

use crate::{
    convert::{
        Faults,
        seccomp::{self, Circumstances},
    },
    facts::Facts,
};

/// Converts what keeps a container from harm.
pub(crate) fn security(config: &HostConfig, facts: &Facts, faults: &mut Faults) -> Security {
    let mut security = Security {
        options: config.security_opt.clone().unwrap_or_default(),
        seccomp: SeccompChoice::Default,
        no_new_privileges: false,
        system_paths_unconfined: false,
        masked_paths: config.masked_paths.clone(),
        readonly_paths: config.readonly_paths.clone(),
    };
    for option in config.security_opt.iter().flatten() {
        apply(option, config, facts, &mut security, faults);
    }
    security
}

/// Applies one option: `name`, `name=value` or, as old clients write it, `name:value`.
fn apply(
    option: &str,
    config: &HostConfig,
    facts: &Facts,
    security: &mut Security,
    faults: &mut Faults,
) {
    let (name, value) = option
        .split_once('=')
        .or_else(|| option.split_once(':'))
        .map_or((option, None), |(name, value)| (name, Some(value)));
    match (name, value) {
        ("no-new-privileges", None | Some("true")) => security.no_new_privileges = true,
        ("no-new-privileges", Some("false")) => security.no_new_privileges = false,
        ("systempaths", Some("unconfined")) => security.system_paths_unconfined = true,
        ("seccomp", Some("unconfined")) => security.seccomp = SeccompChoice::Unconfined,
        ("seccomp", Some("builtin")) => security.seccomp = SeccompChoice::Default,
        ("seccomp", Some(profile)) => {
            let circumstances = Circumstances {
                capabilities: capabilities(config, facts),
                kernel: &facts.host.kernel,
            };
            let filter = faults.take(seccomp::filter(profile, &circumstances));
            security.seccomp = filter
                .map_or(SeccompChoice::Default, |filter| SeccompChoice::Profile(Box::new(filter)));
        }
        // There is neither AppArmor nor SELinux confinement to lift.
        ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
        ("apparmor", Some(_)) => faults.unsupported("AppArmor profiles"),
        ("label", Some(_)) => faults.unsupported("SELinux labels"),
        ("writable-cgroups", Some(_)) => faults.unsupported("writable-cgroups"),
        _ => faults.invalid(format!("invalid --security-opt 2: {option:?}")),
    }
}

/// What a container may do unless it says otherwise.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The capabilities that a container will have; names that mean nothing are refused by the engine.
fn capabilities(config: &HostConfig, facts: &Facts) -> Vec<String> {
    let all = &facts.host.capabilities;
    if config.privileged {
        return all.clone();
    }
    let full = |list: &Option<StrSlice>| -> Vec<String> {
        let names = list.iter().flat_map(|StrSlice(names)| names);
        names
            .map(|name| name.to_uppercase())
            .map(|name| {
                if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
            })
            .collect()
    };
    let (added, dropped) = (full(&config.cap_add), full(&config.cap_drop));
    let mut own: Vec<String> = if added.iter().any(|name| name == "ALL") {
        all.clone()
    } else if dropped.iter().any(|name| name == "ALL") {
        Vec::new()
    } else {
        DEFAULT_CAPABILITIES.map(str::to_owned).to_vec()
    };
    own.retain(|name| !dropped.contains(name));
    own.extend(added.into_iter().filter(|name| name != "ALL"));
    own
}
