//! Capabilities by name, and the five sets of a process. [capabilities(7)]

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{Context as _, SysError};

/// Names in the order of their numbers, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The set of the names (`CAP_CHOWN`) that are known; others are left out.
    pub fn from_names<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Self {
        let bit = |name: S| number(name.as_ref()).map_or(0, |number| 1 << number);
        Self(names.into_iter().map(bit).fold(0, |set, bit| set | bit))
    }

    /// Whether a capability is in the set.
    #[must_use]
    pub fn contains(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn bits(self) -> CapabilitySet {
        CapabilitySet::from_bits_retain(self.0)
    }
}

/// All names, `CAP_CHOWN` first.
pub fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// The number of a capability by its name, `CAP_CHOWN`.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    let name = name.strip_prefix("CAP_")?;
    NAMES.iter().position(|known| *known == name).and_then(|index| u32::try_from(index).ok())
}

/// The capabilities the running kernel knows.
///
/// # Errors
/// What prctl says.
pub fn known_to_kernel() -> Result<Capabilities, SysError> {
    let mut known = 0;
    for number in 0..64 {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(_) => known |= 1 << number,
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(SysError::new("prctl", "PR_CAPBSET_READ", errno)),
        }
    }
    Ok(Capabilities(known))
}

/// Takes everything that is not in `keep` out of the bounding set; needs `CAP_SETPCAP`.
///
/// # Errors
/// What prctl says.
pub fn limit_bounding(keep: Capabilities) -> Result<(), SysError> {
    for number in (0..64).filter(|number| !keep.contains(*number)) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // The first number beyond what the kernel knows.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(SysError::new("prctl", "PR_CAPBSET_DROP", errno)),
        }
    }
    Ok(())
}

/// Keeps the permitted set when the user changes from root to another.
///
/// # Errors
/// What prctl says.
pub fn keep_over_user_change(keep: bool) -> Result<(), SysError> {
    rustix::thread::set_keep_capabilities(keep).during("prctl", || "PR_SET_KEEPCAPS")
}

/// Sets the effective, permitted and inheritable sets.
///
/// # Errors
/// What capset says.
pub fn set(
    effective: Capabilities,
    permitted: Capabilities,
    inheritable: Capabilities,
) -> Result<(), SysError> {
    let sets = CapabilitySets {
        effective: effective.bits(),
        permitted: permitted.bits(),
        inheritable: inheritable.bits(),
    };
    rustix::thread::set_capabilities(None, sets).during("capset", || "")
}

/// Makes the ambient set; each must be permitted and inheritable. Returns those the kernel refused.
///
/// # Errors
/// What prctl says to clearing the set.
pub fn set_ambient(ambient: Capabilities) -> Result<Capabilities, SysError> {
    rustix::thread::clear_ambient_capability_set()
        .during("prctl", || "PR_CAP_AMBIENT_CLEAR_ALL")?;
    let mut refused = 0;
    for number in (0..64).filter(|number| ambient.contains(*number)) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if rustix::thread::configure_capability_in_ambient_set(one, true).is_err() {
            refused |= 1 << number;
        }
    }
    Ok(Capabilities(refused))
}

#[cfg(test)]
mod tests;
