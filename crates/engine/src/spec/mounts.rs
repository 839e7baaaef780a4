//! What is mounted into a container.

use std::collections::BTreeMap;

pub(crate) use parse::clean;

mod parse;

/// Something to be mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// Where, inside the container; absolute and clean.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// The container may not write to it.
    pub read_only: bool,
    /// How it was written, so that inspection can show it the same way.
    pub form: MountForm,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        path: String,
        /// How mounts made later travel; `None` is `rprivate`.
        propagation: Option<Propagation>,
        /// Whether mounts beneath it come along.
        recursion: Recursion,
        /// A missing directory is made: `-v` does, `--mount` does not unless asked.
        create_missing: bool,
    },
    /// A volume.
    Volume {
        /// Its name; `None` is an anonymous one.
        name: Option<String>,
        /// Its driver; empty is `local`.
        driver: String,
        /// Options of the driver, when it is made now.
        driver_options: BTreeMap<String, String>,
        /// Labels, when it is made now.
        labels: BTreeMap<String, String>,
        /// Content of the image is not copied into an empty volume.
        no_copy: bool,
        /// A directory in the volume, instead of all of it.
        subpath: String,
    },
    /// A file system in memory.
    Tmpfs {
        /// Its size in bytes.
        size: Option<u64>,
        /// Permissions of its root.
        mode: Option<u32>,
        /// Further options, as of mount(8).
        options: Vec<String>,
    },
}

impl MountSource {
    /// What kind of thing it is.
    #[must_use]
    pub fn kind(&self) -> MountKind {
        match self {
            Self::Bind { .. } => MountKind::Bind,
            Self::Volume { .. } => MountKind::Volume,
            Self::Tmpfs { .. } => MountKind::Tmpfs,
        }
    }
}

/// How a mount was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountForm {
    /// In `HostConfig.Binds`, with this text.
    Short(String),
    /// In `HostConfig.Mounts`.
    Long {
        /// `Consistency`, which has no meaning on Linux.
        consistency: String,
    },
    /// In `HostConfig.Tmpfs`, with this text of options.
    Tmpfs(String),
    /// Nowhere: a volume of the image or of `Config.Volumes`, or from another container.
    Implied,
}

/// How mounts made later travel between the host and the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Propagation {
    Private,
    RecursivePrivate,
    Slave,
    RecursiveSlave,
    Shared,
    RecursiveShared,
}

impl Propagation {
    /// From mount(8)'s word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "private" => Self::Private,
            "rprivate" => Self::RecursivePrivate,
            "slave" => Self::Slave,
            "rslave" => Self::RecursiveSlave,
            "shared" => Self::Shared,
            "rshared" => Self::RecursiveShared,
            _ => return None,
        })
    }

    /// Whether mounts travel between the host and the container at all.
    #[must_use]
    pub fn needs_the_hosts(self) -> bool {
        !matches!(self, Self::Private | Self::RecursivePrivate)
    }

    /// mount(8)'s word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RecursivePrivate => "rprivate",
            Self::Slave => "slave",
            Self::RecursiveSlave => "rslave",
            Self::Shared => "shared",
            Self::RecursiveShared => "rshared",
        }
    }
}

/// Whether mounts beneath a bind come along, and whether read-only applies to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Recursion {
    /// They come; read-only applies to them where the kernel can.
    #[default]
    Recursive,
    /// They stay away: `NonRecursive`.
    NonRecursive,
    /// They come, and stay writable: `ReadOnlyNonRecursive`.
    ReadOnlyNonRecursive,
    /// They come, and read-only must apply to them: `ReadOnlyForceRecursive`.
    ReadOnlyForceRecursive,
}

/// The kinds of mount points, as the API names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum MountKind {
    Bind,
    Volume,
    Tmpfs,
}

impl MountKind {
    /// The word of the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
        }
    }
}
