//! `SecurityOpt`, masked and read-only paths.

use ferry_api::HostConfig;
use ferry_engine::spec::{SeccompChoice, Security};

use crate::convert::Faults;

/// Converts what keeps a container from harm.
pub(crate) fn security(config: &HostConfig, faults: &mut Faults) -> Security {
    let mut security = Security {
        options: config.security_opt.clone().unwrap_or_default(),
        seccomp: SeccompChoice::Default,
        no_new_privileges: false,
        system_paths_unconfined: false,
        masked_paths: config.masked_paths.clone(),
        readonly_paths: config.readonly_paths.clone(),
    };
    for option in config.security_opt.iter().flatten() {
        apply(option, &mut security, faults);
    }
    security
}

/// Applies one option: `name`, `name=value` or, as old clients write it, `name:value`.
fn apply(option: &str, security: &mut Security, faults: &mut Faults) {
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
        ("seccomp", Some(_)) => faults.unsupported("a seccomp profile of one's own"),
        // There is neither AppArmor nor SELinux confinement to lift.
        ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
        ("apparmor", Some(_)) => faults.unsupported("AppArmor profiles"),
        ("label", Some(_)) => faults.unsupported("SELinux labels"),
        ("writable-cgroups", Some(_)) => faults.unsupported("writable-cgroups"),
        _ => faults.invalid(format!("invalid --security-opt 2: {option:?}")),
    }
}
