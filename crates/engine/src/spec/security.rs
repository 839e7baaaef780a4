//! What keeps a container from harm: system call filter, `no_new_privs`, masked paths.

use ferry_oci::runtime::Seccomp;

/// What keeps a container from harm.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Security {
    /// The options as written, for inspection.
    pub options: Vec<String>,
    /// The system call filter.
    pub seccomp: SeccompChoice,
    /// No program may gain privileges.
    pub no_new_privileges: bool,
    /// System paths are neither masked nor read-only: `systempaths=unconfined`.
    pub system_paths_unconfined: bool,
    /// Paths that can not be read; `None` is the default list.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that can not be written; `None` is the default list.
    pub readonly_paths: Option<Vec<String>>,
}

/// The system call filter.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum SeccompChoice {
    /// The default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// This one, ready for the runtime.
    Profile(Box<Seccomp>),
}
