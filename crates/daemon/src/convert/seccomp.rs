//! Docker's form of system call filters, made ready for a runtime: what depends on the host and on
//! the container's capabilities is decided here.

use ferry_oci::runtime::{Action, Arch, Argument, Seccomp, SyscallRule};
use serde::Deserialize;

/// What a profile's conditions are about.
#[derive(Debug, Clone)]
pub(crate) struct Circumstances<'a> {
    /// The container's capabilities, with `CAP_`.
    pub(crate) capabilities: Vec<String>,
    /// The kernel's release, `6.18.5`.
    pub(crate) kernel: &'a str,
}

/// A profile as Docker's users write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: Action,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Vec<Arch>,
    #[serde(default)]
    arch_map: Vec<ArchEntry>,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    listener_metadata: String,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Vec<String>,
    action: Action,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: String,
}

/// Makes a filter of a profile.
///
/// # Errors
///
/// It is malformed or contradicts itself; the words are Docker's where it has some.
pub(crate) fn filter(json: &str, circumstances: &Circumstances<'_>) -> Result<Seccomp, String> {
    let profile: Profile = serde_json::from_str(json)
        .map_err(|error| format!("Decoding seccomp profile failed: {error}"))?;
    let Profile {
        default_action,
        default_errno_ret,
        mut architectures,
        arch_map,
        flags,
        listener_path,
        listener_metadata,
        syscalls,
    } = profile;
    if !architectures.is_empty() && !arch_map.is_empty() {
        return Err(
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use \
                    either 'architectures' or 'archMap'"
                .to_owned(),
        );
    }
    let native = native_arch();
    if let Some(entry) = arch_map.into_iter().find(|entry| Some(entry.architecture) == native) {
        architectures.push(entry.architecture);
        architectures.extend(entry.sub_architectures.into_iter().flatten());
    }
    let mut rules = Vec::new();
    for rule in syscalls {
        rules.extend(resolved(rule, circumstances)?);
    }
    Ok(Seccomp {
        default_action,
        default_errno_ret,
        architectures,
        flags,
        listener_path,
        listener_metadata,
        syscalls: rules,
    })
}

/// The rule as it stands under these circumstances, if it stands.
fn resolved(rule: Rule, circumstances: &Circumstances<'_>) -> Result<Option<SyscallRule>, String> {
    let Rule { name, mut names, action, errno_ret, args, includes, excludes } = rule;
    if !name.is_empty() && !names.is_empty() {
        return Err("both 'name' and 'names' are specified in the seccomp profile, use either \
                    'name' or 'names'"
            .to_owned());
    }
    if !name.is_empty() {
        names.push(name);
    }
    let has = |capability: &String| circumstances.capabilities.contains(capability);
    let includes = includes.unwrap_or_default();
    let excludes = excludes.unwrap_or_default();
    let is_included = includes.caps.iter().flatten().all(has)
        && includes.arches.is_none_or(|arches| arches.is_empty() || is_listed(&arches))
        && (includes.min_kernel.is_empty()
            || is_at_least(circumstances.kernel, &includes.min_kernel)?);
    let is_excluded = excludes.caps.iter().flatten().any(has)
        || excludes.arches.is_some_and(|arches| is_listed(&arches))
        || (!excludes.min_kernel.is_empty()
            && is_at_least(circumstances.kernel, &excludes.min_kernel)?);
    let args = args.unwrap_or_default();
    Ok((is_included && !is_excluded).then_some(SyscallRule { names, action, errno_ret, args }))
}

fn native_arch() -> Option<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Arch::X86_64),
        "aarch64" => Some(Arch::Aarch64),
        "riscv64" => Some(Arch::Riscv64),
        _ => None,
    }
}

/// Whether this architecture is in a list of Go's names.
fn is_listed(arches: &[String]) -> bool {
    let own = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    arches.iter().any(|arch| arch == own)
}

/// Whether a kernel is as new as `4.8`, by its first two numbers.
fn is_at_least(kernel: &str, wanted: &str) -> Result<bool, String> {
    let numbers = |text: &str| {
        let mut parts = text.split(['.', '-']).map(str::parse::<u32>);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    let wanted = numbers(wanted).ok_or_else(|| format!("invalid kernel version: {wanted}"))?;
    Ok(numbers(kernel).is_none_or(|kernel| kernel >= wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(json: &str, capabilities: &[&str]) -> Result<Vec<String>, String> {
        let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
        let circumstances = Circumstances { capabilities, kernel: "6.1.0-9-amd64" };
        let filter = filter(json, &circumstances)?;
        Ok(filter.syscalls.into_iter().flat_map(|rule| rule.names).collect())
    }

    #[test]
    fn rules_stand_when_their_conditions_hold() {
        let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
            {"names":["a"],"action":"SCMP_ACT_ALLOW"},
            {"name":"b","action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_X"]}},
            {"names":["c"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_X"]}},
            {"names":["d"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"names":["e"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"7.0"}},
            {"names":["f"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["s390x"]}},
            {"names":["g"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"x",
             "excludes":{"arches":["s390x"]}}]}"#;
        assert_eq!(names(json, &[]).unwrap(), ["a", "c", "d", "g"]);
        assert_eq!(names(json, &["CAP_X"]).unwrap(), ["a", "b", "d", "g"]);
    }

    #[test]
    fn a_bad_profile_is_refused() {
        let message = names("{", &[]).unwrap_err();
        assert!(message.starts_with("Decoding seccomp profile failed: "), "{message}");
        let both = r#"{"defaultAction":"SCMP_ACT_ALLOW",
            "syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ERRNO"}]}"#;
        assert!(names(both, &[]).unwrap_err().starts_with("both 'name' and 'names'"));
    }

    #[test]
    fn the_architectures_are_those_of_the_host() {
        let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","archMap":[
            {"architecture":"SCMP_ARCH_S390","subArchitectures":[]},
            {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]},
            {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]}]}"#;
        let circumstances = Circumstances { capabilities: Vec::new(), kernel: "6.1" };
        let filter = filter(json, &circumstances).unwrap();
        assert_eq!(filter.architectures.first().copied(), native_arch());
        assert_eq!(filter.architectures.len(), 2);
    }
}
