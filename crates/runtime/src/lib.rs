//! The OCI runtime as a library: makes a container's init, or one more process in a container.
//!
//! [`container::create`] forks the init with all its namespaces, sets it up in one straight sequence
//! (module `init`) and leaves it waiting just before its program; [`container::Created::start`] lets it go.
//! [`container::exec`] does the same for a further process of a running container.
//!
//! It holds no state on disk, starts no thread and knows no async runtime; the process that uses it must
//! have one thread. Cgroups are made and limited by the caller, who passes a
//! [`container::CgroupEntry`].
#![forbid(unsafe_code)]

pub mod container;
pub mod error;

mod channel;
mod init;
mod joined;
pub mod limits;
mod plan;
mod seccomp;

pub use error::{ErrorKind, RuntimeError};

/// The options of mounts that are understood, beside those of the file systems.
#[must_use]
pub fn mount_options() -> Vec<String> {
    plan::mounts::option_names()
}
