//! Session keyrings. [keyctl(2)]

use std::ffi::{CStr, c_long};

use crate::error::SysError;
use crate::process::check;

const KEYCTL_JOIN_SESSION_KEYRING: c_long = 1;
const KEYCTL_SETPERM: c_long = 5;

/// What the possessor may do with a key (all), and its owner (view, read, search).
const PERMISSIONS: c_long = 0x3f00_0000 | 0x000b_0000;

/// Gives this process a session keyring of its own, so that it does not see that of its parent;
/// one of this name if it exists and may be joined.
///
/// # Errors
/// What keyctl says; `ENOSYS` where the kernel has no keyrings.
pub fn join_session(name: Option<&CStr>) -> Result<(), SysError> {
    let name = name.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: The name is NUL-terminated and outlives the call, or null, which is allowed.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) };
    check(key, "keyctl", || "join session keyring")?;
    // SAFETY: Takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, PERMISSIONS) };
    check(result, "keyctl", || "permissions of the session keyring")
}
