//! The system call filter containers have unless another is asked for: equal in effect to that of
//! Docker 28, which allows what ordinary programs need and, beyond that, what the container's
//! capabilities are good for.

use super::{Action, Arch, Argument, Comparison, Seccomp, SyscallRule};

/// Always allowed, whatever the arguments.
const ALLOWED: &str = include_str!("default_seccomp/allowed.txt");

/// Allowed with one of these capabilities.
const BY_CAPABILITY: [(&str, &str); 12] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie \
         lsm_get_self_attr lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog \
         umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
];

/// The newer, smaller capabilities.
const BY_SMALL_CAPABILITY: [(&str, &str); 2] =
    [("CAP_BPF", "bpf"), ("CAP_PERFMON", "perf_event_open")];

/// Execution domains that may be asked for: Linux, 32-bit Linux, each also as an old kernel, and the
/// question.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The flags of clone(2) that make namespaces.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// The address family of virtual machine sockets, which know no namespaces.
const AF_VSOCK: u64 = 40;

const ENOSYS: u32 = 38;

/// The default filter for a container with these capabilities (`CAP_CHOWN`) in its bounding set.
#[must_use]
pub fn default_profile<S: AsRef<str>>(capabilities: &[S]) -> Seccomp {
    let has = |name: &str| capabilities.iter().any(|capability| capability.as_ref() == name);
    let mut syscalls = vec![allow(ALLOWED, Vec::new())];
    syscalls.push(allow("socket", vec![argument(Comparison::NotEqual, AF_VSOCK)]));
    for personality in PERSONALITIES {
        let asked = vec![argument(Comparison::Equal, personality)];
        syscalls.push(allow("personality", asked));
    }
    syscalls.extend(of_architecture().map(|names| allow(names, Vec::new())));
    for (capability, names) in BY_CAPABILITY.iter().chain(&BY_SMALL_CAPABILITY) {
        if has(capability) {
            syscalls.push(allow(names, Vec::new()));
        }
    }
    if !has("CAP_SYS_ADMIN") {
        let without_namespaces = Argument {
            index: 0,
            value: CLONE_NAMESPACES,
            value_two: 0,
            op: Comparison::MaskedEqual,
        };
        syscalls.push(allow("clone", vec![without_namespaces]));
        // Its flags are behind a pointer, where a filter can not look; programs then use clone.
        syscalls.push(SyscallRule {
            names: vec!["clone3".to_owned()],
            action: Action::Errno,
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
        });
    }
    Seccomp {
        default_action: Action::Errno,
        default_errno_ret: Some(1),
        architectures: architectures(),
        flags: Vec::new(),
        listener_path: String::new(),
        listener_metadata: String::new(),
        syscalls,
    }
}

fn allow(names: &str, args: Vec<Argument>) -> SyscallRule {
    SyscallRule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: Action::Allow,
        errno_ret: None,
        args,
    }
}

fn argument(op: Comparison, value: u64) -> Argument {
    Argument { index: 0, value, value_two: 0, op }
}

/// What only some architectures have.
fn of_architecture() -> Option<&'static str> {
    if cfg!(target_arch = "x86_64") {
        Some("arch_prctl modify_ldt")
    } else if cfg!(target_arch = "aarch64") {
        Some("arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2")
    } else {
        None
    }
}

/// The native architecture and those whose programs it runs too.
fn architectures() -> Vec<Arch> {
    if cfg!(target_arch = "x86_64") {
        vec![Arch::X86_64, Arch::X86, Arch::X32]
    } else if cfg!(target_arch = "aarch64") {
        vec![Arch::Aarch64, Arch::Arm]
    } else {
        vec![Arch::Native]
    }
}

#[cfg(test)]
mod tests;
